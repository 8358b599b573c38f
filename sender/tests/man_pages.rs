//! The man pages under docs/man are those of the options.
//!
//! They are made from the definitions that also make `--help`. After a change,
//! `UPDATE_MAN_PAGES=1 cargo test -p sender --test man_pages` writes them anew.

#![cfg(test)]

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use sender::args::Args;
use sender::args::series::{ResultsArgs, RunArgs};

fn page(command: Command, name: &'static str) -> Vec<u8> {
    let mut text = Vec::new();
    Man::new(command.name(name))
        .manual("xdp-twamp")
        .source("xdp-twamp")
        .date("")
        .render(&mut text)
        .unwrap();
    text
}

#[test]
fn they_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man");
    for (file, text) in [
        ("sender.1", page(Args::command(), "sender")),
        ("sender-run.1", page(RunArgs::command(), "sender-run")),
        (
            "sender-results.1",
            page(ResultsArgs::command(), "sender-results"),
        ),
    ] {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_MAN_PAGES").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read(&path).unwrap_or_default();
        assert!(
            written == text,
            "docs/man/{file} is not that of the options; run UPDATE_MAN_PAGES=1 cargo test -p \
             sender --test man_pages"
        );
    }
}
