//! Client lists, from files and beside them.

use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str) -> Result<Clients, ClientsError> {
    Clients::read(&[], &[], Some(file(text).path()))
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| prefix(text).unwrap()).collect()
}

fn allows(clients: &Clients, source: &str) -> bool {
    clients.allows(source.parse().unwrap())
}

#[test]
fn the_longest_prefix_decides() {
    let clients = read(
        "# everybody here\n192.0.2.0/24\n!192.0.2.128/25 # but these\r\n192.0.2.200\n\n\
         2001:db8::/32\ndeny 2001:db8:1::/48\n! 2001:db8:2::/48",
    )
    .unwrap();
    for (source, allowed) in [
        ("192.0.2.1", true),
        ("192.0.2.129", false),
        ("192.0.2.200", true),
        ("192.0.3.1", false),
        ("2001:db8::1", true),
        ("2001:db8:1::1", false),
        ("2001:db8:2::1", false),
        ("2001:db9::1", false),
    ] {
        assert_eq!(allows(&clients, source), allowed, "{source}");
    }
}

#[test]
fn a_list_that_only_excludes_allows_the_rest() {
    let clients = Clients::read(&[], &nets(&["10.0.0.0/8"]), None).unwrap();
    assert!(!allows(&clients, "10.1.1.1") && allows(&clients, "11.1.1.1"));
    assert!(allows(&clients, "fd00::1"));

    // Allowing one prefix of one family is an end to that, in both.
    let clients = Clients::read(&nets(&["10.1.0.0/16"]), &nets(&["10.0.0.0/8"]), None).unwrap();
    assert!(allows(&clients, "10.1.1.1") && !allows(&clients, "11.1.1.1"));
    assert!(!allows(&clients, "fd00::1"));
}

#[test]
fn all_of_a_family_can_be_allowed() {
    let clients = Clients::read(&nets(&["::/0"]), &[], None).unwrap();
    assert!(allows(&clients, "fd00::1") && !allows(&clients, "192.0.2.1"));
    assert_eq!(clients.entries().count(), 2, "one for each family");
}

#[test]
fn a_bad_line_is_named_with_its_reason() {
    for (text, expected) in [
        (
            "192.0.2.0/24\nnonsense\n",
            "line 2: 'nonsense': write a prefix",
        ),
        (
            "\n\n192.0.2.0/33",
            "line 3: '192.0.2.0/33': a prefix length of its family is 0 to 32",
        ),
        (
            "::/129",
            "line 1: '::/129': a prefix length of its family is 0 to 128",
        ),
        ("10.0.0.0/", "line 1: '10.0.0.0/': a prefix length"),
        (
            "192.0.2.7/24 # us",
            "'192.0.2.7/24 # us': host bits are set below the prefix: 192.0.2.0/24 was probably meant",
        ),
        (
            "10.0.0.0/8\n!10.0.0.0/8",
            "line 2: '!10.0.0.0/8': this prefix is both allowed and denied",
        ),
        (
            "allowed 10.0.0.0/8",
            "line 1: 'allowed 10.0.0.0/8': write a prefix",
        ),
        ("!!10.0.0.0/8", "line 1"),
        ("# nobody\n", "names nobody"),
        ("\u{1b}[2J", r"'\u{1b}[2J'"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let long = read(&"x".repeat(1000)).unwrap_err().to_string();
    assert!(long.contains("xxx...'"), "{long}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Clients::read(&[], &[], Some(Path::new("/no/such/list"))).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("/no/such/list: No such file"), "{error}");
}

#[test]
fn a_prefix_may_not_be_on_both_sides_of_the_command_line() {
    let error = Clients::read(&nets(&["10.0.0.0/8"]), &nets(&["10.0.0.0/8"]), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "10.0.0.0/8: this prefix is both allowed and denied"
    );
}

#[test]
fn a_list_holds_100_000_entries_and_no_more() {
    let line = |n: usize| format!("10.{}.{}.{}\n", n >> 16, (n >> 8) & 0xff, n & 0xff);
    let mut text: String = (0..ENTRIES_MAX).map(line).collect();
    let clients = read(&text).unwrap();
    assert!(allows(&clients, "10.1.134.159") && !allows(&clients, "10.1.134.160"));
    text.push_str(&line(7));
    assert!(read(&text).is_ok(), "a repetition counts once");
    text.push_str(&line(ENTRIES_MAX));
    let error = read(&text).unwrap_err().to_string();
    assert!(
        error.contains("line 100002") && error.contains("100000 entries at most"),
        "{error}"
    );
}

#[test]
fn mapped_prefixes_are_ipv4() {
    assert_eq!(prefix("::ffff:192.0.2.0/120"), prefix("192.0.2.0/24"));
    assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
}

/// An address within few bits, so that prefixes meet.
fn an_address() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0_u8..4, 0_u8..4).prop_map(|(v4, high, low)| {
        let v4_address = Ipv4Addr::new(high << 6, 0, 0, low);
        let v6_address = Ipv6Addr::new(u16::from(high) << 14, 0, 0, 0, 0, 0, 0, low.into());
        if v4 {
            v4_address.into()
        } else {
            v6_address.into()
        }
    })
}

fn a_prefix() -> impl Strategy<Value = IpNet> {
    (an_address(), 0_usize..5).prop_map(|(address, len)| {
        let len = match address {
            IpAddr::V4(_) => [0, 1, 2, 31, 32][len],
            IpAddr::V6(_) => [0, 1, 2, 127, 128][len],
        };
        IpNet::new(address, len).unwrap().trunc()
    })
}

/// As the XDP program looks a source up: one trie of IPv6 prefixes, IPv4 mapped into it.
fn mapped_lookup(entries: &[(IpNet, bool)], source: IpAddr) -> bool {
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let longest = entries
        .iter()
        .map(|&(net, allowed)| {
            let extra = if net.addr().is_ipv4() { 96 } else { 0 };
            let net = Ipv6Net::new(mapped(net.network()), net.prefix_len() + extra).unwrap();
            (net, allowed)
        })
        .filter(|(net, _)| net.contains(&mapped(source)))
        .max_by_key(|(net, _)| net.prefix_len());
    longest.is_some_and(|(_, allowed)| allowed)
}

proptest! {
    #[test]
    fn agrees_with_a_look_at_every_entry(
        list in prop::collection::btree_map(a_prefix(), any::<bool>(), 0..12),
        sources in prop::collection::vec(an_address(), 16),
    ) {
        let side = |wanted| -> Vec<IpNet> {
            list.iter().filter(|(_, allowed)| **allowed == wanted).map(|(net, _)| *net).collect()
        };
        let clients = Clients::read(&side(true), &side(false), None).unwrap();
        let entries: Vec<_> = clients.entries().collect();
        let by_default = side(true).is_empty();
        for source in sources {
            let longest: BTreeMap<u8, bool> = list
                .iter()
                .filter(|(net, _)| net.contains(&source))
                .map(|(net, allowed)| (net.prefix_len(), *allowed))
                .collect();
            let expected = longest.last_key_value().map_or(by_default, |(_, allowed)| *allowed);
            prop_assert_eq!(clients.allows(source), expected, "{}", source);
            prop_assert_eq!(mapped_lookup(&entries, source), expected, "mapped {}", source);
        }
    }
}
