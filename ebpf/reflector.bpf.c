// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The Session-Reflector's XDP program: recognise TWAMP-Test packets, stamp their arrival (T2),
 * describe them in struct rx_meta and redirect them to the AF_XDP socket of their receive queue.
 * Whatever it does not fully understand goes on to the kernel untouched; what it understands and
 * must not be answered is dropped.
 *
 * Each interface has a program of its own. The maps below are one for all of a process.
 */
#include "policer.h"
#include "steer.h"

/*
 * One generation of listeners: created by user space at the size it needs, and never changed. (Sizes,
 * not types: clang only declares a type that nothing but the definition of an inner map names.)
 */
struct listeners {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct listener_key));
	__uint(value_size, sizeof(struct rule));
};

/* The generation that holds. A packet looks here once, and so sees one generation whole. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct listeners);
} generations SEC(".maps");

/* The exact sessions of one generation. */
struct sessions {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct flow_key));
	__uint(value_size, sizeof(struct rule));
};

/* Those of the generation that holds, and of the next one or the one before. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct sessions);
} exact_sessions SEC(".maps");

struct client_list {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct client_key));
	__uint(value_size, sizeof(__u8)); /* enum client */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct client_list);
} client_lists SEC(".maps");

/* By listener. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct buckets);
} listener_buckets SEC(".maps");

/* When the bucket of a source prefix will be empty again. The longest idle makes room for a new one. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct source_key);
	__type(value, __u64);
} source_buckets SEC(".maps");

/* By listener. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct listener_counts);
} counts SEC(".maps");

static __always_inline void count_for(const struct rule *rule, enum listener_count what)
{
	__u32 listener = rule->id;
	struct listener_counts *own = bpf_map_lookup_elem(&counts, &listener);

	if (own)
		own->packets[what]++;
}

/*
 * The rule of the packet: an exact session's, else its listener's, else none. `key` is the latter's,
 * and comes with its scope.
 */
static __always_inline struct rule *find_rule(void *listeners, const struct packet *packet,
					      struct listener_key *key)
{
	struct rule *rule;

	key->address = packet->destination;
	key->port = bpf_ntohs(packet->destination_port);
	rule = bpf_map_lookup_elem(listeners, key);
	if (!rule)
		return NULL;

	if (rule->flags & RULE_SESSIONS) {
		struct flow_key flow = {
			.scope = key->scope,
			.source = packet->source,
			.destination = packet->destination,
			.source_port = packet->source_port,
			.destination_port = packet->destination_port,
		};
		__u32 slot = rule->sessions;
		void *sessions = bpf_map_lookup_elem(&exact_sessions, &slot);
		struct rule *exact = NULL;

		if (sessions)
			exact = bpf_map_lookup_elem(sessions, &flow);
		if (exact)
			return exact;
	}
	return rule;
}

/* Which bit of struct rule.own_filter stands for an address. src/abi/rule.rs does the same. */
static __always_inline __u64 filter_bit(struct address address)
{
	__u64 mixed = bpf_be64_to_cpu(address.high ^ address.low) * 0x9e3779b97f4a7c15ull;

	return 1ull << (mixed >> 58);
}

/* fe80::/10 */
static __always_inline int is_link_local(struct address address)
{
	return bpf_be64_to_cpu(address.high) >> 54 == 0xfe80 >> 6;
}

static __always_inline int is_own(void *listeners, const struct rule *rule,
				  const struct scope *scope, struct address address)
{
	struct listener_key mark = { .address = address };

	if (is_link_local(address)) {
		mark.scope = *scope;
		mark.port = LISTENER_MARK;
	} else {
		mark.port = rule->domain;
	}
	return bpf_map_lookup_elem(listeners, &mark) != NULL;
}

/*
 * One spoofed packet can make two reflectors answer each other for ever, or one itself: each answer
 * goes out with a fresh TTL. Returns 0 if the packet cannot be of that kind, else the verdict.
 *
 * Hardly any packet is: the rule knows enough to do without most look-ups.
 */
static __always_inline int loop_guard(void *listeners, const struct rule *rule,
				      const struct packet *packet, const struct scope *scope)
{
	__u16 port = bpf_ntohs(packet->source_port);

	if (rule->own_filter & filter_bit(packet->source) &&
	    is_own(listeners, rule, scope, packet->source))
		return DROPPED_OWN_SOURCE;
	if (port >= rule->guard_first && port <= rule->guard_last) {
		struct listener_key mark = { .scope = *scope, .port = LISTENER_MARK + port };

		if (bpf_map_lookup_elem(listeners, &mark))
			return DROPPED_LISTENER_PORT;
	}
	return 0;
}

static __always_inline int is_on_list(const struct rule *rule, const struct packet *packet)
{
	/* struct client_key, placed so that its address is aligned. */
	struct {
		__u32 unused;
		__u32 prefix_len;
		struct address address;
	} key = { .prefix_len = 128, .address = packet->source };
	__u32 slot = rule->client_list;
	void *list = bpf_map_lookup_elem(&client_lists, &slot);
	__u8 *says = NULL;

	if (list)
		says = bpf_map_lookup_elem(list, &key.prefix_len);
	return says && *says == CLIENT_ALLOWED;
}

static __always_inline int may_ask(const struct rule *rule, const struct packet *packet)
{
	if (rule->flags & RULE_SESSIONS_ONLY)
		return 0;
	return !(rule->flags & RULE_CLIENTS) || is_on_list(rule, packet);
}

static __always_inline int within_source_limit(const struct rule *rule, const struct packet *packet,
					       __u64 now)
{
	int is_ipv4 = packet->l4 - packet->l3 == sizeof(struct iphdr);
	const struct address *mask = is_ipv4 ? &rule->source_mask_v4 : &rule->source_mask_v6;
	struct source_key key = {
		.source = { packet->source.high & mask->high, packet->source.low & mask->low },
		.listener = rule->id,
	};
	__u64 *bucket;

	bucket = bpf_map_lookup_elem(&source_buckets, &key);
	if (!bucket) {
		__u64 first = end_of(now, rule->source.cost);

		if (!bpf_map_update_elem(&source_buckets, &key, &first, BPF_NOEXIST))
			return 1;
		bucket = bpf_map_lookup_elem(&source_buckets, &key); /* another CPU's */
		if (!bucket)
			return 1; /* no memory: the listener's limits hold still */
	}
	return charge(bucket, now, rule->source.cost, rule->source.burst);
}

/* A source's bucket first: what it refuses is not at the cost of other sources. */
static __always_inline int police(const struct rule *rule, const struct packet *packet)
{
	__u32 octets = packet->payload + packet->payload_len - packet->l3;
	__u32 listener = rule->id;
	struct buckets *buckets;
	__u64 now;

	if (!rule->source.cost && !rule->packets.cost && !rule->octets.cost)
		return 0;
	now = now_in_ticks();
	if (rule->source.cost && !within_source_limit(rule, packet, now))
		return DROPPED_SOURCE_RATE;
	buckets = bpf_map_lookup_elem(&listener_buckets, &listener);
	if (buckets && !within_limits(rule, buckets, now, octets))
		return DROPPED_RATE;
	return 0;
}

SEC("xdp.frags")
int reflector(struct xdp_md *ctx)
{
	struct listener_key key = {};
	struct packet packet = {};
	__u16 frame_limit = 0;
	struct rule *rule;
	void *listeners;
	__u32 only = 0;
	int verdict;

	verdict = recognise(ctx, &packet, &frame_limit);
	if (verdict)
		return pass(-verdict);

	listeners = bpf_map_lookup_elem(&generations, &only);
	if (!listeners)
		return pass(PASSED_NO_LISTENER);
	key.scope = scope_of(ctx, &packet);
	rule = find_rule(listeners, &packet, &key);
	if (!rule)
		return pass(PASSED_NO_LISTENER);

	verdict = loop_guard(listeners, rule, &packet, &key.scope);
	if (verdict) {
		count_for(rule, LISTENER_LOOP);
		return drop(verdict);
	}
	if (!may_ask(rule, &packet)) {
		count_for(rule, LISTENER_CLIENT);
		if (rule->flags & RULE_REFUSED_TO_KERNEL)
			return pass(PASSED_CLIENT);
		return drop(DROPPED_CLIENT);
	}
	verdict = can_steer(ctx, &packet, frame_limit);
	if (verdict)
		return pass(-verdict);
	verdict = police(rule, &packet);
	if (verdict) {
		count_for(rule, verdict == DROPPED_RATE ? LISTENER_RATE : LISTENER_SOURCE_RATE);
		return drop(verdict);
	}

	count_for(rule, LISTENER_ADMITTED);
	return steer(ctx, &packet, rule->id, rule->generation);
}

/* Nothing called here asks for it, but metadata kfuncs load only into GPL-compatible programs. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
