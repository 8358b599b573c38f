//! The rulebook against plain listeners and hosts.
