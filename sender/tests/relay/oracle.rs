//! What the sender has to report, worked out from the relay's log in the plainest way: whole lists,
//! quadratic searches, definitions of the RFCs word for word. It shares nothing with the sender.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};
use testbed::Direction;
use testbed::relay::{Change, Log, Onward};

use crate::scene::{Row, Run};

/// The figures of a run, or of one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub loss_runs: u64,
    pub loss_run_max: u64,
    pub late: u64,
    pub duplicates: u64,
    pub duplicates_forward: u64,
    pub replicated: u64,
    pub reordered: u64,
    pub reorder_extent_max: u64,
    pub reordered_by_three: u64,
    pub n_reordering_max: u64,
    pub invalid: u64,
    pub forward: u64,
    pub backward: u64,
    pub undecided: u64,
}

/// A reply as it reaches the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub sequence: u32,
    pub own_sequence: u32,
    pub valid: bool,
}

/// What happened to one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Requests that came to the relay, by number: how many copies reached the reflector.
    pub reached: BTreeMap<u32, u64>,
    /// Replies in the order in which they arrive.
    pub arrivals: Vec<Arrival>,
}

/// The history of each session, by the sender's address.
pub fn histories(log: &Log) -> BTreeMap<SocketAddr, History> {
    let mut histories = BTreeMap::<SocketAddr, History>::new();
    // Whose T1 was spoilt on the way there: the echo of it cannot match.
    let mut spoilt = BTreeSet::new();
    for record in log.came(Direction::Forward) {
        let packet = &record.packet;
        assert_eq!(packet.copy, 0, "a number was used twice: {packet:?}");
        let history = histories.entry(packet.session.sender).or_default();
        let whole = record
            .sent
            .iter()
            .map(|sent| &record.fate.copies()[sent.copy]);
        // A request is 14 octets at least (RFC 5357 section 4.1.2).
        let arrives = |copy: &&Onward| !copy.is_corrupt() && !cut_below(copy, 14);
        let reached = whole.clone().filter(arrives).count();
        history.reached.insert(packet.sequence, reached as u64);
        if whole.clone().any(|copy| garbles(copy, 4..12)) {
            spoilt.insert((packet.session.sender, packet.sequence));
        }
    }
    for (record, copy) in log.went(Direction::Backward) {
        if copy.is_corrupt() {
            continue;
        }
        let packet = &record.packet;
        let history = histories.entry(packet.session.sender).or_default();
        let valid = history.reached.contains_key(&packet.sequence)
            && !spoilt.contains(&(packet.session.sender, packet.sequence))
            // Sender Sequence Number and Sender Timestamp of RFC 5357 section 4.2.1
            && !garbles(copy, 24..36)
            && !cut_below(copy, 38);
        history.arrivals.push(Arrival {
            sequence: packet.sequence,
            own_sequence: packet.own_sequence,
            valid,
        });
    }
    histories
}

fn garbles(copy: &Onward, octets: std::ops::Range<usize>) -> bool {
    (copy.changes.iter())
        .any(|change| matches!(change, Change::Garble { octet } if octets.contains(octet)))
}

fn cut_below(copy: &Onward, least: usize) -> bool {
    (copy.changes.iter()).any(|change| matches!(change, Change::Truncate { len } if *len < least))
}

impl History {
    /// The figures, where the first replies to `late` came after the timeout.
    pub fn figures(&self, late: &BTreeSet<u32>) -> Figures {
        let valid: Vec<_> = self
            .arrivals
            .iter()
            .filter(|arrival| arrival.valid)
            .collect();
        let mut firsts: Vec<&Arrival> = Vec::new();
        let mut figures = Figures {
            sent: self.reached.len() as u64,
            invalid: (self.arrivals.len() - valid.len()) as u64,
            ..Figures::default()
        };
        let mut replicated = BTreeSet::new();
        for arrival in &valid {
            match firsts
                .iter()
                .find(|first| first.sequence == arrival.sequence)
            {
                None => firsts.push(arrival),
                Some(first) => {
                    figures.duplicates += 1;
                    replicated.insert(arrival.sequence);
                    if first.own_sequence != arrival.own_sequence {
                        figures.duplicates_forward += 1;
                    }
                }
            }
        }
        figures.replicated = replicated.len() as u64;
        let answered: BTreeSet<u32> = firsts.iter().map(|first| first.sequence).collect();
        figures.late = answered.intersection(late).count() as u64;
        let on_time: Vec<u32> = (firsts.iter().map(|first| first.sequence))
            .filter(|sequence| !late.contains(sequence))
            .collect();
        figures.received = on_time.len() as u64;
        figures.lost = figures.sent - figures.received;
        figures.lose_in_runs(
            self.reached
                .keys()
                .map(|sequence| !on_time.contains(sequence)),
        );
        figures.reorder(&on_time);
        let last = answered.last().copied();
        for (sequence, &copies) in &self.reached {
            if last.is_none_or(|last| *sequence > last) {
                figures.undecided += 1;
            } else if copies == 0 {
                figures.forward += 1;
            } else if !answered.contains(sequence) {
                figures.backward += 1;
            }
        }
        figures
    }
}

impl Figures {
    fn lose_in_runs(&mut self, lost: impl Iterator<Item = bool>) {
        let letters: String = lost.map(|lost| if lost { 'x' } else { ' ' }).collect();
        let runs = letters.split_whitespace();
        self.loss_runs = runs.clone().count() as u64;
        self.loss_run_max = runs.map(str::len).max().unwrap_or(0) as u64;
    }

    /// RFC 4737: sections 3.3 (reordered), 4.2.1 (extent) and 5.4.1 (n-reordering) for first copies
    /// in the order of their arrival.
    fn reorder(&mut self, arrived: &[u32]) {
        for (i, number) in arrived.iter().enumerate() {
            let before = &arrived[..i];
            let Some(j) = before.iter().position(|earlier| earlier > number) else {
                continue;
            };
            let n = before
                .iter()
                .rev()
                .take_while(|earlier| *earlier > number)
                .count() as u64;
            self.reordered += 1;
            self.reorder_extent_max = self.reorder_extent_max.max((i - j) as u64);
            // The sender counts up to eight.
            self.n_reordering_max = self.n_reordering_max.max(n.min(8));
            self.reordered_by_three += u64::from(n >= 3);
        }
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.loss_runs += other.loss_runs;
        self.loss_run_max = self.loss_run_max.max(other.loss_run_max);
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.duplicates_forward += other.duplicates_forward;
        self.replicated += other.replicated;
        self.reordered += other.reordered;
        self.reorder_extent_max = self.reorder_extent_max.max(other.reorder_extent_max);
        self.reordered_by_three += other.reordered_by_three;
        self.n_reordering_max = self.n_reordering_max.max(other.n_reordering_max);
        self.invalid += other.invalid;
        self.forward += other.forward;
        self.backward += other.backward;
        self.undecided += other.undecided;
    }
}

/// Numbers whose reply came after the timeout, of one session. The rows say when, and that they say
/// it by the clock is checked here.
fn late(timeout: i64, rows: &[&Row]) -> BTreeSet<u32> {
    let mut late = BTreeSet::new();
    for row in rows {
        let Some(t4) = row.t4_ns else { continue };
        let too_long = t4 - row.t1_ns > timeout;
        match row.event.as_str() {
            "received" => assert!(!too_long, "{row:?}"),
            "late" => {
                assert!(too_long, "{row:?}");
                late.insert(row.sequence);
            }
            _ => {}
        }
    }
    late
}

/// Checks the report, the table of sessions and every row against the relay's log, and returns the
/// figures of the run.
pub fn check(run: &Run) -> Figures {
    let mut histories = histories(&run.log);
    let mut total = Figures::default();
    let sources = run.sources();
    assert_eq!(Value::from(sources.len()), *run.value("sessions"));
    let timeout = run.number("timeout_ns");
    let mut rows = vec![Vec::new(); sources.len()];
    for row in &run.rows {
        rows[row.session].push(row);
    }
    for (session, (source, rows)) in sources.iter().zip(rows).enumerate() {
        let history = histories.remove(source).unwrap_or_default();
        let figures = history.figures(&late(timeout, &rows));
        check_session(run, session, &figures);
        check_rows(session, &rows, &history, run.echo);
        total.add(&figures);
    }
    assert_eq!(
        histories.into_keys().collect::<Vec<_>>(),
        [],
        "sources in no session"
    );
    check_totals(run, &total);
    total
}

fn check_totals(run: &Run, figures: &Figures) {
    let Figures {
        sent,
        received,
        lost,
        loss_runs,
        loss_run_max,
        late,
        duplicates,
        replicated,
        reordered,
        reorder_extent_max,
        reordered_by_three,
        n_reordering_max,
        invalid,
        ..
    } = *figures;
    let expected = json!({
        "sent": sent, "received": received, "lost": lost, "loss_runs": loss_runs,
        "loss_run_max": loss_run_max, "late": late, "duplicates": duplicates,
        "replicated": replicated, "reordered": reordered,
        "reorder_extent_max": reorder_extent_max, "reordered_by_three": reordered_by_three,
        "n_reordering_max": n_reordering_max, "invalid": invalid,
    });
    let reported: serde_json::Map<String, Value> = (expected.as_object().unwrap().keys())
        .map(|key| (key.clone(), run.report[key].clone()))
        .collect();
    assert_eq!(Value::from(reported), expected, "{:#}", run.report);
    ratio(run, "loss_ratio", lost, sent);
    ratio(run, "duplication_ratio", duplicates, received + late);
    ratio(run, "replicated_ratio", replicated, received + late);
    ratio(run, "reordered_ratio", reordered, received);
}

fn ratio(run: &Run, name: &str, part: u64, whole: u64) {
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let expected = (whole > 0).then(|| part as f64 / whole as f64);
    let reported = run.value(name).as_f64();
    // Reading a float from JSON may cost its last bit.
    let same = match (reported, expected) {
        (Some(reported), Some(expected)) => (reported - expected).abs() < 1e-12,
        (reported, expected) => reported == expected,
    };
    assert!(same, "{name}: {reported:?}, not {expected:?}");
}

fn check_session(run: &Run, session: usize, figures: &Figures) {
    let entry = &run.value("per_session")[session];
    for (name, expected) in [
        ("session", session as u64),
        ("sent", figures.sent),
        ("received", figures.received),
        ("lost", figures.lost),
        ("late", figures.late),
        ("duplicates", figures.duplicates),
        ("reordered", figures.reordered),
        ("loss_runs", figures.loss_runs),
        ("loss_run_max", figures.loss_run_max),
    ] {
        assert_eq!(entry[name], expected, "{name} of {entry:#}");
    }
}

/// The rows of a session: a row per valid reply, in the order of arrival and with the numbers of
/// both sides, and a row per lost packet.
fn check_rows(session: usize, rows: &[&Row], history: &History, echo: bool) {
    let of_session = || rows.iter();
    let replies: Vec<_> = of_session()
        .filter(|row| row.event != "lost")
        .map(|row| (row.sequence, row.reflector_sequence))
        .collect();
    let arrived: Vec<_> = (history.arrivals.iter().filter(|arrival| arrival.valid))
        .map(|arrival| (arrival.sequence, (!echo).then_some(arrival.own_sequence)))
        .collect();
    assert_eq!(replies, arrived, "rows of session {session}");
    let mut answered = BTreeSet::new();
    for row in of_session().filter(|row| row.event != "lost") {
        let first = answered.insert(row.sequence);
        assert_eq!(row.event == "duplicate", !first, "{row:?}");
    }
    let received: BTreeSet<_> = (of_session().filter(|row| row.event == "received"))
        .map(|row| row.sequence)
        .collect();
    let lost: Vec<_> = (of_session().filter(|row| row.event == "lost"))
        .map(|row| row.sequence)
        .collect();
    let expected: Vec<_> = (history.reached.keys().copied())
        .filter(|sequence| !received.contains(sequence))
        .collect();
    assert_eq!(lost, expected, "lost rows of session {session}");
}

/// Checks loss and duplication by direction, which only a stateful reflector tells.
pub fn check_directions(run: &Run, figures: &Figures, restarts: u64) {
    let expected = json!({
        "forward": figures.forward, "backward": figures.backward,
        "undecided": figures.undecided, "reflector_restarts": restarts,
    });
    assert_eq!(
        *run.value("loss_by_direction"),
        expected,
        "{:#}",
        run.report
    );
    let backward = figures.duplicates - figures.duplicates_forward;
    assert_eq!(*run.value("duplicates_forward"), figures.duplicates_forward);
    assert_eq!(*run.value("duplicates_backward"), backward);
}

/// Checks that nothing is said of directions.
pub fn check_no_directions(run: &Run) {
    for name in [
        "loss_by_direction",
        "duplicates_forward",
        "duplicates_backward",
    ] {
        assert_eq!(*run.value(name), Value::Null, "{name}");
    }
}
