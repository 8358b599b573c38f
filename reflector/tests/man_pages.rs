//! The man page under docs/man is that of the options.
//!
//! It is made from the definitions that also make `--help`. After a change,
//! `UPDATE_MAN_PAGES=1 cargo test -p reflector --test man_pages` writes it anew.

#![cfg(test)]

use std::fs;
use std::path::Path;

use clap::CommandFactory as _;
use clap_mangen::Man;
use reflector::args::Args;

#[test]
fn it_is_current() {
    let mut text = Vec::new();
    Man::new(Args::command())
        .manual("xdp-twamp")
        .source("xdp-twamp")
        .date("")
        .render(&mut text)
        .unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/reflector.1");
    if std::env::var_os("UPDATE_MAN_PAGES").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read(&path).unwrap_or_default();
    assert!(
        written == text,
        "docs/man/reflector.1 is not that of the options; run UPDATE_MAN_PAGES=1 cargo test -p \
         reflector --test man_pages"
    );
}
