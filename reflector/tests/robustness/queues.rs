//! More and fewer queues while it runs (`ethtool -L`).

use std::net::UdpSocket;

use testbed::{DEFAULT_TIMEOUT, End, Error, Need, Veth, VethConfig, skip_unless, wait_until};

use crate::common::load::Load;
use crate::{await_answer, reflector, said, times, veth};

fn set_queues(end: &End, count: u32) -> Result<String, Error> {
    let count = count.to_string();
    let arguments = ["-L", end.interface, "rx", &count, "tx", &count];
    end.namespace.command("ethtool", &arguments)
}

/// Both ends: a veth end with XDP has no fewer receive queues than its peer has transmit queues.
fn two_of_four_queues() -> Veth {
    let veth = veth(4);
    set_queues(&veth.sender, 2).unwrap();
    set_queues(&veth.reflector, 2).unwrap();
    veth
}

/// From two to four queues at both ends. A veth runs the program on new queues only after it has come
/// up anew (`veth_enable_range_safe`, drivers/net/veth.c): until then the slow path has their packets.
fn four_queues(veth: &Veth) {
    set_queues(&veth.reflector, 4).unwrap();
    set_queues(&veth.sender, 4).unwrap();
    send_flows(veth);
    let near = &veth.reflector.namespace;
    near.ip("link set veth-r down").unwrap();
    near.ip("link set veth-r up").unwrap();
    // Its neighbours are forgotten with the link.
    await_answer(veth);
}

/// Requests from many ports, which the kernel spreads over queues by hash.
fn send_flows(veth: &Veth) {
    veth.sender.namespace.run(|| {
        for _ in 0..64 {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(veth.reflector.socket_v4(862)).unwrap();
            socket.send(&[0; 44]).unwrap();
            socket.recv(&mut [0; 64]).unwrap();
        }
    });
}

#[test]
fn new_queues_are_served_and_those_in_use_are_kept_by_the_kernel() {
    skip_unless!(Need::Xdp, Need::Program("ethtool"));
    let veth = two_of_four_queues();
    let reflector = reflector(&veth, &[]);
    said(reflector.process(), "2 queues, native XDP");
    send_flows(&veth);
    let load = Load::start(&veth, 5101);
    load.await_answers(100);

    four_queues(&veth);
    said(reflector.process(), "veth-r queue 3: ");
    send_flows(&veth);

    set_queues(&veth.sender, 1).unwrap();
    set_queues(&veth.reflector, 1).unwrap_err();
    load.await_answers(100);
    load.stop();
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    for queue in ["0", "1", "2", "3"] {
        let [received, reflected, dropped] = summary.row(queue);
        assert!(received > 0, "queue {queue} of:\n{}", summary.0);
        assert_eq!([received, dropped], [reflected, 0]);
    }
    // The kernel lets go of a queue some time after its socket is closed.
    wait_until("the queues are free", DEFAULT_TIMEOUT, || {
        set_queues(&veth.reflector, 1).is_ok()
    });
}

#[test]
fn new_queues_that_were_not_asked_for_take_the_slow_path() {
    skip_unless!(Need::Xdp, Need::Program("ethtool"));
    let veth = two_of_four_queues();
    let reflector = reflector(&veth, &["--queues", "2"]);
    four_queues(&veth);
    send_flows(&veth);
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, reflected] = summary.sockets();
    let passed = summary.count("no AF_XDP socket on its queue");
    assert!(passed > 0 && received >= passed, "{}", summary.0);
    assert_eq!(received, reflected);
}

#[test]
fn an_interface_that_comes_back_with_too_few_queues_is_served_once_it_has_them() {
    skip_unless!(Need::Xdp);
    let pair = veth(2);
    let reflector = reflector(&pair, &["--queues", "2"]);
    let process = reflector.process();
    send_flows(&pair);
    pair.reflector.namespace.ip("link del veth-r").unwrap();
    said(process, "interface veth-r disappeared");
    let pair = pair.lay_again(&VethConfig::queues(1)).unwrap();
    let trouble = "interface veth-r is back, but not served: --queues 2 is more than the 1 queues";
    said(process, trouble);
    // The slow path does.
    await_answer(&pair);
    pair.reflector.namespace.ip("link del veth-r").unwrap();
    let pair = pair.lay_again(&VethConfig::queues(2)).unwrap();
    said(process, "interface veth-r is back: answering there again");
    assert_eq!(times(process, trouble), 1, "{}", process.stderr());
    wait_until("XDP has its rules", DEFAULT_TIMEOUT, || {
        times(process, "INFO answering on 10.86.2.1 port 862") == 3
    });
    send_flows(&pair);
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, reflected] = summary.sockets();
    assert!(received > 0 && received == reflected, "{}", summary.0);
    assert!(summary.row("total")[0] >= 2 * 64, "{}", summary.0);
}
