//! Several workers, and more datagrams than they can take.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use reflector::args::Poll;
use reflector::socket::open::{kernel_drops, open};
use reflector::socket::{Binding, Options};
use testbed::{Need, skip_unless};

use crate::rig::{PORT, Rig, ask, client, host, listener, reflected, request, veth, workers};

#[test]
fn two_workers_share_the_flows() {
    const FLOWS: u64 = 64;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let host = host(&veth);
    let rig = Rig::start_with(&veth, &[listener()], &host, &workers(2));
    for _ in 0..FLOWS {
        let socket = client(&veth, veth.reflector.socket_v4(PORT).into());
        for _ in 0..3 {
            ask(&socket, &request(44));
        }
    }
    let figures = rig.finish();
    assert_eq!(reflected(&figures), 3 * FLOWS);
    for worker in &figures.workers {
        let received = worker.received.value();
        // By hash: 2^-63 that one worker has them all.
        assert!(
            received > 0 && received % 3 == 0,
            "{received}: a flow has one worker"
        );
    }
}

#[test]
fn every_way_of_waiting_answers_and_ends() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let host = host(&veth);
    for poll in [Poll::Interrupt, Poll::Adaptive, Poll::Busy] {
        let options = Options { poll, ..workers(1) };
        let rig = Rig::start_with(&veth, &[listener()], &host, &options);
        let socket = client(&veth, veth.reflector.socket_v6(PORT).into());
        for _ in 0..10 {
            ask(&socket, &request(44));
        }
        assert_eq!(reflected(&rig.finish()), 10);
    }
}

#[test]
fn every_datagram_of_a_flood_is_answered_or_counted_as_dropped() {
    const COUNT: u64 = 3_000;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let rig = Rig::start(&veth, &[listener()]);
    let to: SocketAddr = veth.reflector.socket_v4(PORT).into();
    let socket = client(&veth, to);
    // Long ones, so that they cost the receive buffer much. Nobody reads the replies.
    for _ in 0..COUNT {
        socket.send(&request(1400)).unwrap();
    }
    testbed::wait_until("all are accounted for", testbed::DEFAULT_TIMEOUT, || {
        let figures = rig.datapath().figures();
        figures.total(|worker| worker.received.value()) + figures.kernel_drops == COUNT
    });
    let figures = rig.finish();
    assert!(reflected(&figures) > 0);
}

#[test]
fn what_finds_no_room_in_a_socket_is_counted() {
    const COUNT: usize = 12_000;
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let binding = Binding {
        device: None,
        address: veth.reflector.ipv4.into(),
        port: PORT,
        listeners: BTreeSet::from([0]),
    };
    // Nobody reads what arrives there.
    let opened = veth.reflector.namespace.run(|| open(&binding, 1).unwrap());
    let [socket] = &opened[..] else {
        panic!("one worker, one socket");
    };
    let sender = client(&veth, veth.reflector.socket_v4(PORT).into());
    for _ in 0..COUNT {
        sender.send(&request(1400)).unwrap();
    }
    let mut taken = 0;
    testbed::wait_until("all are accounted for", testbed::DEFAULT_TIMEOUT, || {
        while socket.recv(&mut [0; 64]).is_ok() {
            taken += 1;
        }
        taken + usize::try_from(kernel_drops(socket).unwrap()).unwrap() == COUNT
    });
    assert!((1..COUNT).contains(&taken), "{taken}");
}
