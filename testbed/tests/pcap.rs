//! Capture files, as tshark reads them.

#![cfg(test)]

use std::process::Command;

use testbed::{DEFAULT_TIMEOUT, Need, Process, UdpFrame, skip_unless, write_pcap};

#[test]
fn tshark_reads_what_was_written() {
    skip_unless!(Need::Program("tshark"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frames.pcap");
    let frames = [14, 41, 1000].map(|length| {
        UdpFrame::v4(
            "10.86.2.2:4000".parse().unwrap(),
            "10.86.2.1:862".parse().unwrap(),
        )
        .payload(&vec![0; length])
        .build()
    });
    write_pcap(&file, &frames).unwrap();
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(&file)
        .args(["-d", "udp.port==862,twamp.test"]);
    tshark.args(["-o", "udp.check_checksum:TRUE", "-T", "fields"]);
    for field in [
        "frame.time_epoch",
        "_ws.col.Protocol",
        "udp.length",
        "udp.checksum.status",
    ] {
        tshark.args(["-e", field]);
    }
    let mut tshark = Process::spawn(&mut tshark).unwrap();
    assert!(
        tshark.wait_exit(DEFAULT_TIMEOUT).unwrap().success(),
        "{}",
        tshark.stderr()
    );
    let expected = "0.000000000\tTWAMP-Test\t22\t1\n\
                    0.001000000\tTWAMP-Test\t49\t1\n\
                    0.002000000\tTWAMP-Test\t1008\t1\n";
    assert_eq!(tshark.stdout(), expected);
}
