//! Too many packets for the rings.

use testbed::{Need, RawPeer, skip_unless};

use crate::{await_answer, pause, reflector, resume, veth};

const BURST: u64 = 4000;

#[test]
fn a_burst_that_the_rings_cannot_hold_is_survived_and_counted() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &["--ring-size", "64"]);
    await_answer(&veth);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let request = veth.request_v4(5401, 862).payload(&[0; 44]).build();
    pause(reflector.process());
    for _ in 0..BURST {
        peer.send(&request).unwrap();
    }
    resume(reflector.process());
    await_answer(&veth);
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, reflected, dropped] = summary.row("total");
    assert!((64..BURST).contains(&received), "{}", summary.0);
    assert_eq!([received, dropped], [reflected, 0]);
    let full = summary.count("receive ring full") + summary.count("no frame to receive into");
    assert!(full > 0, "{}", summary.0);
}

#[test]
fn bursts_while_it_works_are_survived_and_counted() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    for options in [
        &["--ring-size", "64"][..],
        &["--ring-size", "64", "--poll", "busy", "--tx-batch", "64"],
        &["--ring-size", "64", "--xdp-mode", "generic"],
    ] {
        let reflector = reflector(&veth, options);
        await_answer(&veth);
        let peer = RawPeer::open(&veth.sender).unwrap();
        let request = veth.request_v4(5402, 862).payload(&[0; 44]).build();
        for _ in 0..BURST {
            peer.send(&request).unwrap();
        }
        await_answer(&veth);
        let summary = reflector.stop();
        summary.assert_accounts_for_everything();
        assert!(summary.row("total")[0] > 0, "{}", summary.0);
    }
}
