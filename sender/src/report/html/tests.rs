//! The page of a simulated run.

use wire::time::{Nanos, Utc};

use super::*;

/// Two sessions, a packet each millisecond for a second; every tenth of the second is lost.
fn overview() -> (Overview, Distribution) {
    let mut overview = Overview::new(Utc::from_nanos(0), 2);
    let mut round_trip = Distribution::default();
    for i in 0..1_000i64 {
        let t1 = Utc::from_nanos(i * 1_000_000);
        let session = usize::from(i % 2 == 1);
        overview.sent(t1, session);
        if i % 20 == 1 {
            overview.lost(t1, session);
        } else {
            let delay = Nanos::from_nanos(300_000 + i * 97 % 40_000);
            overview.received(t1, delay);
            round_trip.record(delay);
        }
    }
    (overview, round_trip)
}

fn page<'a>(
    overview: &'a Overview,
    round_trip: &'a Distribution,
    empty: &'a Distribution,
) -> Page<'a> {
    Page {
        title: "Round trip to <b>&\"evil\"".to_owned(),
        subtitle: "</main><script>alert(1)</script>".to_owned(),
        tiles: vec![Tile {
            name: "Lost <1>".to_owned(),
            value: "5.000 %".to_owned(),
            note: "50 of 1 000".to_owned(),
            alarming: true,
        }],
        warnings: vec!["<i>one</i>".to_owned()],
        conditions: vec![("Command <2>".to_owned(), "sender '<x>'".to_owned())],
        counts: vec![("sent".to_owned(), "1 000".to_owned(), "<3>".to_owned())],
        facts: vec![("jitter".to_owned(), "<4>".to_owned())],
        overview,
        round_trip,
        forward: empty,
        backward: empty,
        residence: empty,
        ipdv: empty,
        one_way: Trust::Untrusted("<5>".to_owned()),
        sessions: Some(Table {
            head: vec!["<6>".to_owned(), "lost".to_owned()],
            rows: vec![vec!["<7>".to_owned(), "<8>".to_owned()]],
            note: "<9>".to_owned(),
        }),
        made_by: "<10>".to_owned(),
    }
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let ((overview, round_trip), empty) = (overview(), Distribution::default());
    let text = render(&page(&overview, &round_trip, &empty));
    for raw in ["<b>", "<script", "<i>", "<x>", "\"evil\""] {
        assert!(!text.contains(raw), "{raw}");
    }
    for number in [1, 2, 3, 4, 6, 7, 8, 9, 10] {
        assert!(text.contains(&format!("&lt;{number}&gt;")), "{number}");
    }
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let ((overview, round_trip), empty) = (overview(), Distribution::default());
    let text = render(&page(&overview, &round_trip, &empty));
    // The one address is the name of a language, which no browser fetches.
    let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for request in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<link",
    ] {
        assert!(!text.contains(request), "{request}");
    }
}

#[test]
fn a_section_is_there_if_there_is_something_to_show() {
    let ((overview, round_trip), empty) = (overview(), Distribution::default());
    let mut page = page(&overview, &round_trip, &empty);
    let text = render(&page);
    for part in [
        "Round-trip time over the run",
        "lost, worst step",
        "Round-trip time by percentile",
        "Loss map",
        "# 1</text>",
        "<th scope=\"row\">Round trip</th><td>950</td><td>300.0 µs</td>",
        "1 warning<",
    ] {
        let text = text.replace("\n</text>", "</text>");
        assert!(text.contains(part), "{part}");
    }
    assert!(
        !text.contains("Clocks"),
        "no one-way delays, no word of clocks"
    );

    page.forward = &round_trip;
    page.backward = &round_trip;
    let untrusted = render(&page);
    assert!(untrusted.contains("The clocks differ."));
    assert!(untrusted.contains("One-way delay above its minimum"));
    assert!(untrusted.contains("&lt;5&gt;"));
    assert!(untrusted.contains("Forward*") && untrusted.contains("offset between clocks included"));
    page.one_way = Trust::Trusted("within 1 µs".to_owned());
    let trusted = render(&page);
    assert!(trusted.contains("Clocks synchronised."));
    assert!(trusted.contains("One-way delay <") && trusted.contains("Forward<"));
}

#[test]
fn a_run_without_a_reply_is_a_page_as_well() {
    let empty = Distribution::default();
    let mut silent = Overview::new(Utc::from_nanos(0), 1);
    silent.sent(Utc::from_nanos(5), 0);
    silent.lost(Utc::from_nanos(5), 0);
    let text = render(&page(&silent, &empty, &empty));
    assert!(text.contains("no reply in time"));
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    let nothing = Overview::new(Utc::from_nanos(0), 1);
    assert!(render(&page(&nothing, &empty, &empty)).contains("Nothing to show."));
}

#[test]
fn one_reply_is_a_page_as_well() {
    let (empty, mut one) = (Distribution::default(), Distribution::default());
    one.record(Nanos::from_nanos(-70));
    let mut overview = Overview::new(Utc::from_nanos(0), 1);
    overview.sent(Utc::from_nanos(0), 0);
    overview.received(Utc::from_nanos(0), Nanos::from_nanos(-70));
    let text = render(&page(&overview, &one, &empty));
    assert!(text.contains("-70 ns"));
    assert!(!text.contains("NaN"));
}
