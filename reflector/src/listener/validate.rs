//! From what was typed to listeners that can work.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use ebpf::policer::{BitLimit, LimitError, PacketLimit};
use ipnet::IpNet;
use wire::time::TimestampFormat;

use super::conflict::{self, Conflict};
use super::{Limits, Listener, RefusedPolicy, SourceLimit};
use crate::args::listener::{
    EcnArg, FlowLabelArg, FormatArg, PaddingArg, RefusedArg, SequenceArg, ShortArg, TimestampsArg,
};
use crate::args::values::{DscpArg, Limit, Switch};
use crate::args::{Args, Datapath, ListenerArgs};
use crate::clients::{Clients, ClientsError};
use crate::rule::{
    DscpPolicy, EcnPolicy, FlowLabelPolicy, Format, Padding, Rule, SequencePolicy, ShortPolicy,
};

/// Most listeners of one process.
pub const LISTENERS_MAX: usize = 4096;

/// Why the listeners cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// No interface is named, and the datapath needs one.
    #[error(
        "no interface is named: give --interface, or interface= in each --listener; only \
         --datapath socket can do without"
    )]
    NoInterface,
    /// More than [`LISTENERS_MAX`].
    #[error("{0} listeners are too many: {LISTENERS_MAX} is the limit")]
    TooMany(usize),
    /// An option of TWAMP-Light for another format.
    #[error("{listener}: {option} needs format=twamp-light")]
    TwampLightOnly {
        /// Which.
        listener: String,
        /// The option.
        option: &'static str,
    },
    /// Provisioned sessions and a client list, for one listener.
    #[error(
        "{0}: it answers its peers alone, so leave out allow, deny and clients, or make another \
         listener of them"
    )]
    PeersAndClients(String),
    /// A peer without an address to talk to.
    #[error("{listener}: peer {peer} has no address of its family to talk to")]
    PeerFamily {
        /// Which.
        listener: String,
        /// The peer.
        peer: std::net::SocketAddr,
    },
    /// A limit that cannot be.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The client list is wrong.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// Two listeners contradict each other.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// The listeners of a command line, in its order; without a `--listener`, the one that the options
/// make. Reads the client lists.
///
/// # Errors
///
/// What makes them impossible, in one sentence.
pub fn validate(args: &Args) -> Result<Vec<Listener>, Invalid> {
    let alone = [ListenerArgs::default()];
    let typed: Vec<&ListenerArgs> = match args.listeners.as_slice() {
        [] => alone.iter().collect(),
        specs => specs.iter().map(|spec| &spec.0).collect(),
    };
    if typed.len() > LISTENERS_MAX {
        return Err(Invalid::TooMany(typed.len()));
    }
    let mut lists = ClientLists::default();
    let mut listeners = Vec::with_capacity(typed.len());
    for (number, own) in (0..).zip(typed) {
        let mut listener = base(number, own, &args.defaults)?;
        if listener.interfaces.is_empty() && args.datapath != Datapath::Socket {
            return Err(Invalid::NoInterface);
        }
        listener.rule.format = format(own, &args.defaults, &listener)?;
        set_who_is_answered(&mut listener, own, &args.defaults, &mut lists)?;
        listeners.push(listener);
    }
    conflict::check(&listeners)?;
    Ok(listeners)
}

/// Everything that does not depend on anything else.
fn base(number: u32, own: &ListenerArgs, defaults: &ListenerArgs) -> Result<Listener, LimitError> {
    Ok(Listener {
        rule: rule(number, own, defaults),
        interfaces: distinct(either(&own.interfaces, &defaults.interfaces)),
        vlan: own.vlan.or(defaults.vlan).unwrap_or_default(),
        vrf: own
            .vrf
            .as_ref()
            .or(defaults.vrf.as_ref())
            .and_then(|vrf| vrf.0.clone()),
        addresses: distinct(either(&own.addresses, &defaults.addresses)),
        port: own.port.or(defaults.port).unwrap_or(wire::twamp::UDP_PORT),
        peers: Vec::new(),
        clients: None,
        refused: match own.refused.or(defaults.refused) {
            None | Some(RefusedArg::Drop) => RefusedPolicy::Drop,
            Some(RefusedArg::Pass) => RefusedPolicy::Pass,
        },
        limits: limits(own, defaults)?,
        guard_ports: is_on(own.loop_guard_ports.or(defaults.loop_guard_ports), true),
    })
}

fn rule(number: u32, own: &ListenerArgs, defaults: &ListenerArgs) -> Rule {
    Rule {
        listener: number,
        format: Format::default(),
        timestamps: match own.timestamps.or(defaults.timestamps) {
            None | Some(TimestampsArg::Ntp) => TimestampFormat::Ntp,
            Some(TimestampsArg::Ptp) => TimestampFormat::Ptp,
        },
        sequence: match own.sequence.or(defaults.sequence) {
            None | Some(SequenceArg::Stateless) => SequencePolicy::Stateless,
            Some(SequenceArg::Stateful) => SequencePolicy::Stateful,
        },
        dscp: match own.dscp.or(defaults.dscp) {
            None | Some(DscpArg::Copy) => DscpPolicy::Copy,
            Some(DscpArg::Fixed(dscp)) => DscpPolicy::Fixed(dscp.value()),
        },
        ecn: match own.ecn.or(defaults.ecn) {
            None | Some(EcnArg::Clear) => EcnPolicy::Clear,
            Some(EcnArg::Copy) => EcnPolicy::Copy,
        },
        flow_label: match own.flow_label.or(defaults.flow_label) {
            None | Some(FlowLabelArg::Copy) => FlowLabelPolicy::Copy,
            Some(FlowLabelArg::Zero) => FlowLabelPolicy::Zero,
        },
        short: match own.short.or(defaults.short) {
            None | Some(ShortArg::Answer) => ShortPolicy::Answer,
            Some(ShortArg::Refuse) => ShortPolicy::Refuse,
        },
        refuse_replies: is_on(own.loop_guard_replies.or(defaults.loop_guard_replies), true),
    }
}

fn limits(own: &ListenerArgs, defaults: &ListenerArgs) -> Result<Limits, LimitError> {
    let burst = own
        .burst
        .or(defaults.burst)
        .unwrap_or(Limits::DEFAULT_BURST);
    let rate = |own: Option<Limit>, defaults: Option<Limit>| {
        let limit = own.or(defaults).and_then(|limit| limit.0);
        limit.map(NonZeroU64::get)
    };
    let packets = |rate| PacketLimit::per_second(rate, burst);
    let source_packets = rate(own.source_rate, defaults.source_rate).map(packets);
    let prefix = own.source_prefix.or(defaults.source_prefix);
    let bits = rate(own.bandwidth, defaults.bandwidth);
    Ok(Limits {
        source: source_packets.transpose()?.map(|packets| SourceLimit {
            packets,
            prefix: prefix.unwrap_or_default(),
        }),
        all: ebpf::policer::Limits {
            packets: rate(own.rate, defaults.rate).map(packets).transpose()?,
            bits: bits
                .map(|rate| BitLimit::per_second(rate, burst))
                .transpose()?,
        },
    })
}

/// Format with what belongs to TWAMP-Light alone. A default of that kind is nothing to a listener
/// that names another format.
fn format(
    own: &ListenerArgs,
    defaults: &ListenerArgs,
    listener: &Listener,
) -> Result<Format, Invalid> {
    let format = own.format.or(defaults.format);
    let inherits = own.format.is_none_or(|own| own == FormatArg::TwampLight);
    let padding = own.padding.or(defaults.padding.filter(|_| inherits));
    let report = own
        .dscp_report
        .or(defaults.dscp_report.filter(|_| inherits));
    let report = is_on(report, false);
    let refused = |option| Invalid::TwampLightOnly {
        listener: listener.to_string(),
        option,
    };
    match format {
        Some(FormatArg::TwampLight) => {
            let padding = match padding {
                None | Some(PaddingArg::Same) => Padding::SameOffset,
                Some(PaddingArg::Shift) => Padding::Shift,
                Some(PaddingArg::Zero) => Padding::Zero,
            };
            Ok(if report {
                Format::TwampLightDscp(padding)
            } else {
                Format::TwampLight(padding)
            })
        }
        _ if padding.is_some() => Err(refused("padding")),
        _ if report => Err(refused("dscp-report")),
        None | Some(FormatArg::ByLength) => Ok(Format::ByLength),
        Some(FormatArg::Stamp) => Ok(Format::Stamp),
    }
}

/// Peers and client lists belong together: a listener that says one of them says all.
fn set_who_is_answered(
    listener: &mut Listener,
    own: &ListenerArgs,
    defaults: &ListenerArgs,
    lists: &mut ClientLists,
) -> Result<(), Invalid> {
    let lists_of = |args: &ListenerArgs| {
        !(args.allow.is_empty() && args.deny.is_empty() && args.clients.is_none())
    };
    let says = |args: &ListenerArgs| !args.peers.is_empty() || lists_of(args);
    let args = if says(own) { own } else { defaults };
    if !args.peers.is_empty() && lists_of(args) {
        return Err(Invalid::PeersAndClients(listener.to_string()));
    }
    let has_family = |v4: bool| {
        listener.is_any()
            || listener
                .addresses
                .iter()
                .any(|address| address.is_ipv4() == v4)
    };
    if let Some(&peer) = args.peers.iter().find(|peer| !has_family(peer.is_ipv4())) {
        let listener = listener.to_string();
        return Err(Invalid::PeerFamily { listener, peer });
    }
    listener.peers.clone_from(&args.peers);
    if lists_of(args) {
        listener.clients = Some(lists.read(args)?);
    }
    Ok(())
}

/// Every list, read once: thousands of listeners may share one.
#[derive(Default)]
struct ClientLists(HashMap<ListSource, Arc<Clients>>);

/// What a list is made from.
#[derive(PartialEq, Eq, Hash)]
struct ListSource {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    file: Option<PathBuf>,
}

impl ClientLists {
    fn read(&mut self, args: &ListenerArgs) -> Result<Arc<Clients>, ClientsError> {
        let source = ListSource {
            allow: args.allow.clone(),
            deny: args.deny.clone(),
            file: args.clients.clone(),
        };
        if let Some(list) = self.0.get(&source) {
            return Ok(Arc::clone(list));
        }
        let list = Clients::read(&source.allow, &source.deny, source.file.as_deref())?;
        let list = Arc::new(list);
        self.0.insert(source, Arc::clone(&list));
        Ok(list)
    }
}

fn is_on(switch: Option<Switch>, otherwise: bool) -> bool {
    switch.map_or(otherwise, |switch| switch == Switch::On)
}

fn either<'a, T>(own: &'a [T], defaults: &'a [T]) -> &'a [T] {
    if own.is_empty() { defaults } else { own }
}

/// Each once, in the order given.
fn distinct<T: Clone + PartialEq>(all: &[T]) -> Vec<T> {
    let mut distinct = Vec::with_capacity(all.len());
    for one in all {
        if !distinct.contains(one) {
            distinct.push(one.clone());
        }
    }
    distinct
}
