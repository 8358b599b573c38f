//! Namespaces, veth topologies, raw peers and condition waits for tests and benchmarks
