/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Policers, as src/policer.rs explains them: the generic cell rate algorithm. All state of a bucket is
 * one number, the time at which it will be empty again, in ticks modulo 2^64.
 *
 * Buckets are charged by compare-and-swap, without a lock: BPF has it from Linux 5.12 on (-mcpu=v3).
 */
#ifndef XDP_TWAMP_POLICER_H
#define XDP_TWAMP_POLICER_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "shared.h"

#define TICKS_PER_NS 256ull
#define OCTET_SHIFT 17
/* 1100 s: the longest burst and the dearest packet together stay below. */
#define DEBT_MAX (1ull << 48)
#define POLICER_TRIES 8

static __always_inline __u64 now_in_ticks(void)
{
	return bpf_ktime_get_ns() * TICKS_PER_NS;
}

/*
 * How far ahead a bucket ends. What no admitted packet brings about lies in the past, and so does 0, the
 * end of a bucket that was never charged: its distance says nothing.
 */
static __always_inline __u64 debt(__u64 end, __u64 now)
{
	__u64 ahead = end - now;

	return !end || ahead > DEBT_MAX ? 0 : ahead;
}

/* Where a bucket ends that is charged: a tick before 0, which is the end of one that never was. */
static __always_inline __u64 end_of(__u64 now, __u64 ahead)
{
	__u64 end = now + ahead;

	return end ? end : ~0ull;
}

/*
 * Takes a packet if that is within the burst; one refused costs nothing.
 *
 * Each lost race means that another packet was charged meanwhile. After so many the bucket is charged
 * without looking again: it may exceed its burst by one packet per CPU, which later packets pay for,
 * but no packet is refused that found room.
 */
static __always_inline int charge(__u64 *bucket, __u64 now, __u64 cost, __u64 burst)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < POLICER_TRIES; i++) {
		__u64 end = *(volatile __u64 *)bucket;
		__u64 ahead = debt(end, now);

		if (ahead > burst)
			return 0;
		if (__sync_val_compare_and_swap(bucket, end, end_of(now, ahead + cost)) == end)
			return 1;
	}
	__sync_fetch_and_add(bucket, cost);
	return 1;
}

/*
 * Takes an IP packet of so many octets if that is within both limits. What one limit refuses costs
 * nothing of the other; only a packet that loses a race for the last octets has cost one packet.
 */
static __always_inline int within_limits(const struct rule *rule, struct buckets *buckets, __u64 now,
					 __u32 octets)
{
	if (rule->octets.cost &&
	    debt(*(volatile __u64 *)&buckets->octets, now) > rule->octets.burst)
		return 0;
	if (rule->packets.cost &&
	    !charge(&buckets->packets, now, rule->packets.cost, rule->packets.burst))
		return 0;
	if (rule->octets.cost) {
		__u64 cost = rule->octets.cost * octets + (1ull << (OCTET_SHIFT - 1));

		return charge(&buckets->octets, now, cost >> OCTET_SHIFT, rule->octets.burst);
	}
	return 1;
}

#endif /* XDP_TWAMP_POLICER_H */
