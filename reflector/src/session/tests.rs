//! The table against a model, and under many threads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng as _;

use super::index::Index;
use super::*;

/// So that a tick is a nanosecond.
const IDLE: Duration = Duration::from_nanos(IDLE_TICKS as u64);
const ENOUGH: usize = 1_000_000;

fn key(number: u16) -> SessionKey {
    key_of(1, "10.0.0.1", number, "10.0.0.2", 862)
}

fn key_of(
    listener: ListenerId,
    source: &str,
    source_port: u16,
    destination: &str,
    destination_port: u16,
) -> SessionKey {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let source = (address(source), source_port).into();
    SessionKey::new(
        listener,
        source,
        (address(destination), destination_port).into(),
    )
}

fn counts(created: u64, expired: u64, refused: u64) -> SessionCounts {
    SessionCounts {
        active: created - expired,
        created,
        expired,
        refused,
    }
}

#[test]
fn every_part_of_the_key_makes_another_session() {
    let first = key_of(1, "10.0.0.1", 1, "10.0.0.2", 862);
    let others = [
        key_of(2, "10.0.0.1", 1, "10.0.0.2", 862),
        key_of(1, "10.0.0.2", 1, "10.0.0.2", 862),
        key_of(1, "::10.0.0.1", 1, "10.0.0.2", 862),
        key_of(1, "10.0.0.1", 1, "10.0.0.1", 862),
        key_of(1, "10.0.0.1", 862, "10.0.0.2", 1),
        key_of(1, "10.0.0.1", 1, "10.0.0.2", 863),
        first.with_ssid(1),
    ];
    let sessions = Sessions::new(100, IDLE).unwrap();
    assert_eq!(sessions.next(&first), Some(0));
    for other in &others {
        assert_eq!(sessions.next(other), Some(0), "{other:?}");
    }
    assert_eq!(sessions.next(&first), Some(1));
    let mapped = key_of(1, "::ffff:10.0.0.1", 1, "::ffff:10.0.0.2", 862);
    assert_eq!(sessions.next(&mapped.with_ssid(7).with_ssid(0)), Some(2));
    assert_eq!(sessions.counts(), counts(8, 0, 0));
}

#[test]
fn no_session_begins_beyond_the_limit_until_one_has_ended() {
    let sessions = Sessions::new(2, IDLE).unwrap();
    assert_eq!(sessions.next(&key(1)), Some(0));
    sessions.advance(IDLE / 2);
    assert_eq!(sessions.next(&key(2)), Some(0));
    assert_eq!(sessions.next(&key(3)), None);
    assert_eq!(sessions.next(&key(1)), Some(1), "those that are go on");
    assert_eq!(sessions.counts(), counts(2, 0, 1));

    sessions.advance(IDLE);
    sessions.advance(IDLE + IDLE / 2);
    assert_eq!(sessions.next(&key(3)), Some(0));
    assert_eq!(sessions.counts(), counts(3, 2, 1));

    let nothing = Sessions::new(0, IDLE).unwrap();
    assert_eq!(nothing.next(&key(1)), None);
    assert_eq!(nothing.counts(), counts(0, 0, 1));
}

#[test]
fn a_session_that_was_idle_begins_again_even_if_nobody_has_swept_it_away() {
    // Not swept: 1 of 64 shards is at each step.
    let sessions = Sessions::with_shards(ENOUGH, IDLE, 64, 100).unwrap();
    let keys: Vec<SessionKey> = (0..1000).map(key).collect();
    for key in &keys {
        assert_eq!(sessions.next(key), Some(0));
        assert_eq!(sessions.next(key), Some(1));
    }
    for step in 0..=u64::from(IDLE_TICKS) {
        sessions.advance(Duration::from_nanos(step));
    }
    let swept = sessions.counts().expired;
    assert!(swept < 1000, "{swept}");
    for key in &keys {
        assert_eq!(sessions.next(key), Some(0));
        assert_eq!(sessions.next(key), Some(1));
    }
    assert_eq!(sessions.counts(), counts(2000, 1000, 0));
}

#[test]
fn a_session_lives_as_long_as_packets_come() {
    let sessions = Sessions::new(10, DEFAULT_IDLE).unwrap();
    // Far beyond what a tick counts to.
    for packet in 0..5000 {
        sessions.advance(DEFAULT_IDLE * packet / 4 * 3);
        assert_eq!(sessions.next(&key(1)), Some(packet));
    }
    assert_eq!(sessions.counts(), counts(1, 0, 0));
}

#[test]
fn however_long_nothing_happened_an_idle_session_is_not_taken_for_a_young_one() {
    for exponent in 10..64 {
        let sessions = Sessions::new(10, IDLE).unwrap();
        sessions.advance(Duration::from_nanos(77));
        assert_eq!(sessions.next(&key(1)), Some(0));
        sessions.advance(Duration::from_nanos((1 << exponent) + 77));
        assert_eq!(sessions.counts(), counts(1, 0, 0), "2^{exponent}");
        sessions.advance(Duration::from_nanos((1 << exponent) + 1101));
        assert_eq!(sessions.counts(), counts(1, 1, 0), "2^{exponent}");
        assert_eq!(sessions.next(&key(1)), Some(0));
    }
}

#[test]
fn a_session_whose_packets_come_between_late_steps_lives_on() {
    for factor in [1, 2, 5, 1000] {
        let sessions = Sessions::new(10, IDLE).unwrap();
        for number in 0..20 {
            assert_eq!(sessions.next(&key(1)), Some(number), "{factor}");
            sessions.advance(IDLE * factor * (number + 1));
        }
    }
}

#[test]
fn time_that_goes_back_does_nothing() {
    let sessions = Sessions::new(10, IDLE).unwrap();
    sessions.advance(Duration::from_secs(1));
    assert_eq!(sessions.next(&key(1)), Some(0));
    sessions.advance(Duration::ZERO);
    sessions.advance(Duration::from_secs(1));
    assert_eq!(sessions.next(&key(1)), Some(1));
}

#[test]
fn numbers_wrap() {
    let slot = Default::default();
    let key = key(1).words;
    slot::occupy(&slot, &key, 0, Tick(0));
    // The next number, in bits 31 to 0 of word 0.
    slot[0].fetch_or(u32::MAX.into(), Ordering::Relaxed);
    let next = || slot::bump(&slot, &key, Tick(0));
    assert_eq!(next(), slot::Bump::Number(u32::MAX));
    assert_eq!(next(), slot::Bump::Number(0));
    assert_eq!(next(), slot::Bump::Number(1));
}

#[test]
fn a_slot_is_laid_out_as_documented() {
    let slot = Default::default();
    let key = key_of(0x0102_0304, "10.0.0.1", 0x0506, "2001:db8::2", 0x0708).with_ssid(0x090a);
    slot::occupy(&slot, &key.words, 0x1234, Tick(0x0b0c));
    let words = slot.each_ref().map(|word| word.load(Ordering::Relaxed));
    let octets = |words: &[u64]| bytemuck::pod_collect_to_vec::<u64, u8>(words);
    assert_eq!(words[0], 0x0001_0b0c_0000_0001);
    assert_eq!(words[1], 0x1234);
    let source = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1);
    assert_eq!(octets(&words[2..4]), source.octets());
    let destination = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    assert_eq!(octets(&words[4..6]), destination.octets());
    assert_eq!(words[6], 0x0708_0506_0102_0304);
    assert_eq!(words[7], 0x090a);
}

#[test]
fn touching_changes_nothing() {
    let sessions = Sessions::new(ENOUGH, IDLE).unwrap();
    let known = u16::try_from(TOUCHED_FROM).unwrap();
    let keys: Vec<SessionKey> = (0..known + 100).map(key).collect();
    for key in &keys[..known.into()] {
        assert_eq!(sessions.next(key), Some(0));
    }
    // More than are loaded at once, and not a multiple of it.
    sessions.touch(&keys[usize::from(known) - 100..]);
    assert_eq!(sessions.counts(), counts(known.into(), 0, 0));
    for key in &keys[..known.into()] {
        assert_eq!(sessions.next(key), Some(1));
    }
}

#[test]
fn a_session_takes_at_most_128_octets_and_the_limit_can_be_reached() {
    for limit in [
        1000,
        15_600,
        15_601,
        31_201,
        100_000,
        DEFAULT_LIMIT as usize,
    ] {
        let sessions = Sessions::new(limit, DEFAULT_IDLE).unwrap();
        let octets: usize = sessions.shards.iter().map(Shard::octets).sum();
        assert!(octets <= 128 * limit, "{octets} for {limit}");
    }
    let limit = 100_000;
    let sessions = Sessions::new(limit, DEFAULT_IDLE).unwrap();
    let key = |number: u32| {
        let source = (IpAddr::from(number.to_be_bytes()), 1).into();
        SessionKey::new(0, source, "10.0.0.2:862".parse().unwrap())
    };
    for number in 0..u32::try_from(limit).unwrap() {
        assert_eq!(sessions.next(&key(number)), Some(0), "{number}");
    }
    assert_eq!(sessions.next(&key(0).with_ssid(1)), None);
    assert_eq!(sessions.next(&key(0)), Some(1));
    assert_eq!(sessions.counts(), counts(limit as u64, 0, 1));
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    for limit in [1 << 40, usize::MAX] {
        let refused = Sessions::new(limit, DEFAULT_IDLE).map(drop);
        assert_eq!(refused, Err(NoMemory));
    }
}

/// What a table is to do, done plainly.
struct Model {
    limit: usize,
    /// Last packet's tick and next number.
    sessions: HashMap<u16, (u64, u32)>,
    /// What has passed, and what of it counts.
    clock: u64,
    now: u64,
    counts: SessionCounts,
}

impl Model {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            sessions: HashMap::new(),
            clock: 0,
            now: 0,
            counts: SessionCounts::default(),
        }
    }

    fn next(&mut self, key: u16) -> Option<u32> {
        let full = self.sessions.len() >= self.limit;
        if full && !self.sessions.contains_key(&key) {
            self.counts.refused += 1;
            return None;
        }
        let (last, next) = self.sessions.entry(key).or_insert_with(|| {
            self.counts.created += 1;
            self.counts.active += 1;
            (0, 0)
        });
        *last = self.now;
        *next += 1;
        Some(*next - 1)
    }

    fn advance(&mut self, ticks: u64) {
        self.clock += ticks;
        self.now += ticks.min(MAX_STEP.into());
        self.sessions
            .retain(|_, (last, _)| self.now - *last < u64::from(IDLE_TICKS));
        self.counts.active = self.sessions.len() as u64;
        self.counts.expired = self.counts.created - self.counts.active;
    }
}

#[derive(Debug, Clone)]
enum Step {
    Packets(Vec<u16>),
    Advance(u64),
}

fn steps(keys: u16) -> impl Strategy<Value = Vec<Step>> {
    let ticks = prop_oneof![0..16u64, 0..700u64, 1000..1100u64, 0..100_000u64];
    let step = prop_oneof![
        3 => vec(0..keys, 1..100).prop_map(Step::Packets),
        1 => ticks.prop_map(Step::Advance),
    ];
    vec(step, 1..60)
}

proptest! {
    /// One shard, swept whenever time passes: numbers and counts are those of the model at all times.
    #[test]
    fn a_table_is_as_its_model(limit in 0usize..80, steps in steps(100)) {
        let sessions = Sessions::new(limit, IDLE).unwrap();
        let mut model = Model::new(limit);
        for step in steps {
            match step {
                Step::Packets(keys) => for number in keys {
                    prop_assert_eq!(sessions.next(&key(number)), model.next(number));
                },
                Step::Advance(ticks) => {
                    model.advance(ticks);
                    sessions.advance(Duration::from_nanos(model.clock));
                }
            }
            prop_assert_eq!(sessions.counts(), model.counts);
        }
    }

    /// Many shards, swept in turn: numbers do not depend on what has been swept already.
    #[test]
    fn a_table_in_shards_is_as_its_model(shards in 2usize..40, steps in steps(1000)) {
        let sessions = Sessions::with_shards(ENOUGH, IDLE, shards, 1000).unwrap();
        let mut model = Model::new(ENOUGH);
        for step in steps {
            match step {
                Step::Packets(keys) => for number in keys {
                    prop_assert_eq!(sessions.next(&key(number)), model.next(number));
                },
                Step::Advance(ticks) => {
                    model.advance(ticks);
                    sessions.advance(Duration::from_nanos(model.clock));
                }
            }
            prop_assert_eq!(sessions.counts().refused, 0);
            prop_assert!(sessions.counts().expired <= model.counts.expired);
        }
        for _ in 0..2 {
            model.advance(u64::from(IDLE_TICKS));
            sessions.advance(Duration::from_nanos(model.clock));
        }
        prop_assert_eq!(sessions.counts(), model.counts);
    }

    /// Entries that begin at few places, so that they stand in each other's way, and round the end.
    #[test]
    fn an_index_finds_what_is_in_it(
        changes in vec((any::<bool>(), 0u16..16, 0u64..4), 1..200),
    ) {
        let memory: [AtomicU32; 64] = std::array::from_fn(|_| AtomicU32::new(0));
        let index = Index::new(&memory, 32);
        let mut hashes: BTreeMap<u16, u64> = BTreeMap::new();
        for (add, slot, at) in changes {
            let hash = (30 + at) | u64::from(slot) << 32;
            if let Some(hash) = hashes.remove(&slot) {
                index.remove(hash, slot, |slot| hashes[&slot]);
            }
            if add {
                index.insert(hash, slot);
                hashes.insert(slot, hash);
            }
            for (slot, hash) in &hashes {
                prop_assert_eq!(index.find(*hash, Some), Some(*slot));
            }
            let used = memory.iter().filter(|entry| entry.load(Ordering::Relaxed) != 0);
            prop_assert_eq!(used.count(), hashes.len());
        }
    }
}

#[test]
fn threads_that_share_a_session_get_every_number_once() {
    const THREADS: u32 = 4;
    const PACKETS: u32 = 50_000;
    let sessions = Sessions::new(10, IDLE).unwrap();
    let numbers: Vec<Vec<u32>> = thread::scope(|scope| {
        let packets = || {
            (0..PACKETS)
                .map(|_| sessions.next(&key(1)).unwrap())
                .collect()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(packets)).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for numbers in &numbers {
        assert!(numbers.is_sorted(), "a thread's packets are in order");
    }
    let mut all = numbers.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..THREADS * PACKETS));
    assert_eq!(sessions.counts(), counts(1, 0, 0));
}

/// A life of a session hands out 0, 1, 2 and so on. So, of all the lives of one key together, no
/// number may be given more often than the one before it; and 0 is given once per life.
#[test]
fn no_number_is_given_twice_in_the_life_of_a_session_while_others_end() {
    const THREADS: u64 = 4;
    const PACKETS: usize = 60_000;
    const PACKETS_PER_STEP: u64 = 200;
    const KEYS: u32 = 24;
    let (mut all_expired, mut all_refused) = (0, 0);
    for (limit, shards, slots) in [(8, 1, 8), (16, 3, 16), (64, 2, 4)] {
        let sessions = Sessions::with_shards(limit, IDLE, shards, slots).unwrap();
        let running = AtomicU64::new(THREADS);
        let taken = AtomicU64::new(0);
        let taken = &taken;
        let given: Vec<Vec<(u16, Option<u32>)>> = thread::scope(|scope| {
            let work = |seed| {
                let mut random = Pcg64Mcg::seed_from_u64(seed);
                let packets = (0..PACKETS).map(|_| {
                    taken.fetch_add(1, Ordering::Relaxed);
                    // Few keys at a time, so that others become idle.
                    let now = sessions.common.now().0 >> 9;
                    let number = u16::try_from(random.next_u32() % KEYS / 3).unwrap();
                    let number = (number + now * 5) % u16::try_from(KEYS).unwrap();
                    (number, sessions.next(&key(number)))
                });
                let given = packets.collect();
                running.fetch_sub(1, Ordering::Relaxed);
                given
            };
            let threads: Vec<_> = (0..THREADS)
                .map(|seed| scope.spawn(move || work(seed)))
                .collect();
            let mut now = Duration::ZERO;
            let mut steps = 0;
            while running.load(Ordering::Relaxed) > 0 {
                // By packets and not as fast as it goes: however the processors are shared, packets
                // come between two steps.
                if taken.load(Ordering::Relaxed) < steps * PACKETS_PER_STEP {
                    thread::yield_now();
                    continue;
                }
                steps += 1;
                now += IDLE / 7;
                sessions.advance(now);
                assert!(sessions.counts().active <= limit as u64);
            }
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let mut times: HashMap<u16, BTreeMap<u32, u64>> = HashMap::new();
        let mut refused = 0;
        for (key, number) in given.into_iter().flatten() {
            match number {
                Some(number) => *times.entry(key).or_default().entry(number).or_default() += 1,
                None => refused += 1,
            }
        }
        let mut lives = 0;
        for (key, times) in times {
            lives += times[&0];
            let mut before = times[&0];
            for (number, (given, times)) in times.into_iter().enumerate() {
                assert_eq!(given as usize, number, "a number is missing for {key}");
                assert!(times <= before, "{given} was given twice for {key}");
                before = times;
            }
        }
        let end = sessions.counts();
        assert_eq!((end.created, end.refused), (lives, refused), "{limit}");
        all_expired += end.expired;
        all_refused += refused;
        sessions.advance(Duration::from_secs(3600));
        sessions.advance(Duration::from_secs(7200));
        assert_eq!(sessions.counts(), counts(lives, lives, refused));
    }
    assert!(all_expired > 0 && all_refused > 0, "nothing was tested");
}

#[test]
fn sessions_begin_once_while_the_index_grows() {
    const THREADS: usize = 4;
    const KEYS: u16 = 5_000;
    let sessions = Sessions::with_shards(ENOUGH, IDLE, 1, usize::from(KEYS)).unwrap();
    let given: Vec<(u16, u32)> = thread::scope(|scope| {
        let work = || {
            let packets = (0..KEYS).map(|number| (number, sessions.next(&key(number)).unwrap()));
            packets.collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect()
    });
    let distinct: HashSet<_> = given.iter().collect();
    assert_eq!(distinct.len(), THREADS * usize::from(KEYS));
    assert!(given.iter().all(|(_, number)| (*number as usize) < THREADS));
    assert_eq!(sessions.counts(), counts(KEYS.into(), 0, 0));
}
