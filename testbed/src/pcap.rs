//! Writes frames to a capture file for other people's dissectors.

use std::fs;
use std::path::Path;

use crate::Error;

/// Writes a classic pcap file of Ethernet frames, one millisecond apart (draft-ietf-opsawg-pcap).
///
/// Test against tshark: `tshark -r FILE -d udp.port==862,twamp.test -Y _ws.malformed` prints
/// nothing if every frame dissects.
///
/// # Errors
/// If the file cannot be written.
pub fn write_pcap<F: AsRef<[u8]>>(path: &Path, frames: &[F]) -> Result<(), Error> {
    const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
    const VERSION_2_4: u32 = 2 << 16 | 4;
    const SNAP_LENGTH: u32 = 262_144;
    const LINKTYPE_ETHERNET: u32 = 1;

    let mut file = Vec::new();
    for word in [
        MAGIC_MICROSECONDS,
        VERSION_2_4,
        0,
        0,
        SNAP_LENGTH,
        LINKTYPE_ETHERNET,
    ] {
        file.extend(word.to_be_bytes());
    }
    for (frame, millisecond) in frames.iter().map(AsRef::as_ref).zip(0_u32..) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let (seconds, microseconds) = (millisecond / 1000, millisecond % 1000 * 1000);
        for word in [seconds, microseconds, length, length] {
            file.extend(word.to_be_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).map_err(|error| Error::io(format!("write {}", path.display()), error))
}
