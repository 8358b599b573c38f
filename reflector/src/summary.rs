//! What the reflector did, as text for people.

use std::fmt;
use std::time::Duration;

use ebpf::{ListenerCounts, Mode, Verdict};
use xsk::Statistics;

use crate::counters::QueueCounters;
use crate::datagram::Unanswered;
use crate::queue::QueueSummary;
use crate::served::Figures;
use crate::session::SessionCounts;
use crate::socket::{self, SendError, SocketCounters, SocketFigures};

/// Figures of one run.
#[derive(Debug)]
pub struct Summary {
    /// Which ports it answered on, in words.
    pub ports: String,
    /// For how long.
    pub elapsed: Duration,
    /// What happened on each interface that was served over AF_XDP, by name and ports; none where sockets were
    /// the whole reflector.
    pub interfaces: Vec<(String, Figures)>,
    /// What XDP did with each listener's packets, by its place.
    pub listeners: Vec<(String, ListenerCounts)>,
    /// What came through sockets.
    pub sockets: SocketFigures,
    /// How many listeners had no socket at the end: beside AF_XDP, no slow path.
    pub without_socket: usize,
    /// Sessions of stateful listeners.
    pub sessions: SessionCounts,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        if self.interfaces.is_empty() {
            writeln!(
                f,
                "reflector on {}: {seconds:.1} s, UDP sockets",
                self.ports
            )?;
            self.write_workers(f)?;
        }
        for (place, figures) in &self.interfaces {
            let mode = figures.mode.map_or("no", Mode::name);
            writeln!(f, "reflector on {place}: {seconds:.1} s, {mode} XDP")?;
            figures.fmt(f)?;
        }
        if self.listeners.len() > 1 {
            self.write_listeners(f)?;
        }
        self.write_sockets(f)?;
        let SessionCounts {
            active,
            created,
            expired,
            refused,
        } = self.sessions;
        write_counts(
            f,
            "sessions",
            [
                ("created", created),
                ("expired", expired),
                ("refused", refused),
                ("active at the end", active),
            ],
        )
    }
}

impl Summary {
    fn write_listeners(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listeners, as XDP saw them:")?;
        for (place, counts) in &self.listeners {
            write!(f, "  {place}: {} admitted", counts.admitted)?;
            for (meaning, count) in [
                ("stopped by the loop guard", counts.loops),
                ("from no client", counts.not_clients),
                ("over their source's rate", counts.over_source_limit),
                ("over the listener's rate", counts.over_limit),
            ] {
                if count > 0 {
                    write!(f, ", {count} {meaning}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// How the workers share the load, where they are all there is.
    fn write_workers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_header(f, "worker")?;
        let dropped =
            |counters: &SocketCounters| counters.unanswered_total() + counters.send_errors_total();
        for (number, counters) in self.sockets.workers.iter().enumerate() {
            write_row(
                f,
                &number,
                counters.received.value(),
                counters.reflected.value(),
                dropped(counters),
            )?;
        }
        write_row(
            f,
            &"total",
            self.sockets.total(|counters| counters.received.value()),
            self.sockets.total(|counters| counters.reflected.value()),
            self.sockets.total(dropped),
        )
    }

    fn write_sockets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = |value: &dyn Fn(&SocketCounters) -> u64| self.sockets.total(value);
        let received = total(&|counters| counters.received.value());
        let reflected = total(&|counters| counters.reflected.value());
        write_counts(
            f,
            "UDP sockets",
            [("received", received), ("reflected", reflected)],
        )?;
        let reasons = socket::Unanswered::ALL.into_iter().map(|reason| {
            let count = total(&|counters| counters.unanswered(reason));
            (reason.meaning(), count)
        });
        write_counts(f, "dropped after a UDP socket", reasons)?;
        let errors = SendError::ALL.into_iter().map(|error| {
            let count = total(&|counters| counters.send_errors(error));
            (error.meaning(), count)
        });
        write_counts(f, "replies not taken by the kernel", errors)?;
        write_counts(
            f,
            "dropped before a UDP socket",
            [(
                "no room, a wrong checksum, or a closed socket",
                self.sockets.kernel_drops,
            )],
        )?;
        write_counts(
            f,
            "worth knowing of UDP sockets",
            [
                (
                    "T2 taken in user space",
                    total(&|counters| counters.user_space_stamps.value()),
                ),
                (
                    "receive calls refused by the kernel",
                    total(&|counters| counters.receive_errors.value()),
                ),
            ],
        )?;
        let without = if self.interfaces.is_empty() {
            "without a socket"
        } else {
            "without a slow path"
        };
        write_counts(f, "listeners", [(without, self.without_socket as u64)])
    }
}

impl Figures {
    fn total(&self, value: impl Fn(&QueueCounters) -> u64) -> u64 {
        self.queues.iter().map(|queue| value(&queue.counters)).sum()
    }

    fn kernel(&self, value: fn(&Statistics) -> u64) -> u64 {
        let statistics = self
            .queues
            .iter()
            .filter_map(|queue| queue.statistics.as_ref());
        statistics.map(value).sum()
    }

    fn write_queues(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_header(f, "queue")?;
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
                    "no frame to receive into or too long",
                    self.kernel(|statistics| statistics.rx_dropped),
                ),
                (
                    "invalid transmit descriptor",
                    self.kernel(|statistics| statistics.tx_invalid_descs),
                ),
            ],
        )
    }

    fn write_xdp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |wanted: fn(Verdict) -> bool| {
            self.verdicts
                .iter()
                .filter(move |(verdict, _)| wanted(*verdict))
                .map(|(verdict, count)| (verdict.meaning(), count))
        };
        write_counts(f, "XDP program", of(Verdict::is_redirect))?;
        write_counts(f, "dropped by the XDP program", of(Verdict::is_drop))?;
        write_counts(
            f,
            "passed to the kernel",
            of(|verdict| !verdict.is_redirect() && !verdict.is_drop()),
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

fn write_header(f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
    writeln!(
        f,
        "{what:>7} {:>12} {:>12} {:>9}",
        "received", "reflected", "dropped"
    )
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
