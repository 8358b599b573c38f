//! What an operator was told already.

use std::collections::BTreeSet;

use tracing::warn;

/// Troubles that last, each told once, and again only after it was over.
#[derive(Debug, Default)]
pub struct Told(BTreeSet<String>);

impl Told {
    /// These are the troubles by now: warns of what is new among them.
    pub fn are(&mut self, troubles: impl IntoIterator<Item = String>) {
        let troubles: BTreeSet<String> = troubles.into_iter().collect();
        for trouble in troubles.difference(&self.0) {
            warn!("{trouble}");
        }
        self.0 = troubles;
    }

    /// There are some.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }
}
