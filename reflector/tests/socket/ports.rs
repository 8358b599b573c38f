//! Whose port it is, and sockets that come and go while workers run.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use reflector::listener::Listener;
use reflector::rulebook::Rulebook;
use reflector::socket::Plan;
use testbed::{DEFAULT_TIMEOUT, Need, Veth, skip_unless, wait_until};

use crate::rig::{PORT, Rig, ask, client, host, listener, reflected, request, veth, workers};

#[test]
fn a_port_in_use_is_refused_in_one_sentence() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let host = host(&veth);
    let taken = veth
        .reflector
        .namespace
        .run(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap());
    let error = Rig::try_start(&veth, &[listener()], &host, &workers(2))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "UDP port 8862 of every IPv4 address is in use by another program or a second reflector: \
         stop it (`ss -lunp sport = :8862` names it) or choose another port"
    );
    drop(taken);
    Rig::start_with(&veth, &[listener()], &host, &workers(2)).finish();
}

#[test]
fn a_second_reflector_of_the_same_user_gets_no_share_of_the_packets() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let host = host(&veth);
    let on_device = Listener {
        interfaces: vec![veth.reflector.interface.to_owned()],
        ..listener()
    };
    let listeners = [on_device];
    let first = Rig::start_with(&veth, &listeners, &host, &workers(2));
    let error = Rig::try_start(&veth, &listeners, &host, &workers(2))
        .err()
        .unwrap();
    let words = error.to_string();
    assert!(
        words.contains("every IPv4 address on veth-r is in use"),
        "{words}"
    );
    first.finish();
}

#[test]
fn an_address_may_come_after_the_socket() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let late: [IpAddr; 2] = [
        "10.86.2.88".parse().unwrap(),
        "fd00:862::88".parse().unwrap(),
    ];
    let named = Listener {
        addresses: late.to_vec(),
        ..listener()
    };
    let rig = Rig::start(&veth, std::slice::from_ref(&named));
    for line in ["10.86.2.88/24", "fd00:862::88/64"] {
        let line = format!("address add {line} dev {} nodad", veth.reflector.interface);
        veth.reflector.namespace.ip(&line).unwrap();
    }
    // No socket is bound anew: the rules alone hear of it.
    let host = host(&veth);
    rig.shared
        .rulebook
        .store(Rulebook::build(2, &[named], &host).into());
    for address in late {
        let socket = client(&veth, SocketAddr::new(address, PORT));
        assert_eq!(ask(&socket, &request(44)).len(), 44);
    }
    assert_eq!(reflected(&rig.finish()), 2);
}

#[test]
fn another_plan_moves_sockets_while_the_workers_run() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let host = host(&veth);
    // Listeners, numbered in this order.
    let numbered = |listeners: &[&Listener]| -> Vec<Listener> {
        let numbers = listeners.iter().zip(0..);
        let numbered = numbers.map(|(&listener, number)| {
            let mut listener = listener.clone();
            listener.rule.listener = number;
            listener
        });
        numbered.collect()
    };
    let everywhere = listener();
    let on_device = Listener {
        interfaces: vec![veth.reflector.interface.to_owned()],
        ..listener()
    };
    let other_port = Listener {
        port: PORT + 1,
        ..listener()
    };
    let to = |port| SocketAddr::from(veth.reflector.socket_v4(port));

    let mut rig = Rig::start_with(&veth, std::slice::from_ref(&everywhere), &host, &workers(2));
    assert_eq!(ask(&client(&veth, to(PORT)), &request(44)).len(), 44);

    // The socket for all devices has to go before that for one can have the port.
    for listeners in [
        numbered(&[&everywhere, &on_device, &other_port]),
        numbered(&[&everywhere, &other_port]),
    ] {
        let plan = Plan::new(&listeners, &host);
        let book = Rulebook::build(2, &listeners, &host);
        rig.shared.rulebook.store(book.into());
        let datapath = rig.datapath.as_mut().unwrap();
        // A socket just closed lives on for a moment where another test is starting a process.
        wait_until("the ports are free", DEFAULT_TIMEOUT, || {
            let errors = veth.reflector.namespace.run(|| datapath.apply(&plan));
            errors.is_empty()
        });
        for port in [PORT, PORT + 1] {
            assert_eq!(ask(&client(&veth, to(port)), &request(44)).len(), 44);
        }
    }

    // Nothing is left of a port that no listener has.
    let datapath = rig.datapath.as_mut().unwrap();
    assert!(datapath.apply(&Plan::default()).is_empty());
    wait_until_the_port_is_free(&veth);
    assert_eq!(reflected(&rig.finish()), 5);
}

#[test]
fn a_device_that_is_gone_is_named_and_takes_no_worker_along() {
    skip_unless!(Need::NetworkNamespace);
    let veth = veth();
    let name = veth.reflector.interface;
    let on_device = [Listener {
        interfaces: vec![name.to_owned()],
        ..listener()
    }];
    let host = host(&veth);
    let mut rig = Rig::start(&veth, &on_device);
    let socket = client(&veth, veth.reflector.socket_v4(PORT).into());
    assert_eq!(ask(&socket, &request(44)).len(), 44);
    let line = format!("link delete {name}");
    veth.reflector.namespace.ip(&line).unwrap();

    // A plan that does not know yet, and one that does.
    let error = Rig::try_start(&veth, &on_device, &host, &workers(1))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        "there is no device veth-r any more: the listener has no socket there until it is back"
    );
    let plan = Plan::new(&on_device, &crate::rig::host(&veth));
    assert_eq!(
        plan.gaps[0].missing.to_string(),
        "on veth-r: there is no such interface"
    );
    let datapath = rig.datapath.as_mut().unwrap();
    assert!(datapath.apply(&plan).is_empty());
    wait_until_the_port_is_free(&veth);
    assert_eq!(reflected(&rig.finish()), 1);
}

/// Of whichever address and device: no socket is left on it.
fn wait_until_the_port_is_free(veth: &Veth) {
    wait_until("the port is free", DEFAULT_TIMEOUT, || {
        let bind = || UdpSocket::bind(("0.0.0.0", PORT)).is_ok();
        veth.reflector.namespace.run(bind)
    });
}
