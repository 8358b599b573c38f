//! Shows the live view of a simulated run for some seconds, with or without interval lines:
//!
//! ```text
//! cargo run -p sender --example simulated_view -- 20 [lines]
//! ```

use std::error::Error;
use std::f64::consts::TAU;
use std::thread;
use std::time::{Duration, Instant};

use sender::measure::interval::Intervals;
use sender::measure::recent::Recent;
use sender::view::{Live, View, interval_line};
use wire::time::{Nanos, Utc};

/// Five drawings a second, as the sender does.
const TURN: Duration = Duration::from_millis(200);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let planned: u64 = arguments.next().ok_or("how many seconds?")?.parse()?;
    let planned = Duration::from_secs(planned);
    let lines = arguments.next().is_some();
    let mut view = View::new(false);
    let mut recent = Recent::default();
    let mut intervals = Intervals::new(Duration::from_secs(1), Utc::from_nanos(0));
    let mut live = Live {
        planned: Some(planned),
        ..Live::default()
    };
    let start = Instant::now();
    while live.elapsed < planned {
        let seconds = live.elapsed.as_secs_f64();
        let t1 = Utc::from_nanos(i64::try_from(live.elapsed.as_nanos())?);
        for number in 0..200u32 {
            live.sent += 1;
            intervals.sent(t1);
            if number == 0 && seconds % 7.0 < 0.2 {
                live.lost += 1;
                intervals.lost(t1);
                continue;
            }
            let slow = (seconds / 12.0 * TAU).sin().max(0.0) * 90_000.0;
            #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
            let queued = slow as i64 + i64::from(number * number % 977) * 40;
            let round_trip = Nanos::from_nanos(310_000 + queued);
            live.received += 1;
            recent.record(round_trip);
            intervals.received(t1, round_trip, None, None);
        }
        live.last_second = recent.summary();
        recent.turn();
        for interval in intervals.close_before(t1) {
            if lines {
                view.print(&interval_line(&interval));
            }
        }
        view.show(&live);
        thread::sleep(TURN);
        live.elapsed = start.elapsed();
    }
    view.clear();
    println!("done: {} sent", live.sent);
    Ok(())
}
