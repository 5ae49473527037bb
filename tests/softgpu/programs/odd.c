// SPDX-License-Identifier: MIT
/*
 * odd.c - what few programs do: odd inherited-node|inherited-kfd|held|orphan|foreign|imported
 *
 * inherited-node:  a child uses the render node its parent opened: one file, the same handles
 * inherited-kfd:   a child has the /dev/kfd its parent opened, for whom alone it works
 * held:            a dma-buf whose buffer has no handle in its holder's file, but in a child's
 * orphan:          a dma-buf of a file that is closed; cannot be dumped
 * foreign:         a dma-buf of udmabuf; cannot be dumped
 * imported:        a render node has such a buffer; cannot be dumped
 */
#include "amd.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 65536
#define KFD_GET_VERSION 0x80084b01ul

static void inherited_node(void)
{
	int fd = amd_node(0);
	uint32_t handle = raw_create(fd, SIZE, AMDGPU_GEM_DOMAIN_VRAM);
	volatile uint32_t *cpu = raw_map(fd, handle, SIZE);
	pid_t child;

	fill(cpu, 2, SIZE, 1);
	child = target_fork();
	if (child == 0) {
		target_wait();
		CHECK(is_filled(cpu, 2, SIZE, 1) && raw_size(fd, handle) == SIZE);
		CHECK(answer_through(cpu, 7));
		CHECK(raw_create(fd, 4096, AMDGPU_GEM_DOMAIN_GTT) == handle + 1);
		_exit(target_end());
	}
	target_ready();
	target_wake(child);
	CHECK(call_through(cpu, 7));
	target_join(child);
	CHECK(raw_size(fd, handle + 1) == 4096);	/* what the child made */
	CHECK(is_filled(cpu, 2, SIZE, 1));
}

static int kfd_version(int fd)
{
	uint32_t version[2];

	return ioctl(fd, KFD_GET_VERSION, version) == 0 ? 0 : -errno;
}

static void inherited_kfd(void)
{
	int fd = open("/dev/kfd", O_RDWR | O_CLOEXEC);
	pid_t child;

	NEED(fd >= 0 && kfd_version(fd) == 0);
	child = target_fork();
	if (child == 0) {
		NEED(kfd_version(fd) == -EBADF);
		target_wait();
		CHECK(kfd_version(fd) == -EBADF);
		_exit(target_end());
	}
	target_ready();
	CHECK(kfd_version(fd) == 0);
	target_wake(child);
	target_join(child);
}

static void held(void)
{
	int fd = amd_node(0), dmabuf, sock[2];
	uint32_t handle = raw_create(fd, SIZE, AMDGPU_GEM_DOMAIN_GTT);
	volatile uint32_t *cpu = raw_map(fd, handle, SIZE);
	pid_t child;
	char byte;

	fill(cpu, 2, SIZE, 3);
	munmap((void *)cpu, SIZE);
	dmabuf = raw_export(fd, handle);
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, sock) == 0);
	child = target_fork();
	if (child == 0) {
		close(fd);
		fd = amd_node(0);
		handle = raw_import(fd, dmabuf);
		close(dmabuf);
		NEED(write(sock[1], "i", 1) == 1);
		target_wait();
		CHECK(is_filled(raw_map(fd, handle, SIZE), 2, SIZE, 3));
		_exit(target_end());
	}
	NEED(read(sock[0], &byte, 1) == 1);
	NEED(raw_close(fd, handle) == 0);
	target_ready();
	handle = raw_import(fd, dmabuf);
	cpu = raw_map(fd, handle, SIZE);
	CHECK(is_filled(cpu, 2, SIZE, 3));
	target_wake(child);
	target_join(child);
}

static void orphan(void)
{
	int fd = amd_node(0), dmabuf = raw_export(fd, raw_create(fd, SIZE, AMDGPU_GEM_DOMAIN_GTT));

	close(fd);
	target_ready();
	CHECK(lseek(dmabuf, 0, SEEK_END) == SIZE);
}

static int make_foreign(void)
{
	struct udmabuf_create create = { .size = SIZE };
	int dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), dmabuf;

	if (dev < 0) {
		printf("skip: no /dev/udmabuf\n");
		exit(77);
	}
	create.memfd = (uint32_t)memfd_create("odd", MFD_ALLOW_SEALING);
	NEED(ftruncate((int)create.memfd, SIZE) == 0);
	NEED(fcntl((int)create.memfd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
	dmabuf = ioctl(dev, UDMABUF_CREATE, &create);
	NEED(dmabuf >= 0);
	close(dev);
	close((int)create.memfd);
	return dmabuf;
}

static void foreign(void)
{
	int dmabuf = make_foreign();

	target_ready();
	CHECK(lseek(dmabuf, 0, SEEK_END) == SIZE);
}

static void imported(void)
{
	int fd = amd_node(0), dmabuf = make_foreign();
	uint32_t handle = raw_import(fd, dmabuf);

	close(dmabuf);
	target_ready();
	CHECK(raw_size(fd, handle) == SIZE);
}

static const struct {
	const char *name;
	void (*run)(void);
} deeds[] = {
	{ "inherited-node", inherited_node }, { "inherited-kfd", inherited_kfd },
	{ "held", held }, { "orphan", orphan }, { "foreign", foreign }, { "imported", imported },
};

int main(int argc, char **argv)
{
	size_t i;

	target_begin();
	for (i = 0; i < sizeof(deeds) / sizeof(deeds[0]); i++) {
		if (argc == 2 && strcmp(argv[1], deeds[i].name) == 0) {
			deeds[i].run();
			return target_end();
		}
	}
	fprintf(stderr, "usage: odd inherited-node|inherited-kfd|held|orphan|foreign|imported\n");
	return 2;
}
