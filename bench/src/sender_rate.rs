//! How fast the sender sends and measures, beside the fastest that a plain socket goes.
//!
//! ```text
//!   sender, or sendmmsg │ veth-s ──► veth-r │ XDP drop, or the reflector
//!       processor 0                              processor 1
//! ```
//!
//! On a veth pair the peer receives in the system call that sends, on the same processor. So every
//! side bears the same receiving, up to the drop; and what is counted is what arrived there
//! (`rx_packets` of veth-r), not what the sending side believes to have sent.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use ebpf::Attachment;
use serde_json::Value;
use testbed::{DEFAULT_TIMEOUT, Process, Signal, Veth, VethConfig};

use crate::affinity::pin;
use crate::discard::attach_drop;
use crate::figures::Spread;
use crate::flood::{self, flood};
use crate::machine::Machine;
use crate::procfs::packets_received;

/// The command line of `bench sender-rate`.
#[derive(Debug, Args)]
pub struct Options {
    /// Seconds per run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,

    /// Runs of each side, taken in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Sessions of the run with many.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    sessions: u32,

    /// Packets per second of the runs that look at the send-time error.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    paced: u32,
}

/// Where senders run, and where the reflector does.
const SENDER_CPU: usize = 0;
const REFLECTOR_CPU: usize = 1;
/// Source addresses that many sessions are spread over: the ports of one do not suffice.
const SOURCES: std::ops::RangeInclusive<u8> = 11..=14;

/// What a sender does in a run as fast as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// [`mod@flood`].
    Sendmmsg,
    AfXdp,
    Sockets,
    /// `AF_XDP` with many sessions.
    Sessions,
    /// `AF_XDP` against the reflector.
    Reflected,
}

impl Side {
    const ALL: [Self; 5] = [
        Self::Sendmmsg,
        Self::AfXdp,
        Self::Sockets,
        Self::Sessions,
        Self::Reflected,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sendmmsg => "sendmmsg",
            Self::AfXdp => "af-xdp",
            Self::Sockets => "socket",
            Self::Sessions => "sessions",
            Self::Reflected => "reflected",
        }
    }
}

/// One run, in packets per second.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// What arrived at the other end.
    arrived: f64,
    /// Replies measured.
    measured: f64,
}

/// The runs of one round: of each side of [`Side::ALL`], and the 99th percentile of the send-time
/// error in microseconds over `AF_XDP` and over sockets.
#[derive(Debug)]
struct Round {
    runs: [Run; Side::ALL.len()],
    errors: [f64; 2],
}

/// Runs all sides in turn and prints every run, the medians and the ratios.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", Machine::read());
    println!(
        "as fast as it goes for {} s, {} octets of UDP payload, 1 queue, sending on processor \
         {SENDER_CPU}, reflecting on {REFLECTOR_CPU};\nsendmmsg takes {} packets per call; \
         {} sessions in the run with many\n",
        options.seconds,
        wire::twamp::STAMP_LEN,
        flood::BATCH,
        options.sessions,
    );
    println!(
        "{:>6} {:>10} {:>12} {:>12}",
        "round", "side", "arrived/s", "measured/s"
    );
    let mut rounds = Vec::new();
    for number in 1..=options.rounds {
        let mut runs = [Run {
            arrived: 0.0,
            measured: 0.0,
        }; Side::ALL.len()];
        for (side, slot) in Side::ALL.into_iter().zip(&mut runs) {
            *slot = run_side(side, options)?;
            let Run { arrived, measured } = *slot;
            println!(
                "{number:>6} {:>10} {arrived:>12.0} {measured:>12.0}",
                side.name()
            );
            io::stdout().flush()?;
        }
        let mut errors = [0.0; 2];
        for (transport, error) in ["af-xdp", "socket"].into_iter().zip(&mut errors) {
            *error = send_error(transport, options)?;
            println!(
                "{number:>6} {transport:>10} p99 of the send-time error at {} packets/s: {error:.1} µs",
                options.paced
            );
        }
        rounds.push(Round { runs, errors });
    }
    print_medians(options, &rounds);
    Ok(())
}

fn print_medians(options: &Options, rounds: &[Round]) {
    println!("\nmedians of {} rounds (range)", rounds.len());
    let spread = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    for (place, side) in Side::ALL.into_iter().enumerate() {
        let arrived = spread(&|round| round.runs[place].arrived);
        println!("  {:<10} arrived/s   {arrived}", side.name());
    }
    let [sendmmsg, af_xdp, socket, sessions, reflected] = [0, 1, 2, 3, 4];
    let measured = spread(&|round| round.runs[reflected].measured);
    println!("  {:<10} measured/s  {measured}", Side::Reflected.name());
    for (place, transport) in ["af-xdp", "socket"].into_iter().enumerate() {
        let error = spread(&|round| round.errors[place]);
        println!(
            "  {transport:<10} p99 of the send-time error at {} packets/s, µs {error:.1}",
            options.paced
        );
    }
    println!("\nratios within a round, medians (range)");
    let ratio = |above: usize, below: usize| {
        spread(&move |round| round.runs[above].arrived / round.runs[below].arrived)
    };
    println!(
        "  af-xdp : sendmmsg                 {:.2}",
        ratio(af_xdp, sendmmsg)
    );
    println!(
        "  socket : sendmmsg                 {:.2}",
        ratio(socket, sendmmsg)
    );
    println!(
        "  {:>6} sessions : one           {:.2}",
        options.sessions,
        ratio(sessions, af_xdp)
    );
    println!(
        "  reflected, measured : sent        {:.2}",
        spread(&|round| { round.runs[reflected].measured / round.runs[reflected].arrived })
    );
    println!(
        "  reflected, measured : af-xdp sent {:.2}",
        spread(&|round| { round.runs[reflected].measured / round.runs[af_xdp].arrived })
    );
}

/// One run as fast as it goes.
fn run_side(side: Side, options: &Options) -> Result<Run, Box<dyn Error>> {
    let veth = new_veth()?;
    let duration = Duration::from_secs(options.seconds.into());
    let other_end = OtherEnd::start(&veth, side == Side::Reflected)?;
    let before = arrived(&veth)?;
    let (elapsed, received) = if side == Side::Sendmmsg {
        let target = target(&veth);
        let (_, elapsed) = veth.sender.namespace.run(|| {
            pin(SENDER_CPU)?;
            flood(target, duration)
        })?;
        (elapsed.as_secs_f64(), 0)
    } else {
        let mut arguments = vec!["--rate".to_owned(), "max".to_owned()];
        arguments.extend(["--duration".to_owned(), format!("{}s", options.seconds)]);
        let transport = if side == Side::Sockets {
            "socket"
        } else {
            "af-xdp"
        };
        arguments.extend(["--transport".to_owned(), transport.to_owned()]);
        if side == Side::Sessions {
            let [first, last] = [*SOURCES.start(), *SOURCES.end()].map(source);
            arguments.extend(["--sessions".to_owned(), options.sessions.to_string()]);
            arguments.extend(["--source-range".to_owned(), format!("{first}-{last}")]);
        }
        let report = run_sender(&veth, &arguments, duration, Some(SENDER_CPU))?;
        (
            number(&report, "/duration_s")?,
            count(&report, "/received")?,
        )
    };
    let arrived = arrived(&veth)? - before;
    other_end.stop()?;
    if arrived == 0 {
        return Err(format!("nothing arrived from {}", side.name()).into());
    }
    if side == Side::Reflected && received == 0 {
        return Err("the reflector answered nothing".into());
    }
    Ok(Run {
        arrived: per_second(arrived, elapsed),
        measured: per_second(received, elapsed),
    })
}

/// The 99th percentile of the send-time error at a moderate rate, in microseconds.
///
/// Nothing is pinned: with a single processor to itself the sender does not spin.
fn send_error(transport: &str, options: &Options) -> Result<f64, Box<dyn Error>> {
    let veth = new_veth()?;
    let other_end = OtherEnd::start(&veth, true)?;
    let duration = Duration::from_secs(options.seconds.into());
    let arguments = [
        "--rate".to_owned(),
        options.paced.to_string(),
        "--duration".to_owned(),
        format!("{}s", options.seconds),
        "--transport".to_owned(),
        transport.to_owned(),
    ];
    let report = run_sender(&veth, &arguments, duration, None)?;
    other_end.stop()?;
    Ok(number(&report, "/send_error_ns/p99")? / 1_000.0)
}

/// A pair whose ends know each other for good: nobody answers ARP behind a drop.
fn new_veth() -> Result<Veth, testbed::Error> {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        sender_addresses: SOURCES.map(|host| format!("{}/24", source(host))).collect(),
        ..VethConfig::default()
    })
}

/// An address of the sender's network.
fn source(host: u8) -> String {
    format!("10.86.2.{host}")
}

fn target(veth: &Veth) -> SocketAddrV4 {
    veth.reflector.socket_v4(wire::twamp::UDP_PORT)
}

/// What packets meet at the other end.
enum OtherEnd {
    /// Held until the run is over.
    Drop {
        _attachment: Attachment,
    },
    Reflector(Process),
}

impl OtherEnd {
    fn start(veth: &Veth, reflect: bool) -> Result<Self, Box<dyn Error>> {
        let end = &veth.reflector;
        if reflect {
            let mut command = Command::new(testbed::binary("reflector")?);
            command.args(["--interface", end.interface]);
            let reflector = spawn_on(Some(REFLECTOR_CPU), veth, true, &mut command)?;
            reflector.wait_for_line("ready: ", DEFAULT_TIMEOUT)?;
            return Ok(Self::Reflector(reflector));
        }
        Ok(Self::Drop {
            _attachment: attach_drop(end)?,
        })
    }

    fn stop(self) -> Result<(), testbed::Error> {
        if let Self::Reflector(mut reflector) = self {
            reflector.signal(Signal::SIGTERM)?;
            reflector.wait_exit(DEFAULT_TIMEOUT)?;
        }
        Ok(())
    }
}

/// Runs our sender to its end and returns its JSON report.
fn run_sender(
    veth: &Veth,
    arguments: &[String],
    duration: Duration,
    cpu: Option<usize>,
) -> Result<Value, Box<dyn Error>> {
    /// Whatever is not back by then is lost; behind a drop that is everything.
    const TIMEOUT: &str = "100ms";
    let mut command = Command::new(testbed::binary("sender")?);
    command.arg(target(veth).to_string()).args(arguments).args([
        "--timeout",
        TIMEOUT,
        "--quiet",
        "--json",
        "-",
    ]);
    let mut sender = spawn_on(cpu, veth, false, &mut command)?;
    let status = sender.wait_exit(duration + 2 * DEFAULT_TIMEOUT)?;
    // 1 is the status of a run without replies, as it is behind a drop.
    if !matches!(status.code(), Some(0 | 1)) {
        return Err(format!("sender: {status}\n{}", sender.stderr()).into());
    }
    serde_json::from_str(&sender.stdout())
        .map_err(|error| format!("sender: {error}\n{}", sender.stderr()).into())
}

/// Starts a child on one processor, if given: it inherits that of the thread that starts it.
fn spawn_on(
    cpu: Option<usize>,
    veth: &Veth,
    reflector: bool,
    command: &mut Command,
) -> Result<Process, Box<dyn Error>> {
    let end = if reflector {
        &veth.reflector
    } else {
        &veth.sender
    };
    let process = end.namespace.run(|| {
        if let Some(cpu) = cpu {
            pin(cpu).map_err(|error| error.to_string())?;
        }
        Process::spawn(command).map_err(|error| error.to_string())
    })?;
    Ok(process)
}

/// Packets that arrived at the reflector's end so far.
fn arrived(veth: &Veth) -> io::Result<u64> {
    let end = &veth.reflector;
    end.namespace.run(|| packets_received(end.interface))
}

fn number(report: &Value, field: &str) -> Result<f64, String> {
    let value = report.pointer(field).and_then(Value::as_f64);
    value.ok_or_else(|| format!("the sender's report has no {field}"))
}

fn count(report: &Value, field: &str) -> Result<u64, String> {
    let value = report.pointer(field).and_then(Value::as_u64);
    value.ok_or_else(|| format!("the sender's report has no {field}"))
}

#[expect(clippy::cast_precision_loss, reason = "a rate is a float")]
fn per_second(packets: u64, seconds: f64) -> f64 {
    packets as f64 / seconds.max(f64::MIN_POSITIVE)
}
