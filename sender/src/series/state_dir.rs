//! Where results are kept.

use std::path::PathBuf;

use super::error::SeriesError;

/// The folder that the user names, else that of this user.
///
/// # Errors
///
/// Nothing says where that is.
pub fn state_dir(named: Option<PathBuf>) -> Result<PathBuf, SeriesError> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let root = nix::unistd::geteuid().is_root();
    named
        .or_else(|| default_state_dir(root, variable("XDG_STATE_HOME"), variable("HOME")))
        .ok_or(SeriesError::NoStateDir)
}

/// Where the results of a series are kept unless the user names a folder; `None` if neither of the
/// variables tells. See the XDG Base Directory Specification: a path that is not absolute counts
/// for nothing.
fn default_state_dir(
    root: bool,
    xdg_state_home: Option<PathBuf>,
    home: Option<PathBuf>,
) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/xdp-twamp"));
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let state = xdg_state_home
        .filter(absolute)
        .or_else(|| home.filter(absolute).map(|home| home.join(".local/state")))?;
    Some(state.join("xdp-twamp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_users_are_at_home_and_those_of_root_in_var() {
        let folder = |root, xdg: Option<&str>, home: Option<&str>| {
            default_state_dir(root, xdg.map(PathBuf::from), home.map(PathBuf::from))
        };
        for (found, expected) in [
            (
                folder(true, Some("/x"), Some("/root")),
                Some("/var/lib/xdp-twamp"),
            ),
            (
                folder(false, Some("/x"), Some("/home/u")),
                Some("/x/xdp-twamp"),
            ),
            (
                folder(false, Some("x"), Some("/home/u")),
                Some("/home/u/.local/state/xdp-twamp"),
            ),
            (
                folder(false, None, Some("/home/u")),
                Some("/home/u/.local/state/xdp-twamp"),
            ),
            (folder(false, None, Some("")), None),
            (folder(false, None, None), None),
        ] {
            assert_eq!(found, expected.map(PathBuf::from));
        }
    }
}
