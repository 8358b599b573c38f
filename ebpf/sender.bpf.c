// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The Session-Sender's XDP program: recognise replies to our own sessions, stamp their arrival (T4),
 * describe them in struct rx_meta and redirect them to the AF_XDP socket of their receive queue.
 * Everything else goes on to the kernel untouched, replies from elsewhere included.
 *
 * A session is found by arithmetic: thousands of them on consecutive ports take one map entry.
 */
#include "steer.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct session_key);
	__type(value, struct session_range);
} sessions SEC(".maps");

SEC("xdp.frags")
int sender(struct xdp_md *ctx)
{
	struct session_range *range;
	struct session_key key = {};
	struct packet packet = {};
	__u16 frame_limit = 0;
	__u32 offset;
	int verdict;

	verdict = recognise(ctx, &packet, &frame_limit);
	if (verdict)
		return pass(-verdict);

	key.scope = scope_of(ctx, &packet);
	key.local = packet.destination;
	key.remote = packet.source;
	key.remote_port = packet.source_port;
	range = bpf_map_lookup_elem(&sessions, &key);
	if (!range)
		return pass(PASSED_NO_SESSION);
	/* Unsigned: a port below the first is far beyond the last. */
	offset = (__u32)bpf_ntohs(packet.destination_port) - range->first_port;
	if (offset >= range->ports)
		return pass(PASSED_NO_SESSION);

	verdict = can_steer(ctx, &packet, frame_limit);
	if (verdict)
		return pass(-verdict);
	return steer(ctx, &packet, range->first_session + offset, 0);
}

/* Nothing called here asks for it, but metadata kfuncs load only into GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
