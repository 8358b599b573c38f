//! Packets from sockets, of which the device alone is known: several listeners may serve it.

use super::*;

/// Who answers what a socket gets from `source` through a device.
fn from_device(
    book: &Rulebook,
    device: u32,
    source: &str,
    destination: &str,
) -> Option<ListenerId> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    match book.admit_from_device(device, source, destination) {
        Admission::Answer(rule) => Some(rule.listener),
        _ => None,
    }
}

#[test]
fn packets_from_sockets_are_matched_by_their_device() {
    let book = book("-i eth1 --listener vlan=100,port=901 --listener port=900");
    let admit = |device, destination: &str| from_device(&book, device, CLIENT, destination);
    assert_eq!(admit(5, "10.0.0.1:901"), Some(0));
    assert_eq!(admit(2, "10.0.0.1:901"), None);
    assert_eq!(admit(2, "192.0.2.1:900"), Some(1));
    assert_eq!(admit(9, "192.0.2.1:900"), None);
}

#[test]
fn a_client_list_holds_for_sockets_whoever_else_serves_the_device() {
    let allowed = "10.9.9.9:5000";
    for line in [
        // A listener on every interface has eth1.100, too.
        "--listener port=862 --listener interface=eth1,vlan=100,allow=10.0.0.0/8",
        "--listener interface=eth1,vlan=100,allow=10.0.0.0/8 --listener port=862",
        // So has one that names it.
        "--listener interface=eth1.100 --listener interface=eth1,vlan=100,allow=10.0.0.0/8",
        "--listener interface=eth1,vlan=100,allow=10.0.0.0/8 --listener interface=eth1.100",
        // A VLAN on whichever interface is more than any interface.
        "--listener port=862 --listener vlan=100,allow=10.0.0.0/8",
        // One for peers alone is as good as a list.
        "--listener port=862 --listener interface=eth1,vlan=100,peer=10.9.9.9:5000",
    ] {
        let book = book(&format!("--datapath socket {line}"));
        let list = book.listeners().iter().find(|listener| !listener.is_open());
        let list = list.unwrap().rule.listener;
        let stranger = from_device(&book, 5, CLIENT, "10.0.0.1:862");
        assert_eq!(stranger, None, "{line}");
        let client = from_device(&book, 5, allowed, "10.0.0.1:862");
        assert_eq!(client, Some(list), "{line}");
    }
    // The list of who says less is no matter.
    let book =
        book("--datapath socket --listener allow=10.0.0.0/8 --listener interface=eth1,vlan=100");
    assert_eq!(from_device(&book, 5, CLIENT, "10.0.0.1:862"), Some(1));
    assert_eq!(from_device(&book, 2, CLIENT, "192.0.2.1:862"), None);
}

#[test]
fn a_client_list_holds_for_all_ports_of_a_bridge() {
    let mut host = host();
    host.links.push(Link {
        index: 9,
        name: "br0".to_owned(),
        ..Link::default()
    });
    for link in host
        .links
        .iter_mut()
        .filter(|link| [2, 3].contains(&link.index))
    {
        link.controller = Some(9);
    }
    for line in [
        "--listener interface=eth1 --listener interface=eth2,allow=10.0.0.0/8",
        "--listener interface=eth1,allow=10.0.0.0/8 --listener interface=eth2",
    ] {
        let book = book_at(&host, &format!("--datapath socket {line}"));
        assert_eq!(
            from_device(&book, 9, CLIENT, "192.0.2.1:862"),
            None,
            "{line}"
        );
        let client = from_device(&book, 9, "10.9.9.9:5000", "192.0.2.1:862");
        assert_eq!(client, Some(0), "{line}");
    }
}
