//! Namespaces: isolation, children, and that nothing is left behind.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::Command;

use nix::ifaddrs::getifaddrs;
use testbed::{DEFAULT_TIMEOUT, Error, Namespace, Need, skip_unless, wait_until};

fn interfaces() -> BTreeSet<String> {
    getifaddrs()
        .unwrap()
        .map(|found| found.interface_name)
        .collect()
}

/// `net:[4026532177]` of the calling thread.
fn current() -> String {
    fs::read_link("/proc/thread-self/ns/net")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

fn label(namespace: &Namespace) -> String {
    format!("net:[{}]", namespace.inode().unwrap())
}

#[test]
fn starts_with_nothing_but_a_loopback_that_is_up() {
    skip_unless!(Need::NetworkNamespace, Need::Program("ping"));
    let namespace = Namespace::new().unwrap();
    assert_eq!(namespace.run(interfaces), BTreeSet::from(["lo".to_owned()]));
    namespace
        .command("ping", &["-c", "1", "-W", "10", "127.0.0.1"])
        .unwrap();
}

#[test]
fn runs_closures_inside_and_leaves_the_caller_outside() {
    skip_unless!(Need::NetworkNamespace);
    let (outside, namespace) = (current(), Namespace::new().unwrap());
    let inside = namespace.run(current);
    assert_eq!(inside, label(&namespace));
    assert_ne!(inside, outside);
    assert_eq!(current(), outside);
}

#[test]
fn threads_started_inside_are_inside() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let inner = namespace.run(|| std::thread::spawn(current).join().unwrap());
    assert_eq!(inner, label(&namespace));
}

#[test]
fn children_started_inside_are_inside() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let mut child = namespace
        .spawn(Command::new("readlink").arg("/proc/self/ns/net"))
        .unwrap();
    assert!(child.wait_exit(DEFAULT_TIMEOUT).unwrap().success());
    assert_eq!(child.stdout().trim(), label(&namespace));
}

#[test]
fn passes_panics_on() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        namespace.run(|| panic!("told from inside"));
    }));
    let payload = panicked.unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"told from inside"));
}

#[test]
fn a_failing_command_says_why() {
    skip_unless!(Need::NetworkNamespace);
    let error = Namespace::new()
        .unwrap()
        .ip("link show dev nosuch")
        .unwrap_err();
    assert!(matches!(error, Error::Command { .. }));
    let text = error.to_string();
    assert!(text.contains("ip link show dev nosuch"), "{text}");
    assert!(text.contains("does not exist"), "{text}");
}

#[test]
fn has_no_name_in_the_file_system() {
    skip_unless!(Need::NetworkNamespace);
    let namespace = Namespace::new().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&label(&namespace)), "{mounts}");
}

#[test]
fn vanishes_with_its_last_user() {
    skip_unless!(Need::NetworkNamespace);
    let (near, far) = (Namespace::new().unwrap(), Namespace::new().unwrap());
    let path = far.path();
    near.ip(&format!(
        "link add near type veth peer name far netns {}",
        path.display()
    ))
    .unwrap();
    let there = || near.run(interfaces).contains("near");
    assert!(there());

    // A child keeps the namespace alive...
    let child = far.spawn(Command::new("sleep").arg("60")).unwrap();
    drop(far);
    assert!(there(), "the namespace must live as long as its child");
    // ...and with it goes the far end of the pair, hence the near end.
    drop(child);
    wait_until("the veth pair is gone", DEFAULT_TIMEOUT, || !there());
}

#[test]
fn sysfs_shows_the_namespace_only_where_it_was_asked_for() {
    skip_unless!(Need::NetworkNamespace);
    let names = || -> BTreeSet<String> {
        let listed = fs::read_dir("/sys/class/net").unwrap();
        listed
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let outside = names();
    let namespace = Namespace::new().unwrap();
    namespace
        .ip("link add only-here type veth peer name other")
        .unwrap();
    let inside = namespace.run_with_sysfs(names).unwrap();
    assert_eq!(
        inside,
        ["lo", "only-here", "other"].map(str::to_owned).into()
    );
    assert!(!outside.contains("only-here"));
    assert_eq!(names(), outside);
}

#[test]
fn settings_are_its_own() {
    skip_unless!(Need::NetworkNamespace);
    let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let (before, namespace) = (read(), Namespace::new().unwrap());
    namespace.sysctl("net/ipv4/ip_default_ttl", "77").unwrap();
    assert_eq!(namespace.run(read).trim(), "77");
    assert_eq!(read(), before);
    assert!(namespace.sysctl("net/ipv4/no_such_setting", "1").is_err());
}
