/* SPDX-License-Identifier: MIT */
/*
 * gpu_table_test.c - the table of buffers, the store of descriptors, and what one copy packet says.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "proto/control/util.h"
#include "tests/unit/check.h"
#include "workers/gpu/amdgpu/sdma.h"
#include "workers/gpu/botable.h"
#include "workers/gpu/fdstore.h"

static void the_lowest_rank_and_id_owns(void)
{
	static const struct {
		uint32_t owner, rank;
	} claims[] = { { 7, BO_RANK_OWN }, { 9, BO_RANK_OWN },	{ 5, BO_RANK_IMPORT },
		       { 6, BO_RANK_OWN }, { 30, BO_RANK_KFD }, { 1, BO_RANK_OWN } };
	struct fault f = { 0 };
	struct botable *t = botable_new(&f);
	const struct bo *b = NULL;
	size_t i;

	for (i = 0; i < ARRAY_LEN(claims); i++)
		b = botable_claim(t, 42, claims[i].owner, claims[i].rank, 0, &f);
	CHECK(b && b->owner == 30 && b->importers == 5 && b->state == BO_OWNED);
	CHECK(!botable_claim(t, 42, 31, BO_RANK_KFD, 1, &f) && strstr(f.text, "two owners"));
	f = (struct fault){ 0 };
	CHECK(!botable_claim(t, 0, 31, BO_RANK_KFD, 1, &f) && strstr(f.text, "without identity"));
	botable_free(t);
}

static void a_buffer_is_published_once(void)
{
	struct fault f = { 0 };
	struct botable *t = botable_new(&f);

	CHECK(botable_import(t, 8, 3, &f) && botable_find(t, 8)->owner == BO_NO_OWNER);
	CHECK(botable_find(t, 8)->importer == 3);
	CHECK(botable_want(t, 8) == -1 && botable_want(t, 8) == -1 &&
	      botable_find(t, 8)->waiters == 2);
	CHECK(botable_publish(t, 8, 1, &f) < 0);		/* by whom? */
	f = (struct fault){ 0 };
	CHECK(botable_claim(t, 8, 4, BO_RANK_OWN, 1, &f) && botable_publish(t, 8, 17, &f) == 0);
	CHECK(botable_want(t, 8) == 17);
	CHECK(botable_publish(t, 8, 18, &f) < 0 && strstr(f.text, "twice"));
	CHECK(botable_want(t, 9) == -1 && !botable_find(t, 9));
	botable_free(t);
}

static void it_grows_and_all_processes_see_it(void)
{
	struct fault f = { 0 };
	struct botable *t = botable_new(&f);
	uint64_t i, n = 50000;
	int status = -1;
	pid_t child;

	CHECK(botable_reserve(t, n, &f) == 0);
	for (i = 0; i < n; i++)
		botable_claim(t, 1000 + i * 3, i, BO_RANK_OWN, 1, &f);
	CHECK(!f.code && botable_count(t) == n);
	for (i = 0; i < n; i++)
		if (!botable_find(t, 1000 + i * 3) || botable_find(t, 1000 + i * 3)->owner != i)
			break;
	CHECK(i == n && !botable_find(t, 1001));
	child = fork();
	if (child == 0)
		_exit(botable_publish(t, 1003, 5, &f) < 0);
	CHECK(waitpid(child, &status, 0) == child && status == 0 && botable_want(t, 1003) == 5);
	while (botable_count(t) < 65536 &&
	       botable_claim(t, 1 + botable_count(t) * 7919, 1, 1, 0, &f))
		n++;
	CHECK(botable_reserve(t, 65537, &f) == 0 && botable_find(t, 1006));
	botable_free(t);
}

static void thousands_of_descriptors(void)
{
	struct fdstore *s = fdstore_new();
	struct fault f = { 0 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC),
	    zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), i, got;
	struct rlimit l;
	struct stat a, b;

	CHECK(getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur == l.rlim_max);
	for (i = 0; i < 3000; i++)
		if (fdstore_put(s, i == 2000 ? zero : fd, &f) != i)
			break;
	CHECK(i == 3000);
	got = fdstore_take(s, 2000, &f);
	CHECK(got >= 0 && fstat(got, &a) == 0 && fstat(zero, &b) == 0 && a.st_rdev == b.st_rdev);
	CHECK(fcntl(got, F_GETFD) == FD_CLOEXEC);
	CHECK(fdstore_take(s, 3000, &f) < 0 && strstr(f.text, "never stored"));
	f = (struct fault){ 0 };
	CHECK(fdstore_take(s, -1, &f) < 0 && fdstore_put(s, -1, &f) < 0);
	close(got);
	fdstore_free(s);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);	/* stays the caller's */
	close(fd);
	close(zero);
}

/* The count field of old engines holds bytes, since family AI one less. */
static void counts_of_copy_packets(void)
{
	CHECK(sdma_packet_max(140) == (1ul << 21) - 1 && sdma_count(140, 4096) == 4096);
	CHECK(sdma_packet_max(141) == 1ul << 21 && sdma_count(141, 4096) == 4095);
	CHECK(sdma_count(141, sdma_packet_max(141)) == (1u << 21) - 1);
}

int main(void)
{
	check_run("of several claims the lowest rank, then the lowest id wins",
		  the_lowest_rank_and_id_owns);
	check_run("a buffer is published once, by its owner", a_buffer_is_published_once);
	check_run("the table grows, and a forked process shares it",
		  it_grows_and_all_processes_see_it);
	check_run("thousands of descriptors are kept", thousands_of_descriptors);
	check_run("the count in a copy packet", counts_of_copy_packets);
	return check_done();
}
