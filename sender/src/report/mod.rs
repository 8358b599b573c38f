//! What a run found out, for people ([`table`]) and for programs ([`json`], [`csv`]).

pub mod csv;
pub mod json;
pub mod sink;
pub mod table;
pub mod units;
