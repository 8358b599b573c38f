//! The workspace's own binaries.

#![cfg(test)]

use std::os::unix::fs::PermissionsExt;

use testbed::{Need, skip_unless};

#[test]
fn a_workspace_binary_is_found_or_built() {
    let path = testbed::binary("reflector").unwrap();
    assert!(path.ends_with("reflector"));
    assert_ne!(path.metadata().unwrap().permissions().mode() & 0o111, 0);
}

#[test]
fn an_unknown_binary_is_an_error_in_cargos_words() {
    let error = testbed::binary("no-such-binary").unwrap_err().to_string();
    assert!(error.contains("no binary `no-such-binary`"), "{error}");
    assert!(error.contains("package"), "{error}");
}

#[test]
fn a_peer_is_found_only_if_it_was_built() {
    assert_eq!(testbed::peer("no-such-peer"), None);
    let missing = Need::Peer("no-such-peer").missing().unwrap();
    assert!(missing.contains("scripts/install-deps --test"), "{missing}");
    skip_unless!(Need::Peer("stamp-suite"));
    assert!(testbed::peer("stamp-suite").unwrap().is_file());
}
