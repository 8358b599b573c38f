//! The JSON that runs emit has exactly the keys that docs/sender-json.md documents.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

#[expect(dead_code, reason = "other test files use the rest")]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Fate, Reflector, Style, run};
use sender::args;
use sender::config::Config;
use sender::control::Control;
use sender::report::json;
use sender::warning::Warning;
use serde_json::Value;

type Keys = BTreeSet<String>;

const DISTRIBUTIONS: [&str; 5] = [
    "rtt_ns",
    "forward_ns",
    "backward_ns",
    "residence_ns",
    "ipdv_ns",
];

/// The first column of each table, by the heading above it.
fn documented() -> BTreeMap<String, Vec<Keys>> {
    let mut tables: BTreeMap<String, Vec<Keys>> = BTreeMap::new();
    let mut heading = String::new();
    for line in include_str!("../../docs/sender-json.md").lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.trim_matches('`').clone_into(&mut heading);
        } else if line.starts_with("|---") {
            tables.entry(heading.clone()).or_default().push(Keys::new());
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|l| l.split_once('`')) {
            tables
                .get_mut(&heading)
                .unwrap()
                .last_mut()
                .unwrap()
                .insert(key.to_owned());
        }
    }
    tables
}

fn keys(object: &Value) -> Keys {
    object
        .as_object()
        .unwrap_or_else(|| panic!("{object} is no object"))
        .keys()
        .cloned()
        .collect()
}

fn emitted(style: Style, fate: impl Fn(u32) -> Fate + Send + 'static) -> Value {
    let reflector = Reflector::start_as(style, "127.0.0.1:0", fate);
    let line = format!(
        "sender {} --count 10 --rate 500 --timeout 300ms",
        reflector.address
    );
    let config = Config::try_from(args::parse(line.split_whitespace()).unwrap()).unwrap();
    let outcome = run(&config, &Control::default()).unwrap();
    serde_json::from_str(&json::render(&outcome).unwrap()).unwrap()
}

#[test]
fn a_run_with_replies_has_the_documented_keys() {
    let documented = documented();
    let json = emitted(Style::Ptp, |_| Fate::Reply);
    assert_eq!(keys(&json), documented["Top level"][0]);
    for name in DISTRIBUTIONS {
        assert_eq!(keys(&json[name]), documented["Distributions"][0], "{name}");
    }
    assert_eq!(keys(&json["t4"]), documented["t4"][0]);
    assert_eq!(keys(&json["sync"]), documented["sync"][0]);
    let [warning, codes] = documented["warnings"].as_slice() else {
        panic!("two tables")
    };
    let warnings = json["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|warning| warning["code"] == "ptp_epoch"),
        "{warnings:?}"
    );
    for entry in warnings {
        assert_eq!(keys(entry), *warning);
        assert!(codes.contains(entry["code"].as_str().unwrap()), "{entry}");
    }
}

#[test]
fn every_warning_is_documented_and_no_other() {
    let documented = &documented()["warnings"][1];
    let codes: Keys = Warning::CODES.into_iter().map(str::to_owned).collect();
    assert_eq!(*documented, codes);
}

#[test]
fn the_counts_add_up_as_documented() {
    let json = emitted(Style::Ntp(1), |sequence| match sequence {
        0 => Fate::Drop,
        1 => Fate::Copies(3),
        2 => Fate::Cut { len: 20 },
        3 => Fate::HoldUntil { until: 5 },
        _ => Fate::Reply,
    });
    let figure = |name: &str| json[name].as_u64().unwrap();
    assert_eq!(
        (figure("received"), figure("duplicates"), figure("invalid")),
        (8, 2, 1)
    );
    assert_eq!(figure("sent"), figure("received") + figure("lost"));
    assert!(figure("late") <= figure("lost"));
    assert!(figure("replicated") <= figure("duplicates"));
    let asked = figure("sent") + figure("congested") + figure("refused") + figure("not_reached");
    assert_eq!(asked, 10, "--count");
    let t4 = &json["t4"];
    let stamped =
        t4["kernel_replies"].as_u64().unwrap() + t4["user_space_replies"].as_u64().unwrap();
    assert_eq!(stamped, figure("received"));
    assert_eq!(json["rtt_ns"]["count"], json["received"]);
    assert_eq!(json["duplication_ratio"], 0.25);
    assert_eq!(json["replicated_ratio"], 0.125);
}

#[test]
fn a_run_without_replies_has_the_same_keys_and_nulls() {
    let json = emitted(Style::Ntp(1), |_| Fate::Drop);
    assert_eq!(keys(&json), documented()["Top level"][0]);
    for name in DISTRIBUTIONS.into_iter().chain(["jitter_rfc3550_ns"]) {
        assert!(json[name].is_null(), "{name}");
    }
    assert!(json["sync"]["one_way_trusted"].is_null());
    assert_eq!(json["loss_ratio"], 1.0);
}

#[test]
fn figures_have_the_documented_types() {
    let json = emitted(Style::Ntp(1), |_| Fate::Reply);
    for name in DISTRIBUTIONS {
        for figure in ["count", "min", "p50", "p90", "p99", "p999", "max"] {
            assert!(json[name][figure].is_i64(), "{name}.{figure}");
        }
        assert!(json[name]["mean"].is_f64(), "{name}");
    }
    assert_eq!(json["schema_version"], json::SCHEMA_VERSION);
    assert_eq!(json["rate_asked_pps"], 500.0);
}
