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

const DISTRIBUTIONS: [&str; 7] = [
    "rtt_ns",
    "forward_ns",
    "backward_ns",
    "residence_ns",
    "ipdv_ns",
    "ipdv_forward_ns",
    "ipdv_backward_ns",
];
const VARIATIONS: [&str; 3] = ["pdv_ns", "pdv_forward_ns", "pdv_backward_ns"];
const OCTETS: [&str; 4] = [
    "hops_forward",
    "hops_backward",
    "tos_forward",
    "tos_backward",
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
    emitted_by(SHORT, style, fate)
}

/// Ten packets at 500/s.
const SHORT: &str = "--count 10 --rate 500";

/// The document of a run with these options.
fn emitted_by(options: &str, style: Style, fate: impl Fn(u32) -> Fate + Send + 'static) -> Value {
    let reflector = Reflector::start_as(style, "127.0.0.1:0", fate);
    let line = format!("sender {} --timeout 2s {options}", reflector.address);
    let config = Config::try_from(args::parse(line.split_whitespace()).unwrap()).unwrap();
    let outcome = run(&config, &Control::default()).unwrap();
    serde_json::from_str(&json::render(&outcome, true).unwrap()).unwrap()
}

#[test]
fn a_run_with_replies_has_the_documented_keys() {
    let documented = documented();
    let json = emitted(Style::Ptp, |_| Fate::Reply);
    assert_eq!(keys(&json), documented["Top level"][0]);
    for name in DISTRIBUTIONS.into_iter().chain(["send_error_ns"]) {
        assert_eq!(keys(&json[name]), documented["Distributions"][0], "{name}");
    }
    for name in VARIATIONS {
        assert_eq!(keys(&json[name]), documented["Variations"][0], "{name}");
    }
    for name in ["hops_forward", "hops_backward", "tos_backward"] {
        let each = json[name].as_array().unwrap();
        assert_eq!(keys(&each[0]), documented["Octets"][0], "{name}");
    }
    for name in ["transport", "t1", "t4"] {
        assert_eq!(keys(&json[name]), documented[name][0], "{name}");
    }
    let sessions = json["per_session"].as_array().unwrap();
    assert_eq!(keys(&sessions[0]), documented["per_session"][0]);
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
    let stamped = ["xdp_replies", "kernel_replies", "user_space_replies"]
        .map(|source| json["t4"][source].as_u64().unwrap());
    assert_eq!(stamped.iter().sum::<u64>(), figure("received"));
    assert_eq!(json["send_error_ns"]["count"], json["sent"]);
    assert!(figure("loss_run_max") <= figure("lost"));
    assert_eq!(json["rtt_ns"]["count"], json["received"]);
    assert_eq!(json["duplication_ratio"], 0.25);
    assert_eq!(json["replicated_ratio"], 0.125);
}

#[test]
fn losses_by_direction_are_as_documented() {
    let json = emitted(Style::Stateful, |sequence| match sequence {
        2 => Fate::LoseProbe,
        4 => Fate::DoubleProbe,
        5 | 6 | 9 => Fate::Drop,
        7 => Fate::Copies(2),
        _ => Fate::Reply,
    });
    let told = &json["loss_by_direction"];
    assert_eq!(keys(told), documented()["loss_by_direction"][0]);
    let figure = |name: &str| told[name].as_u64().unwrap();
    assert_eq!(
        (figure("forward"), figure("backward"), figure("undecided")),
        (1, 2, 1)
    );
    let explained = figure("forward") + figure("backward") + figure("undecided");
    assert_eq!(
        json["lost"].as_u64().unwrap(),
        explained + json["late"].as_u64().unwrap()
    );
    assert_eq!(
        (&json["loss_runs"], &json["loss_run_max"]),
        (&3.into(), &2.into())
    );
    assert_eq!(
        (&json["duplicates_forward"], &json["duplicates_backward"]),
        (&1.into(), &1.into())
    );

    let unknown = emitted(Style::Stateful, |_| Fate::Reply);
    assert!(
        unknown["loss_by_direction"].is_null(),
        "equal numbers prove nothing"
    );
    let said = emitted_by(&format!("{SHORT} --stateful"), Style::Stateful, |_| {
        Fate::Reply
    });
    assert_eq!(said["loss_by_direction"]["forward"], 0);
}

#[test]
fn a_seed_in_the_document_makes_the_same_run() {
    let json = emitted_by(
        "--count 10 --rate 500 --schedule poisson --seed abc",
        Style::Ntp(1),
        |_| Fate::Reply,
    );
    assert_eq!(json["seed"], "00000000000000000000000000000abc");
    let fresh = emitted_by(
        "--count 10 --rate 500 --schedule poisson",
        Style::Ntp(1),
        |_| Fate::Reply,
    );
    assert_eq!(fresh["seed"].as_str().unwrap().len(), 32);
}

#[test]
fn a_run_without_replies_has_the_same_keys_and_nulls() {
    let json = emitted(Style::Ntp(1), |_| Fate::Drop);
    assert_eq!(keys(&json), documented()["Top level"][0]);
    let none = [
        "jitter_rfc3550_ns",
        "mean_abs_ipdv_ns",
        "loss_by_direction",
        "duplicates_forward",
    ];
    for name in DISTRIBUTIONS.into_iter().chain(VARIATIONS).chain(none) {
        assert!(json[name].is_null(), "{name}");
    }
    for name in OCTETS {
        assert_eq!(json[name].as_array().map(Vec::len), Some(0), "{name}");
    }
    assert_eq!(json["send_error_ns"]["count"], json["sent"]);
    assert!(json["sync"]["one_way_error_ns"].is_null());
    assert!(json["sync"]["one_way_trusted"].is_null());
    assert_eq!(json["loss_ratio"], 1.0);
}

#[test]
fn figures_have_the_documented_types() {
    let json = emitted(Style::Ntp(1), |_| Fate::Reply);
    for name in DISTRIBUTIONS {
        for figure in ["count", "min", "p50", "p90", "p95", "p99", "p999", "max"] {
            assert!(json[name][figure].is_i64(), "{name}.{figure}");
        }
        assert!(json[name]["mean"].is_f64(), "{name}");
    }
    for name in VARIATIONS {
        assert!(
            json[name]["mean"].is_f64() && json[name]["p95"].is_i64(),
            "{name}"
        );
    }
    assert!(json["mean_abs_ipdv_ns"].is_f64());
    assert!(json["hops_forward"][0]["value"].is_u64() && json["tos"].is_u64());
    let sum = json["sync"]["sender_error_ns"].as_i64().unwrap()
        + json["sync"]["reflector_error_ns"].as_i64().unwrap();
    assert_eq!(json["sync"]["one_way_error_ns"], sum);
    let fast = emitted_by("--count 10 --rate max", Style::Ntp(1), |_| Fate::Reply);
    assert!(fast["rate_asked_pps"].is_null());
    assert_eq!(json["schema_version"], json::SCHEMA_VERSION);
    assert_eq!(json["rate_asked_pps"], 500.0);
}
