// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The Session-Reflector's XDP program: recognise TWAMP-Test packets, stamp their arrival (T2),
 * describe them in struct rx_meta and redirect them to the AF_XDP socket of their receive queue.
 * Whatever it does not fully understand goes on to the kernel untouched.
 *
 * Loading it takes CAP_PERFMON beside CAP_BPF: without that the verifier allows no arithmetic on packet
 * pointers with numbers read from the packet, such as the UDP length.
 */
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
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener_key);
	__type(value, struct rule);
} listeners SEC(".maps");

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

/*
 * Puts struct rx_meta below the frame. Returns 0, or a negative error where the driver has no room.
 *
 * The room asked for is what is missing to sizeof(struct rx_meta): metadata may already stand
 * there (a repeated test run does not reset the context, and another program may have run).
 * Packet pointers are void after the call and must be read again.
 */
static __always_inline int write_meta(struct xdp_md *ctx, const struct packet *packet, __u32 rule,
				      __u64 t2_ns)
{
	int there = (int)(ctx->data - ctx->data_meta);
	struct rx_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, there - (int)sizeof(*meta)))
		return -1;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return -1;

	__builtin_memset(meta, 0, sizeof(*meta));
	meta->t2_ns = t2_ns;
	meta->rule = rule;
	meta->l3 = packet->l3;
	meta->l4 = packet->l4;
	meta->payload = packet->payload;
	meta->payload_len = packet->payload_len;
	meta->t2_source = T2_KERNEL_TAI;
	meta->vlan_tags = packet->vlan_tags;
	meta->version = RX_META_VERSION;
	return 0;
}

/*
 * A packet that claims to come from where it goes. Its answer would come back to us, to be answered
 * for ever: each time with a fresh TTL.
 */
static __always_inline int is_own_source(const struct packet *packet)
{
	struct listener_key key = packet->key;

	__builtin_memcpy(key.address, packet->source, sizeof(key.address));
	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

SEC("xdp.frags")
int reflector(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u64 length = bpf_xdp_get_buff_len(ctx);
	int is_multi_buffer = length != (__u64)(end - data);
	__u32 queue = ctx->rx_queue_index;
	__u32 ifindex = ctx->ingress_ifindex;
	struct packet packet = {};
	struct interface *interface;
	struct rule *rule;
	int verdict;

	verdict = parse_frame(data, end, &packet);
	if (verdict == -PASSED_TRUNCATED && is_multi_buffer)
		verdict = -PASSED_TOO_LONG; /* it goes on in another buffer */
	if (verdict)
		return pass(-verdict);

	interface = bpf_map_lookup_elem(&interfaces, &ifindex);
	if (!interface || !same_mac(packet.mac, interface->mac))
		return pass(PASSED_OTHER_MAC);

	packet.key.ifindex = ifindex;
	rule = bpf_map_lookup_elem(&listeners, &packet.key);
	if (!rule)
		return pass(PASSED_NO_LISTENER);
	if (is_own_source(&packet))
		return pass(PASSED_OWN_SOURCE);

	/* AF_XDP would drop what does not fit in one chunk; the kernel need not. */
	if (is_multi_buffer || length > interface->frame_limit)
		return pass(PASSED_TOO_LONG);

	/* Looked up first so that a packet that is passed carries no metadata of ours. */
	if (!bpf_map_lookup_elem(&xsks, &queue))
		return pass(PASSED_NO_SOCKET);

	verdict = write_meta(ctx, &packet, rule->id, bpf_ktime_get_tai_ns());
	count(verdict ? REDIRECTED_BARE : REDIRECTED);
	return bpf_redirect_map(&xsks, queue, XDP_PASS);
}

/* Nothing called here asks for it, but metadata kfuncs load only into GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
