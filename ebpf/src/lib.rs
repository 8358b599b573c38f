//! The XDP programs as objects, the structures they share with user space, loading and attaching
