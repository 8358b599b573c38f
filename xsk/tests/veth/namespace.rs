//! A network namespace for one test, holding a veth pair.

use std::process::Command;

use testbed::{DEFAULT_TIMEOUT, Namespace, Need, wait_until};
use xsk::Nic;

/// Queues of either end.
pub const QUEUES: u32 = 4;

/// Runs `test` in a network namespace of its own, with a veth pair `near` and `far` that is up.
pub fn with_veth(test: impl FnOnce() + Send) {
    testbed::skip_unless!(Need::Xdp);
    let namespace = Namespace::new().unwrap();
    // Only the tests' packets: no duplicate address detection, no reports of multicast groups.
    let setting = "net/ipv6/conf/default/disable_ipv6";
    namespace.sysctl(setting, "1").unwrap();
    let queues = format!("numrxqueues {QUEUES} numtxqueues {QUEUES}");
    let pair = format!("link add near {queues} type veth peer name far {queues}");
    namespace.ip(&pair).unwrap();
    for end in ["near", "far"] {
        namespace.ip(&format!("link set {end} up")).unwrap();
    }
    namespace.run(|| {
        let near = Nic::by_name("near").unwrap();
        wait_until("near has carrier", DEFAULT_TIMEOUT, || {
            near.flags().unwrap().is_running()
        });
        test();
    });
}

/// Runs ip(8) in this thread's namespace.
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {output:?}");
}
