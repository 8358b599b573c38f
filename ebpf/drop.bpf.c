// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Drops every packet. The floor that benchmarks measure against: what a machine spends on receiving
 * a packet before anybody reflects it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
