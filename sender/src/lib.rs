//! TWAMP-Light and STAMP Session-Sender: round-trip time, one-way delay, jitter, loss
