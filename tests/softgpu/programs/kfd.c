// SPDX-License-Identifier: MIT
/*
 * kfd.c - scenario (a): one process that computes through libhsakmt, on the first N GPUs of the
 * machine.
 *
 *   kfd [N]     N: how many GPUs, default 1. With 4, restored on other numbers: scenario (f).
 *
 * Per GPU: buffers in device memory (visible and not), in GTT and over the process's own memory,
 * mapped on the GPU; attributes of shared memory; events, one of them set; a compute and an SDMA
 * queue. Afterwards contents, attributes, events and queues must be there, at the addresses they
 * had, and everything can be unmapped, destroyed and freed.
 */
#include "target.h"

#include <hsakmt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define KIB 1024u
#define MAX_GPUS 64

struct gpu {
	HSAuint32 node;
	uint32_t *vram, *gtt, *user, *svm;
	void *hidden, *ring[2];
	HsaEvent *set, *unset;
	HsaQueueResource queue[2];
};

#define VRAM_SIZE (1024 * KIB)
#define GTT_SIZE (64 * KIB)
#define USER_SIZE (32 * KIB)
#define HIDDEN_SIZE (256 * KIB)
#define RING_SIZE (4 * KIB)
#define SVM_SIZE (64 * KIB)
#define GRANULARITY 5 /* not the default, 9 */

static void *allocate(HSAuint32 node, HSAuint64 size, bool visible)
{
	HsaMemFlags flags = {.ui32 = {.NonPaged = 1, .HostAccess = visible, .ExecuteAccess = 1}};
	HSAuint64 alternate;
	void *p = NULL;

	NEED(hsaKmtAllocMemory(node, size, flags, &p) == HSAKMT_STATUS_SUCCESS);
	NEED(hsaKmtMapMemoryToGPU(p, size, &alternate) == HSAKMT_STATUS_SUCCESS);
	return p;
}

static void release(void *p, HSAuint64 size)
{
	CHECK(hsaKmtUnmapMemoryToGPU(p) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtFreeMemory(p, size) == HSAKMT_STATUS_SUCCESS);
}

static uint32_t *private_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	NEED(p != MAP_FAILED);
	return p;
}

/* Attributes for a part of ordinary memory: the GPU may use it. */
static void share_memory(struct gpu *gpu)
{
	HSA_SVM_ATTRIBUTE attrs[2] = {
		{ .type = HSA_SVM_ATTR_GRANULARITY, .value = GRANULARITY },
		{ .type = HSA_SVM_ATTR_ACCESS, .value = gpu->node },
	};

	gpu->svm = private_memory(SVM_SIZE);
	NEED(hsaKmtSVMSetAttr((char *)gpu->svm + 4 * KIB, SVM_SIZE / 2, 2, attrs) ==
	     HSAKMT_STATUS_SUCCESS);
}

static void check_shared(const struct gpu *gpu)
{
	HSA_SVM_ATTRIBUTE attrs[2] = {
		{ .type = HSA_SVM_ATTR_GRANULARITY },
		{ .type = HSA_SVM_ATTR_ACCESS, .value = gpu->node },
	};

	CHECK(hsaKmtSVMGetAttr((char *)gpu->svm + 4 * KIB, SVM_SIZE / 2, 2, attrs) ==
	      HSAKMT_STATUS_SUCCESS);
	CHECK(attrs[0].value == GRANULARITY && attrs[1].type == HSA_SVM_ATTR_ACCESS);
	CHECK(hsaKmtSVMGetAttr((char *)gpu->svm + SVM_SIZE / 2 + 4 * KIB, 4 * KIB, 1, attrs) ==
	      HSAKMT_STATUS_SUCCESS);
	CHECK(attrs[0].value != GRANULARITY);
}

static HsaEvent *event(HSAuint32 node)
{
	HsaEventDescriptor what = { .EventType = HSA_EVENTTYPE_SIGNAL, .NodeId = node };
	HsaEvent *ev = NULL;

	NEED(hsaKmtCreateEvent(&what, true, false, &ev) == HSAKMT_STATUS_SUCCESS);
	return ev;
}

static void set_up(struct gpu *gpu, unsigned int seed)
{
	static const HSA_QUEUE_TYPE types[2] = { HSA_QUEUE_COMPUTE, HSA_QUEUE_SDMA };
	HSAuint64 alternate;

	gpu->vram = allocate(gpu->node, VRAM_SIZE, true);
	gpu->gtt = allocate(0, GTT_SIZE, true);
	gpu->hidden = allocate(gpu->node, HIDDEN_SIZE, false);
	gpu->user = private_memory(USER_SIZE);
	NEED(hsaKmtRegisterMemory(gpu->user, USER_SIZE) == HSAKMT_STATUS_SUCCESS);
	NEED(hsaKmtMapMemoryToGPU(gpu->user, USER_SIZE, &alternate) == HSAKMT_STATUS_SUCCESS);
	fill(gpu->vram, 0, VRAM_SIZE, seed + 1);
	fill(gpu->gtt, 0, GTT_SIZE, seed + 2);
	fill(gpu->user, 0, USER_SIZE, seed + 3);
	share_memory(gpu);
	fill(gpu->svm, 0, SVM_SIZE, seed + 4);
	gpu->set = event(gpu->node);
	gpu->unset = event(gpu->node);
	NEED(hsaKmtSetEvent(gpu->set) == HSAKMT_STATUS_SUCCESS);
	for (int i = 0; i < 2; i++) {
		gpu->ring[i] = allocate(0, RING_SIZE, true);
		NEED(hsaKmtCreateQueue(gpu->node, types[i], 100, HSA_QUEUE_PRIORITY_NORMAL,
				       gpu->ring[i], RING_SIZE, NULL,
				       &gpu->queue[i]) == HSAKMT_STATUS_SUCCESS);
	}
}

static void verify(struct gpu *gpu, unsigned int seed)
{
	CHECK(is_filled(gpu->vram, 0, VRAM_SIZE, seed + 1));
	CHECK(is_filled(gpu->gtt, 0, GTT_SIZE, seed + 2));
	CHECK(is_filled(gpu->user, 0, USER_SIZE, seed + 3));
	CHECK(is_filled(gpu->svm, 0, SVM_SIZE, seed + 4));
	check_shared(gpu);
	CHECK(hsaKmtWaitOnEvent(gpu->set, 1000) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtWaitOnEvent(gpu->unset, 10) == HSAKMT_STATUS_WAIT_TIMEOUT);
	CHECK(hsaKmtSetEvent(gpu->unset) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtWaitOnEvent(gpu->unset, 1000) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtDestroyEvent(gpu->set) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtDestroyEvent(gpu->unset) == HSAKMT_STATUS_SUCCESS);
	for (int i = 0; i < 2; i++) {
		CHECK(hsaKmtUpdateQueue(gpu->queue[i].QueueId, 50, HSA_QUEUE_PRIORITY_HIGH,
					gpu->ring[i], RING_SIZE, NULL) == HSAKMT_STATUS_SUCCESS);
		*gpu->queue[i].Queue_DoorBell = 0;
		CHECK(hsaKmtDestroyQueue(gpu->queue[i].QueueId) == HSAKMT_STATUS_SUCCESS);
		release(gpu->ring[i], RING_SIZE);
	}
	release(gpu->vram, VRAM_SIZE);
	release(gpu->gtt, GTT_SIZE);
	release(gpu->hidden, HIDDEN_SIZE);
	CHECK(hsaKmtUnmapMemoryToGPU(gpu->user) == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtDeregisterMemory(gpu->user) == HSAKMT_STATUS_SUCCESS);
}

static unsigned int find_gpus(struct gpu *gpus, unsigned int most)
{
	HsaSystemProperties system;
	HsaNodeProperties node;
	unsigned int n = 0;

	NEED(hsaKmtAcquireSystemProperties(&system) == HSAKMT_STATUS_SUCCESS);
	for (HSAuint32 i = 0; i < system.NumNodes && n < most; i++) {
		NEED(hsaKmtGetNodeProperties(i, &node) == HSAKMT_STATUS_SUCCESS);
		if (node.NumFComputeCores)
			gpus[n++].node = i;
	}
	return n;
}

int main(int argc, char **argv)
{
	static struct gpu gpus[MAX_GPUS];
	unsigned int n = argc > 1 ? (unsigned int)atoi(argv[1]) : 1;

	target_begin();
	if (hsaKmtOpenKFD() != HSAKMT_STATUS_SUCCESS || find_gpus(gpus, n) < n) {
		printf("skip: no /dev/kfd with %u GPUs\n", n);
		return 77;
	}
	for (unsigned int i = 0; i < n; i++)
		set_up(&gpus[i], i * 100);
	target_ready();
	for (unsigned int i = 0; i < n; i++)
		verify(&gpus[i], i * 100);
	CHECK(hsaKmtReleaseSystemProperties() == HSAKMT_STATUS_SUCCESS);
	CHECK(hsaKmtCloseKFD() == HSAKMT_STATUS_SUCCESS);
	return target_end();
}
