// SPDX-License-Identifier: GPL-2.0
/*
 * debug.c - debugfs softgpu/: what is alive, for tests to find leaks, and failures to order.
 *
 * counters: lines "name value". Those of the first group are objects alive now and must come
 *           back to zero; dmabufs are buffers that have one: the kernel keeps it while a handle is
 *           open.
 * faults:   one rule per line or comma, KIND.NR[.OP]:N:ERRNO. KIND is drm or kfd (NR the ioctl's
 *           number, as 0x22; OP the CRIU operation), or sdma (no NR: a copy packet). The N-th call
 *           from now fails with ERRNO, once; with N 0 every one does. An empty line forgets all
 *           rules. Reading shows what is left.
 */
#include "softgpu.h"

#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#define MAX_RULES 32

struct rule {
	enum softgpu_fault_kind kind;
	u32 nr;
	int op;			/* -1: any */
	u32 left;		/* calls to go; 0: all */
	int error;
};

static struct rule rules[MAX_RULES];
static unsigned int n_rules;
static DEFINE_SPINLOCK(rules_lock);
static struct dentry *dir;
static const char *const kinds[] = {
	[FAULT_DRM] = "drm", [FAULT_KFD] = "kfd", [FAULT_SDMA] = "sdma"};

/* The negative errno that a rule orders for this call, else 0. */
int softgpu_fault(enum softgpu_fault_kind kind, u32 nr, int op)
{
	unsigned int i;
	int error = 0;

	if (!READ_ONCE(n_rules))
		return 0;
	spin_lock(&rules_lock);
	for (i = 0; i < n_rules && !error; i++) {
		struct rule *rule = &rules[i];

		if (rule->kind != kind || rule->nr != nr || (rule->op >= 0 && rule->op != op))
			continue;
		if (rule->left > 1) {
			rule->left--;
			continue;
		}
		error = -rule->error;
		if (rule->left == 1) {
			rules[i] = rules[--n_rules];
			i--;
		}
	}
	spin_unlock(&rules_lock);
	if (error)
		atomic64_inc(&softgpu_count.faults);
	return error;
}

static int rule_parse(char *text, struct rule *rule)
{
	char *where = strsep(&text, ":"), *left = strsep(&text, ":"), *kind = strsep(&where, ".");
	char *nr = strsep(&where, ".");
	int k = match_string(kinds, ARRAY_SIZE(kinds), kind);

	*rule = (struct rule){ .kind = k, .op = -1 };
	if (k < 0 || !left || !text || (k == FAULT_SDMA) != !nr)
		return -EINVAL;
	if ((nr && kstrtou32(nr, 0, &rule->nr)) || (where && kstrtoint(where, 0, &rule->op)))
		return -EINVAL;
	if (kstrtou32(left, 0, &rule->left) || kstrtoint(text, 0, &rule->error) || rule->error <= 0)
		return -EINVAL;
	return 0;
}

/* Replace nothing, add all rules of the text; an empty text forgets those there are. */
static int rules_add(char *text)
{
	struct rule rule;
	char *word;
	int r = 0;

	text = strim(text);
	if (!*text) {
		spin_lock(&rules_lock);
		n_rules = 0;
		spin_unlock(&rules_lock);
		return 0;
	}
	while (r == 0 && (word = strsep(&text, ",\n"))) {
		r = rule_parse(word, &rule);
		if (r)
			break;
		spin_lock(&rules_lock);
		if (n_rules < MAX_RULES)
			rules[n_rules++] = rule;
		else
			r = -ENOSPC;
		spin_unlock(&rules_lock);
	}
	return r;
}

static ssize_t faults_write(struct file *file, const char __user *buf, size_t len, loff_t *at)
{
	char *text = memdup_user_nul(buf, min_t(size_t, len, PAGE_SIZE));
	int r;

	if (IS_ERR(text))
		return PTR_ERR(text);
	r = rules_add(text);
	kfree(text);
	return r ? r : len;
}

static int faults_show(struct seq_file *s, void *unused)
{
	unsigned int i;

	spin_lock(&rules_lock);
	for (i = 0; i < n_rules; i++) {
		seq_puts(s, kinds[rules[i].kind]);
		if (rules[i].kind != FAULT_SDMA)
			seq_printf(s, ".%#x", rules[i].nr);
		if (rules[i].op >= 0)
			seq_printf(s, ".%d", rules[i].op);
		seq_printf(s, ":%u:%d\n", rules[i].left, rules[i].error);
	}
	spin_unlock(&rules_lock);
	return 0;
}

static int faults_open(struct inode *inode, struct file *file)
{
	return single_open(file, faults_show, NULL);
}

static const struct file_operations faults_fops = {
	.owner = THIS_MODULE,
	.open = faults_open,
	.read = seq_read,
	.write = faults_write,
	.llseek = seq_lseek,
	.release = single_release,
};

struct tally {
	u64 paused, evicted;
};

static void tally_proc(struct kfd_proc *p, void *ctx)
{
	struct tally *t = ctx;

	t->paused += READ_ONCE(p->paused);
	t->evicted += READ_ONCE(p->evicted);
}

static void count_bos(u64 *bos, u64 *kfd_bos, u64 *dmabufs)
{
	struct softgpu_bo *bo;

	spin_lock(&softgpu_bos_lock);
	list_for_each_entry(bo, &softgpu_bos, all) {
		(*bos)++;
		*kfd_bos += !!bo->kfd_flags;
		*dmabufs += !!bo_obj(bo)->dma_buf;
	}
	spin_unlock(&softgpu_bos_lock);
}

static int counters_show(struct seq_file *s, void *unused)
{
	struct softgpu_counters *c = &softgpu_count;
	u64 bos = 0, kfd_bos = 0, dmabufs = 0, vram = 0;
	struct tally t = {};
	int i;

	count_bos(&bos, &kfd_bos, &dmabufs);
	kfd_procs_each(tally_proc, &t);
	for (i = 0; i < softgpu.gpus; i++)
		vram += atomic64_read(&softgpu_devs[i]->vram_used);
#define LINE(name, value) seq_printf(s, "%s %lld\n", name, (long long)(value))
	LINE("drm_files",
	     atomic64_read(&c->drm_files) - softgpu.gpus); /* without the kernel's own */
	LINE("kfd_files", atomic64_read(&c->kfd_files));
	LINE("kfd_processes", atomic64_read(&c->kfd_processes));
	LINE("paused", t.paused);
	LINE("evicted", t.evicted);
	LINE("bos", bos);
	LINE("kfd_bos", kfd_bos);
	LINE("dmabufs", dmabufs);
	LINE("mappings", atomic64_read(&c->mappings));
	LINE("queues", atomic64_read(&c->queues));
	LINE("events", atomic64_read(&c->events));
	LINE("svm_ranges", atomic64_read(&c->svm_ranges));
	LINE("contexts", atomic64_read(&c->contexts));
	LINE("vram_used", vram);
	seq_puts(s, "\n");
	LINE("pauses", atomic64_read(&c->pauses));
	LINE("unpauses", atomic64_read(&c->unpauses));
	LINE("resumes", atomic64_read(&c->resumes));
	LINE("submits", atomic64_read(&c->submits));
	LINE("copies", atomic64_read(&c->copies));
	LINE("copied_bytes", atomic64_read(&c->copied_bytes));
	LINE("faults", atomic64_read(&c->faults));
#undef LINE
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

int softgpu_debug_init(const char *faults)
{
	char *text;
	int r;

	if (faults) {
		text = kstrdup(faults, GFP_KERNEL);
		if (!text)
			return -ENOMEM;
		r = rules_add(text);
		kfree(text);
		if (r)
			return r;
	}
	dir = debugfs_create_dir("softgpu", NULL);
	debugfs_create_file("counters", 0444, dir, NULL, &counters_fops);
	debugfs_create_file("faults", 0644, dir, NULL, &faults_fops);
	return 0;
}

void softgpu_debug_exit(void)
{
	debugfs_remove_recursive(dir);
}
