/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bounds-checked header parsing. Matches exactly what the fast path understands: Ethernet, up to
 * two VLAN tags, IPv4 without options or fragments or IPv6 without extension headers, UDP whose
 * length is the one the IP header states. Everything else gets a verdict that passes it on.
 */
#ifndef XDP_TWAMP_PARSE_H
#define XDP_TWAMP_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define VLAN_TAGS_MAX 2
#define VLAN_VID_MASK 0x0fff
/* More fragments, or a fragment offset; "don't fragment" is not of interest. */
#define IPV4_FRAGMENT_MASK 0x3fff

/* Own ones, because those of the kernel's are packed: clang would read them octet by octet. */
struct ethernet_header {
	__be16 destination[3];
	__be16 source[3];
	__be16 protocol;
};

struct vlan_header {
	__be16 tci;
	__be16 next;
};

/*
 * What parsing finds out; offsets as in struct rx_meta. Lives in registers and on the stack as the
 * compiler likes: keys are made of it where they are needed, each by whole words.
 */
struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u16 outer_vid; /* as in struct scope */
	__u16 inner_vid;
	__be16 mac[3]; /* destination */
	__u16 l3;
	__u16 l4;
	__u16 payload;
	__u16 payload_len;
	__u8 vlan_tags;
};

/*
 * The reading position. `offset` repeats what `pos` says as a number, so that no pointers need to
 * be subtracted (and no scalar of unknown range enters the metadata).
 */
struct cursor {
	void *pos;
	void *end;
	__u16 offset;
};

/* Next `size` octets, or NULL if the frame ends before; moves on. `size` must be a constant. */
static __always_inline void *take(struct cursor *at, __u16 size)
{
	void *header = at->pos;

	if (header + size > at->end)
		return NULL;
	at->pos = header + size;
	at->offset += size;
	return header;
}

static __always_inline int is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/* Returns the ethertype behind the tags (network order), or a negative verdict. */
static __always_inline int parse_ethernet(struct cursor *at, struct packet *packet)
{
	struct ethernet_header *eth = take(at, sizeof(*eth));
	__be16 protocol;

	if (!eth)
		return -PASSED_TRUNCATED;
	__builtin_memcpy(packet->mac, eth->destination, sizeof(packet->mac));
	protocol = eth->protocol;

#pragma unroll
	for (int depth = 0; depth < VLAN_TAGS_MAX; depth++) {
		struct vlan_header *tag;
		__u16 vid;

		if (!is_vlan(protocol))
			break;
		tag = take(at, sizeof(*tag));
		if (!tag)
			return -PASSED_TRUNCATED;
		vid = bpf_ntohs(tag->tci) & VLAN_VID_MASK;
		if (depth == 0)
			packet->outer_vid = vid;
		else
			packet->inner_vid = vid;
		packet->vlan_tags = depth + 1;
		protocol = tag->next;
	}
	if (is_vlan(protocol))
		return -PASSED_VLAN_DEPTH;
	return protocol;
}

/* a.b.c.d as ::ffff:a.b.c.d. */
static __always_inline struct address map_ipv4(__be32 ipv4)
{
	struct address mapped = { 0, bpf_cpu_to_be64(0xffffull << 32 | bpf_ntohl(ipv4)) };

	return mapped;
}

/* Both IP parsers return the octets behind the IP header, or a negative verdict. */
static __always_inline int parse_ipv4(struct cursor *at, struct packet *packet)
{
	struct iphdr *ip = take(at, sizeof(*ip));
	__u16 total;

	if (!ip)
		return -PASSED_TRUNCATED;
	if (ip->version != 4 || ip->ihl < 5)
		return -PASSED_IP_MALFORMED;
	if (ip->ihl != 5)
		return -PASSED_IP_OPTIONS;
	total = bpf_ntohs(ip->tot_len);
	if (total < sizeof(*ip))
		return -PASSED_IP_MALFORMED;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_MASK))
		return -PASSED_FRAGMENT;
	if (ip->protocol != IPPROTO_UDP)
		return -PASSED_NOT_UDP;

	packet->source = map_ipv4(ip->saddr);
	packet->destination = map_ipv4(ip->daddr);
	return total - sizeof(*ip);
}

static __always_inline int is_extension_header(__u8 next_header)
{
	switch (next_header) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_ESP:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
		return 1;
	default:
		return 0;
	}
}

static __always_inline int is_mapped_ipv4(struct address address)
{
	return !address.high && bpf_be64_to_cpu(address.low) >> 32 == 0xffff;
}

static __always_inline int parse_ipv6(struct cursor *at, struct packet *packet)
{
	struct ipv6hdr *ip = take(at, sizeof(*ip));

	if (!ip)
		return -PASSED_TRUNCATED;
	if (ip->version != 6)
		return -PASSED_IP_MALFORMED;
	if (is_extension_header(ip->nexthdr))
		return -PASSED_IP_OPTIONS;
	if (ip->nexthdr != IPPROTO_UDP)
		return -PASSED_NOT_UDP;

	packet->source = *(struct address *)&ip->saddr;
	packet->destination = *(struct address *)&ip->daddr;
	/* Never on the wire (RFC 4291 2.5.5.2), and it would match an IPv4 listener. */
	if (is_mapped_ipv4(packet->source) || is_mapped_ipv4(packet->destination))
		return -PASSED_IP_MALFORMED;
	return bpf_ntohs(ip->payload_len);
}

/*
 * Reads a whole frame. Returns 0 and fills `packet` (which must come zeroed) if this is UDP that
 * the fast path understands, else the verdict as a negative number.
 */
static __always_inline int parse_frame(void *data, void *end, struct packet *packet)
{
	struct cursor at = { .pos = data, .end = end, .offset = 0 };
	struct udphdr *udp;
	int protocol, space;
	__u16 length;

	protocol = parse_ethernet(&at, packet);
	if (protocol < 0)
		return protocol;

	packet->l3 = at.offset;
	if (protocol == bpf_htons(ETH_P_IP))
		space = parse_ipv4(&at, packet);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		space = parse_ipv6(&at, packet);
	else
		return -PASSED_NOT_IP;
	if (space < 0)
		return space;

	packet->l4 = at.offset;
	udp = take(&at, sizeof(*udp));
	if (!udp)
		return -PASSED_TRUNCATED;
	length = bpf_ntohs(udp->len);
	if (length < sizeof(*udp) || length != space)
		return -PASSED_UDP_LENGTH;

	packet->payload = at.offset;
	packet->payload_len = length - sizeof(*udp);
	/* The frame may be longer (Ethernet padding), never shorter. */
	if (at.pos + packet->payload_len > end)
		return -PASSED_TRUNCATED;
	packet->source_port = udp->source;
	packet->destination_port = udp->dest;
	return 0;
}

#endif /* XDP_TWAMP_PARSE_H */
