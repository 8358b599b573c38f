//! What happens to the path while the reflector answers: survived, told, and every packet accounted for.

#![cfg(test)]

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod exhaustion;
mod garbage;
mod instances;
mod queues;
mod removal;
mod two_interfaces;

use common::{Reflector, is_answered};
use testbed::{DEFAULT_TIMEOUT, Process, Signal, Veth, VethConfig, wait_until};

/// A pair whose raw peer needs not answer for its addresses.
fn veth(queues: u32) -> Veth {
    Veth::with(&VethConfig {
        permanent_neighbours: true,
        ..VethConfig::queues(queues)
    })
    .unwrap()
}

/// The reflector's end of it: open to everybody, and chatty.
fn reflector(veth: &Veth, options: &[&str]) -> Reflector {
    Reflector::start(&veth.reflector, &[&["--verbose"], options].concat())
}

fn said(process: &Process, words: &str) {
    process.wait_for_line(words, DEFAULT_TIMEOUT).unwrap();
}

/// How often it said so.
fn times(process: &Process, words: &str) -> usize {
    process.stderr().matches(words).count()
}

/// Stops every thread of the process, surely.
fn pause(process: &Process) {
    process.signal(Signal::SIGSTOP).unwrap();
    let status = format!("/proc/{}/task", process.id());
    wait_until("every thread has stopped", DEFAULT_TIMEOUT, || {
        let mut tasks = std::fs::read_dir(&status).unwrap();
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with('T')
        })
    });
}

fn resume(process: &Process) {
    process.signal(Signal::SIGCONT).unwrap();
}

fn await_answer(veth: &Veth) {
    wait_until("it answers", DEFAULT_TIMEOUT, || is_answered(veth));
}
