/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the XDP programs and user space agree on. The one definition: user space mirrors it in
 * src/abi.rs, which asserts every size and offset at compile time.
 *
 * All integers are in host byte order unless typed __be16.
 */
#ifndef XDP_TWAMP_SHARED_H
#define XDP_TWAMP_SHARED_H

#include <linux/types.h>

/* Changes whenever struct rx_meta does. The value is unlikely in stale memory. */
#define RX_META_VERSION 0x54570001u

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
	__u8 reserved[6];  /* zero */
	__u32 version;	   /* RX_META_VERSION */
};

/* What the reflector looks a listener up by: the packet must match all of it. */
struct listener_key {
	__u32 ifindex;
	__u16 outer_vid; /* VLAN ID of the outermost tag; 0 for none and for priority tags */
	__u16 inner_vid; /* VLAN ID of the second tag; 0 for none */
	__u8 address[16]; /* destination; IPv4 as ::ffff:a.b.c.d */
	__be16 port;	  /* UDP destination port */
	__u16 reserved;	  /* zero: keys are compared octet by octet */
};

/* What a match yields. */
struct rule {
	__u32 id;	/* meaning known to user space */
	__u32 reserved; /* zero */
};

/*
 * What the sender looks the sessions of a reply up by: the packet must match all of it. The VLAN IDs
 * are those of the requests, whose tags a reply carries too.
 */
struct session_key {
	__u32 ifindex;
	__u16 outer_vid; /* as in struct listener_key */
	__u16 inner_vid;
	__u8 local[16];	    /* destination of the reply; IPv4 as ::ffff:a.b.c.d */
	__u8 remote[16];    /* source of the reply */
	__be16 remote_port; /* UDP source port of the reply */
	__u16 reserved;	    /* zero: keys are compared octet by octet */
};

/* What a match yields: sessions on consecutive local ports, numbered consecutively. */
struct session_range {
	__u32 first_session; /* number of the session on first_port */
	__u16 first_port;    /* lowest UDP destination port of the replies */
	__u16 ports;	     /* how many; ports beyond are not ours */
};

/* One per interface the program is attached to, keyed by ifindex. */
struct interface {
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
	PASSED_OWN_SOURCE,    /* forged: its source is an address we answer on */
	PASSED_TOO_LONG,      /* multi-buffer, or longer than a UMEM chunk holds */
	PASSED_NO_SOCKET,     /* no AF_XDP socket on this receive queue */
	PASSED_NO_SESSION,    /* UDP, but not a reply to a session of the sender's */
	VERDICTS,
};

_Static_assert(sizeof(struct rx_meta) == 32, "rx_meta must be 32 octets, without padding");
_Static_assert(sizeof(struct listener_key) == 28, "listener_key must have no padding");
_Static_assert(sizeof(struct session_key) == 44, "session_key must have no padding");
_Static_assert(sizeof(struct session_range) == 8, "session_range must have no padding");
_Static_assert(sizeof(struct rule) == 8, "rule must have no padding");
_Static_assert(sizeof(struct interface) == 8, "interface must have no padding");

#endif /* XDP_TWAMP_SHARED_H */
