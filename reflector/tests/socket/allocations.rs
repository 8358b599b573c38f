//! A worker allocates nothing for its packets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use clock::SystemClock;
use reflector::rule::SequencePolicy;
use reflector::socket::worker::{Endpoint, Worker};
use reflector::socket::{Options, Plan, SocketCounters, open};
use testbed::{DEFAULT_TIMEOUT, Need, skip_unless, wait_until};

use crate::rig::{client, host, listener, request, shared, veth};

#[test]
fn packets_cost_no_allocation() {
    const COUNT: u64 = 200;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let mut stateful = listener();
    stateful.rule.sequence = SequencePolicy::Stateful;
    let (listeners, host) = ([stateful], host(&veth));
    let endpoints: Vec<_> = veth.reflector.namespace.run(|| {
        let bindings = Plan::new(&listeners, &host).bindings;
        let sockets = bindings.iter().flat_map(|at| open::open(at, 1).unwrap());
        sockets.map(|it| Endpoint::new(it).unwrap()).collect()
    });
    let counters = Arc::new(SocketCounters::default());
    let shared = shared(&listeners, &host);
    let mut worker = Worker::new(
        SystemClock,
        shared,
        Arc::clone(&counters),
        Options::TX_BATCH,
    );

    let ends: [IpAddr; 2] = [veth.reflector.ipv4.into(), veth.reflector.ipv6.into()];
    let clients = ends.map(|ip| client(&veth, SocketAddr::new(ip, listeners[0].port)));
    let mut answered = 0;
    let mut answer = |count: u64, worker: &mut Worker<SystemClock>| {
        for client in &clients {
            for _ in 0..count / 2 {
                client.send(&request(44)).unwrap();
            }
        }
        answered += count;
        let deadline = Instant::now() + DEFAULT_TIMEOUT;
        // Counted on this thread alone.
        allocation_counter::measure(|| {
            while counters.reflected.value() < answered {
                assert!(Instant::now() < deadline, "{counters:?}");
                for endpoint in &endpoints {
                    worker.turn(endpoint).unwrap();
                }
            }
        })
    };
    // The kernel begins to stamp a while after it is asked to. What it does not stamp makes the
    // headers be made afresh.
    wait_until("the kernel stamps", DEFAULT_TIMEOUT, || {
        let before = counters.user_space_stamps.value();
        answer(4, &mut worker);
        counters.user_space_stamps.value() == before
    });
    let allocations = answer(COUNT, &mut worker);
    assert_eq!(allocations.count_total, 0, "{allocations:?}");
}
