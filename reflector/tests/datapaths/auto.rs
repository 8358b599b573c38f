//! The best that works, and which that is and why.

use std::net::UdpSocket;

use testbed::{DEFAULT_TIMEOUT, Need, Veth, VethConfig, skip_unless};

use crate::{Binary, as_root, fails, start, stop};

const FALLS_BACK: &str = "answering over UDP sockets, because AF_XDP does not work: ";

/// One exchange from a kernel socket at the sender's end.
fn ask(veth: &Veth, port: u16) {
    veth.sender.namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
        socket.connect(veth.reflector.socket_v4(port)).unwrap();
        socket.send(&[0; 44]).unwrap();
        assert_eq!(socket.recv(&mut [0; 64]).unwrap(), 44);
    });
}

#[test]
fn with_privileges_it_is_af_xdp() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let options = ["--datapath", "auto", "--interface", "veth-r"];
    let (process, ready) = start(&veth.reflector, &mut as_root(&options));
    assert_eq!(
        ready,
        "ready: veth-r port 862, 1 queue, native XDP, copy mode"
    );
    assert!(!process.stderr().contains(FALLS_BACK));
    ask(&veth, 862);
    let summary = stop(&veth.reflector, process);
    assert_eq!(summary.row("total"), [1, 1, 0]);
    assert_eq!(summary.sockets(), [0, 0]);
}

#[test]
fn without_privileges_it_is_sockets_and_says_why() {
    skip_unless!(Need::NetworkNamespace, Need::Program("setpriv"));
    let veth = Veth::new().unwrap();
    let program = Binary::new();
    let auto = [
        "--datapath",
        "auto",
        "--interface",
        "veth-r",
        "--port",
        "8620",
    ];
    let (process, ready) = start(&veth.reflector, &mut program.as_nobody(&auto));
    assert!(ready.contains("over UDP sockets"), "{ready}");
    let stderr = process.stderr();
    let why = format!("{FALLS_BACK}no permission to load");
    assert!(stderr.contains(&why), "{stderr}");
    ask(&veth, 8620);
    let summary = stop(&veth.reflector, process);
    assert_eq!(summary.row("total"), [1, 1, 0]);
    assert!(!summary.0.contains("XDP"), "{}", summary.0);

    // Asked for AF_XDP alone, it does not help itself.
    let af_xdp = ["--interface", "veth-r", "--port", "8620"];
    let (status, said) = fails(&veth.reflector, &mut program.as_nobody(&af_xdp));
    assert_eq!(status, Some(1));
    assert!(said.contains("no permission"), "{said}");
}

#[test]
fn an_interface_that_is_no_ethernet_is_served_by_sockets() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let near = &veth.reflector;
    let options = ["--datapath", "auto", "--interface", "lo"];
    let (process, ready) = start(near, &mut as_root(&options));
    assert!(ready.contains("over UDP sockets"), "{ready}");
    let why = format!("{FALLS_BACK}lo is no Ethernet interface");
    assert!(process.stderr().contains(&why), "{}", process.stderr());
    stop(near, process);
    // Beside one that is.
    let options = [
        "--datapath",
        "auto",
        "--interface",
        "veth-r",
        "--interface",
        "lo",
    ];
    let (process, _) = start(near, &mut as_root(&options));
    assert!(process.stderr().contains(FALLS_BACK));
    ask(&veth, 862);
    let summary = stop(near, process);
    assert_eq!(summary.row("total"), [1, 1, 0]);
}

#[test]
fn a_driver_that_refuses_the_program_is_served_by_sockets() {
    skip_unless!(Need::Xdp, Need::Program("ethtool"));
    let veth = Veth::with(&VethConfig::queues(4)).unwrap();
    let near = &veth.reflector;
    // A veth takes no program while its peer has more transmit queues than it has receive queues.
    let fewer = ["-L", "veth-r", "rx", "2"];
    near.namespace.command("ethtool", &fewer).unwrap();
    let native = ["--interface", "veth-r", "--xdp-mode", "native"];
    let (status, said) = fails(near, &mut as_root(&native));
    assert_eq!(status, Some(1));
    assert!(
        said.contains("cannot attach to veth-r: the driver does not take the XDP program"),
        "{said}"
    );
    let auto = [&native[..], &["--datapath", "auto"]].concat();
    let (process, _) = start(near, &mut as_root(&auto));
    let why = format!("{FALLS_BACK}cannot attach to veth-r: ");
    assert!(process.stderr().contains(&why), "{}", process.stderr());
    ask(&veth, 862);
    assert_eq!(stop(near, process).row("total"), [1, 1, 0]);
}

#[test]
fn an_interface_that_is_down_or_missing_is_an_error_all_the_same() {
    skip_unless!(Need::Xdp);
    let veth = Veth::new().unwrap();
    let near = &veth.reflector;
    let auto = |name| as_root(&["--datapath", "auto", "--interface", name]);
    let (status, said) = fails(near, &mut auto("eth9"));
    assert_eq!(status, Some(1));
    assert!(said.contains("there is no interface eth9 here"), "{said}");
    near.namespace.ip("link set veth-r down").unwrap();
    let (status, said) = fails(near, &mut auto("veth-r"));
    assert_eq!(status, Some(1));
    assert!(said.contains("interface veth-r is down"), "{said}");
}
