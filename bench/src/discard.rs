//! An end of the pair where XDP drops whatever comes.

use ebpf::{Attachment, DropProgram, Mode};
use testbed::End;

/// Drops all packets at `end` for as long as the attachment lives.
///
/// It lives as long as its descriptor, in whatever namespace that is.
pub fn attach_drop(end: &End) -> Result<Attachment, String> {
    end.namespace.run(|| {
        let program = DropProgram::load().map_err(|error| error.to_string())?;
        let attached = program.attach(end.ifindex, Mode::Native);
        attached.map_err(|error| error.to_string())
    })
}
