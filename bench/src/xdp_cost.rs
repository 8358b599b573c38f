//! What the reflector's XDP program costs per packet, without an interface.
//!
//! The kernel runs the program over the same frame again and again (`BPF_PROG_TEST_RUN`) and says how long
//! a run took: from parsing to the redirect to a socket that is bound, with all tables in the caches. The
//! counters must show that every run went that way. What the loop itself costs, a program that only drops
//! shows.

use std::error::Error;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use ebpf::policer::{BITS_MAX, BitLimit, Limits, PACKETS_MAX, PacketLimit};
use ebpf::{
    Clients, DropProgram, FlowKey, Generation, Interface, ListenerKey, ReflectorProgram, Rule,
    Scope, SharedMaps, Sizes, SourceLimit, Verdict,
};
use ipnet::IpNet;
use testbed::{Namespace, UdpFrame};
use xsk::{BindMode, Socket, SocketConfig, Umem, UmemConfig};

use crate::affinity::pin;
use crate::figures::Spread;
use crate::machine::Machine;

/// Where the runs take place; the sender's benchmarks reflect on the other one.
const CPU: usize = 0;
/// Index of the loopback interface, on which test runs arrive.
const LOOPBACK: u32 = 1;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const LISTENER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LISTENER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The first client, and the source of all frames.
const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
const CLIENT_PORT: u16 = 40_000;
/// Slot of the client list.
const LIST: u16 = 0;

/// The command line of `bench xdp`.
#[derive(Debug, Args)]
pub struct Options {
    /// Runs of a program at a time.
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    runs: u32,

    /// Rounds, in each of which every program has its turn.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// What the program has to do beside recognising, matching and stamping.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    listeners: u32,
    sessions: u32,
    clients: u32,
    police_listener: bool,
    police_source: bool,
}

const PLAIN: Work = Work {
    listeners: 1,
    sessions: 0,
    clients: 0,
    police_listener: false,
    police_source: false,
};

const CASES: [(&str, Work); 11] = [
    ("match and stamp", PLAIN),
    (
        "  among 10 000 listeners",
        Work {
            listeners: 10_000,
            ..PLAIN
        },
    ),
    (
        "+ exact session, of 1",
        Work {
            sessions: 1,
            ..PLAIN
        },
    ),
    (
        "+ exact session, of 100 000",
        Work {
            sessions: 100_000,
            ..PLAIN
        },
    ),
    (
        "+ client list of 1",
        Work {
            clients: 1,
            ..PLAIN
        },
    ),
    (
        "+ client list of 1 000",
        Work {
            clients: 1_000,
            ..PLAIN
        },
    ),
    (
        "+ client list of 100 000",
        Work {
            clients: 100_000,
            ..PLAIN
        },
    ),
    (
        "+ policer of the listener",
        Work {
            police_listener: true,
            ..PLAIN
        },
    ),
    (
        "+ policer of the source",
        Work {
            police_source: true,
            ..PLAIN
        },
    ),
    (
        "+ both policers",
        Work {
            police_listener: true,
            police_source: true,
            ..PLAIN
        },
    ),
    (
        "+ all of it, 100 000 each",
        Work {
            listeners: 10_000,
            sessions: 100_000,
            clients: 100_000,
            police_listener: true,
            police_source: true,
        },
    ),
];

/// A program with its tables, and the frames it is run over.
struct Case {
    name: &'static str,
    program: ReflectorProgram,
    /// The tables go with the programs; this keeps what user space holds of them.
    _shared: SharedMaps,
    /// Nanoseconds per run, by family.
    figures: [Vec<f64>; 2],
}

/// Runs all programs in turn and prints the medians.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", Machine::read());
    println!(
        "44 octets of UDP payload, {} runs at a time on processor {CPU}, {} rounds; ns per run, \
         medians (range)\n",
        options.runs, options.rounds
    );
    let namespace = Namespace::new()?;
    namespace.run(|| measure(options).map_err(|error| error.to_string()))?;
    Ok(())
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    pin(CPU)?;
    let umem = Umem::allocate(&UmemConfig::default())?;
    let config = SocketConfig {
        mode: BindMode::Copy,
        ..SocketConfig::new(LOOPBACK, 0)
    };
    let (socket, _queue) = Socket::open(&config, umem)?;
    let mut cases = CASES
        .into_iter()
        .map(|(name, work)| Case::new(name, work, &socket))
        .collect::<Result<Vec<_>, _>>()?;
    let frames = [CLIENT_V4.into(), CLIENT_V6.into()].map(request);

    let drop = DropProgram::load()?;
    let mut floor = Vec::new();
    for _ in 0..options.rounds {
        for case in &mut cases {
            for (frame, figures) in frames.iter().zip(&mut case.figures) {
                figures.push(time(&case.program, frame, options.runs)?);
            }
        }
        floor.push(nanos(drop.time_runs(&frames[0], options.runs)?));
        print!(".");
        io::stdout().flush()?;
    }

    println!("\n\n{:<30} {:>24} {:>24}", "", "IPv4", "IPv6");
    for case in cases {
        let [v4, v6] = case.figures.map(|figures| Spread::of(figures).to_string());
        println!("{:<30} {v4:>24} {v6:>24}", case.name);
    }
    println!(
        "{:<30} {:>24}",
        "the loop: drop",
        Spread::of(floor).to_string()
    );
    Ok(())
}

/// Nanoseconds per run of which every one redirected the frame.
fn time(program: &ReflectorProgram, frame: &[u8], runs: u32) -> Result<f64, Box<dyn Error>> {
    let before = program.verdicts()?;
    let time = program.time_runs(frame, runs)?;
    let after = program.verdicts()?;
    let redirected = after.of(Verdict::Redirected) - before.of(Verdict::Redirected);
    if redirected != u64::from(runs) {
        return Err(format!("{redirected} of {runs} runs redirected the packet").into());
    }
    Ok(nanos(time))
}

impl Case {
    fn new(name: &'static str, work: Work, socket: &Socket) -> Result<Self, Box<dyn Error>> {
        let shared = SharedMaps::create(Sizes::default())?;
        let clients = (0..work.clients).flat_map(|n| [(host_v4(n), true), (prefix_v6(n), true)]);
        shared.set_client_list(LIST, clients)?;
        shared.publish(&generation(work)?)?;

        let program = ReflectorProgram::load(&shared, 1, true)?;
        let interface = Interface {
            mac: MAC,
            frame_limit: 1700,
        };
        program.set_interface(LOOPBACK, interface)?;
        program.set_socket(0, socket.as_fd())?;
        Ok(Self {
            name,
            program,
            _shared: shared,
            figures: [Vec::new(), Vec::new()],
        })
    }
}

/// The listeners' addresses are consecutive, and so are the ports of the sessions' sources.
fn generation(work: Work) -> Result<Generation, Box<dyn Error>> {
    let scope = Scope::untagged(LOOPBACK);
    let burst = Duration::from_secs(100);
    let packets = PacketLimit::per_second(PACKETS_MAX, burst)?;
    let bits = BitLimit::per_second(BITS_MAX, burst)?;
    let rule = Rule {
        clients: if work.clients > 0 {
            Clients::Listed(LIST)
        } else {
            Clients::All
        },
        source_limit: work.police_source.then_some(SourceLimit {
            packets,
            prefix_v4: 24,
            prefix_v6: 64,
        }),
        limits: Limits {
            packets: work.police_listener.then_some(packets),
            bits: work.police_listener.then_some(bits),
        },
        ..Rule::open(0)
    };
    let addresses: Vec<IpAddr> = (0..work.listeners)
        .flat_map(|n| {
            [
                IpAddr::V4((u32::from(LISTENER_V4) + n).into()),
                IpAddr::V6((u128::from(LISTENER_V6) + u128::from(n)).into()),
            ]
        })
        .collect();
    let port = wire::twamp::UDP_PORT;
    let listener = |&address| {
        let key = ListenerKey {
            scope,
            address,
            port,
        };
        (key, rule)
    };
    let sessions = (0..work.sessions).flat_map(|n| {
        let [v4, v6] = [
            IpAddr::V4((u32::from(CLIENT_V4) + n / 10_000).into()),
            IpAddr::V6((u128::from(CLIENT_V6) + u128::from(n / 10_000)).into()),
        ];
        let source_port = CLIENT_PORT + u16::try_from(n % 10_000).unwrap_or_default();
        let listeners = [IpAddr::V4(LISTENER_V4), IpAddr::V6(LISTENER_V6)];
        [(v4, listeners[0]), (v6, listeners[1])].map(|(source, destination)| {
            let key = FlowKey {
                scope,
                source: (source, source_port).into(),
                destination: (destination, port).into(),
            };
            (key, rule)
        })
    });
    Ok(Generation {
        number: 1,
        listeners: addresses.iter().map(listener).collect(),
        sessions: sessions.collect(),
        own_addresses: addresses.iter().map(|&address| (0, address)).collect(),
        link_local: Vec::new(),
        general_ports: vec![(scope, port)],
    })
}

/// Every second address from that of the frames on.
fn host_v4(n: u32) -> IpNet {
    IpNet::from(IpAddr::V4((u32::from(CLIENT_V4) + 2 * n).into()))
}

/// Every second network of 64 bits from that of the frames on.
fn prefix_v6(n: u32) -> IpNet {
    let address = u128::from(CLIENT_V6) + (u128::from(2 * n) << 64);
    IpNet::new_assert(IpAddr::V6(address.into()), 64)
}

/// A request from the first client of a family.
fn request(source: IpAddr) -> Vec<u8> {
    let port = wire::twamp::UDP_PORT;
    match SocketAddr::from((source, CLIENT_PORT)) {
        SocketAddr::V4(source) => UdpFrame::v4(source, SocketAddrV4::new(LISTENER_V4, port)),
        SocketAddr::V6(source) => UdpFrame::v6(source, SocketAddrV6::new(LISTENER_V6, port, 0, 0)),
    }
    .macs(PEER_MAC, MAC)
    .payload(&[0; wire::twamp::STAMP_LEN])
    .build()
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
