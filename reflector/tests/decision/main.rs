//! The decision against a model that writes every reply octet by octet into a new vector, and against
//! the vectors of the protocol reference.

#![cfg(test)]

mod model;
mod properties;
mod vectors;
