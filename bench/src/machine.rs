//! The machine's state, without which a figure means nothing.

use std::fmt;
use std::fs;

use nix::sys::utsname::uname;

/// What to print beside every result.
#[derive(Debug)]
pub struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Reads it now: load and governor change.
    pub fn read() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let count = processors
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count();
        let facts = vec![
            (
                "processor",
                format!("{count} × {}", field(&processors, "model name")),
            ),
            (
                "kernel",
                uname().map_or_else(
                    |_| unknown(),
                    |name| name.release().to_string_lossy().into_owned(),
                ),
            ),
            (
                "clock source",
                first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            ),
            (
                "governor",
                first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            ),
            ("mitigations", mitigations()),
            ("load", first_line("/proc/loadavg")),
        ];
        Self { facts }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.facts {
            writeln!(f, "{name:>14}: {value}")?;
        }
        Ok(())
    }
}

fn unknown() -> String {
    "not told".to_owned()
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .next()
        .map_or_else(unknown, |line| line.trim().to_owned())
}

fn field(cpuinfo: &str, name: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

/// How many known weaknesses the kernel works around: each may cost system calls and context switches.
fn mitigations() -> String {
    let Ok(entries) = fs::read_dir("/sys/devices/system/cpu/vulnerabilities") else {
        return unknown();
    };
    let states = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let active = states
        .filter(|state| state.starts_with("Mitigation"))
        .count();
    format!("{active} active")
}
