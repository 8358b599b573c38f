//! The whole reflector on UDP sockets.

use std::net::UdpSocket;
use std::process::Command;

use testbed::{DEFAULT_TIMEOUT, End, Need, Veth, binary, skip_unless};

use crate::{Binary, PORT, as_root, fails, start, stop};

/// Runs our sender against the reflector: four sessions, 500 packets. Returns its report.
fn measure(veth: &Veth, target: &str) -> serde_json::Value {
    let mut sender = Command::new(binary("sender").unwrap());
    sender.args([target, "--count", "500", "--interval", "1ms", "--json", "-"]);
    sender.args([
        "--sessions",
        "4",
        "--transport",
        "socket",
        "--timeout",
        "20s",
    ]);
    let mut process = veth.sender.namespace.spawn(&mut sender).unwrap();
    let status = process.wait_exit(DEFAULT_TIMEOUT).unwrap();
    let report = process.stdout();
    assert!(status.success(), "{status}: {report}{}", process.stderr());
    serde_json::from_str(&report).unwrap()
}

#[test]
fn nobody_runs_it_and_the_sender_loses_nothing() {
    skip_unless!(Need::NetworkNamespace, Need::Program("setpriv"));
    let veth = Veth::new().unwrap();
    let program = Binary::new();
    let socket = ["--datapath", "socket", "--port", "8620"];
    for options in [
        &socket[..],
        &[&socket[..], &["--interface", "veth-r"]].concat(),
    ] {
        let (process, ready) = start(&veth.reflector, &mut program.as_nobody(options));
        assert!(ready.contains("over UDP sockets"), "{ready}");
        for target in [
            veth.reflector.socket_v4(PORT).to_string(),
            veth.reflector.socket_v6(PORT).to_string(),
        ] {
            let report = measure(&veth, &target);
            assert_eq!(report["sent"], 500, "{report}");
            assert_eq!(report["received"], 500, "{report}");
        }
        let summary = stop(&veth.reflector, process);
        assert!(
            summary.0.starts_with("reflector on port 8620: "),
            "{}",
            summary.0
        );
        assert_eq!(summary.row("total"), [1000, 1000, 0]);
        assert_eq!(summary.sockets(), [1000, 1000]);
    }
}

#[test]
fn workers_share_the_load() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let options = [
        "--datapath",
        "socket",
        "--socket-workers",
        "4",
        "--sequence",
        "stateful",
    ];
    let (process, ready) = start(&veth.reflector, &mut as_root(&options));
    assert!(ready.contains("4 workers over UDP sockets"), "{ready}");
    veth.sender.namespace.run(|| {
        // All open to the end: a port that is free again might be given out again.
        let mut sockets = Vec::new();
        for _ in 0..128 {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
            socket.connect(veth.reflector.socket_v4(862)).unwrap();
            for number in 0..2_u32 {
                socket.send(&[0; 44]).unwrap();
                let mut reply = [0; 64];
                assert_eq!(socket.recv(&mut reply).unwrap(), 44);
                assert_eq!(reply[..4], number.to_be_bytes());
            }
            sockets.push(socket);
        }
    });
    let summary = stop(&veth.reflector, process);
    assert_eq!(summary.row("total"), [256, 256, 0]);
    for worker in ["0", "1", "2", "3"] {
        let [received, reflected, dropped] = summary.row(worker);
        assert!(received > 0, "{}", summary.0);
        assert_eq!([received, 0], [reflected, dropped]);
    }
    assert_eq!(summary.count("created"), 128);
}

#[test]
fn it_follows_an_interface_that_goes_and_comes_back() {
    skip_unless!(Need::NetworkNamespace);
    let veth = Veth::new().unwrap();
    let options = ["--datapath", "socket", "--interface", "veth-r"];
    let (process, _) = start(&veth.reflector, &mut as_root(&options));
    assert!(asks(&veth));
    veth.reflector.namespace.ip("link del veth-r").unwrap();
    let gone = "veth-r, any address, port 862 has no socket on veth-r: there is no such interface";
    process.wait_for_line(gone, DEFAULT_TIMEOUT).unwrap();
    let veth = veth.lay_again(&testbed::VethConfig::default()).unwrap();
    testbed::wait_until("it answers again", DEFAULT_TIMEOUT, || asks(&veth));
    assert_eq!(process.stderr().matches(gone).count(), 1);
    let summary = stop(&veth.reflector, process);
    let [received, reflected, dropped] = summary.row("total");
    assert_eq!(received, reflected + dropped);
}

fn asks(veth: &Veth) -> bool {
    veth.sender.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket
            .set_read_timeout(Some(crate::common::SILENCE))
            .unwrap();
        socket.connect(veth.reflector.socket_v4(862)).unwrap();
        socket.send(&[0; 44]).is_ok() && socket.recv(&mut [0; 64]).is_ok()
    })
}

#[test]
fn what_it_cannot_do_is_one_sentence() {
    skip_unless!(Need::NetworkNamespace, Need::Program("setpriv"));
    let veth = Veth::new().unwrap();
    let near: &End = &veth.reflector;
    let program = Binary::new();
    let socket = ["--datapath", "socket"];
    let (status, said) = fails(near, &mut program.as_nobody(&socket));
    assert_eq!(status, Some(1));
    assert!(
        said.starts_with("reflector: UDP port 862 needs CAP_NET_BIND_SERVICE: "),
        "{said}"
    );
    let missing = [&socket[..], &["--interface", "eth9"]].concat();
    let (status, said) = fails(near, &mut as_root(&missing));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("there is no interface eth9 here: name one of lo, veth-r"),
        "{said}"
    );
    let (_first, _) = start(near, &mut as_root(&socket));
    let (status, said) = fails(near, &mut as_root(&socket));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("UDP port 862 of every IPv4 address is in use"),
        "{said}"
    );
}
