// SPDX-License-Identifier: GPL-2.0
/*
 * kfd.c - /dev/kfd: its processes, who may call, the table of ioctls, mmap.
 *
 * As the real driver: a process is an mm, made by the first open and gone when the mm goes (by
 * the notifier, then a
 * work item: asynchronously), not when the file is closed. An ioctl from another thread group is
 * EBADF, but for the CRIU ioctl from the ptrace parent of the owner's leader. A live process
 * keeps the module loaded.
 */
#include "softgpu.h"

#include <linux/capability.h>
#include <linux/cdev.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/ptrace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#define MMAP_TYPE_SHIFT 62
#define MMAP_DOORBELL 3ULL
#define MMAP_EVENTS 2ULL
#define MMAP_MMIO 0ULL
#define MMAP_GPU_SHIFT 46

static LIST_HEAD(procs);
static DEFINE_MUTEX(procs_lock);
static struct workqueue_struct *release_wq;
static struct class *kfd_class;
static struct device *kfd_device;
static int kfd_major;

static void proc_release(struct work_struct *work)
{
	struct kfd_proc *p = container_of(work, struct kfd_proc, release);
	int i;

	if (softgpu.release_ms)
		msleep(softgpu.release_ms);
	kfd_queue_drop_all(p);
	kfd_event_drop_all(p);
	kfd_svm_drop_all(p);
	kfd_mem_drop_all(p);
	for (i = 0; i < p->n_pdds; i++) {
		if (p->pdds[i].file) {
			p->pdds[i].vm->owner = NULL;
			fput(p->pdds[i].file);
		}
		free_pages_exact(p->pdds[i].doorbells, SOFTGPU_DOORBELLS);
		free_pages_exact(p->pdds[i].mmio, PAGE_SIZE);
		idr_destroy(&p->pdds[i].bos);
	}
	put_task_struct(p->lead);
	kvfree(p);
	atomic64_dec(&softgpu_count.kfd_processes);
}

static void proc_last_put(struct kref *ref)
{
	struct kfd_proc *p = container_of(ref, struct kfd_proc, ref);

	INIT_WORK(&p->release, proc_release);
	queue_work(release_wq, &p->release);
}

void kfd_proc_put(struct kfd_proc *p)
{
	kref_put(&p->ref, proc_last_put);
}

/* The mm is going: nobody finds the process any more. */
static void mn_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct kfd_proc *p = container_of(mn, struct kfd_proc, mn);
	bool first;

	mutex_lock(&procs_lock);
	first = !p->dead;
	p->dead = true;
	if (first)
		list_del_init(&p->all);
	mutex_unlock(&procs_lock);
	if (first)
		mmu_notifier_put(mn);
}

static struct mmu_notifier *mn_alloc(struct mm_struct *mm)
{
	struct kfd_proc *p = kvzalloc(sizeof(*p), GFP_KERNEL);

	if (!p)
		return ERR_PTR(-ENOMEM);
	kref_init(&p->ref);		/* the notifier's */
	return &p->mn;
}

static void mn_free(struct mmu_notifier *mn)
{
	kfd_proc_put(container_of(mn, struct kfd_proc, mn));
	module_put(THIS_MODULE);
}

static const struct mmu_notifier_ops mn_ops = {
	.release = mn_release,
	.alloc_notifier = mn_alloc,
	.free_notifier = mn_free,
};

/* The process of an mm, with a reference, or NULL. */
struct kfd_proc *kfd_proc_of(struct mm_struct *mm)
{
	struct kfd_proc *p, *found = NULL;

	mutex_lock(&procs_lock);
	list_for_each_entry(p, &procs, all) {
		if (p->mn.mm == mm) {
			kref_get(&p->ref);
			found = p;
			break;
		}
	}
	mutex_unlock(&procs_lock);
	return found;
}

void kfd_procs_each(void (*fn)(struct kfd_proc *p, void *ctx), void *ctx)
{
	struct kfd_proc *p;

	mutex_lock(&procs_lock);
	list_for_each_entry(p, &procs, all)
		fn(p, ctx);
	mutex_unlock(&procs_lock);
}

static int proc_fill(struct kfd_proc *p)
{
	int i;

	mutex_init(&p->lock);
	INIT_LIST_HEAD(&p->svm);
	INIT_LIST_HEAD(&p->svm_restored);
	idr_init(&p->queues);
	kfd_event_init(p);
	p->lead = current->group_leader;
	get_task_struct(p->lead);
	atomic64_inc(&softgpu_count.kfd_processes);
	for (i = 0; i < softgpu.gpus; i++) {
		struct kfd_pdd *pdd = &p->pdds[p->n_pdds];

		if (!softgpu_permitted(softgpu_devs[i]))
			continue;
		p->n_pdds++;
		pdd->proc = p;
		pdd->dev = softgpu_devs[i];
		pdd->user_gpu_id = pdd->dev->gpu_id;
		idr_init(&pdd->bos);
		pdd->doorbells = alloc_pages_exact(SOFTGPU_DOORBELLS, GFP_KERNEL | __GFP_ZERO);
		pdd->mmio = alloc_pages_exact(PAGE_SIZE, GFP_KERNEL | __GFP_ZERO);
		if (!pdd->doorbells || !pdd->mmio)
			return -ENOMEM;
	}
	return 0;
}

/* The caller's process with a reference for the file, made when it has none. */
static struct kfd_proc *proc_get_or_make(void)
{
	static DEFINE_MUTEX(making);
	struct mmu_notifier *mn;
	struct kfd_proc *p;
	int r;

	if (!current->mm || current->group_leader->mm != current->mm)
		return ERR_PTR(-EINVAL);
	mutex_lock(&making);
	p = kfd_proc_of(current->mm);
	if (p)
		goto out;
	__module_get(THIS_MODULE);
	mn = mmu_notifier_get(&mn_ops, current->mm);
	if (IS_ERR(mn)) {
		module_put(THIS_MODULE);
		p = ERR_CAST(mn);
		goto out;
	}
	p = container_of(mn, struct kfd_proc, mn);
	r = proc_fill(p);
	if (r) {
		p->dead = true;
		mmu_notifier_put(mn);
		p = ERR_PTR(r);
		goto out;
	}
	kref_get(&p->ref);
	mutex_lock(&procs_lock);
	list_add_tail(&p->all, &procs);
	mutex_unlock(&procs_lock);
out:
	mutex_unlock(&making);
	return p;
}

struct kfd_pdd *kfd_pdd_of(struct kfd_proc *p, u32 user_gpu_id)
{
	u32 i;

	for (i = 0; i < p->n_pdds; i++)
		if (p->pdds[i].user_gpu_id == user_gpu_id)
			return &p->pdds[i];
	return NULL;
}

/* Make the address space of an open render node that of the process on this GPU. */
int kfd_acquire(struct kfd_pdd *pdd, u32 drm_fd)
{
	struct file *file = fget(drm_fd);
	struct softgpu_file *vm;
	int r = 0;

	if (!file)
		return -EINVAL;
	vm = file->f_op == &softgpu_drm_fops ? ((struct drm_file *)file->private_data)->driver_priv
					     : NULL;
	if (pdd->file)
		r = pdd->file == file ? -EEXIST : -EBUSY;
	else if (!vm || vm->dev != pdd->dev)
		r = -EINVAL;
	else if (cmpxchg(&vm->owner, NULL, pdd->proc))
		r = -EINVAL;
	if (r) {
		fput(file);
		return r == -EEXIST ? 0 : r;
	}
	pdd->vm = vm;
	pdd->file = file;
	return 0;
}

/* The mmap offset of doorbells or of the MMIO page; it carries the GPU's actual id. */
u64 kfd_offset(const struct kfd_pdd *pdd, u32 flags)
{
	u64 type = flags & KFD_IOC_ALLOC_MEM_FLAGS_DOORBELL ? MMAP_DOORBELL : MMAP_MMIO;

	return type << MMAP_TYPE_SHIFT | (u64)pdd->dev->gpu_id << MMAP_GPU_SHIFT;
}

static KFD_HANDLER(on_version)
{
	struct kfd_ioctl_get_version_args *args = data;

	args->major_version = KFD_IOCTL_MAJOR_VERSION;
	args->minor_version = KFD_IOCTL_MINOR_VERSION;
	return 0;
}

static KFD_HANDLER(on_acquire_vm)
{
	struct kfd_ioctl_acquire_vm_args *args = data;
	struct kfd_pdd *pdd = kfd_pdd_of(p, args->gpu_id);

	return pdd ? kfd_acquire(pdd, args->drm_fd) : -EINVAL;
}

#define NEEDS_CRIU 1	/* the capability; the ptrace parent may call */
#define UNLOCKED 2	/* takes p->lock itself, while it does not sleep */

static KFD_HANDLER(on_wait)
{
	return kfd_event_wait(p, data);
}

static KFD_HANDLER(on_svm)
{
	return kfd_svm(p, data);
}

struct entry {
	kfd_handler *fn;
	u32 cmd, flags;
};
#define ENTRY(command, function, how) \
	[_IOC_NR(command)] = { .fn = (function), .cmd = (command), .flags = (how) }

static const struct entry entries[] = {
	ENTRY(AMDKFD_IOC_GET_VERSION, on_version, 0),
	ENTRY(AMDKFD_IOC_CREATE_QUEUE, kfd_queue_create, 0),
	ENTRY(AMDKFD_IOC_DESTROY_QUEUE, kfd_queue_destroy, 0),
	ENTRY(AMDKFD_IOC_SET_MEMORY_POLICY, kfd_memory_policy, 0),
	ENTRY(AMDKFD_IOC_GET_CLOCK_COUNTERS, kfd_clocks, 0),
	ENTRY(AMDKFD_IOC_UPDATE_QUEUE, kfd_queue_update, 0),
	ENTRY(AMDKFD_IOC_CREATE_EVENT, kfd_event_create, 0),
	ENTRY(AMDKFD_IOC_DESTROY_EVENT, kfd_event_destroy, 0),
	ENTRY(AMDKFD_IOC_SET_EVENT, kfd_event_set, 0),
	ENTRY(AMDKFD_IOC_RESET_EVENT, kfd_event_reset, 0),
	ENTRY(AMDKFD_IOC_WAIT_EVENTS, on_wait, UNLOCKED),
	ENTRY(AMDKFD_IOC_SET_SCRATCH_BACKING_VA, kfd_scratch, 0),
	ENTRY(AMDKFD_IOC_GET_TILE_CONFIG, kfd_tile_config, 0),
	ENTRY(AMDKFD_IOC_SET_TRAP_HANDLER, kfd_trap_handler, 0),
	ENTRY(AMDKFD_IOC_GET_PROCESS_APERTURES_NEW, kfd_apertures, 0),
	ENTRY(AMDKFD_IOC_ACQUIRE_VM, on_acquire_vm, 0),
	ENTRY(AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, kfd_alloc, 0),
	ENTRY(AMDKFD_IOC_FREE_MEMORY_OF_GPU, kfd_free, 0),
	ENTRY(AMDKFD_IOC_MAP_MEMORY_TO_GPU, kfd_map, 0),
	ENTRY(AMDKFD_IOC_UNMAP_MEMORY_FROM_GPU, kfd_unmap, 0),
	ENTRY(AMDKFD_IOC_SET_CU_MASK, kfd_queue_cu_mask, 0),
	ENTRY(AMDKFD_IOC_GET_QUEUE_WAVE_STATE, kfd_queue_waves, 0),
	ENTRY(AMDKFD_IOC_GET_DMABUF_INFO, kfd_dmabuf_info, 0),
	ENTRY(AMDKFD_IOC_IMPORT_DMABUF, kfd_dmabuf_import, 0),
	ENTRY(AMDKFD_IOC_ALLOC_QUEUE_GWS, kfd_queue_gws, 0),
	ENTRY(AMDKFD_IOC_SVM, on_svm, 0),
	ENTRY(AMDKFD_IOC_SET_XNACK_MODE, kfd_xnack, 0),
	ENTRY(AMDKFD_IOC_CRIU_OP, kfd_criu, NEEDS_CRIU | UNLOCKED),
	ENTRY(AMDKFD_IOC_AVAILABLE_MEMORY, kfd_available, 0),
	ENTRY(AMDKFD_IOC_EXPORT_DMABUF, kfd_dmabuf_export, 0),
};

/* Whether the calling task may use this process. */
static bool caller_ok(struct kfd_proc *p, const struct entry *e)
{
	bool parent = false;

	if (p->lead == current->group_leader)
		return true;
	if (e->flags & NEEDS_CRIU) {
		rcu_read_lock();
		parent = current == ptrace_parent(p->lead);
		rcu_read_unlock();
	}
	return parent;
}

static long run(struct kfd_proc *p, const struct entry *e, void *data)
{
	long r;

	if (e->flags & UNLOCKED)
		return e->fn(p, data);
	mutex_lock(&p->lock);
	r = e->fn(p, data);
	mutex_unlock(&p->lock);
	return r;
}

static long kfd_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct kfd_proc *p = file->private_data;
	unsigned int nr = _IOC_NR(cmd), size, own;
	const struct entry *e = nr < ARRAY_SIZE(entries) ? &entries[nr] : NULL;
	void *data;
	long r;

	if (!e || !e->fn || _IOC_TYPE(cmd) != AMDKFD_IOCTL_BASE)
		return -ENOTTY;
	if (!caller_ok(p, e))
		return -EBADF;
	if (e->flags & NEEDS_CRIU && !capable(CAP_CHECKPOINT_RESTORE) && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	size = _IOC_SIZE(cmd);
	own = max(size, _IOC_SIZE(e->cmd));
	data = kvzalloc(own, GFP_KERNEL);
	if (!data)
		return -ENOMEM;
	r = 0;
	if (e->cmd & IOC_IN && copy_from_user(data, (void __user *)arg, size))
		r = -EFAULT;
	if (r == 0 && e->fn == on_svm &&
	    size < struct_size_t(struct kfd_ioctl_svm_args, attrs,
				 ((struct kfd_ioctl_svm_args *)data)->nattr))
		r = -EINVAL;
	if (r == 0)
		r = softgpu_fault(FAULT_KFD, nr,
				  e->flags & NEEDS_CRIU ? ((struct kfd_ioctl_criu_args *)data)->op
							: -1);
	if (r == 0)
		r = run(p, e, data);
	if (e->cmd & IOC_OUT && r != -EFAULT && copy_to_user((void __user *)arg, data, size))
		r = -EFAULT;
	kvfree(data);
	return r;
}

static int kfd_open(struct inode *inode, struct file *file)
{
	struct kfd_proc *p;

	if (iminor(inode))
		return -ENODEV;
	p = proc_get_or_make();
	if (IS_ERR(p))
		return PTR_ERR(p);
	file->private_data = p;
	atomic64_inc(&softgpu_count.kfd_files);
	return 0;
}

static int kfd_release(struct inode *inode, struct file *file)
{
	kfd_proc_put(file->private_data);
	atomic64_dec(&softgpu_count.kfd_files);
	return 0;
}

static void *mmap_memory(struct kfd_proc *p, u64 offset, u64 *size)
{
	u32 id = offset >> MMAP_GPU_SHIFT & 0xffff, i;

	if (offset >> MMAP_TYPE_SHIFT == MMAP_EVENTS) {
		*size = KFD_SIGNAL_EVENT_LIMIT * 8;
		return READ_ONCE(p->event_page);
	}
	for (i = 0; i < p->n_pdds; i++) {
		if (p->pdds[i].dev->gpu_id != id)
			continue;
		*size = offset >> MMAP_TYPE_SHIFT == MMAP_DOORBELL ? SOFTGPU_DOORBELLS : PAGE_SIZE;
		return offset >> MMAP_TYPE_SHIFT == MMAP_DOORBELL ? p->pdds[i].doorbells
								  : p->pdds[i].mmio;
	}
	return NULL;
}

/* Doorbells, the MMIO page, the kernel's event page; always for the process of the calling mm. */
static int kfd_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct kfd_proc *p = kfd_proc_of(current->mm);
	u64 size = 0, asked = vma->vm_end - vma->vm_start;
	void *memory;
	int r = -EINVAL;

	if (!p)
		return -EINVAL;
	memory = mmap_memory(p, (u64)vma->vm_pgoff << PAGE_SHIFT, &size);
	if (memory && (asked == size || (memory == p->event_page && asked < size))) {
		vm_flags_set(vma, VM_IO | VM_DONTCOPY | VM_DONTEXPAND | VM_NORESERVE | VM_DONTDUMP |
					  VM_PFNMAP);
		r = remap_pfn_range(vma, vma->vm_start, virt_to_phys(memory) >> PAGE_SHIFT, asked,
				    vma->vm_page_prot);
	}
	kfd_proc_put(p);
	return r;
}

static const struct file_operations kfd_fops = {
	.owner = THIS_MODULE,
	.open = kfd_open,
	.release = kfd_release,
	.unlocked_ioctl = kfd_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = kfd_mmap,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

static char *kfd_node(const struct device *dev, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

int kfd_init(void)
{
	int r;

	if (!softgpu.gpus)
		return 0;		/* as without AMD hardware: no /dev/kfd at all */
	release_wq = alloc_workqueue("softgpu_kfd", 0, 0);
	if (!release_wq)
		return -ENOMEM;
	kfd_major = register_chrdev(0, "kfd", &kfd_fops);
	if (kfd_major < 0) {
		r = kfd_major;
		goto no_wq;
	}
	kfd_class = class_create("kfd");
	if (IS_ERR(kfd_class)) {
		r = PTR_ERR(kfd_class);
		goto no_chrdev;
	}
	kfd_class->devnode = kfd_node;
	kfd_device = device_create(kfd_class, NULL, MKDEV(kfd_major, 0), NULL, "kfd");
	if (IS_ERR(kfd_device)) {
		r = PTR_ERR(kfd_device);
		goto no_class;
	}
	r = softgpu_topology_add(&kfd_device->kobj);
	if (r)
		goto no_device;
	return 0;
no_device:
	device_destroy(kfd_class, MKDEV(kfd_major, 0));
no_class:
	class_destroy(kfd_class);
no_chrdev:
	unregister_chrdev(kfd_major, "kfd");
no_wq:
	destroy_workqueue(release_wq);
	return r;
}

void kfd_exit(void)
{
	if (!softgpu.gpus)
		return;
	softgpu_topology_remove();
	device_destroy(kfd_class, MKDEV(kfd_major, 0));
	class_destroy(kfd_class);
	unregister_chrdev(kfd_major, "kfd");
	mmu_notifier_synchronize();
	destroy_workqueue(release_wq);
}
