//! Frames that nobody meant: no answer that is wrong, no word, no end, and all in the accounts.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;
use testbed::frames::{CUSTOMER_TAG, Checksum, SERVICE_TAG};
use testbed::{Need, RawPeer, skip_unless};

use crate::common::load::Load;
use crate::{reflector, veth};

const PORT: u16 = 862;
const FRAMES: usize = 10_000;

/// Not `at` itself, which is a number below it, evenly enough.
fn below(random: &mut Pcg64Mcg, end: usize) -> usize {
    usize::try_from(random.next_u32()).unwrap() % end
}

#[test]
fn damaged_frames_of_every_kind_are_survived_in_silence() {
    skip_unless!(Need::Xdp);
    let veth = veth(1);
    let reflector = reflector(&veth, &["--sequence", "stateful"]);
    let before = reflector.process().stderr();
    let payload = [0; 60];
    let v4 = veth.request_v4(5501, PORT).payload(&payload);
    let v6 = veth.request_v6(5501, PORT).payload(&payload);
    let seeds = [
        v4.clone(),
        v6.clone(),
        v4.clone().vlan(CUSTOMER_TAG, 7),
        v4.clone().vlan(SERVICE_TAG, 7).vlan(CUSTOMER_TAG, 8),
        v4.clone().ipv4_options(&[1, 1, 1, 0]),
        v4.clone().fragment(0, true),
        v4.clone().checksum(Checksum::Absent),
        v4.udp_length(9),
        v6.clone().hop_by_hop(),
        v6.fragment(1, false),
    ]
    .map(|frame| frame.build());
    let mut random = Pcg64Mcg::new(0x0862);
    let peer = RawPeer::open(&veth.sender).unwrap();
    let load = Load::start(&veth, 5502);
    for _ in 0..FRAMES {
        let mut frame = seeds[below(&mut random, seeds.len())].clone();
        // The MAC addresses stay, mostly: else XDP would look no further.
        for _ in 0..below(&mut random, 4) {
            let at = 12 + below(&mut random, frame.len() - 12);
            frame[at] = random.next_u32().to_le_bytes()[0];
        }
        if below(&mut random, 4) == 0 {
            frame.truncate(14 + below(&mut random, frame.len() - 14));
        }
        peer.send(&frame).unwrap();
    }
    load.await_answers(50);
    load.stop().assert_nothing_wrong();
    assert_eq!(reflector.process().stderr(), before, "no word per packet");
    let summary = reflector.stop();
    summary.assert_accounts_for_everything();
    let [received, _, dropped] = summary.row("total");
    assert!(received > 1000 && dropped > 100, "{}", summary.0);
}
