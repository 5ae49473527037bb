// SPDX-License-Identifier: GPL-2.0
/*
 * sdma.c - the copy engine, played by the CPU: the packets of an indirect buffer, one after the
 * other.
 *
 * gfx9 encoding: the count fields of copy and fill hold bytes minus one, so a copy whose writer
 * meant bytes moves one byte more. With strict=0 that last byte may fall outside all mappings, as
 * it mostly stays unseen on hardware.
 */
#include "softgpu.h"

#include <linux/delay.h>
#include <linux/slab.h>

enum { OP_NOP = 0, OP_COPY = 1, OP_WRITE = 2, OP_FENCE = 5, OP_FILL = 11 };
#define CHUNK (64U << 10)

/* Copy through a buffer, piece by piece. */
static int copy(struct softgpu_file *file, u64 from, u64 to, u64 bytes, void *buf)
{
	u64 done = 0;
	size_t n;
	int r;

	r = softgpu_fault(FAULT_SDMA, 0, -1);
	if (r)
		return r;
	while (done < bytes) {
		n = min_t(u64, CHUNK, bytes - done);
		if (softgpu.slow_us)
			usleep_range(softgpu.slow_us, softgpu.slow_us + softgpu.slow_us / 4 + 1);
		r = softgpu_va_copy(file, from + done, buf, n, false);
		if (r == 0)
			r = softgpu_va_copy(file, to + done, buf, n, true);
		if (r)
			return r;
		done += n;
		cond_resched();
	}
	atomic64_inc(&softgpu_count.copies);
	atomic64_add(bytes, &softgpu_count.copied_bytes);
	return 0;
}

static bool last_byte_out(struct softgpu_file *file, u64 from, u64 to, u64 bytes)
{
	return !softgpu_va_covered(file, from + bytes - 1, 1) ||
	       !softgpu_va_covered(file, to + bytes - 1, 1);
}

static int copy_linear(struct softgpu_file *file, const u32 *packet, void *buf)
{
	u64 bytes = (u64)(packet[1] & 0x3fffff) + 1;
	u64 from = (u64)packet[4] << 32 | packet[3], to = (u64)packet[6] << 32 | packet[5];

	if (!softgpu.strict && bytes > 1 && last_byte_out(file, from, to, bytes))
		bytes--;
	return copy(file, from, to, bytes, buf);
}

static int fill(struct softgpu_file *file, const u32 *packet, u32 *buf)
{
	u64 to = (u64)packet[2] << 32 | packet[1], bytes = (u64)(packet[4] & 0x3fffff) + 1, n;
	int r = 0, i;

	for (i = 0; i < CHUNK / 4; i++)
		buf[i] = packet[3];
	while (bytes && r == 0) {
		n = min_t(u64, bytes, CHUNK);
		r = softgpu_va_copy(file, to, buf, n, true);
		to += n;
		bytes -= n;
	}
	return r;
}

/* Run one packet. Returns its length in dwords, or a negative errno. */
static int packet_run(struct softgpu_file *file, u32 *packet, u32 left, void *buf)
{
	u32 op = packet[0] & 0xff, sub = packet[0] >> 8 & 0xff, len;
	int r = 0;

	switch (op) {
	case OP_NOP:
		len = 1 + (packet[0] >> 16 & 0x3fff);
		break;
	case OP_COPY:
		len = 7;
		break;
	case OP_WRITE:
		len = left < 4 ? 4 : 4 + (packet[3] & 0xfffff) + 1;
		break;
	case OP_FENCE:
		len = 4;
		break;
	case OP_FILL:
		len = 5;
		break;
	default:
		len = 0;
	}
	if (!len || len > left || (sub && op != OP_NOP)) {
		pr_warn_ratelimited("softgpu: no such SDMA packet: %08x, %u dwords left\n",
				    packet[0], left);
		return -EINVAL;
	}
	if (op == OP_COPY)
		r = copy_linear(file, packet, buf);
	else if (op == OP_WRITE)
		r = softgpu_va_copy(file, (u64)packet[2] << 32 | packet[1], &packet[4],
				    (len - 4) * 4, true);
	else if (op == OP_FENCE)
		r = softgpu_va_copy(file, (u64)packet[2] << 32 | packet[1], &packet[3], 4, true);
	else if (op == OP_FILL)
		r = fill(file, packet, buf);
	return r ? r : len;
}

/*
 * Run an indirect buffer at GPU address ib. Returns 0 or a negative errno; packets before a bad
 * one have run.
 */
int softgpu_sdma_run(struct softgpu_file *file, u64 ib, u32 bytes)
{
	u32 *words, *buf, at = 0, n = bytes / 4;
	int r = 0;

	if (!bytes || bytes % 4 || bytes > 16 << 20)
		return -EINVAL;
	words = kvmalloc(bytes, GFP_KERNEL);
	buf = kvmalloc(CHUNK, GFP_KERNEL);
	if (!words || !buf)
		r = -ENOMEM;
	if (r == 0)
		r = softgpu_va_copy(file, ib, words, bytes, false);
	while (r == 0 && at < n) {
		r = packet_run(file, words + at, n - at, buf);
		if (r > 0) {
			at += r;
			r = 0;
		}
	}
	kvfree(words);
	kvfree(buf);
	return r;
}
