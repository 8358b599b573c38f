//! Criterion's iterations as packets of a rig that passes them a stretch at a time.

use std::error::Error;
use std::time::Duration;

use criterion::Bencher;

/// One iteration is one packet. Whole stretches of `each` packets are run, at least as many packets
/// as asked for, and the time that `stretch` returns is scaled to those asked for.
///
/// # Errors
/// The last of `stretch`.
pub fn per_packet(
    bencher: &mut Bencher<'_>,
    each: usize,
    mut stretch: impl FnMut() -> Result<Duration, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut failure = None;
    bencher.iter_custom(|packets| {
        let stretches = packets.div_ceil(each as u64);
        let mut took = Duration::ZERO;
        for _ in 0..stretches {
            match stretch() {
                Ok(time) => took += time,
                Err(error) => failure = Some(error),
            }
        }
        scaled(took, packets, stretches * each as u64)
    });
    failure.map_or(Ok(()), Err)
}

/// `time` for `whole` packets, scaled to `packets` of them.
fn scaled(time: Duration, packets: u64, whole: u64) -> Duration {
    let nanos = time.as_nanos() * u128::from(packets) / u128::from(whole.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
