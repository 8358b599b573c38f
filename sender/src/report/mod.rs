//! What a run found out, for people ([`table`]) and for programs ([`json`]).

pub mod json;
pub mod table;
pub mod units;
