//! The XDP programs over named frames, run by `BPF_PROG_TEST_RUN`: nothing is attached to an
//! interface.

#![cfg(test)]

mod bench;
mod clients;
mod generations;
mod guard;
mod limits;
mod reflector;
mod rules;
mod sender;
