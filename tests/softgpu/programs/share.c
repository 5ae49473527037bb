// SPDX-License-Identifier: MIT
/*
 * share.c - scenario (c): buffers shared by dma-buf between a parent and two children, and a
 * holder of descriptors.
 *
 * down:     made by the parent, imported by the first child
 * up:       made by the first child, imported by the parent
 * sideways: made by the second child, imported by the first
 *
 * The third child opens no device: it holds the dma-buf descriptors of "down" and "up", and
 * nothing else. Afterwards every pair writes and answers through the memory, and the holder's
 * descriptors still name the same buffers: the parent imports them and gets the handles it has.
 */
#include "amd.h"
#include "target.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE 65536

struct sockets {
	int parent[2], side[2], hold[2];
};

static void first_child(struct sockets *s)
{
	struct amd amd;
	struct buffer down, up, sideways;
	int fd;

	amd_open(&amd, 0);
	buffer_make(&amd, &up, SIZE, AMDGPU_GEM_DOMAIN_VRAM, true);
	fill(up.cpu, 2, SIZE, 2);
	fd = buffer_export(&up);
	fd_send(s->parent[1], fd);
	close(fd);
	fd = fd_receive(s->parent[1]);
	buffer_import(&amd, &down, fd, true);
	close(fd);
	fd = fd_receive(s->side[0]);
	buffer_import(&amd, &sideways, fd, true);
	close(fd);
	NEED(write(s->parent[1], "s", 1) == 1);
	target_wait();
	CHECK(answer_through(down.cpu, 101));
	CHECK(call_through(up.cpu, 102));
	CHECK(answer_through(sideways.cpu, 103));
	CHECK(is_filled(down.cpu, 2, SIZE, 1) && is_filled(up.cpu, 2, SIZE, 2) &&
	      is_filled(sideways.cpu, 2, SIZE, 3));
	CHECK(gpu_sees(&amd, down.va, down.cpu, SIZE) &&
	      gpu_sees(&amd, sideways.va, sideways.cpu, SIZE));
	buffer_free(&down);
	buffer_free(&up);
	buffer_free(&sideways);
	amd_close(&amd);
	_exit(target_end());
}

static void second_child(struct sockets *s)
{
	struct amd amd;
	struct buffer sideways;
	int fd;

	amd_open(&amd, 0);
	buffer_make(&amd, &sideways, SIZE, AMDGPU_GEM_DOMAIN_GTT, true);
	fill(sideways.cpu, 2, SIZE, 3);
	fd = buffer_export(&sideways);
	fd_send(s->side[1], fd);
	close(fd);
	target_wait();
	CHECK(call_through(sideways.cpu, 103));
	CHECK(is_filled(sideways.cpu, 2, SIZE, 3));
	CHECK(gpu_sees(&amd, sideways.va, sideways.cpu, SIZE));
	buffer_free(&sideways);
	amd_close(&amd);
	_exit(target_end());
}

static void holder(struct sockets *s)
{
	int down = fd_receive(s->hold[1]), up = fd_receive(s->hold[1]);
	uint64_t inodes[2] = { dmabuf_inode(down), dmabuf_inode(up) };

	NEED(write(s->hold[1], "h", 1) == 1);
	target_wait();
	CHECK(inodes[0] != inodes[1] && dmabuf_inode(down) != dmabuf_inode(up));
	CHECK(lseek(down, 0, SEEK_END) == SIZE && lseek(up, 0, SEEK_END) == SIZE);
	fd_send(s->hold[1], down);
	fd_send(s->hold[1], up);
	_exit(target_end());
}

int main(void)
{
	struct amd amd;
	struct buffer down, up;
	struct sockets s;
	pid_t child[3];
	char byte;
	int fd, fd_down;

	target_begin();
	close(amd_node(0));		/* or skip, before anybody is forked */
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, s.parent) == 0 &&
	     socketpair(AF_UNIX, SOCK_STREAM, 0, s.side) == 0 &&
	     socketpair(AF_UNIX, SOCK_STREAM, 0, s.hold) == 0);
	void (*const roles[3])(struct sockets *) = { first_child, second_child, holder };
	for (int i = 0; i < 3; i++) {
		child[i] = target_fork();
		if (child[i] == 0)
			roles[i](&s);
	}
	amd_open(&amd, 0);
	buffer_make(&amd, &down, SIZE, AMDGPU_GEM_DOMAIN_VRAM, true);
	fill(down.cpu, 2, SIZE, 1);
	fd_down = buffer_export(&down);
	fd = fd_receive(s.parent[0]);
	buffer_import(&amd, &up, fd, true);
	fd_send(s.parent[0], fd_down);
	fd_send(s.hold[0], fd_down);
	fd_send(s.hold[0], fd);
	close(fd_down);
	close(fd);
	NEED(read(s.parent[0], &byte, 1) == 1 && read(s.hold[0], &byte, 1) == 1);
	target_ready();
	for (int i = 0; i < 3; i++)
		target_wake(child[i]);
	CHECK(call_through(down.cpu, 101));
	CHECK(answer_through(up.cpu, 102));
	CHECK(is_filled(down.cpu, 2, SIZE, 1) && is_filled(up.cpu, 2, SIZE, 2));
	CHECK(raw_import(amd.fd, fd_receive(s.hold[0])) == down.handle);
	CHECK(raw_import(amd.fd, fd_receive(s.hold[0])) == up.handle);
	for (int i = 0; i < 3; i++)
		target_join(child[i]);
	buffer_free(&down);
	buffer_free(&up);
	amd_close(&amd);
	return target_end();
}
