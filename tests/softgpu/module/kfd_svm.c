// SPDX-License-Identifier: GPL-2.0
/*
 * kfd_svm.c - attributes of ranges of shared virtual memory.
 *
 * Only the attributes are kept; pages stay where they are. A range whose memory was unmapped is
 * dropped when the list is next used (the real driver hears of it from the mm).
 */
#include "softgpu.h"

#include <linux/mm.h>
#include <linux/slab.h>

#define DEFAULT_FLAGS (KFD_IOCTL_SVM_FLAG_HOST_ACCESS | KFD_IOCTL_SVM_FLAG_COHERENT)
#define DEFAULT_GRANULARITY 9

static void set_defaults(struct kfd_proc *p, struct kfd_svm_range *range)
{
	range->preferred = KFD_IOCTL_SVM_LOCATION_UNDEFINED;
	range->prefetch = KFD_IOCTL_SVM_LOCATION_UNDEFINED;
	range->flags = DEFAULT_FLAGS;
	range->granularity = DEFAULT_GRANULARITY;
	if (p->xnack)
		bitmap_fill(range->access, p->n_pdds);
}

static struct kfd_svm_range *range_make(const struct kfd_svm_range *like, u64 start, u64 last)
{
	struct kfd_svm_range *range = kmemdup(like, sizeof(*like), GFP_KERNEL);

	if (range) {
		range->start = start;
		range->last = last;
		atomic64_inc(&softgpu_count.svm_ranges);
	}
	return range;
}

static void range_drop(struct kfd_svm_range *range)
{
	list_del(&range->in);
	kfree(range);
	atomic64_dec(&softgpu_count.svm_ranges);
}

bool kfd_svm_overlaps(struct kfd_proc *p, u64 start, u64 last)
{
	struct kfd_svm_range *range;

	list_for_each_entry(range, &p->svm, in)
		if (range->start <= last >> PAGE_SHIFT && range->last >= start >> PAGE_SHIFT)
			return true;
	return false;
}

/* Whether all pages of a range have a mapping of the CPU. */
static bool is_mapped(struct mm_struct *mm, u64 start, u64 last)
{
	struct vm_area_struct *vma;
	u64 at = start << PAGE_SHIFT, end = (last + 1) << PAGE_SHIFT;

	mmap_read_lock(mm);
	while (at < end) {
		vma = find_vma(mm, at);
		if (!vma || vma->vm_start > at || vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))
			break;
		at = vma->vm_end;
	}
	mmap_read_unlock(mm);
	return at >= end;
}

void kfd_svm_prune(struct kfd_proc *p, struct mm_struct *mm)
{
	struct kfd_svm_range *range, *next;

	list_for_each_entry_safe(range, next, &p->svm, in)
		if (!is_mapped(mm, range->start, range->last))
			range_drop(range);
}

static int check_location(struct kfd_proc *p, u32 id)
{
	return id == KFD_IOCTL_SVM_LOCATION_SYSMEM || id == KFD_IOCTL_SVM_LOCATION_UNDEFINED ||
			       kfd_pdd_of(p, id)
		       ? 0
		       : -EINVAL;
}

static int check(struct kfd_proc *p, const struct kfd_ioctl_svm_attribute *attrs, u32 n)
{
	u32 i, all = KFD_IOCTL_SVM_FLAG_EXT_COHERENT * 2 - 1;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		switch (attrs[i].type) {
		case KFD_IOCTL_SVM_ATTR_PREFERRED_LOC:
		case KFD_IOCTL_SVM_ATTR_PREFETCH_LOC:
			r = check_location(p, attrs[i].value);
			break;
		case KFD_IOCTL_SVM_ATTR_ACCESS:
		case KFD_IOCTL_SVM_ATTR_ACCESS_IN_PLACE:
		case KFD_IOCTL_SVM_ATTR_NO_ACCESS:
			r = kfd_pdd_of(p, attrs[i].value) ? 0 : -EINVAL;
			break;
		case KFD_IOCTL_SVM_ATTR_SET_FLAGS:
		case KFD_IOCTL_SVM_ATTR_CLR_FLAGS:
			r = attrs[i].value & ~all ? -EINVAL : 0;
			break;
		case KFD_IOCTL_SVM_ATTR_GRANULARITY:
			break;
		default:
			r = -EINVAL;
		}
	}
	return r;
}

static void apply(struct kfd_proc *p, struct kfd_svm_range *range,
		  const struct kfd_ioctl_svm_attribute *attr)
{
	u32 value = attr->value, gpu;

	switch (attr->type) {
	case KFD_IOCTL_SVM_ATTR_PREFERRED_LOC:
		range->preferred = value;
		break;
	case KFD_IOCTL_SVM_ATTR_PREFETCH_LOC:
		range->prefetch = value;
		break;
	case KFD_IOCTL_SVM_ATTR_SET_FLAGS:
		range->flags |= value;
		break;
	case KFD_IOCTL_SVM_ATTR_CLR_FLAGS:
		range->flags &= ~value;
		break;
	case KFD_IOCTL_SVM_ATTR_GRANULARITY:
		range->granularity = min(value, 0x3fU);
		break;
	default:
		gpu = kfd_pdd_of(p, value) - p->pdds;
		assign_bit(gpu, range->access, attr->type == KFD_IOCTL_SVM_ATTR_ACCESS);
		assign_bit(gpu, range->in_place, attr->type == KFD_IOCTL_SVM_ATTR_ACCESS_IN_PLACE);
	}
}

/* Split a range so that one begins at page "at", if at lies inside it. */
static int split(struct kfd_svm_range *range, u64 at)
{
	struct kfd_svm_range *tail;

	if (range->start >= at || range->last < at)
		return 0;
	tail = range_make(range, at, range->last);
	if (!tail)
		return -ENOMEM;
	range->last = at - 1;
	list_add(&tail->in, &range->in);
	return 0;
}

/* Make ranges for what of start..last has none, so that all of it is covered by whole ranges. */
static int cover(struct kfd_proc *p, u64 start, u64 last)
{
	struct kfd_svm_range defaults = {}, *range, *fresh;
	u64 at = start, end;

	set_defaults(p, &defaults);
	list_for_each_entry(range, &p->svm, in)
		if (split(range, start) || split(range, last + 1))
			return -ENOMEM;
	range = list_first_entry(&p->svm, struct kfd_svm_range, in);
	while (at <= last) {
		while (!list_entry_is_head(range, &p->svm, in) && range->last < at)
			range = list_next_entry(range, in);
		end = last;
		if (!list_entry_is_head(range, &p->svm, in) && range->start <= at) {
			at = range->last + 1;
			continue;
		}
		if (!list_entry_is_head(range, &p->svm, in))
			end = min(last, range->start - 1);
		fresh = range_make(&defaults, at, end);
		if (!fresh)
			return -ENOMEM;
		list_add_tail(&fresh->in, &range->in);
		at = end + 1;
	}
	return 0;
}

/* Set attributes of pages start..start+npages-1 of an mm that is the process's. */
int kfd_svm_set(struct kfd_proc *p, struct mm_struct *mm, u64 start, u64 npages,
		const struct kfd_ioctl_svm_attribute *attrs, u32 n)
{
	struct kfd_svm_range *range;
	u64 last = start + npages - 1;
	u32 i;
	int r;

	r = check(p, attrs, n);
	if (r)
		return r;
	kfd_svm_prune(p, mm);
	if (!is_mapped(mm, start, last))
		return -EFAULT;
	if (kfd_mem_overlaps(p, start << PAGE_SHIFT, (last << PAGE_SHIFT) + PAGE_SIZE - 1))
		return -EADDRINUSE;
	r = cover(p, start, last);
	if (r)
		return r;
	list_for_each_entry(range, &p->svm, in)
		if (range->start >= start && range->last <= last)
			for (i = 0; i < n; i++)
				apply(p, range, &attrs[i]);
	return 0;
}

struct sum {
	struct kfd_svm_range all;
	u32 any_flags;
	bool found;
};

/*
 * What holds for every page of the range; pages without a range count with the defaults only if
 * none has one.
 */
static void sum_up(struct kfd_proc *p, u64 start, u64 last, struct sum *sum)
{
	struct kfd_svm_range *range, *all = &sum->all;

	list_for_each_entry(range, &p->svm, in) {
		if (range->start > last || range->last < start)
			continue;
		if (!sum->found) {
			*all = *range;
			sum->any_flags = range->flags;
			sum->found = true;
			continue;
		}
		if (all->preferred != range->preferred)
			all->preferred = KFD_IOCTL_SVM_LOCATION_UNDEFINED;
		if (all->prefetch != range->prefetch)
			all->prefetch = KFD_IOCTL_SVM_LOCATION_UNDEFINED;
		all->flags &= range->flags;
		sum->any_flags |= range->flags;
		all->granularity = min(all->granularity, range->granularity);
		bitmap_and(all->access, all->access, range->access, SOFTGPU_MAX);
		bitmap_and(all->in_place, all->in_place, range->in_place, SOFTGPU_MAX);
	}
	if (!sum->found) {
		set_defaults(p, all);
		sum->any_flags = all->flags;
	}
}

/* Fill in values (and for access, types) of checked attributes. */
void kfd_svm_get(struct kfd_proc *p, u64 start, u64 last, struct kfd_ioctl_svm_attribute *attrs,
		 u32 n)
{
	struct sum sum = {};
	u32 i, gpu;

	sum_up(p, start, last, &sum);
	for (i = 0; i < n; i++) {
		switch (attrs[i].type) {
		case KFD_IOCTL_SVM_ATTR_PREFERRED_LOC:
			attrs[i].value = sum.all.preferred;
			break;
		case KFD_IOCTL_SVM_ATTR_PREFETCH_LOC:
			attrs[i].value = sum.all.prefetch;
			break;
		case KFD_IOCTL_SVM_ATTR_SET_FLAGS:
			attrs[i].value = sum.all.flags;
			break;
		case KFD_IOCTL_SVM_ATTR_CLR_FLAGS:
			attrs[i].value = ~sum.any_flags;
			break;
		case KFD_IOCTL_SVM_ATTR_GRANULARITY:
			attrs[i].value = sum.all.granularity;
			break;
		default:
			gpu = kfd_pdd_of(p, attrs[i].value) - p->pdds;
			if (test_bit(gpu, sum.all.access))
				attrs[i].type = KFD_IOCTL_SVM_ATTR_ACCESS;
			else if (test_bit(gpu, sum.all.in_place))
				attrs[i].type = KFD_IOCTL_SVM_ATTR_ACCESS_IN_PLACE;
			else
				attrs[i].type = KFD_IOCTL_SVM_ATTR_NO_ACCESS;
		}
	}
}

static bool query_ok(struct kfd_proc *p, const struct kfd_ioctl_svm_attribute *attrs, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		if (attrs[i].type > KFD_IOCTL_SVM_ATTR_GRANULARITY ||
		    attrs[i].type == KFD_IOCTL_SVM_ATTR_ACCESS_IN_PLACE ||
		    attrs[i].type == KFD_IOCTL_SVM_ATTR_NO_ACCESS ||
		    (attrs[i].type == KFD_IOCTL_SVM_ATTR_ACCESS && !kfd_pdd_of(p, attrs[i].value)))
			return false;
	return true;
}

/* The SVM ioctl; args has room for nattr attributes, as kfd_ioctl() copied what its number said. */
long kfd_svm(struct kfd_proc *p, struct kfd_ioctl_svm_args *args)
{
	u64 start = args->start_addr >> PAGE_SHIFT, npages = args->size >> PAGE_SHIFT;

	if (offset_in_page(args->start_addr | args->size) || !args->start_addr || !args->size ||
	    args->start_addr + args->size < args->start_addr)
		return -EINVAL;
	if (args->op == KFD_IOCTL_SVM_OP_SET_ATTR)
		return kfd_svm_set(p, current->mm, start, npages, args->attrs, args->nattr);
	if (args->op != KFD_IOCTL_SVM_OP_GET_ATTR || !query_ok(p, args->attrs, args->nattr))
		return -EINVAL;
	kfd_svm_prune(p, current->mm);
	if (!is_mapped(current->mm, start, start + npages - 1))
		return -EINVAL;
	kfd_svm_get(p, start, start + npages - 1, args->attrs, args->nattr);
	return 0;
}

void kfd_svm_drop_all(struct kfd_proc *p)
{
	struct kfd_svm_range *range, *next;
	struct kfd_svm_saved *saved, *n;

	list_for_each_entry_safe(range, next, &p->svm, in)
		range_drop(range);
	list_for_each_entry_safe(saved, n, &p->svm_restored, in)
		kfree(saved);
}
