//! One topology, one run of the sender in it, and all that is known of it afterwards.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use testbed::reflector::Reflection;
use testbed::relay::{Log, TestPacket};
use testbed::{
    DEFAULT_TIMEOUT, Direction, Fate, Process, ReflectorConfig, Relay, RelayConfig,
    ScriptedReflector,
};

/// How the sender's packets leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Socket,
    AfXdp,
}

/// Both ways.
pub const BOTH: [Transport; 2] = [Transport::Socket, Transport::AfXdp];

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::AfXdp => "af-xdp",
        }
    }
}

/// Which IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

/// A reflector that counts its replies itself.
pub fn stateful() -> ReflectorConfig {
    ReflectorConfig {
        stateful: true,
        ..ReflectorConfig::default()
    }
}

/// A relay, with a scripted reflector behind it where a test starts one.
pub struct Scene {
    pub relay: Relay,
    pub reflector: Option<ScriptedReflector>,
    target: SocketAddr,
    /// Replies are the requests.
    echo: bool,
    folder: TempDir,
}

impl Scene {
    /// With a scripted reflector on IPv4.
    pub fn new(
        reflector: ReflectorConfig,
        script: impl FnMut(&TestPacket) -> Fate + Send + 'static,
    ) -> Self {
        Self::with(Ip::V4, &RelayConfig::default(), reflector, script)
    }

    /// With a scripted reflector, as described.
    pub fn with(
        ip: Ip,
        relay: &RelayConfig,
        reflector: ReflectorConfig,
        script: impl FnMut(&TestPacket) -> Fate + Send + 'static,
    ) -> Self {
        let mut scene = Self::without_reflector(ip, relay, script);
        scene.echo = reflector.echo;
        let namespace = &scene.relay.veth.reflector.namespace;
        let started = ScriptedReflector::start_in(namespace, scene.target, reflector);
        scene.reflector = Some(started.unwrap());
        scene
    }

    /// Nobody answers until the test starts somebody.
    pub fn without_reflector(
        ip: Ip,
        relay: &RelayConfig,
        script: impl FnMut(&TestPacket) -> Fate + Send + 'static,
    ) -> Self {
        let relay = Relay::with(relay, script).unwrap();
        let end = &relay.veth.reflector;
        let target = match ip {
            Ip::V4 => SocketAddr::V4(end.socket_v4(862)),
            Ip::V6 => SocketAddr::V6(end.socket_v6(862)),
        };
        Self {
            relay,
            reflector: None,
            target,
            echo: false,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Where the reflector is.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// A file of the test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the sender; its document goes to `json` and its rows to `packets` in the folder.
    pub fn start(&self, transport: Transport, options: &[&str]) -> Process {
        let path = |name| self.path(name).display().to_string();
        let (json, packets) = (path("json"), path("packets"));
        let files = ["--json", &json, "--csv-packets", &packets, "--per-session"];
        self.start_plain(transport, &[&files, options].concat())
    }

    /// Starts the sender with these options only.
    pub fn start_plain(&self, transport: Transport, options: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sender"));
        command
            .arg(self.target.to_string())
            .args(["--transport", transport.name()])
            .args(options);
        let sender = &self.relay.veth.sender.namespace;
        sender.spawn(&mut command).unwrap()
    }

    /// Runs the sender to its successful end.
    pub fn run(&self, transport: Transport, options: &[&str]) -> Run {
        let run = self.run_to_end(transport, options);
        assert_eq!(run.status, Some(0), "{transport:?}: {}", run.stderr);
        run
    }

    /// Runs the sender to its end, whatever that is.
    pub fn run_to_end(&self, transport: Transport, options: &[&str]) -> Run {
        let mut sender = self.start(transport, options);
        self.finish(&mut sender)
    }

    /// Waits until this many requests came to the relay, and returns its log.
    pub fn await_requests(&self, count: usize) -> Log {
        let enough = |log: &Log| log.came(Direction::Forward).count() >= count;
        let what = format!("{count} requests came");
        (self.relay)
            .wait_until(&what, DEFAULT_TIMEOUT, enough)
            .unwrap()
    }

    /// Waits for the sender's end and for everything it sent to be in the relay's log.
    pub fn finish(&self, sender: &mut Process) -> Run {
        let mut run = self.finish_unlogged(sender);
        let sent = run.report["sent"].as_u64().unwrap_or(0);
        let sent = usize::try_from(sent).unwrap();
        run.log = self.await_requests(sent);
        let came = run.log.came(Direction::Forward).count();
        assert_eq!(came, sent, "requests on the wire and in the report");
        run
    }

    /// Waits for the sender's end, without a look at the log: there is none of tagged frames.
    pub fn finish_unlogged(&self, sender: &mut Process) -> Run {
        let status = sender.wait_exit(DEFAULT_TIMEOUT).unwrap();
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        assert_eq!(self.relay.kernel_drops().unwrap(), 0, "lost by the kernel");
        let reflections = self.reflector.as_ref().map(|reflector| {
            assert_eq!(reflector.kernel_drops(), 0, "lost at the reflector");
            reflector.reflections()
        });
        Run {
            echo: self.echo,
            status: status.code(),
            report: serde_json::from_str(&read("json")).unwrap_or_default(),
            rows: rows(&read("packets")),
            log: Log::default(),
            reflections: reflections.unwrap_or_default(),
            stdout: sender.stdout(),
            stderr: sender.stderr(),
        }
    }
}

/// All that is known of one run.
#[derive(Debug)]
pub struct Run {
    pub echo: bool,
    pub status: Option<i32>,
    pub report: Value,
    pub rows: Vec<Row>,
    pub log: Log,
    pub reflections: Vec<Reflection>,
    pub stdout: String,
    pub stderr: String,
}

/// A row of `--csv-packets`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Row {
    pub event: String,
    pub session: usize,
    pub sequence: u32,
    pub reflector_sequence: Option<u32>,
    pub t1_ns: i64,
    pub intended_send_ns: Option<i64>,
    pub t2_ns: Option<i64>,
    pub t3_ns: Option<i64>,
    pub t4_ns: Option<i64>,
    pub rtt_ns: Option<i64>,
    pub forward_ns: Option<i64>,
    pub backward_ns: Option<i64>,
    pub residence_ns: Option<i64>,
    pub ttl: Option<u8>,
    pub tos: Option<u8>,
}

impl Run {
    /// A whole number of the report, at a path like `loss_by_direction/forward`.
    pub fn number(&self, path: &str) -> i64 {
        let found = self.value(path).as_i64();
        found.unwrap_or_else(|| panic!("no number {path} in {:#}", self.report))
    }

    /// A value of the report.
    pub fn value(&self, path: &str) -> &Value {
        let pointer = format!("/{path}");
        let found = self.report.pointer(&pointer);
        found.unwrap_or_else(|| panic!("no {path} in {:#}", self.report))
    }

    /// Codes of the warnings.
    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.value("warnings").as_array().unwrap();
        warnings
            .iter()
            .map(|warning| warning["code"].as_str().unwrap())
            .collect()
    }

    /// Source address and port of each session.
    pub fn sources(&self) -> Vec<SocketAddr> {
        let sessions = self.value("per_session").as_array().unwrap();
        sessions
            .iter()
            .map(|session| session["source_address"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// Rows of one kind.
    pub fn rows_of(&self, event: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.event == event)
    }
}

fn rows(text: &str) -> Vec<Row> {
    csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .map(Result::unwrap)
        .collect()
}
