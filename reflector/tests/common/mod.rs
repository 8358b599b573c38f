//! A reflector under test: the built binary in one end of a veth pair.

#![allow(dead_code, reason = "each test file uses its part")]

pub mod arena;
pub mod load;

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use testbed::{DEFAULT_TIMEOUT, End, Process, Veth};

/// How long a reply that must not come is waited for, after one that must come has come.
pub const SILENCE: Duration = Duration::from_millis(50);

/// The binary with its interface given.
pub fn command(interface: &str, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reflector"));
    command.args(["--interface", interface]).args(options);
    command
}

/// Whether one exchange from a kernel socket at the sender's end succeeds.
pub fn is_answered(veth: &Veth) -> bool {
    veth.sender.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.connect(veth.reflector.socket_v4(862)).unwrap();
        socket.send(&[0; 44]).is_ok() && socket.recv(&mut [0; 64]).is_ok()
    })
}

/// A running reflector that has said `ready`.
pub struct Reflector {
    process: Process,
}

impl Reflector {
    /// Starts it at `end` and waits until it answers.
    pub fn start(end: &End, options: &[&str]) -> Self {
        let process = end
            .namespace
            .spawn(&mut command(end.interface, options))
            .unwrap();
        process.wait_for_line("ready: ", DEFAULT_TIMEOUT).unwrap();
        Self { process }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it and returns its summary.
    pub fn stop(self) -> Summary {
        self.stop_by(Signal::SIGTERM)
    }

    /// Stops it by this signal; it must exit with status 0.
    pub fn stop_by(mut self, signal: Signal) -> Summary {
        self.process.signal(signal).unwrap();
        let status = self.process.wait_exit(DEFAULT_TIMEOUT).unwrap();
        assert!(status.success(), "{status}: {}", self.process.stderr());
        Summary(self.process.stdout())
    }

    /// Kills it without a chance to clean up.
    pub fn kill(mut self) {
        self.process.signal(Signal::SIGKILL).unwrap();
        self.process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    }
}

/// What a reflector printed when it stopped.
pub struct Summary(pub String);

impl Summary {
    /// The `received`, `reflected` and `dropped` columns of a queue's row, or of `total`.
    pub fn row(&self, queue: &str) -> [u64; 3] {
        let row = self
            .0
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut row = row.filter(|words| words.len() == 4 && words[0] == queue);
        let words = row
            .next()
            .unwrap_or_else(|| panic!("no row {queue} in:\n{}", self.0));
        [1, 2, 3].map(|column| words[column].parse().unwrap())
    }

    /// Datagrams that UDP sockets received, and those of them that were answered.
    pub fn sockets(&self) -> [u64; 2] {
        let line = self
            .0
            .lines()
            .find(|line| line.starts_with("UDP sockets: "));
        let count = |meaning| {
            let items = line
                .iter()
                .flat_map(|line| line.trim_start_matches("UDP sockets: ").split(", "));
            let mut found = items.filter_map(|item| item.strip_suffix(meaning));
            found
                .next()
                .map_or(0, |count| count.trim().parse().unwrap())
        };
        [count("received"), count("reflected")]
    }

    /// Packets answered, over AF_XDP and by sockets.
    pub fn answered(&self) -> u64 {
        // Where sockets are the whole reflector, the rows are those of their workers.
        let over_af_xdp = self.0.contains(" XDP\n").then(|| self.row("total")[1]);
        over_af_xdp.unwrap_or(0) + self.sockets()[1]
    }

    /// What XDP counted for the listener at `place`, such as `veth-r, any address, port 862`; 0 if it
    /// does not mention it.
    pub fn of_listener(&self, place: &str, meaning: &str) -> u64 {
        let mut lines = self.0.lines().map(str::trim_start);
        let items = lines
            .find_map(|line| line.strip_prefix(place)?.strip_prefix(": "))
            .unwrap_or_else(|| panic!("no listener at {place} in:\n{}", self.0));
        let counts = items.split(", ").filter_map(|item| item.split_once(' '));
        counts
            .filter(|(_, words)| *words == meaning)
            .map(|(count, _)| count.parse::<u64>().unwrap())
            .sum()
    }

    /// The count in front of `meaning`; 0 if the summary does not mention it.
    pub fn count(&self, meaning: &str) -> u64 {
        let items = self
            .0
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(_, items)| items);
        items
            .flat_map(|items| items.split(", "))
            .filter_map(|item| item.split_once(' '))
            .find(|(_, words)| *words == meaning)
            .map_or(0, |(count, _)| count.parse().unwrap())
    }
}

/// Whether an XDP program is attached to the end's interface.
pub fn has_xdp(end: &End) -> bool {
    let link = end
        .namespace
        .ip(&format!("-details link show {}", end.interface))
        .unwrap();
    link.contains("xdp")
}

impl Summary {
    /// Every frame that XDP redirected was received by a worker or dropped by the kernel, which counts
    /// it; every packet that was received, by worker or UDP socket, became something that has a name.
    pub fn assert_accounts_for_everything(&self) {
        let [received, reflected, dropped] = self.row("total");
        assert_eq!(received, reflected + dropped, "{}", self.0);
        let redirected = self.count("redirected to AF_XDP")
            + self.count("redirected to AF_XDP without metadata");
        let by_kernel =
            self.count("receive ring full") + self.count("no frame to receive into or too long");
        assert_eq!(redirected, received + by_kernel, "{}", self.0);
        let [received, reflected] = self.sockets();
        let others = self.sum("dropped after a UDP socket: ")
            + self.sum("replies not taken by the kernel: ");
        assert_eq!(received, reflected + others, "{}", self.0);
    }

    /// All counts of the line that begins so.
    pub fn sum(&self, beginning: &str) -> u64 {
        let mut lines = self.0.lines();
        let items = lines.find_map(|line| line.strip_prefix(beginning));
        let items = items.into_iter().flat_map(|items| items.split(", "));
        items
            .filter_map(|item| item.split(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

impl Summary {
    /// Its parts, one for each interface; what was not of one stays with the last.
    pub fn by_interface<const N: usize>(&self) -> [Self; N] {
        let mut parts: Vec<String> = Vec::new();
        for line in self.0.lines() {
            if line.starts_with("reflector on ") {
                parts.push(String::new());
            }
            if let Some(part) = parts.last_mut() {
                part.push_str(line);
                part.push('\n');
            }
        }
        let parts: Vec<_> = parts.into_iter().map(Summary).collect();
        parts.try_into().unwrap_or_else(|_| panic!("{}", self.0))
    }
}
