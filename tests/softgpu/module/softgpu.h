/* SPDX-License-Identifier: GPL-2.0 */
/*
 * softgpu.h - what the files of the software GPU share. See ../README.md.
 *
 * A softgpu_dev is one GPU with its render node. A softgpu_file is one open of a render node and
 * is also the address space ("VM") of that open: the mappings in it are the page table. A
 * kfd_proc is what /dev/kfd knows of one mm. Locks, outer first: kfd_proc.lock,
 * softgpu_file.lock, then the spinlock over the list of all buffers.
 */
#ifndef SOFTGPU_H
#define SOFTGPU_H

#include <linux/atomic.h>
#include <linux/idr.h>
#include <linux/kref.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <drm/drm_client.h>
#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_gem_shmem_helper.h>
#include <uapi/drm/amdgpu_drm.h>
#include <uapi/linux/kfd_ioctl.h>

#define SOFTGPU_MAX 64			/* MAX_GPU_INSTANCE of the real driver: sizes the blob */
#define SOFTGPU_VA_BOTTOM 0x10000ULL	/* addresses below are the driver's */
#define SOFTGPU_VA_HOLE 0x800000000000ULL
#define SOFTGPU_VA_HIGH 0xffff800000000000ULL
#define SOFTGPU_DOORBELLS (2 * PAGE_SIZE) /* one process's slice on SOC15 */
#define SOFTGPU_GTT_SIZE (64ULL << 30)

/* Flags that GEM_CREATE takes and GEM_LIST_HANDLES gives back. */
#define SOFTGPU_CREATE_FLAGS \
	(AMDGPU_GEM_CREATE_CPU_ACCESS_REQUIRED | AMDGPU_GEM_CREATE_NO_CPU_ACCESS | \
	 AMDGPU_GEM_CREATE_CPU_GTT_USWC | AMDGPU_GEM_CREATE_VRAM_CLEARED | \
	 AMDGPU_GEM_CREATE_ENCRYPTED | AMDGPU_GEM_CREATE_VRAM_CONTIGUOUS | \
	 AMDGPU_GEM_CREATE_VM_ALWAYS_VALID | AMDGPU_GEM_CREATE_EXPLICIT_SYNC | \
	 AMDGPU_GEM_CREATE_VRAM_WIPE_ON_RELEASE | AMDGPU_GEM_CREATE_GFX12_DCC | \
	 AMDGPU_GEM_CREATE_DISCARDABLE | AMDGPU_GEM_CREATE_COHERENT | \
	 AMDGPU_GEM_CREATE_UNCACHED | AMDGPU_GEM_CREATE_EXT_COHERENT)

struct softgpu_dev {
	struct drm_device drm;
	struct drm_client_dev client; /* its file holds the handles of KFD buffers, as in amdgpu */
	struct platform_device *pdev;
	struct workqueue_struct *engine;
	u32 index, gpu_id;
	u64 vram_size;
	atomic64_t vram_used, gtt_used;
	u32 hive, simd_count, fw_version;
};

struct softgpu_bo {
	struct drm_gem_shmem_object shmem;
	struct list_head all;		/* in softgpu_bos */
	struct softgpu_dev *charged;	/* whose memory it takes */
	u64 domains, flags, alignment;
	u32 kfd_flags;			/* KFD_IOC_ALLOC_MEM_FLAGS_* of a buffer of KFD, else 0 */
	struct mm_struct *mm;		/* user pointer: whose memory, held by mmgrab */
	u64 user_addr;
	struct drm_amdgpu_gem_metadata metadata;
	struct iosys_map vmap;		/* of an import from elsewhere, made on first access */
};

struct softgpu_mapping {
	struct rb_node node;
	u64 start, last;		/* bytes, last is part of it */
	u64 offset, flags;
	struct softgpu_bo *bo;		/* counted */
	bool kfd;			/* made by KFD: stays when the file closes its handle */
};

struct softgpu_file {
	struct softgpu_dev *dev;
	struct mutex lock;
	struct rb_root mappings;
	struct idr contexts, lists;
	wait_queue_head_t ended;	/* for work of the engine */
	struct kfd_proc *owner;		/* the KFD process that acquired this VM */
	int pasid;
};

/* One buffer of a KFD process, by its number in kfd_pdd.bos. */
struct kfd_mem {
	struct softgpu_bo *bo;		/* counted; NULL for doorbells and MMIO */
	struct kfd_pdd *pdd;
	u64 va, size;
	u32 flags, handle;		/* handle: in the client's file */
	u64 offset;			/* mmap offset */
	DECLARE_BITMAP(mapped, SOFTGPU_MAX);
};

/* A KFD process on one GPU. */
struct kfd_pdd {
	struct kfd_proc *proc;
	struct softgpu_dev *dev;
	u32 user_gpu_id;		/* differs from dev->gpu_id after a restore elsewhere */
	struct file *file;		/* of the acquired VM, counted */
	struct softgpu_file *vm;
	struct idr bos;
	void *doorbells, *mmio;
	DECLARE_BITMAP(doorbell_ids, 1024);
	u32 next_sdma;
};

struct kfd_proc {
	struct mmu_notifier mn;		/* its lifetime is the mm's */
	struct kref ref;
	struct list_head all;
	struct task_struct *lead;
	struct mutex lock;
	struct work_struct release;
	struct kfd_pdd pdds[SOFTGPU_MAX];
	u32 n_pdds;
	bool paused, evicted, blocked, xnack, dead;
	struct idr queues, events;
	u32 n_signal_events, event_changes;
	wait_queue_head_t event_wait;
	void *event_page;		/* the kernel's own, or */
	struct softgpu_bo *event_bo;	/* the user's, counted */
	u64 event_handle, event_size;
	struct list_head svm;		/* ranges in address order */
	struct list_head svm_restored;	/* remembered by RESTORE for RESUME */
};

struct softgpu_counters {
	atomic64_t drm_files, kfd_files, kfd_processes, mappings, queues, events, svm_ranges,
		contexts;
	atomic64_t pauses, unpauses, resumes, submits, copies, copied_bytes, faults;
};

/* Settings of the module; see main.c for what they mean. */
struct softgpu_settings {
	unsigned int gpus, level, strict, fail_mode, slow_us, release_ms;
};

extern struct softgpu_dev *softgpu_devs[SOFTGPU_MAX];
extern struct softgpu_settings softgpu;
extern struct softgpu_counters softgpu_count;
extern struct list_head softgpu_bos;
extern spinlock_t softgpu_bos_lock;
extern const struct file_operations softgpu_drm_fops;

#define to_bo(obj) container_of(obj, struct softgpu_bo, shmem.base)
#define to_dev(ddev) container_of(ddev, struct softgpu_dev, drm)
#define bo_obj(bo) (&(bo)->shmem.base)

/* Newer structures than those of the 6.12 headers (facts of the 6.18 interface). */
struct softgpu_gem_op {
	__u32 handle, op;
	__u64 value;
	__u32 num_entries, padding;
};
struct softgpu_vm_entry {
	__u64 addr, size, offset, flags;
};
struct softgpu_list_handles {
	__u64 entries;
	__u32 num_entries, padding;
};
struct softgpu_list_entry {
	__u32 handle, flags;
	__u64 size, preferred_domains, alloc_flags, alignment;
};
static_assert(sizeof(struct softgpu_gem_op) == 24 && sizeof(struct softgpu_vm_entry) == 32);
static_assert(sizeof(struct softgpu_list_handles) == 16 && sizeof(struct softgpu_list_entry) == 40);
#define SOFTGPU_GEM_LIST_HANDLES 0x19
#define SOFTGPU_OP_MAPPING_INFO 2
#define SOFTGPU_LIST_IS_IMPORT 1

/* main.c */
void softgpu_describe(struct softgpu_dev *dev);

/* drm.c */
int softgpu_devices_add(unsigned int minor_base);
void softgpu_devices_remove(void);
bool softgpu_permitted(const struct softgpu_dev *dev);

/* bo.c */
void softgpu_bo_init(void);
struct drm_gem_object *softgpu_gem_create_object(struct drm_device *ddev, size_t size);
struct softgpu_bo *softgpu_bo_create(struct softgpu_dev *dev, u64 size, u64 alignment, u64 domains,
				     u64 flags);
struct softgpu_bo *softgpu_bo_userptr(struct softgpu_dev *dev, u64 addr, u64 size, u32 flags);
int softgpu_bo_copy(struct softgpu_bo *bo, u64 offset, void *buf, size_t len, bool write);
u64 softgpu_bo_offset(struct softgpu_bo *bo);
int softgpu_ioctl_gem_create(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_gem_mmap(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_gem_userptr(struct drm_device *ddev, void *data, struct drm_file *filp);

/* query.c */
int softgpu_ioctl_gem_op(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_gem_list(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_gem_metadata(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_gem_wait_idle(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_info(struct drm_device *ddev, void *data, struct drm_file *filp);

/* va.c */
int softgpu_va_map(struct softgpu_file *file, struct softgpu_bo *bo, u64 va, u64 offset, u64 size,
		   u64 flags, bool kfd);
int softgpu_va_unmap(struct softgpu_file *file, struct softgpu_bo *bo, u64 va);
void softgpu_va_drop_bo(struct softgpu_file *file, struct softgpu_bo *bo);
void softgpu_va_drop_all(struct softgpu_file *file);
bool softgpu_va_covered(struct softgpu_file *file, u64 va, u64 size);
int softgpu_va_copy(struct softgpu_file *file, u64 va, void *buf, size_t len, bool write);
int softgpu_ioctl_gem_va(struct drm_device *ddev, void *data, struct drm_file *filp);

/* cs.c, sdma.c */
int softgpu_sdma_run(struct softgpu_file *file, u64 ib, u32 bytes);
int softgpu_ioctl_ctx(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_bo_list(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_cs(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_wait_cs(struct drm_device *ddev, void *data, struct drm_file *filp);
int softgpu_ioctl_wait_fences(struct drm_device *ddev, void *data, struct drm_file *filp);
void softgpu_cs_flush(struct softgpu_file *file);
void softgpu_cs_release(struct softgpu_file *file);

/* debug.c: counters and injected faults */
enum softgpu_fault_kind { FAULT_DRM, FAULT_KFD, FAULT_SDMA };
int softgpu_debug_init(const char *faults);
void softgpu_debug_exit(void);
int softgpu_fault(enum softgpu_fault_kind kind, u32 nr, int op);

/* kfd.c */
int kfd_init(void);
void kfd_exit(void);
struct kfd_proc *kfd_proc_of(struct mm_struct *mm);
void kfd_proc_put(struct kfd_proc *p);
void kfd_procs_each(void (*fn)(struct kfd_proc *p, void *ctx), void *ctx);
struct kfd_pdd *kfd_pdd_of(struct kfd_proc *p, u32 user_gpu_id);
int kfd_acquire(struct kfd_pdd *pdd, u32 drm_fd);
u64 kfd_offset(const struct kfd_pdd *pdd, u32 flags);

/* An ioctl of KFD: runs with p->lock held; data is the caller's argument, copied in and back. */
#define KFD_HANDLER(name) long name(struct kfd_proc *p, void *data)
typedef KFD_HANDLER(kfd_handler);

/* kfd_misc.c */
kfd_handler kfd_apertures, kfd_clocks, kfd_memory_policy, kfd_scratch, kfd_trap_handler;
kfd_handler kfd_tile_config, kfd_available, kfd_xnack;

/* kfd_mem.c */
kfd_handler kfd_alloc, kfd_free, kfd_map, kfd_unmap, kfd_dmabuf_info, kfd_dmabuf_import,
	kfd_dmabuf_export;
struct kfd_mem *kfd_mem_new(struct kfd_pdd *pdd, u64 va, u64 size, u32 flags, u64 user_addr,
			    int *id, int want);
struct kfd_mem *kfd_mem_find(struct kfd_proc *p, u64 handle, struct kfd_pdd **pdd);
int kfd_mem_map(struct kfd_mem *mem, struct kfd_pdd *peer);
int kfd_mem_reserve(struct kfd_mem *mem, u32 *fd, struct file **file);
void kfd_mem_drop_all(struct kfd_proc *p);
bool kfd_mem_overlaps(struct kfd_proc *p, u64 start, u64 last);

/* kfd_queue.c */
struct kfd_queue {
	struct kfd_ioctl_create_queue_args args;
	struct kfd_pdd *pdd;
	u32 doorbell_id, sdma_id, gws, mqd_size, ctl_size;
	u8 *bytes;			/* MQD, then control stack */
};
kfd_handler kfd_queue_create, kfd_queue_destroy, kfd_queue_update, kfd_queue_cu_mask,
	kfd_queue_waves, kfd_queue_gws;
struct kfd_queue *kfd_queue_new(struct kfd_pdd *pdd, const struct kfd_ioctl_create_queue_args *args,
				u32 mqd_size, u32 ctl_size, int want);
int kfd_queue_place(struct kfd_queue *q, u32 doorbell_id, u32 sdma_id);
u32 kfd_queue_mqd_size(u32 type);
void kfd_queue_drop(struct kfd_proc *p, struct kfd_queue *q);
void kfd_queue_drop_all(struct kfd_proc *p);

/* kfd_event.c */
struct kfd_event {
	u32 id, type;
	bool auto_reset, signaled;
	u64 age;
	union {
		struct kfd_hsa_memory_exception_data memory;
		struct kfd_hsa_hw_exception_data hw;
	};
};
kfd_handler kfd_event_create, kfd_event_destroy, kfd_event_set, kfd_event_reset;
long kfd_event_wait(struct kfd_proc *p, struct kfd_ioctl_wait_events_args *args);
int kfd_event_page(struct kfd_proc *p, u64 handle);
struct kfd_event *kfd_event_new(struct kfd_proc *p, u32 type, int want);
void kfd_event_init(struct kfd_proc *p);
void kfd_event_drop_all(struct kfd_proc *p);

/* kfd_svm.c */
struct kfd_svm_range {
	struct list_head in;
	u64 start, last;		/* pages, last is part of it */
	u32 preferred, prefetch, flags, granularity;
	DECLARE_BITMAP(access, SOFTGPU_MAX);
	DECLARE_BITMAP(in_place, SOFTGPU_MAX);
};
long kfd_svm(struct kfd_proc *p, struct kfd_ioctl_svm_args *args);
int kfd_svm_set(struct kfd_proc *p, struct mm_struct *mm, u64 start, u64 npages,
		const struct kfd_ioctl_svm_attribute *attrs, u32 n);
void kfd_svm_get(struct kfd_proc *p, u64 start, u64 last, struct kfd_ioctl_svm_attribute *attrs,
		 u32 n);
bool kfd_svm_overlaps(struct kfd_proc *p, u64 start, u64 last);
void kfd_svm_prune(struct kfd_proc *p, struct mm_struct *mm);
void kfd_svm_drop_all(struct kfd_proc *p);

/* kfd_criu.c, kfd_restore.c */
kfd_handler kfd_criu, kfd_criu_restore;
#define KFD_CRIU_VERSION 1
enum { KFD_OBJECT_QUEUE, KFD_OBJECT_EVENT, KFD_OBJECT_SVM };
/* The blob: these, in this order, then the objects. Sizes are those of Linux 6.12. */
struct kfd_blob_process {
	u32 version, xnack;
};
struct kfd_blob_device {
	u64 reserved;
};
struct kfd_blob_bo {
	u64 user_addr;
	u32 idr_handle, mapped_gpuids[SOFTGPU_MAX];
};
struct kfd_blob_queue {
	u32 object_type;
	u64 q_address, q_size, read_ptr, write_ptr, doorbell_off, eop_address, ctx_address;
	u32 gpu_id, type, format, q_id, priority, percent, doorbell_id, gws, sdma_id, eop_size,
		ctx_size;
	u32 ctl_size, mqd_size;
};
struct kfd_blob_event {
	u32 object_type;
	u64 user_handle;
	u32 event_id, auto_reset, type, signaled;
	union {
		struct kfd_hsa_memory_exception_data memory;
		struct kfd_hsa_hw_exception_data hw;
	};
};
struct kfd_blob_svm {
	u32 object_type;
	u64 start, npages;
	struct kfd_ioctl_svm_attribute attrs[];
};
struct kfd_svm_saved {
	struct list_head in;
	u32 n;
	struct kfd_blob_svm blob;
};
static_assert(sizeof(struct kfd_blob_process) == 8 && sizeof(struct kfd_blob_device) == 8);
static_assert(sizeof(struct kfd_blob_bo) == 272 && sizeof(struct kfd_blob_queue) == 120);
static_assert(sizeof(struct kfd_blob_event) == 64 && sizeof(struct kfd_blob_svm) == 24);

/* topology.c */
int softgpu_topology_add(struct kobject *parent);
void softgpu_topology_remove(void);

#endif
