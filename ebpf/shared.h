/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the XDP programs and user space agree on. The one definition: user space mirrors it in
 * src/abi/, which asserts every size and offset at compile time.
 *
 * All integers are in host byte order unless typed __be16.
 */
#ifndef XDP_TWAMP_SHARED_H
#define XDP_TWAMP_SHARED_H

#include <linux/types.h>

/* Changes whenever struct rx_meta does. The value is unlikely in stale memory. */
#define RX_META_VERSION 0x54570002u

/* Which clock struct rx_meta.arrival_ns was read from. */
enum stamp_source {
	STAMP_NONE = 0,	      /* no stamp: user space must take one */
	STAMP_KERNEL_TAI = 1, /* bpf_ktime_get_tai_ns() in the driver, ns since 1970 TAI */
	STAMP_NIC = 2,	      /* the NIC's clock, ns on that clock's own scale */
};

/*
 * Written just below the frame of every redirected packet, by both programs. 32 octets: the largest metadata that
 * kernels such as 6.1 allow. The version comes last, next to the frame, because metadata grows
 * downwards: a reader that knows nothing of the length finds it at frame - 4.
 *
 * Offsets count from the first octet of the frame (the destination MAC address).
 */
struct rx_meta {
	__u64 arrival_ns;  /* T2 or T4; its clock is named by stamp_source */
	__u32 rule;	   /* what matched: reflector struct rule.id, sender the session's number */
	__u16 l3;	   /* offset of the IPv4 or IPv6 header */
	__u16 l4;	   /* offset of the UDP header */
	__u16 payload;	   /* offset of the UDP payload */
	__u16 payload_len; /* octets of UDP payload, from the UDP length, never from the frame */
	__u8 stamp_source; /* enum stamp_source */
	__u8 vlan_tags;	   /* VLAN tags standing in the frame, 0 to 2 */
	__u16 generation;  /* of the rule; the sender's have none: zero */
	__u8 reserved[4];  /* zero */
	__u32 version;	   /* RX_META_VERSION */
};

/* Where a packet came in. First member of every key: the same address may be another's elsewhere. */
struct scope {
	__u32 ifindex;
	__u16 outer_vid; /* VLAN ID of the outermost tag; 0 for none and for priority tags */
	__u16 inner_vid; /* VLAN ID of the second tag; 0 for none */
};

/*
 * An IPv6 address, in network order; IPv4 as ::ffff:a.b.c.d. Two words: clang copies octets one by one.
 */
struct address {
	__be64 high;
	__be64 low;
};

/* Keys are compared octet by octet: all of them is named, and what is reserved is zero. */

/* A UDP flow. What the reflector looks an exact session up by. */
struct flow_key {
	struct scope scope;
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u32 reserved;
};

/*
 * What the reflector looks a listener up by. The same map has marks, whose keys are no packet's and
 * whose values are nothing:
 *   scope 0, an address and the number of a domain: the address is ours in that domain. A domain is all
 *   interfaces that share their addresses: those of one VRF, or those of none;
 *   a scope, an IPv6 link-local address and LISTENER_MARK: the address is ours in that scope;
 *   a scope, the address :: and LISTENER_MARK + a port: a general listener has that port there.
 *
 * A general listener is one that is not for exact sessions alone: with a client list or, an open one,
 * without.
 */
struct listener_key {
	struct scope scope;
	struct address address; /* destination */
	__u64 port;		/* UDP destination port */
};

#define LISTENER_MARK 0x10000ull /* no port */

enum rule_flags {
	RULE_SESSIONS_ONLY = 1,	    /* nobody may ask but in an exact session */
	RULE_SESSIONS = 2,	    /* there are exact sessions: look there first */
	RULE_CLIENTS = 4,	    /* only who is on the client list may ask */
	RULE_REFUSED_TO_KERNEL = 8, /* others are passed, and not dropped */
};

/* A limit of policer.h; all zero for none. */
struct limit {
	__u64 cost;  /* of a packet in ticks, or of an octet in 2^-17 ticks */
	__u64 burst; /* ticks */
};

/* What a match yields: a listener's rule, or an exact session's. */
struct rule {
	__u32 id;	   /* the listener's number: whose counters and buckets they are */
	__u16 generation;
	__u16 flags;	   /* enum rule_flags */
	__u16 sessions;	   /* slot of this generation's exact sessions */
	__u16 client_list; /* slot of the client list */
	/* General listeners' ports here lie in this range; such a source is not answered. Empty: it is. */
	__u16 guard_first;
	__u16 guard_last;
	__u64 own_filter; /* bit filter_bit(address) is set for each address of ours here */
	__u32 domain;	  /* whose addresses are ours here */
	__u32 reserved;
	struct limit source;  /* packets of one source prefix */
	struct limit packets; /* packets of all */
	struct limit octets;  /* octets of IP packet of all */
	struct address source_mask_v4; /* which bits of a source are its prefix */
	struct address source_mask_v6;
};

/* An entry of a client list; the longest prefix that matches counts. */
struct client_key {
	__u32 prefix_len; /* bits of `address` that count: 96 more than an IPv4 prefix has */
	__be32 address[4]; /* as struct address */
};

/* What it says. No entry at all says no. */
enum client {
	CLIENT_DENIED = 0,
	CLIENT_ALLOWED = 1,
};

/* Whose bucket it is. */
struct source_key {
	struct address source; /* under the rule's mask */
	__u32 listener;	       /* struct rule.id */
	__u32 reserved;
};

/* A listener's buckets: when each will be empty again, in ticks. A cache line of its own. */
struct buckets {
	__u64 packets;
	__u64 octets;
	__u64 reserved[6];
};

/* What became of the packets that a listener matched. */
enum listener_count {
	LISTENER_ADMITTED,	  /* redirected */
	LISTENER_LOOP,		  /* stopped by the loop guard */
	LISTENER_CLIENT,	  /* of no client, or in no session where there must be one */
	LISTENER_SOURCE_RATE,	  /* over the limit of their source */
	LISTENER_RATE,		  /* over the listener's limits */
	LISTENER_COUNTS,
};

struct listener_counts {
	__u64 packets[LISTENER_COUNTS];
};

/*
 * What the sender looks the sessions of a reply up by: the packet must match all of it. The VLAN IDs
 * are those of the requests, whose tags a reply carries too.
 */
struct session_key {
	struct scope scope;
	struct address local;  /* destination of the reply */
	struct address remote; /* source of the reply */
	__be16 remote_port;    /* UDP source port of the reply */
	__u16 reserved[3];
};

/* What a match yields: sessions on consecutive local ports, numbered consecutively. */
struct session_range {
	__u32 first_session; /* number of the session on first_port */
	__u16 first_port;    /* lowest UDP destination port of the replies */
	__u16 ports;	     /* how many; ports beyond are not ours */
};

/* The interface the program is attached to. */
struct interface {
	__u32 ifindex;
	__u8 mac[6];	   /* the only destination MAC address taken for ours */
	__u16 frame_limit; /* longest frame that fits in a UMEM chunk, octets */
};

/* Why a packet went where it went: index into the per-CPU counter array. */
enum verdict {
	REDIRECTED,	      /* to the AF_XDP socket of its queue, with rx_meta */
	REDIRECTED_BARE,      /* the same, but the driver gave no room for rx_meta */
	PASSED_NOT_IP,	      /* neither IPv4 nor IPv6 (ARP, LLDP, ...) */
	PASSED_VLAN_DEPTH,    /* more than two VLAN tags */
	PASSED_TRUNCATED,     /* ends inside a header, or before the length a header states */
	PASSED_IP_OPTIONS,    /* IPv4 options, or an IPv6 extension header */
	PASSED_IP_MALFORMED,  /* version or length field makes no sense */
	PASSED_FRAGMENT,      /* IPv4 fragment */
	PASSED_NOT_UDP,	      /* TCP, ICMP, ... */
	PASSED_UDP_LENGTH,    /* UDP length disagrees with the IP length */
	PASSED_OTHER_MAC,     /* destination MAC address is not the interface's */
	PASSED_NO_LISTENER,   /* UDP, but no listener has this VLAN, address and port */
	PASSED_TOO_LONG,      /* multi-buffer, or longer than a UMEM chunk holds */
	PASSED_NO_SOCKET,     /* no AF_XDP socket on this receive queue */
	PASSED_NO_SESSION,    /* UDP, but not a reply to a session of the sender's */
	PASSED_CLIENT,	      /* as DROPPED_CLIENT, and the kernel is to have it */
	DROPPED_OWN_SOURCE,   /* forged: its source is an address of ours, or a broadcast address */
	DROPPED_LISTENER_PORT, /* its source port is a general listener's: the answer might be answered */
	DROPPED_CLIENT,	      /* of no client, or in no session where there must be one */
	DROPPED_SOURCE_RATE,  /* over the limit of its source prefix */
	DROPPED_RATE,	      /* over the limits of the listener */
	VERDICTS,
};

_Static_assert(sizeof(struct rx_meta) == 32, "rx_meta must be 32 octets, without padding");
_Static_assert(sizeof(struct scope) == 8, "scope must have no padding");
_Static_assert(sizeof(struct flow_key) == 48, "flow_key must have no padding");
_Static_assert(sizeof(struct listener_key) == 32, "listener_key must have no padding");
_Static_assert(sizeof(struct rule) == 112, "rule must have no padding");
_Static_assert(sizeof(struct client_key) == 20, "client_key must have no padding");
_Static_assert(sizeof(struct source_key) == 24, "source_key must have no padding");
_Static_assert(sizeof(struct buckets) == 64, "buckets must fill a cache line");
_Static_assert(sizeof(struct session_key) == 48, "session_key must have no padding");
_Static_assert(sizeof(struct session_range) == 8, "session_range must have no padding");
_Static_assert(sizeof(struct interface) == 12, "interface must have no padding");

#endif /* XDP_TWAMP_SHARED_H */
