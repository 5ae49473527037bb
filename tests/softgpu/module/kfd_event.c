// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_event.c - events: made, set, reset, waited for; the page in which the GPU signals.
 *
 * Numbers below 4096 are slots of the page and signal events; 0 is never given out, others begin
 * at 4096. The page is the kernel's own, or a buffer that the process names with its first event.
 */
#include "softgpu.h"

#include <linux/jiffies.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define PAGE_BYTES (KFD_SIGNAL_EVENT_LIMIT * 8)
#define UNSIGNALED 0xff

void kfd_event_init(struct kfd_proc *p)
{
	idr_init(&p->events);
	init_waitqueue_head(&p->event_wait);
}

static bool has_slot(u32 type)
{
	return type == KFD_IOC_EVENT_SIGNAL || type == KFD_IOC_EVENT_DEBUG_EVENT;
}

/*
 * Use the buffer of a handle as the process's event page. EINVAL if there is a page, or no such
 * buffer.
 */
int kfd_event_page(struct kfd_proc *p, u64 handle)
{
	struct kfd_mem *mem = kfd_mem_find(p, handle, NULL);
	u8 unsignaled[512];
	u64 at;
	int r = 0;

	if (p->event_page || p->event_bo || !mem || !mem->bo ||
	    !(mem->flags & KFD_IOC_ALLOC_MEM_FLAGS_GTT) || mem->size < PAGE_BYTES)
		return -EINVAL;
	memset(unsignaled, UNSIGNALED, sizeof(unsignaled));
	for (at = 0; at < PAGE_BYTES && r == 0; at += sizeof(unsignaled))
		r = softgpu_bo_copy(mem->bo, at, unsignaled, sizeof(unsignaled), true);
	if (r)
		return r;
	drm_gem_object_get(bo_obj(mem->bo));
	p->event_bo = mem->bo;
	p->event_handle = handle;
	p->event_size = mem->size;
	return 0;
}

static int own_page(struct kfd_proc *p)
{
	void *page;

	if (p->event_page || p->event_bo)
		return 0;
	page = alloc_pages_exact(PAGE_BYTES, GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	memset(page, UNSIGNALED, PAGE_BYTES);
	p->event_size = PAGE_BYTES;
	WRITE_ONCE(p->event_page, page);
	return 0;
}

/* A new event, at any number of its kind (want -1) or at the given one. */
struct kfd_event *kfd_event_new(struct kfd_proc *p, u32 type, int want)
{
	struct kfd_event *ev;
	int r = has_slot(type) ? own_page(p) : 0;

	if (r)
		return ERR_PTR(r);
	if (has_slot(type) &&
	    p->n_signal_events + 1 >= min_t(u64, p->event_size / 8, KFD_SIGNAL_EVENT_LIMIT))
		return ERR_PTR(-ENOSPC);
	ev = kzalloc(sizeof(*ev), GFP_KERNEL);
	if (!ev)
		return ERR_PTR(-ENOMEM);
	if (want >= 0)
		r = idr_alloc(&p->events, ev, want, want + 1, GFP_KERNEL);
	else if (has_slot(type))
		r = idr_alloc(&p->events, ev, 1, KFD_SIGNAL_EVENT_LIMIT, GFP_KERNEL);
	else
		r = idr_alloc(&p->events, ev, KFD_SIGNAL_EVENT_LIMIT, 0, GFP_KERNEL);
	if (r < 0) {
		kfree(ev);
		return ERR_PTR(r);
	}
	ev->id = r;
	ev->type = type;
	ev->age = 1;
	p->n_signal_events += has_slot(type);
	atomic64_inc(&softgpu_count.events);
	return ev;
}

static void event_drop(struct kfd_proc *p, struct kfd_event *ev)
{
	idr_remove(&p->events, ev->id);
	p->n_signal_events -= has_slot(ev->type);
	kfree(ev);
	atomic64_dec(&softgpu_count.events);
}

void kfd_event_drop_all(struct kfd_proc *p)
{
	struct kfd_event *ev;
	int id;

	idr_for_each_entry(&p->events, ev, id)
		event_drop(p, ev);
	idr_destroy(&p->events);
	if (p->event_page)
		free_pages_exact(p->event_page, PAGE_BYTES);
	if (p->event_bo)
		drm_gem_object_put(bo_obj(p->event_bo));
}

/* Let those who wait look again. */
static void changed(struct kfd_proc *p)
{
	WRITE_ONCE(p->event_changes, p->event_changes + 1);
	wake_up_all(&p->event_wait);
}

KFD_HANDLER(kfd_event_create)
{
	struct kfd_ioctl_create_event_args *args = data;
	struct kfd_event *ev;
	int r;

	if (args->event_type > KFD_IOC_EVENT_MEMORY)
		return -EINVAL;
	if (args->event_page_offset) {
		r = kfd_event_page(p, args->event_page_offset);
		if (r)
			return r;
	}
	ev = kfd_event_new(p, args->event_type, -1);
	if (IS_ERR(ev))
		return PTR_ERR(ev);
	ev->auto_reset = args->auto_reset;
	args->event_page_offset = has_slot(ev->type) ? 2ULL << 62 : 0;
	args->event_id = ev->id;
	args->event_trigger_data = ev->id;
	if (has_slot(ev->type))
		args->event_slot_index = ev->id;
	return 0;
}

KFD_HANDLER(kfd_event_destroy)
{
	struct kfd_ioctl_destroy_event_args *args = data;
	struct kfd_event *ev = idr_find(&p->events, args->event_id);

	if (!ev)
		return -EINVAL;
	event_drop(p, ev);
	changed(p);
	return 0;
}

KFD_HANDLER(kfd_event_set)
{
	struct kfd_ioctl_set_event_args *args = data;
	struct kfd_event *ev = idr_find(&p->events, args->event_id);

	if (!ev || ev->type != KFD_IOC_EVENT_SIGNAL)
		return -EINVAL;
	ev->signaled = true;
	ev->age++;
	changed(p);
	return 0;
}

KFD_HANDLER(kfd_event_reset)
{
	struct kfd_ioctl_reset_event_args *args = data;
	struct kfd_event *ev = idr_find(&p->events, args->event_id);

	if (!ev || ev->type != KFD_IOC_EVENT_SIGNAL)
		return -EINVAL;
	ev->signaled = false;
	return 0;
}

/* Consume what is signaled: reset what resets itself, tell the new age. */
static void take(struct kfd_proc *p, struct kfd_event_data *list, u32 n)
{
	struct kfd_event *ev;
	u32 i;

	for (i = 0; i < n; i++) {
		ev = idr_find(&p->events, list[i].event_id);
		if (!ev || !ev->signaled)
			continue;
		if (has_slot(ev->type) && list[i].signal_event_data.last_event_age)
			list[i].signal_event_data.last_event_age = ev->age;
		else if (ev->type == KFD_IOC_EVENT_MEMORY)
			list[i].memory_exception_data = ev->memory;
		else if (ev->type == KFD_IOC_EVENT_HW_EXCEPTION)
			list[i].hw_exception_data = ev->hw;
		if (ev->auto_reset)
			ev->signaled = false;
	}
}

/* 1: the wait is over, 0: not yet, -EINVAL: an event does not exist (any more). */
static int look(struct kfd_proc *p, struct kfd_event_data *list, u32 n, bool all)
{
	struct kfd_event *ev;
	u32 i, good = 0;
	int r = 0;

	mutex_lock(&p->lock);
	for (i = 0; i < n && r == 0; i++) {
		ev = idr_find(&p->events, list[i].event_id);
		if (!ev)
			r = -EINVAL;
		else if (ev->signaled ||
			 (has_slot(ev->type) && list[i].signal_event_data.last_event_age &&
			  list[i].signal_event_data.last_event_age != ev->age))
			good++;
	}
	if (r == 0 && (all ? good == n : good > 0)) {
		take(p, list, n);
		r = 1;
	}
	mutex_unlock(&p->lock);
	return r;
}

static long wait(struct kfd_proc *p, struct kfd_ioctl_wait_events_args *args,
		 struct kfd_event_data *list)
{
	long left =
		args->timeout == U32_MAX ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(args->timeout);
	bool looked = false;
	u32 seen;
	int state;

	for (;; looked = true) {
		seen = READ_ONCE(p->event_changes);
		state = look(p, list, args->num_events, args->wait_for_all);
		if (state < 0) {
			args->wait_result = KFD_IOC_WAIT_RESULT_FAIL;
			return looked ? -EIO : -EINVAL;
		}
		args->wait_result =
			state ? KFD_IOC_WAIT_RESULT_COMPLETE : KFD_IOC_WAIT_RESULT_TIMEOUT;
		if (state || !left)
			return 0;
		left = wait_event_interruptible_timeout(p->event_wait,
							READ_ONCE(p->event_changes) != seen, left);
		if (left < 0)
			return left;
	}
}

/* Waits without the process's lock. */
long kfd_event_wait(struct kfd_proc *p, struct kfd_ioctl_wait_events_args *args)
{
	struct kfd_event_data *list;
	void __user *user = u64_to_user_ptr(args->events_ptr);
	size_t size = (size_t)args->num_events * sizeof(*list);
	long r;

	if (!args->num_events || args->num_events > 2 * KFD_SIGNAL_EVENT_LIMIT)
		return -EINVAL;
	list = vmemdup_user(user, size);
	if (IS_ERR(list))
		return PTR_ERR(list);
	r = wait(p, args, list);
	if (r == 0 && copy_to_user(user, list, size))
		r = -EFAULT;
	kvfree(list);
	return r;
}
