/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What policer.h needs of the real one, outside the kernel. */
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

__u64 bpf_ktime_get_ns(void);
