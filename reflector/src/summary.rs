//! What the reflector did, as text for people.

use std::fmt;
use std::time::Duration;

use ebpf::{Mode, Verdict, VerdictCounts};
use xsk::Statistics;

use crate::counters::QueueCounters;
use crate::datagram::Unanswered;
use crate::queue::QueueSummary;

/// Figures of one run.
#[derive(Debug)]
pub struct Summary {
    /// Where it answered.
    pub interface: String,
    /// On which port.
    pub port: u16,
    /// Where the XDP program ran.
    pub mode: Mode,
    /// For how long.
    pub elapsed: Duration,
    /// Per queue.
    pub queues: Vec<QueueSummary>,
    /// What the XDP program did with every packet of the interface.
    pub verdicts: VerdictCounts,
}

impl Summary {
    fn total(&self, value: impl Fn(&QueueCounters) -> u64) -> u64 {
        self.queues.iter().map(|queue| value(&queue.counters)).sum()
    }

    fn write_queues(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>7} {:>12} {:>12} {:>9}",
            "queue", "received", "reflected", "dropped"
        )?;
        for queue in &self.queues {
            let counters = &queue.counters;
            write_row(
                f,
                &queue.queue,
                counters.received.value(),
                counters.reflected.value(),
                counters.unanswered_total(),
            )?;
        }
        write_row(
            f,
            &"total",
            self.total(|counters| counters.received.value()),
            self.total(|counters| counters.reflected.value()),
            self.total(QueueCounters::unanswered_total),
        )
    }

    fn write_drops(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = Unanswered::ALL.into_iter().map(|reason| {
            (
                reason.meaning(),
                self.total(|counters| counters.unanswered(reason)),
            )
        });
        write_counts(f, "dropped by the reflector", reasons)?;

        write_counts(
            f,
            "dropped by the kernel",
            [
                (
                    "receive ring full",
                    self.kernel(|statistics| statistics.rx_ring_full),
                ),
                (
                    "no frame to receive into, or too long",
                    self.kernel(|statistics| statistics.rx_dropped),
                ),
                (
                    "invalid transmit descriptor",
                    self.kernel(|statistics| statistics.tx_invalid_descs),
                ),
            ],
        )
    }

    fn kernel(&self, value: fn(&Statistics) -> u64) -> u64 {
        let statistics = self
            .queues
            .iter()
            .filter_map(|queue| queue.statistics.as_ref());
        statistics.map(value).sum()
    }

    fn write_xdp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (redirected, others): (Vec<_>, Vec<_>) = self
            .verdicts
            .iter()
            .partition(|(verdict, _)| verdict.is_redirect());
        let (dropped, passed): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|(verdict, _)| verdict.is_drop());
        let words = |(verdict, count): (Verdict, u64)| (verdict.meaning(), count);
        write_counts(f, "XDP program", redirected.into_iter().map(words))?;
        write_counts(f, "dropped by XDP", dropped.into_iter().map(words))?;
        write_counts(f, "passed to the kernel", passed.into_iter().map(words))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "reflector on {} port {}: {:.1} s, {} XDP",
            self.interface,
            self.port,
            self.elapsed.as_secs_f64(),
            self.mode.name()
        )?;
        self.write_queues(f)?;
        self.write_drops(f)?;
        self.write_xdp(f)?;
        write_counts(
            f,
            "worth knowing",
            [
                (
                    "T2 taken in user space",
                    self.total(|counters| counters.user_space_stamps.value()),
                ),
                (
                    "wake-ups refused by the kernel",
                    self.total(|counters| counters.kick_errors.value()),
                ),
                (
                    "replies not taken by the kernel at the end",
                    self.queues.iter().map(|queue| queue.unsent).sum(),
                ),
                (
                    "descriptors that made no sense",
                    self.queues.iter().map(QueueSummary::nonsense).sum(),
                ),
            ],
        )
    }
}

fn write_row(
    f: &mut fmt::Formatter<'_>,
    queue: &dyn fmt::Display,
    received: u64,
    reflected: u64,
    dropped: u64,
) -> fmt::Result {
    writeln!(
        f,
        "{:>7} {received:>12} {reflected:>12} {dropped:>9}",
        queue.to_string()
    )
}

/// A line such as `dropped: 3 truncated, 1 other`; counts of 0 are left out, and so is a line of
/// nothing else.
fn write_counts<'a>(
    f: &mut fmt::Formatter<'_>,
    label: &str,
    counts: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(meaning, count)| format!("{count} {meaning}"))
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(f, "{label}: {}", counts.join(", "))
}
