/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the reflector's and the sender's program do alike: take what is addressed to the interface,
 * stamp its arrival, describe it in struct rx_meta and redirect it to the AF_XDP socket of its
 * receive queue, counting what becomes of every packet. What a packet must match is each program's
 * own affair.
 *
 * Loading takes CAP_PERFMON beside CAP_BPF: without that the verifier allows no arithmetic on packet
 * pointers with numbers read from the packet, such as the UDP length.
 */
#ifndef XDP_TWAMP_STEER_H
#define XDP_TWAMP_STEER_H

#include "parse.h"

/* AF_XDP sockets by receive queue. Sized at load to the interface's queues. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct interface);
} attached_to SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

static __always_inline void count(__u32 verdict)
{
	__u64 *counter = bpf_map_lookup_elem(&verdicts, &verdict);

	if (counter)
		(*counter)++; /* per CPU, and XDP is not preempted by XDP: no atomic needed */
}

static __always_inline int pass(__u32 verdict)
{
	count(verdict);
	return XDP_PASS;
}

static __always_inline int drop(__u32 verdict)
{
	count(verdict);
	return XDP_DROP;
}

static __always_inline int same_mac(const __be16 *packet, const __u8 *interface)
{
	const __be16 *words = (const __be16 *)interface;
	__u16 differs = 0;

#pragma unroll
	for (int i = 0; i < 3; i++)
		differs |= packet[i] ^ words[i];
	return !differs;
}

/* Octets beyond those that packet pointers reach: the frame goes on in other buffers. */
static __always_inline int is_multi_buffer(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx) != (__u64)(ctx->data_end - ctx->data);
}

/*
 * Reads a frame. Returns 0 and fills `packet` (which must come zeroed) and the interface's
 * `frame_limit` if this is UDP to the MAC address of the interface, else the verdict as a negative
 * number.
 */
static __always_inline int recognise(struct xdp_md *ctx, struct packet *packet, __u16 *frame_limit)
{
	struct interface *interface;
	__u32 only = 0;
	int verdict = parse_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);

	if (verdict == -PASSED_TRUNCATED && is_multi_buffer(ctx))
		verdict = -PASSED_TOO_LONG; /* it goes on in another buffer */
	if (verdict)
		return verdict;

	interface = bpf_map_lookup_elem(&attached_to, &only);
	if (!interface || interface->ifindex != ctx->ingress_ifindex ||
	    !same_mac(packet->mac, interface->mac))
		return -PASSED_OTHER_MAC;
	*frame_limit = interface->frame_limit;
	return 0;
}

/* Where the packet came in. */
static __always_inline struct scope scope_of(struct xdp_md *ctx, const struct packet *packet)
{
	struct scope scope = { ctx->ingress_ifindex, packet->outer_vid, packet->inner_vid };

	return scope;
}

/*
 * Puts struct rx_meta below the frame. Returns 0, or a negative error where the driver has no room.
 *
 * The room asked for is what is missing to sizeof(struct rx_meta): metadata may already stand
 * there (a repeated test run does not reset the context, and another program may have run).
 * Packet pointers are void after the call and must be read again.
 */
static __always_inline int write_meta(struct xdp_md *ctx, const struct packet *packet, __u32 rule,
				      __u16 generation, __u64 arrival_ns)
{
	int there = (int)(ctx->data - ctx->data_meta);
	struct rx_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, there - (int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;

	__builtin_memset(meta, 0, sizeof(*meta));
	meta->arrival_ns = arrival_ns;
	meta->rule = rule;
	meta->l3 = packet->l3;
	meta->l4 = packet->l4;
	meta->payload = packet->payload;
	meta->payload_len = packet->payload_len;
	meta->stamp_source = STAMP_KERNEL_TAI;
	meta->vlan_tags = packet->vlan_tags;
	meta->generation = generation;
	meta->version = RX_META_VERSION;
	return 0;
}

/*
 * Whether a chunk of the UMEM holds the frame. AF_XDP would drop it if not; the kernel need not.
 *
 * Most frames end with their datagram, or with padding to the least that Ethernet sends. Where the
 * first buffer does, nobody asks whether there are others: they could hold but what follows a
 * datagram, and who sends kilobytes of that finds the frame counted as dropped by the kernel.
 */
static __always_inline int fits_chunk(struct xdp_md *ctx, const struct packet *packet,
				      __u16 frame_limit)
{
	__u64 linear = ctx->data_end - ctx->data;

	if (linear > frame_limit)
		return 0;
	if (linear == (__u64)packet->payload + packet->payload_len || linear <= ETH_ZLEN)
		return 1;
	return !is_multi_buffer(ctx);
}

/*
 * Whether the AF_XDP socket of the packet's queue can take it. Returns 0, or the verdict as a negative
 * number. Asked before a packet is judged by anything that the slow path judges by, too, and before
 * it is given metadata, which a packet that is passed should not carry.
 */
static __always_inline int can_steer(struct xdp_md *ctx, const struct packet *packet,
				     __u16 frame_limit)
{
	__u32 queue = ctx->rx_queue_index;

	if (!fits_chunk(ctx, packet, frame_limit))
		return -PASSED_TOO_LONG;
	if (!bpf_map_lookup_elem(&xsks, &queue))
		return -PASSED_NO_SOCKET;
	return 0;
}

/* Stamps a packet that matched, and sends it to its AF_XDP socket, which can take it. */
static __always_inline int steer(struct xdp_md *ctx, const struct packet *packet, __u32 rule,
				 __u16 generation)
{
	int bare = write_meta(ctx, packet, rule, generation, bpf_ktime_get_tai_ns());

	count(bare ? REDIRECTED_BARE : REDIRECTED);
	return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

#endif /* XDP_TWAMP_STEER_H */
