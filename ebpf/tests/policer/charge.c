/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * charge() of policer.h as a filter: reads lines of a bucket's end, the time, cost and burst, and
 * writes for each whether the packet is taken, and the end after it.
 */
#include <stdio.h>

#include "policer.h"

__u64 bpf_ktime_get_ns(void)
{
	return 0;
}

int main(void)
{
	unsigned long long end, now, cost, burst;

	while (scanf("%llu %llu %llu %llu", &end, &now, &cost, &burst) == 4) {
		__u64 bucket = end;
		int taken = charge(&bucket, now, cost, burst);

		printf("%d %llu\n", taken, (unsigned long long)bucket);
	}
	return 0;
}
