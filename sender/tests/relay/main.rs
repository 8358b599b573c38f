//! The sender over veth with a relay in between that does known harm: what it reports must equal
//! what the relay did, packet for packet.
//!
//! ```text
//!   reflector │ veth-r ◄──► relay ◄──► veth-s │ sender
//! ```
//!
//! Nothing here depends on the machine's own timing: where a packet is late or out of place the
//! relay's log or the sender's own rows say so, and figures are compared with them.
//!
//! ```text
//!  scene   one topology, one run of the sender in it, and all that is known of it afterwards
//!  delays  what the figures of delay have to be, from the rows
//!  oracle  what the sender has to report, worked out from the relay's log in the plainest way
//! ```

#![cfg(test)]

mod copies;
mod damage;
mod delay_figures;
mod delays;
mod loss;
mod oracle;
mod scene;
mod sessions;
mod wire;
