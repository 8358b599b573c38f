//! One slot of the session table under all interleavings of a few threads that the memory model allows,
//! by the model checker `loom`: the very source file, on its atomics.

#[path = "../src/session/slot.rs"]
#[expect(dead_code, reason = "not all of it is needed here")]
mod slot;

/// What `slot.rs` is made of.
mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use loom::sync::Arc;
use loom::thread;

use slot::{Bump, IDLE_TICKS, Key, Slot, Tick};

const OURS: Key = [1, 2, 3, 4, 5, 6];
/// Alike in all words but two, so that a mixture of both is easily taken for ours.
const THEIRS: Key = [1, 2, 3, 4, 7, 8];
const EARLY: Tick = Tick(0);
const LATE: Tick = Tick(IDLE_TICKS);
const LATER: Tick = Tick(2 * IDLE_TICKS);

struct Shared {
    slot: Slot,
}

fn ours() -> Arc<Shared> {
    let slot = std::array::from_fn(|_| atomic::AtomicU64::new(0));
    slot::occupy(&slot, &OURS, 0, EARLY);
    Arc::new(Shared { slot })
}

/// Explores executions in which threads are interrupted so often, at most, where they need not be.
fn check(interruptions: usize, work: impl Fn() + Sync + Send + 'static) {
    let mut explorer = loom::model::Builder::new();
    explorer.preemption_bound = Some(interruptions);
    explorer.check(work);
}

fn in_thread<T: 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || work(&shared))
}

fn number(bump: Bump) -> Option<u32> {
    match bump {
        Bump::Number(number) => Some(number),
        Bump::Idle | Bump::Other => None,
    }
}

#[test]
fn two_threads_get_different_numbers() {
    check(3, || {
        let shared = ours();
        let other = in_thread(&shared, |it| slot::bump(&it.slot, &OURS, EARLY));
        let first = number(slot::bump(&shared.slot, &OURS, EARLY)).unwrap();
        let second = number(other.join().unwrap()).unwrap();
        assert_eq!(first.min(second), 1);
        assert_eq!(first.max(second), 2);
    });
}

/// A packet of a session, in a thread that believes it to be early, while another gives the slot to
/// another session.
#[test]
fn a_slot_that_is_given_to_another_session_numbers_nobody_elses_packets() {
    check(2, || {
        let shared = ours();
        let packet = in_thread(&shared, |it| number(slot::bump(&it.slot, &OURS, EARLY)));
        let retired = slot::retire(&shared.slot, LATE);
        if retired {
            slot::occupy(&shared.slot, &THEIRS, 0, LATE);
        }
        let given = packet.join().unwrap();

        // Who was refused found the slot given away.
        let possible = if retired {
            matches!(given, None | Some(1))
        } else {
            given == Some(1)
        };
        assert!(possible, "{given:?}");
        // Nobody has taken a number of theirs.
        let theirs = number(slot::bump(&shared.slot, &THEIRS, LATE));
        assert_eq!(theirs, retired.then_some(1));
    });
}

/// The slot is another's and then ours again.
#[test]
fn a_session_that_comes_back_to_its_slot_begins_at_zero() {
    check(1, || {
        let shared = ours();
        let packet = in_thread(&shared, |it| number(slot::bump(&it.slot, &OURS, EARLY)));
        let lives = [(LATE, THEIRS), (LATER, OURS)].map(|(now, key)| {
            let retired = slot::retire(&shared.slot, now);
            if retired {
                slot::occupy(&shared.slot, &key, 0, now);
            }
            retired
        });
        let given = packet.join().unwrap();
        let next = number(slot::bump(&shared.slot, &OURS, LATER));
        match (lives, given) {
            // In the new session: after its first, 0.
            ([true, true], Some(1)) => assert!(matches!(next, Some(1 | 2)), "{next:?}"),
            ([true, true], None) => assert_eq!(next, Some(1)),
            // It came between the two looks at whether the session is idle.
            ([false, true], Some(1)) => assert!(matches!(next, Some(1 | 2)), "{next:?}"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_idle_session_is_renewed_or_goes_on_but_never_both() {
    check(3, || {
        let shared = ours();
        let packet = in_thread(&shared, |it| {
            number(slot::bump(&it.slot, &OURS, Tick(IDLE_TICKS - 1)))
        });
        let renewed = slot::renew(&shared.slot, LATE);
        let given = packet.join().unwrap();
        let next = number(slot::bump(&shared.slot, &OURS, LATE));
        match (renewed, given) {
            // In the new session, after its first, 0; or in the old one, which therefore went on.
            (_, Some(1)) => assert_eq!(next, Some(2)),
            // It found the session changed under its hands, and asks again under the lock.
            (true, None) => assert_eq!(next, Some(1)),
            other => panic!("{other:?}"),
        }
    });
}
