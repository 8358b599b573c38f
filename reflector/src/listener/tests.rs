//! What command lines make of listeners, and which are refused.

use std::io::Write as _;

use clap::Parser as _;
use ebpf::policer::{BitLimit, PacketLimit};
use wire::time::TimestampFormat;

use super::*;
use crate::args::{Args, ListenerArgs, ListenerSpec};
use crate::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Padding, SequencePolicy, ShortPolicy,
};

fn validated(line: &str) -> Result<Vec<Listener>, String> {
    let words = line.split_whitespace();
    let args = Args::try_parse_from(["reflector"].into_iter().chain(words))
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    validate(&args).map_err(|error| error.to_string())
}

fn listeners(line: &str) -> Vec<Listener> {
    validated(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: &str) -> String {
    match validated(line) {
        Ok(listeners) => panic!("{line}: {listeners:?}"),
        Err(error) => {
            assert_eq!(error.lines().count(), 1, "{error}");
            error
        }
    }
}

#[test]
fn options_alone_make_one_listener() {
    let [listener] = listeners("-i eth1").try_into().unwrap();
    assert_eq!(
        listener,
        Listener {
            rule: Rule {
                listener: 0,
                format: Format::ByLength,
                timestamps: TimestampFormat::Ntp,
                sequence: SequencePolicy::Stateless,
                dscp: DscpPolicy::Copy,
                ecn: EcnPolicy::Clear,
                flow_label: FlowLabelPolicy::Copy,
                short: ShortPolicy::Answer,
                refuse_replies: true,
            },
            interfaces: vec!["eth1".to_owned()],
            vlan: Vlan::Untagged,
            vrf: None,
            addresses: Vec::new(),
            port: 862,
            peers: Vec::new(),
            clients: None,
            refused: RefusedPolicy::Drop,
            limits: Limits::default(),
            guard_ports: true,
        }
    );
    assert!(listener.is_open() && listener.is_any());
    assert_eq!(listener.to_string(), "eth1, any address, port 862");
}

#[test]
fn every_key_reaches_its_listener_and_no_other() {
    let [first, second] = listeners(
        "-i eth1 --listener port=900,vlan=100.7,vrf=red,address=192.0.2.1,address=192.0.2.1,\
         address=192.0.2.2,allow=10.0.0.0/8,deny=10.1.0.0/16,refused=pass,format=twamp-light,\
         padding=shift,timestamps=ptp,sequence=stateful,dscp=ef,ecn=copy,flow-label=zero,\
         dscp-report=on,short=refuse,rate=10k,bandwidth=1g,source-rate=5,source-prefix=24/48,\
         burst=1s,loop-guard-ports=off,loop-guard-replies=off --listener port=901",
    )
    .try_into()
    .unwrap();
    assert_eq!((first.rule.listener, second.rule.listener), (0, 1));
    assert_eq!(
        first.rule,
        Rule {
            listener: 0,
            format: Format::TwampLightDscp(Padding::Shift),
            timestamps: TimestampFormat::Ptp,
            sequence: SequencePolicy::Stateful,
            dscp: DscpPolicy::Fixed(46),
            ecn: EcnPolicy::Copy,
            flow_label: FlowLabelPolicy::Zero,
            short: ShortPolicy::Refuse,
            refuse_replies: false,
        }
    );
    assert_eq!(first.vlan, Vlan::QinQ(100, 7));
    assert_eq!(first.vrf.as_deref(), Some("red"));
    assert_eq!(first.addresses.len(), 2, "the same address once");
    assert_eq!(first.refused, RefusedPolicy::Pass);
    let second_long = Duration::from_secs(1);
    assert_eq!(
        first.limits,
        Limits {
            all: ebpf::policer::Limits {
                packets: Some(PacketLimit::per_second(10_000, second_long).unwrap()),
                bits: Some(BitLimit::per_second(1_000_000_000, second_long).unwrap()),
            },
            source: Some(SourceLimit {
                packets: PacketLimit::per_second(5, second_long).unwrap(),
                prefix: SourcePrefix { v4: 24, v6: 48 },
            }),
        }
    );
    assert!(!first.guard_ports && !first.is_open());
    let clients = first.clients.as_ref().unwrap();
    assert!(clients.allows("10.0.0.1".parse().unwrap()));
    assert!(!clients.allows("10.1.0.1".parse().unwrap()));
    assert_eq!(
        first.to_string(),
        "eth1, VLAN 100.7, 192.0.2.1 and 1 more, port 900"
    );

    let mut plain = listeners("-i eth1 --port 901").remove(0);
    plain.rule.listener = 1;
    assert_eq!(second, plain);
}

#[test]
fn options_hold_for_listeners_that_do_not_say_otherwise() {
    let [first, second, third] = listeners(
        "-i eth1 -i eth2 --vlan 100 --vrf red --address 192.0.2.1 --sequence stateful --rate 1k \
         --listener port=900 --listener interface=eth3,vlan=none,vrf=none,rate=none,port=900 \
         --listener address=192.0.2.2,sequence=stateless",
    )
    .try_into()
    .unwrap();
    assert_eq!(first.interfaces, ["eth1", "eth2"]);
    assert_eq!(
        (first.vlan, first.vrf.as_deref()),
        (Vlan::Tag(100), Some("red"))
    );
    assert_eq!(
        first.limits.all.packets,
        PacketLimit::per_second(1000, Limits::DEFAULT_BURST).ok()
    );
    assert_eq!(second.interfaces, ["eth3"]);
    assert_eq!((second.vlan, second.vrf.as_deref()), (Vlan::Untagged, None));
    assert_eq!(second.limits, Limits::default());
    assert_eq!(third.addresses, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        [first, second, third].map(|listener| listener.rule.sequence),
        [
            SequencePolicy::Stateful,
            SequencePolicy::Stateful,
            SequencePolicy::Stateless
        ]
    );
}

#[test]
fn padding_and_the_dscp_report_are_of_twamp_light() {
    let formats = |line: &str| -> Vec<_> {
        let listeners = listeners(line);
        listeners
            .iter()
            .map(|listener| listener.rule.format)
            .collect()
    };
    assert_eq!(
        formats("-i e --format twamp-light --padding zero"),
        [Format::TwampLight(Padding::Zero)]
    );
    // A default is nothing to a listener of another format.
    assert_eq!(
        formats(
            "-i e --format twamp-light --padding zero --dscp-report on \
             --listener port=1 --listener port=2,format=stamp --listener port=3,format=by-length \
             --listener port=4,dscp-report=off,padding=same"
        ),
        [
            Format::TwampLightDscp(Padding::Zero),
            Format::Stamp,
            Format::ByLength,
            Format::TwampLight(Padding::SameOffset)
        ]
    );
    for (line, option) in [
        ("-i e --padding zero", "padding"),
        ("-i e --dscp-report on", "dscp-report"),
        ("-i e --format stamp --dscp-report on", "dscp-report"),
        ("-i e --format stamp --padding same", "padding"),
        (
            "-i e --format twamp-light --listener format=stamp,padding=same",
            "padding",
        ),
        (
            "-i e --format by-length --listener dscp-report=on",
            "dscp-report",
        ),
    ] {
        let refusal = refusal(line);
        let expected = format!("e, any address, port 862: {option} needs format=twamp-light");
        assert_eq!(refusal, expected, "{line}");
    }
}

#[test]
fn who_is_answered_is_said_as_a_whole() {
    let [first, second, third] = listeners(
        "-i eth1 --allow 10.0.0.0/8 --listener port=1 --listener port=2,peer=192.0.2.9:5000 \
         --listener port=3,deny=10.0.0.0/8",
    )
    .try_into()
    .unwrap();
    let allows = |listener: &Listener, source: &str| {
        let clients = listener.clients.as_ref().unwrap();
        clients.allows(source.parse().unwrap())
    };
    assert!(allows(&first, "10.0.0.1") && !allows(&first, "11.0.0.1"));
    assert!(second.clients.is_none() && !second.is_open());
    assert_eq!(second.peers, ["192.0.2.9:5000".parse().unwrap()]);
    assert!(!allows(&third, "10.0.0.1") && allows(&third, "11.0.0.1"));

    for line in [
        "-i e --peer 192.0.2.9:5000 --allow 10.0.0.0/8",
        "-i e --listener peer=192.0.2.9:5000,deny=10.0.0.0/8",
    ] {
        assert!(
            refusal(line).contains("it answers its peers alone"),
            "{line}"
        );
    }
    assert_eq!(
        refusal("-i e --address 192.0.2.1 --peer [fd00::1]:5"),
        "e, 192.0.2.1, port 862: peer [fd00::1]:5 has no address of its family to talk to"
    );
}

#[test]
fn a_client_list_is_read_once_for_all_its_listeners() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "192.0.2.0/24").unwrap();
    let path = file.path().display().to_string();
    let line = format!("-i eth1 --clients {path} --listener port=1 --listener port=2");
    let [first, second] = listeners(&line).try_into().unwrap();
    assert!(Arc::ptr_eq(
        first.clients.as_ref().unwrap(),
        second.clients.as_ref().unwrap()
    ));
    writeln!(file, "oops").unwrap();
    let error = refusal(&line);
    assert!(
        error.starts_with(&format!("{path} line 2: 'oops': write")),
        "{error}"
    );
}

#[test]
fn sockets_alone_need_no_interface() {
    assert!(refusal("--port 900").contains("give --interface"));
    assert!(refusal("--datapath auto --listener port=900").contains("give --interface"));
    assert!(listeners("--datapath socket")[0].interfaces.is_empty());
    assert_eq!(listeners("--listener interface=eth1").len(), 1);
}

#[test]
fn listeners_that_claim_the_same_packets_are_refused() {
    for (line, packets) in [
        (
            "--listener port=862 --listener port=862",
            "e, any address, port 862",
        ),
        (
            "--address 192.0.2.1 --address 192.0.2.2 --listener vlan=7 \
             --listener vlan=7,address=192.0.2.2,address=192.0.2.3",
            "e, VLAN 7, 192.0.2.2 port 862",
        ),
        (
            "--vlan 7.8 --listener interface=f,interface=g --listener interface=g,vrf=red",
            "g, VLAN 7.8, any address, port 862",
        ),
        (
            "--listener port=862 --listener allow=10.0.0.0/8",
            "e, any address, port 862",
        ),
    ] {
        let refusal = refusal(&format!("-i e {line}"));
        assert!(
            refusal.contains(&format!("claim the same packets: {packets}; give")),
            "{line}: {refusal}"
        );
    }
    let both =
        "two listeners, (e, any address, port 862) and (every interface, any address, port 862)";
    let refusal = refusal("--datapath socket --listener interface=e --listener port=862");
    assert!(refusal.starts_with(both), "{refusal}");
    let refusal = self::refusal("--datapath socket --listener port=862 --listener interface=e");
    assert!(refusal.contains("same packets: e, any"), "{refusal}");
}

#[test]
fn listeners_that_differ_in_one_thing_go_together() {
    for line in [
        "--listener port=1 --listener port=2",
        "--listener vlan=1 --listener vlan=none --listener vlan=2 --listener vlan=1.2 --listener vlan=2.1",
        "--listener interface=e --listener interface=f",
        "--listener address=192.0.2.1 --listener address=192.0.2.2",
        // The one that names an address, and the session, come first.
        "--listener address=192.0.2.1 --listener port=862",
        "--listener peer=192.0.2.1:5 --listener port=862",
        "--listener peer=192.0.2.1:5 --listener peer=192.0.2.1:6",
        "--listener peer=192.0.2.1:5,address=192.0.2.9 --listener peer=192.0.2.1:5",
    ] {
        listeners(&format!("-i e {line}"));
    }
}

#[test]
fn a_peer_stands_once() {
    for line in [
        "--listener peer=192.0.2.1:5,peer=192.0.2.1:5",
        "--listener peer=192.0.2.1:5 --listener peer=192.0.2.2:5,peer=192.0.2.1:5",
    ] {
        assert_eq!(
            refusal(&format!("-i e {line}")),
            "peer 192.0.2.1:5 is given twice for the same packets: e, any address, port 862"
        );
    }
}

#[test]
fn there_are_4096_listeners_at_most() {
    let validated = |count: u16| {
        let mut args = Args::try_parse_from(["reflector", "-i", "e"]).unwrap();
        let spec = |port| {
            ListenerSpec(ListenerArgs {
                port: Some(port),
                ..ListenerArgs::default()
            })
        };
        args.listeners = (1..=count).map(spec).collect();
        validate(&args).map_err(|error| error.to_string())
    };
    assert_eq!(validated(4096).unwrap().len(), 4096);
    assert!(
        validated(4097)
            .unwrap_err()
            .starts_with("4097 listeners are too many")
    );
}
