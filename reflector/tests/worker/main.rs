//! The worker on in-memory rings: no socket, no privileges. Whatever arrives, it neither crashes nor
//! loses a frame nor answers what it should not, and every answer is checked by etherparse.

#![cfg(test)]

mod mutations;
mod oracle;
mod reasons;
mod rig;
mod rules;
mod turns;
