//! TWAMP-Test and STAMP byte formats, timestamps, checksums and frame views; no I/O, no clock
