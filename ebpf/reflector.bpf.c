// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The Session-Reflector's XDP program: recognise TWAMP-Test packets, stamp their arrival (T2),
 * describe them in struct rx_meta and redirect them to the AF_XDP socket of their receive queue.
 * Whatever it does not fully understand goes on to the kernel untouched.
 */
#include "steer.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct listener_key);
	__type(value, struct rule);
} listeners SEC(".maps");

/*
 * A packet that claims to come from where it goes. Its answer would come back to us, to be answered
 * for ever: each time with a fresh TTL.
 */
static __always_inline int is_own_source(const struct listener_key *listener,
					 const struct packet *packet)
{
	struct listener_key key = *listener;

	__builtin_memcpy(key.address, packet->source, sizeof(key.address));
	return bpf_map_lookup_elem(&listeners, &key) != NULL;
}

SEC("xdp.frags")
int reflector(struct xdp_md *ctx)
{
	struct listener_key key = {};
	struct packet packet = {};
	struct rule *rule;
	__u16 frame_limit = 0;
	int verdict;

	verdict = recognise(ctx, &packet, &frame_limit);
	if (verdict)
		return pass(-verdict);

	key.ifindex = ctx->ingress_ifindex;
	key.outer_vid = packet.outer_vid;
	key.inner_vid = packet.inner_vid;
	__builtin_memcpy(key.address, packet.destination, sizeof(key.address));
	key.port = packet.destination_port;
	rule = bpf_map_lookup_elem(&listeners, &key);
	if (!rule)
		return pass(PASSED_NO_LISTENER);
	if (is_own_source(&key, &packet))
		return pass(PASSED_OWN_SOURCE);

	return steer(ctx, &packet, frame_limit, rule->id);
}

/* Nothing called here asks for it, but metadata kfuncs load only into GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
