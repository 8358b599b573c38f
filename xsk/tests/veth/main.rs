//! Real AF_XDP sockets over a veth pair. Needs root; each test has a network namespace of its own.

#![expect(clippy::unwrap_used, reason = "tests")]

mod capability;
mod namespace;
mod redirect;
mod stamps;

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Type};
use testbed::{DEFAULT_TIMEOUT, wait_until};
use xsk::{
    BindMode, Error, Frame, Nic, Queue, RingSizes, Socket, SocketConfig, Statistics, Umem,
    UmemConfig, VlanStripping, Wake,
};

use capability::Capability;
use namespace::{QUEUES, ip, with_veth};
use redirect::Redirect;

/// An Ethernet type kept for experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88b5;

fn config(interface: &str, queue: u32) -> SocketConfig {
    let RingSizes {
        rx,
        tx,
        fill,
        completion,
    } = RingSizes {
        rx: 64,
        tx: 64,
        fill: 64,
        completion: 64,
    };
    SocketConfig {
        rx_size: rx,
        tx_size: tx,
        fill_size: fill,
        completion_size: completion,
        ..SocketConfig::new(Nic::by_name(interface).unwrap().index(), queue)
    }
}

fn umem() -> Umem {
    Umem::allocate(&UmemConfig {
        frames: 128,
        headroom: 32,
        ..UmemConfig::default()
    })
    .unwrap()
}

fn open(interface: &str, queue: u32) -> (Socket, Queue) {
    Socket::open(&config(interface, queue), umem()).unwrap()
}

/// Broadcast, from nobody, of our Ethernet type, with a number and a length of its own.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([2, 0, 0, 0, 0, 1]);
    packet.extend(ETHERTYPE.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.resize(60 + (number % 1400) as usize, number.to_le_bytes()[0]);
    packet
}

/// A packet socket that hears our Ethernet type on every interface of the namespace.
fn listener() -> socket2::Socket {
    let protocol = Protocol::from(i32::from(ETHERTYPE.to_be()));
    let socket = socket2::Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(DEFAULT_TIMEOUT)).unwrap();
    socket
}

/// Takes `count` chunks and makes packets of them.
fn fill(queue: &mut Queue, numbers: impl Iterator<Item = u32>) -> Vec<Frame> {
    let mut batch = Vec::new();
    for number in numbers {
        let content = packet(number);
        let mut frame = queue.umem_mut().take().unwrap();
        queue.umem_mut().set_len(&mut frame, content.len()).unwrap();
        queue.umem().data_mut(&mut frame).copy_from_slice(&content);
        batch.push(frame);
    }
    batch
}

/// Transmits all of `batch` and waits until the kernel has completed it.
fn transmit(socket: &Socket, queue: &mut Queue, mut batch: Vec<Frame>) {
    let pool = queue.census().pool as usize + batch.len();
    wait_until("all is completed", DEFAULT_TIMEOUT, || {
        queue.transmit(&mut batch);
        if queue.tx_needs_wakeup() {
            let (Wake::Done | Wake::Retry) = socket.wake_tx().unwrap();
        }
        queue.complete();
        batch.is_empty() && queue.census().pool as usize == pool
    });
}

#[test]
fn transmits_ten_thousand_packets_that_arrive_at_the_other_end() {
    with_veth(|| {
        let (socket, mut queue) = open("near", 0);
        assert!(!socket.zero_copy(), "veth has no zero-copy");
        assert!(
            queue.tx_needs_wakeup(),
            "copy mode always wants to be woken"
        );
        let mut far = listener();
        let mut buffer = [0; 2048];
        for first in (0..10_000).step_by(40) {
            let batch = fill(&mut queue, first..first + 40);
            transmit(&socket, &mut queue, batch);
            for number in first..first + 40 {
                let len = far.read(&mut buffer).unwrap();
                assert_eq!(buffer[..len], packet(number));
            }
        }
        let census = queue.audit().unwrap();
        assert_eq!((census.pool, census.held, census.kernel), (64, 0, 64));
        assert_eq!(queue.rejected(), xsk::Rejected::default());
        let statistics = socket.statistics().unwrap();
        // The kernel counts how often it looked at an empty tx ring: at least once per wake-up.
        assert!(statistics.tx_ring_empty_descs >= 250, "{statistics:?}");
        let expected = Statistics {
            tx_ring_empty_descs: statistics.tx_ring_empty_descs,
            ..Statistics::default()
        };
        assert_eq!(statistics, expected);
    });
}

#[test]
fn vlan_stripping_is_switched_off_and_on_again() {
    with_veth(|| {
        let near = Nic::by_name("near").unwrap();
        let both = VlanStripping {
            customer: true,
            service: true,
        };
        let customer = VlanStripping {
            customer: true,
            service: false,
        };
        assert_eq!(near.vlan_stripping().unwrap(), both, "as a veth is made");
        for wanted in [VlanStripping::OFF, customer, both] {
            assert_eq!(near.set_vlan_stripping(wanted).unwrap(), wanted);
            assert_eq!(near.vlan_stripping().unwrap(), wanted);
        }
        // What it says of itself is not true: a tag within a packet stays there.
        assert_eq!(near.driver().unwrap().as_deref(), Some("veth"));
        assert_eq!(near.hidden_vlan_tags().unwrap(), VlanStripping::OFF);
        // The loopback driver has no such feature, and a bridge and a tap have not either.
        ip(&["link", "add", "bridge", "type", "bridge"]);
        ip(&["tuntap", "add", "tap", "mode", "tap"]);
        for other in ["lo", "bridge", "tap"] {
            let other = Nic::by_name(other).unwrap();
            assert_eq!(other.vlan_stripping().unwrap(), VlanStripping::OFF);
            assert_eq!(other.set_vlan_stripping(both).unwrap(), VlanStripping::OFF);
        }
    });
}

#[test]
fn receives_packets_with_the_metadata_of_the_xdp_program() {
    with_veth(|| {
        let (near, mut near_queue) = open("near", 0);
        let (far, mut far_queue) = open("far", 0);
        let redirect = Redirect::attach(Nic::by_name("near").unwrap().index(), near.as_fd());
        let mut received = 0;
        let mut batch = Vec::new();
        for first in (0..2000).step_by(40) {
            let packets = fill(&mut far_queue, first..first + 40);
            transmit(&far, &mut far_queue, packets);
            wait_until("all is received", DEFAULT_TIMEOUT, || {
                near_queue.receive(&mut batch, 64);
                for frame in batch.drain(..) {
                    let umem = near_queue.umem_mut();
                    assert_eq!(umem.data(&frame), packet(received));
                    assert_eq!(
                        umem.metadata(&frame, 8).unwrap(),
                        Redirect::METADATA.to_ne_bytes()
                    );
                    // In copy mode the kernel puts packets where `take` does.
                    let own = umem.take().unwrap();
                    assert_eq!(umem.max_len(&frame), umem.max_len(&own));
                    umem.release(own);
                    umem.release(frame);
                    received += 1;
                }
                near_queue.refill();
                received == first + 40
            });
        }
        drop(redirect);
        let census = near_queue.audit().unwrap();
        assert_eq!((census.pool, census.held, census.kernel), (64, 0, 64));
        assert_eq!(near_queue.rejected(), xsk::Rejected::default());
        let statistics = near.statistics().unwrap();
        assert_eq!((statistics.rx_dropped, statistics.rx_ring_full), (0, 0));
    });
}

#[test]
fn the_kernel_counts_packets_it_had_no_chunk_for() {
    with_veth(|| {
        let (near, mut near_queue) = open("near", 0);
        let (far, mut far_queue) = open("far", 0);
        let _redirect = Redirect::attach(Nic::by_name("near").unwrap().index(), near.as_fd());
        // 64 chunks are on the fill ring and 64 entries on the rx ring: the rest is dropped.
        for first in [0, 40] {
            let packets = fill(&mut far_queue, first..first + 40);
            transmit(&far, &mut far_queue, packets);
        }
        wait_until("16 packets are dropped", DEFAULT_TIMEOUT, || {
            let statistics = near.statistics().unwrap();
            statistics.rx_dropped + statistics.rx_ring_full == 16
        });
        let mut batch = Vec::new();
        assert_eq!(near_queue.receive(&mut batch, usize::MAX), 64);
        assert_eq!(near_queue.audit().unwrap().held, 64);
    });
}

#[test]
fn every_queue_transmits() {
    with_veth(|| {
        let mut far = listener();
        let mut queues: Vec<_> = (0..QUEUES).map(|queue| open("near", queue)).collect();
        let mut buffer = [0; 2048];
        for (number, (socket, queue)) in (0..).zip(&mut queues) {
            let batch = fill(queue, number..=number);
            transmit(socket, queue, batch);
            let len = far.read(&mut buffer).unwrap();
            assert_eq!(buffer[..len], packet(number));
        }
    });
}

#[test]
fn zero_copy_is_refused_where_the_driver_cannot() {
    with_veth(|| {
        let config = SocketConfig {
            mode: BindMode::ZeroCopy,
            ..config("near", 0)
        };
        let error = Socket::open(&config, umem()).unwrap_err();
        assert!(
            matches!(&error, Error::NoZeroCopy { interface } if interface == "near"),
            "{error}"
        );
        let config = SocketConfig {
            mode: BindMode::Auto,
            ..config
        };
        assert!(!Socket::open(&config, umem()).unwrap().0.zero_copy());
    });
}

#[test]
fn a_missing_queue_or_interface_is_named() {
    with_veth(|| {
        let error = Socket::open(&config("near", QUEUES), umem()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "near has no queue 4: its queues are 0 to 3"
        );
        let missing = SocketConfig {
            ifindex: 9999,
            ..config("near", 0)
        };
        let error = Socket::open(&missing, umem()).unwrap_err();
        assert!(matches!(&error, Error::NoSuchInterface { .. }), "{error}");
    });
}

#[test]
fn a_busy_queue_is_named_and_a_freed_one_is_had_at_once() {
    with_veth(|| {
        let first = open("near", 2);
        let error = Socket::open(&config("near", 2), umem()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "queue 2 of near already has an AF_XDP socket: \
             stop the program that owns it or choose another queue"
        );
        drop(first);
        // The kernel frees the queue a moment after the close: `open` waits for it.
        for _ in 0..5 {
            drop(open("near", 2));
        }
    });
}

#[test]
fn a_link_that_goes_down_is_survived() {
    with_veth(|| {
        let (socket, mut queue) = open("near", 0);
        let mut far = listener();
        let mut batch = fill(&mut queue, 0..8);
        ip(&["link", "set", "near", "down"]);
        assert_eq!(queue.transmit(&mut batch), 8);
        let error = socket.wake_tx().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
        assert_eq!(socket.wake_rx().unwrap_err().kind(), ErrorKind::NetworkDown);
        assert_eq!((queue.complete(), queue.tx_pending()), (0, 8));
        ip(&["link", "set", "near", "up"]);
        let mut completed = 0;
        wait_until("what waited is sent", DEFAULT_TIMEOUT, || {
            let (Wake::Done | Wake::Retry) = socket.wake_tx().unwrap();
            completed += queue.complete();
            completed == 8
        });
        // The link may drop what is sent before its carrier is back, so ask for one more packet.
        let batch = fill(&mut queue, 8..=8);
        transmit(&socket, &mut queue, batch);
        let mut buffer = [0; 2048];
        while far.read(&mut buffer).unwrap() != packet(8).len() {}
        assert_eq!(queue.audit().unwrap().held, 0);
    });
}

#[test]
fn busy_polling_and_no_need_wakeup_are_accepted() {
    with_veth(|| {
        let mut far = listener();
        let busy_poll = Some(xsk::BusyPoll {
            usecs: 20,
            budget: 16,
        });
        let config = SocketConfig {
            busy_poll,
            need_wakeup: false,
            ..config("near", 1)
        };
        let (socket, mut queue) = Socket::open(&config, umem()).unwrap();
        let batch = fill(&mut queue, 0..=0);
        transmit(&socket, &mut queue, batch);
        assert_eq!(far.read(&mut [0; 2048]).unwrap(), packet(0).len());
        assert_eq!(socket.wake_rx().unwrap(), Wake::Done);
    });
}

#[test]
fn a_process_without_cap_net_raw_is_told_so() {
    with_veth(|| {
        let (config, umem) = (config("near", 0), umem());
        Capability::NetRaw.give_up();
        let error = Socket::open(&config, umem).unwrap_err();
        assert!(matches!(error, Error::Permission { .. }), "{error}");
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
    });
}

/// The limit is the whole process's, but only threads without `CAP_IPC_LOCK` feel it: this one's.
#[test]
fn locked_memory_is_raised_if_it_may_be_and_else_asked_for() {
    with_veth(|| {
        const LIMIT: u64 = 64 << 10;
        Capability::IpcLock.give_up();
        Capability::SysResource.give_up();
        let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
        setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT, hard).unwrap();
        let config = config("near", 0);
        if hard > 8 * LIMIT {
            drop(Socket::open(&config, umem()).unwrap());
            let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
            assert_eq!(soft, hard, "raised as far as it goes");
        }
        setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT, LIMIT).unwrap();
        let error = Socket::open(&config, umem()).unwrap_err();
        let expected = (128 * 2048, LIMIT);
        assert!(
            matches!(error, Error::Memlock { needed, limit } if (needed, limit) == expected),
            "{error}"
        );
        assert!(error.to_string().contains("RLIMIT_MEMLOCK"), "{error}");
    });
}

#[test]
fn facts_about_an_interface_follow_it() {
    with_veth(|| {
        let near = Nic::by_name("near").unwrap();
        let channels = near.channels().unwrap();
        assert_eq!((channels.rx, channels.tx), (QUEUES, QUEUES));
        assert_eq!(channels.rx_max, QUEUES);
        ip(&[
            "link",
            "set",
            "near",
            "mtu",
            "9000",
            "address",
            "02:00:00:00:0a:ff",
        ]);
        assert_eq!(near.mtu().unwrap(), 9000);
        assert_eq!(near.mac().unwrap(), Some([2, 0, 0, 0, 0x0a, 0xff]));
        ip(&["link", "set", "far", "down"]);
        let flags = near.flags().unwrap();
        assert!(flags.is_up() && !flags.is_loopback());
        wait_until("near has lost its carrier", DEFAULT_TIMEOUT, || {
            !near.flags().unwrap().is_running()
        });
        ip(&["link", "set", "near", "down"]);
        assert!(!near.flags().unwrap().is_up());
        ip(&["link", "del", "near"]);
        let error = near.mtu().unwrap_err();
        assert!(matches!(&error, Error::NoSuchInterface { interface } if interface == "near"));
    });
}
