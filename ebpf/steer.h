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
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct interface);
} interfaces SEC(".maps");

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

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	__u8 differs = 0;

#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		differs |= a[i] ^ b[i];
	return !differs;
}

/* Octets beyond those that packet pointers reach: the frame goes on in other buffers. */
static __always_inline int is_multi_buffer(struct xdp_md *ctx)
{
	return bpf_xdp_get_buff_len(ctx) != (__u64)(ctx->data_end - ctx->data);
}

/*
 * Reads a frame. Returns 0 and fills `packet` (which must come zeroed) and the interface's
 * `frame_limit` if this is UDP to the MAC address of an interface we were told of, else the verdict
 * as a negative number.
 */
static __always_inline int recognise(struct xdp_md *ctx, struct packet *packet, __u16 *frame_limit)
{
	__u32 ifindex = ctx->ingress_ifindex;
	struct interface *interface;
	int verdict = parse_frame((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet);

	if (verdict == -PASSED_TRUNCATED && is_multi_buffer(ctx))
		verdict = -PASSED_TOO_LONG; /* it goes on in another buffer */
	if (verdict)
		return verdict;

	interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	if (!interface || !same_mac(packet->mac, interface->mac))
		return -PASSED_OTHER_MAC;
	*frame_limit = interface->frame_limit;
	return 0;
}

/*
 * Puts struct rx_meta below the frame. Returns 0, or a negative error where the driver has no room.
 *
 * The room asked for is what is missing to sizeof(struct rx_meta): metadata may already stand
 * there (a repeated test run does not reset the context, and another program may have run).
 * Packet pointers are void after the call and must be read again.
 */
static __always_inline int write_meta(struct xdp_md *ctx, const struct packet *packet, __u32 rule,
				      __u64 arrival_ns)
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
	meta->version = RX_META_VERSION;
	return 0;
}

/* Stamps a packet that matched, and sends it to its AF_XDP socket if that can take it. */
static __always_inline int steer(struct xdp_md *ctx, const struct packet *packet, __u16 frame_limit,
				 __u32 rule)
{
	__u32 queue = ctx->rx_queue_index;
	int bare;

	/* AF_XDP would drop what does not fit in one chunk; the kernel need not. */
	if (is_multi_buffer(ctx) || bpf_xdp_get_buff_len(ctx) > frame_limit)
		return pass(PASSED_TOO_LONG);

	/* Looked up first so that a packet that is passed carries no metadata of ours. */
	if (!bpf_map_lookup_elem(&xsks, &queue))
		return pass(PASSED_NO_SOCKET);

	bare = write_meta(ctx, packet, rule, bpf_ktime_get_tai_ns());
	count(bare ? REDIRECTED_BARE : REDIRECTED);
	return bpf_redirect_map(&xsks, queue, XDP_PASS);
}

#endif /* XDP_TWAMP_STEER_H */
