//! What every executor of the decision goes by, be it a worker of a queue or of sockets.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::policer::Policer;
use crate::rulebook::Rulebook;
use crate::session::Sessions;
use crate::worker::SharedTimescale;

/// Handles on the state of one process. Clones lead to the same state.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The rules in force.
    pub rulebook: Arc<ArcSwap<Rulebook>>,
    /// What may still be asked of listeners, and by sources, of what XDP has not judged.
    pub policer: Arc<Policer>,
    /// The sessions of stateful listeners.
    pub sessions: Arc<Sessions>,
    /// How readings of the clock are written into packets.
    pub timescale: Arc<SharedTimescale>,
    /// The moment that the policer's time counts from.
    pub started: Instant,
}
