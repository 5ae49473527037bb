// SPDX-License-Identifier: MIT
/* bpf_maps.c - bpf maps: pairs, shape, frozen, rights of each descriptor, one map in two. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../case.h"

enum { N = 100 };

static int hash, array, reader, lpm, empty;

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int make(uint32_t type, uint32_t key, uint32_t value, uint32_t flags)
{
	union bpf_attr a = { .map_type = type, .key_size = key, .value_size = value,
			     .max_entries = N, .map_flags = flags };

	strcpy(a.map_name, "stasis_case");
	return bpf(BPF_MAP_CREATE, &a);
}

static int update(int fd, const void *key, const void *value)
{
	union bpf_attr a = { .map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf(BPF_MAP_UPDATE_ELEM, &a);
}

static int lookup(int fd, const void *key, void *value)
{
	union bpf_attr a = { .map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf(BPF_MAP_LOOKUP_ELEM, &a);
}

static struct bpf_map_info info_of(int fd)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr a = { 0 };

	a.info.bpf_fd = fd;
	a.info.info = (uintptr_t)&info;
	a.info.info_len = sizeof(info);
	CHECK(bpf(BPF_OBJ_GET_INFO_BY_FD, &a) == 0);
	return info;
}

static void before(void)
{
	union bpf_attr a = { 0 };
	uint64_t value;

	hash = make(BPF_MAP_TYPE_HASH, 4, 8, BPF_F_NO_PREALLOC);
	if (hash < 0 && (errno == EPERM || errno == ENOSYS))
		case_skip("bpf(2) is not allowed here");
	array = make(BPF_MAP_TYPE_ARRAY, 4, 8, 0);
	lpm = make(BPF_MAP_TYPE_LPM_TRIE, 8, 3, BPF_F_NO_PREALLOC);
	empty = make(BPF_MAP_TYPE_LRU_HASH, 600, 1, 0);
	CHECK(hash >= 0 && array >= 0 && lpm >= 0 && empty >= 0);
	for (uint32_t i = 0; i < N; i++) {
		value = i * 1000003ull;
		CHECK(update(array, &i, &value) == 0);
		if (i % 2)
			CHECK(update(hash, &i, &value) == 0);
	}
	CHECK(update(lpm, (uint32_t[2]){ 16, 0x0000a8c0 }, "net") == 0);
	a.map_id = info_of(array).id;
	a.open_flags = BPF_F_RDONLY;
	reader = bpf(BPF_MAP_GET_FD_BY_ID, &a);
	CHECK(reader >= 0);
	a = (union bpf_attr){ .map_fd = hash };
	CHECK(bpf(BPF_MAP_FREEZE, &a) == 0);
}

static void after(void)
{
	struct bpf_map_info info = info_of(hash);
	uint64_t value = 0;
	char text[4] = "";

	CHECK(info.type == BPF_MAP_TYPE_HASH && info.max_entries == N);
	CHECK(info.map_flags == BPF_F_NO_PREALLOC && !strcmp(info.name, "stasis_case"));
	for (uint32_t i = 0; i < N; i++) {
		CHECK(lookup(array, &i, &value) == 0 && value == i * 1000003ull);
		CHECK((lookup(hash, &i, &value) == 0) == (i % 2 != 0));
	}
	CHECK(update(hash, (uint32_t[]){ 1 }, &value) < 0 && errno == EPERM);
	CHECK(lookup(lpm, (uint32_t[2]){ 32, 0x0101a8c0 }, text) == 0 && !strncmp(text, "net", 3));
	CHECK(info_of(empty).key_size == 600);
	value = 4711;
	CHECK(update(reader, (uint32_t[]){ 7 }, &value) < 0 && errno == EPERM);
	CHECK(update(array, (uint32_t[]){ 7 }, &value) == 0);
	CHECK(lookup(reader, (uint32_t[]){ 7 }, &value) == 0 && value == 4711);
}

const struct test_case test_case = {
	.proves = "bpf maps keep their pairs, shape, being frozen, and what a descriptor may do",
	.criu_fails = "CRIU knows hash and array maps only and makes one map of each descriptor",
	.needs_root = true,
	.before = before,
	.after = after,
};
