//! What a run found out, for people ([`table`], [`html`]) and for programs ([`json`], [`csv`], [`hdr_log`]).

pub mod csv;
pub mod hdr_log;
pub mod html;
pub mod json;
pub mod page;
pub mod ramp;
pub mod sessions;
pub mod sink;
pub mod table;
pub mod units;
