/* SPDX-License-Identifier: MIT */
/*
 * bpfmap.c - bpf maps that tasks hold: their shape and all pairs in them.
 *
 * Dump:     fdinfo and the kernel's description of the map; all keys, then all values, taken by one
 *           call. A map that several open files share is stored once.
 * Restore:  a new map, filled, then frozen if it was; each further open file, and each that may
 *           only read or only write, is another descriptor of it. Its id is another, and who else
 *           has the old map (a pin in bpffs, a program) goes on with the old one.
 *
 * Rights:   CAP_SYS_ADMIN (bpf(2), descriptors by id).
 * Holds:    dump: the ids of maps stored; restore: contents, and a descriptor of every map.
 */
#include "workers/files/bpfmap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "proto/control/util.h"
#include "proto/images/image.h"
#include "workers/files/anon.h"
#include "workers/files/files.h"

/* Keys and values of which batches can be read and written again. */
static const uint32_t known[] = {
	BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_LRU_HASH, BPF_MAP_TYPE_LPM_TRIE,
};

struct map {
	uint32_t id;
	int fd;				/* restore: with all rights; -1 until made */
	BpfmapDataEntry *data;		/* restore; NULL: empty */
	char *keys, *values;
};

struct bpfmaps {
	struct map *map;
	size_t n, cap;
	struct image *img;		/* dump: bpfmap-data.img */
};

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static bool is_known(uint32_t type)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(known); i++)
		if (known[i] == type)
			return true;
	return false;
}

static struct map *find(struct files *fs, uint32_t id)
{
	struct bpfmaps *s = fs->bpfmaps;
	size_t i;

	for (i = 0; s && i < s->n; i++)
		if (s->map[i].id == id)
			return &s->map[i];
	return NULL;
}

static struct map *add(struct files *fs, uint32_t id)
{
	struct map *m;

	if (!fs->bpfmaps)
		fs->bpfmaps = xcalloc(1, sizeof(*fs->bpfmaps));
	m = grow(&fs->bpfmaps->map, fs->bpfmaps->n++, &fs->bpfmaps->cap, sizeof(*m));
	*m = (struct map){ .id = id, .fd = -1 };
	return m;
}

/* Dump */

static bool match(const struct facts *x)
{
	return anon_is(x, "bpf-map");
}

static bool match_other(const struct facts *x)
{
	return anon_is(x, "bpf-prog") || anon_is(x, "bpf_link") || anon_is(x, "btf") ||
	       anon_is(x, "bpf_iter") || anon_is(x, "bpf-token") ||
	       (x->link && strncmp(x->link, "anon_inode:[bpf", 15) == 0);
}

/* A descriptor of the same map that may do what flags say. */
static int open_by_id(uint32_t id, uint32_t flags)
{
	union bpf_attr attr = { 0 };

	attr.map_id = id;
	attr.open_flags = flags;
	return bpf(BPF_MAP_GET_FD_BY_ID, &attr);
}

/* Room for all there can be; only what is written becomes memory. */
static char *reserve(size_t size, struct fault *f)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	fault(f, errno, "make room for %zu bytes", size);
	return NULL;
}

static int write_pairs(struct files *fs, const BpfmapFileEntry *p, const char *keys,
		       const char *values, uint32_t count, struct fault *f)
{
	BpfmapDataEntry e = BPFMAP_DATA_ENTRY__INIT;
	struct image *img = fs->bpfmaps->img;

	e.map_id = p->map_id;
	e.count = count;
	e.keys_bytes = count * p->key_size;
	e.values_bytes = count * p->value_size;
	if (image_write(img, &e.base, f) < 0 || image_write_data(img, keys, e.keys_bytes, f) < 0)
		return -1;
	return image_write_data(img, values, e.values_bytes, f);
}

/* With room for max_entries one batch holds everything, and ends with ENOENT. */
static int dump_pairs(struct files *fs, const BpfmapFileEntry *p, int fd, struct fault *f)
{
	const uint64_t keys_size = (uint64_t)p->max_entries * p->key_size;
	const uint64_t values_size = (uint64_t)p->max_entries * p->value_size;
	union bpf_attr attr = { 0 };
	AUTO_FREE char *next = xcalloc(p->key_size + sizeof(uint64_t), 1);
	char *keys, *values;
	int r;

	if (keys_size > UINT32_MAX || values_size > UINT32_MAX)
		return fault(f, -ENOTSUP, "a map of %u entries of %u and %u bytes is more than an"
			     " image can hold", p->max_entries, p->key_size, p->value_size);
	keys = reserve(keys_size, f);
	values = keys ? reserve(values_size, f) : NULL;
	if (!values) {
		if (keys)
			munmap(keys, keys_size);
		return -1;
	}
	attr.batch.out_batch = (uintptr_t)next;
	attr.batch.keys = (uintptr_t)keys;
	attr.batch.values = (uintptr_t)values;
	attr.batch.count = p->max_entries;
	attr.batch.map_fd = fd;
	r = bpf(BPF_MAP_LOOKUP_BATCH, &attr);
	if (r < 0 && errno != ENOENT)
		r = fault(f, errno, "read the pairs of the map");
	else
		r = write_pairs(fs, p, keys, values, attr.batch.count, f);
	munmap(keys, keys_size);
	munmap(values, values_size);
	return r;
}

static int dump_contents(struct files *fs, const struct facts *x, const BpfmapFileEntry *p,
			 struct fault *f)
{
	AUTO_CLOSE int fd = -1;

	if (find(fs, p->map_id))
		return 0;
	add(fs, p->map_id);
	if (!fs->bpfmaps->img)
		fs->bpfmaps->img = image_create(files_image_dir(fs), IMG_BPFMAP_DATA, 0, f);
	if (!fs->bpfmaps->img)
		return -1;
	if ((x->flags & O_ACCMODE) != O_WRONLY)
		return dump_pairs(fs, p, x->dup, f);
	fd = open_by_id(p->map_id, 0);
	if (fd < 0)
		return fault(f, errno, "open the map for reading");
	return dump_pairs(fs, p, fd, f);
}

static int fill_entry(const struct facts *x, const struct bpf_map_info *info, BpfmapFileEntry *p,
		      struct fault *f)
{
	AUTO_FREE char *text = anon_info(x, f);
	const char *memlock, *frozen;

	if (!text)
		return -1;
	memlock = anon_field(text, "memlock");
	frozen = anon_field(text, "frozen");
	if (!memlock || !frozen)
		return anon_unknown(x, "memlock and frozen", f);
	p->id = x->id;
	p->flags = x->flags;
	p->pos = x->pos;
	p->fown = x->fown;
	p->map_type = info->type;
	p->key_size = info->key_size;
	p->value_size = info->value_size;
	p->map_id = info->id;
	p->max_entries = info->max_entries;
	p->map_flags = info->map_flags;
	p->memlock = strtoull(memlock, NULL, 10);
	p->frozen = *frozen == '1';
	p->map_name = (char *)info->name;
	p->ifindex = info->ifindex;
	p->has_mnt_id = true;
	p->mnt_id = x->mnt_id;
	p->has_map_extra = true;
	p->map_extra = info->map_extra;
	return 0;
}

static int dump(struct files *fs, const struct facts *x, struct fault *f)
{
	BpfmapFileEntry p = BPFMAP_FILE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = { 0 };
	char who[400];

	attr.info.bpf_fd = x->dup;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0)
		return fault(f, errno, "%s: ask what map it is", facts_name(x, who, sizeof(who)));
	if (!is_known(info.type) || info.ifindex)
		return fault(f, -ENOTSUP, "%s: bpf maps of type %u%s cannot be dumped, only hash, "
			     "array, lru_hash and lpm_trie: close it",
			     facts_name(x, who, sizeof(who)), info.type,
			     info.ifindex ? " that live in a device" : "");
	if (fill_entry(x, &info, &p, f) < 0)
		return -1;
	e.type = FD_TYPES__BPFMAP;
	e.id = x->id;
	e.bpf = &p;
	if (files_write_entry(fs, &e, f) < 0)
		return -1;
	if (dump_contents(fs, x, &p, f) < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	return 0;
}

static int dump_done(struct files *fs, struct fault *f)
{
	return fs->bpfmaps ? image_close(&fs->bpfmaps->img, f) : 0;
}

/* Restore */

static int read_pairs(struct files *fs, struct image *img, BpfmapDataEntry *e, struct fault *f)
{
	struct map *m = find(fs, e->map_id);

	/* CRIU writes a map once per open file: the first is as good as the others. */
	if (m) {
		uint64_t size = (uint64_t)e->keys_bytes + e->values_bytes;

		protobuf_c_message_free_unpacked(&e->base, NULL);
		return image_skip_data(img, size, f);
	}
	m = add(fs, e->map_id);
	m->data = e;
	if ((uint64_t)e->keys_bytes + e->values_bytes > image_left(img))
		return fault(f, -EBADMSG, "%s: map %u: more bytes announced than left",
			     image_label(img), e->map_id);
	m->keys = xcalloc(e->keys_bytes, 1);
	m->values = xcalloc(e->values_bytes, 1);
	if (image_read_data(img, m->keys, e->keys_bytes, f) < 0)
		return -1;
	return image_read_data(img, m->values, e->values_bytes, f);
}

static int prepare_maps(struct files *fs, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	int r;

	img = image_open_optional(files_image_dir(fs), IMG_BPFMAP_DATA, 0, f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0)
		if (read_pairs(fs, img, (BpfmapDataEntry *)msg, f) < 0)
			return -1;
	return r;
}

static int check(struct files *fs, struct file *file, struct fault *f)
{
	const BpfmapFileEntry *p = file->entry->bpf;
	const BpfmapDataEntry *d;
	struct map *m;

	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete bpf map", file->id);
	if (!is_known(p->map_type) || p->ifindex)
		return fault(f, -ENOTSUP, "files.img: bpf map %u is of type %u, which cannot be "
			     "restored", file->id, p->map_type);
	if (strlen(p->map_name) >= BPF_OBJ_NAME_LEN || (p->flags & O_ACCMODE) == O_ACCMODE)
		return fault(f, -EBADMSG, "files.img: bpf map %u: impossible name or flags",
			     file->id);
	m = find(fs, p->map_id);
	d = m ? m->data : NULL;
	if (d && (d->count > p->max_entries || d->keys_bytes != (uint64_t)d->count * p->key_size ||
		  d->values_bytes != (uint64_t)d->count * p->value_size))
		return fault(f, -EBADMSG, "bpfmap-data.img: map %u: the sizes are not those of "
			     "files.img", p->map_id);
	if (!m)
		add(fs, p->map_id);
	return 0;
}

static int make_map(const BpfmapFileEntry *p, struct map *m, struct fault *f)
{
	union bpf_attr attr = { 0 };

	attr.map_type = p->map_type;
	attr.key_size = p->key_size;
	attr.value_size = p->value_size;
	attr.max_entries = p->max_entries;
	attr.map_flags = p->map_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY);
	attr.map_extra = p->map_extra;
	memcpy(attr.map_name, p->map_name, strlen(p->map_name));
	m->fd = bpf(BPF_MAP_CREATE, &attr);
	if (m->fd < 0)
		return fault(f, errno, "make the bpf map %u (%s)", p->map_id, p->map_name);
	if (m->data && m->data->count) {
		attr = (union bpf_attr){ 0 };
		attr.batch.keys = (uintptr_t)m->keys;
		attr.batch.values = (uintptr_t)m->values;
		attr.batch.count = m->data->count;
		attr.batch.map_fd = m->fd;
		if (bpf(BPF_MAP_UPDATE_BATCH, &attr) < 0)
			return fault(f, errno, "put the %u pairs back into the bpf map %u (%s)",
				     m->data->count, p->map_id, p->map_name);
	}
	if (!p->frozen)
		return 0;
	attr = (union bpf_attr){ 0 };
	attr.map_fd = m->fd;
	if (bpf(BPF_MAP_FREEZE, &attr) < 0)
		return fault(f, errno, "freeze the bpf map %u (%s)", p->map_id, p->map_name);
	return 0;
}

static uint32_t new_id(int fd)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = { 0 };

	attr.info.bpf_fd = fd;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) < 0 ? 0 : info.id;
}

/* Every open file is a descriptor of its own, made from the map's new id. */
static enum created create(struct files *fs, struct file *file, struct fault *f)
{
	static const uint32_t rights[] = { [O_RDONLY] = BPF_F_RDONLY, [O_WRONLY] = BPF_F_WRONLY,
					   [O_RDWR] = 0 };
	const BpfmapFileEntry *p = file->entry->bpf;
	struct map *m = find(fs, p->map_id);

	if (m->fd < 0 && make_map(p, m, f) < 0)
		return CREATE_FAILED;
	file->fd = open_by_id(new_id(m->fd), rights[p->flags & O_ACCMODE]);
	if (file->fd < 0)
		return fault(f, errno, "open the bpf map %u (%s)", p->map_id, p->map_name);
	return files_set_flags(file->fd, p->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

static const FownEntry *fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->bpf->fown;
}

static void end(struct files *fs)
{
	struct bpfmaps *s = fs->bpfmaps;
	size_t i;

	for (i = 0; s && i < s->n; i++) {
		auto_close(&s->map[i].fd);
		free(s->map[i].keys);
		free(s->map[i].values);
		if (s->map[i].data)
			protobuf_c_message_free_unpacked(&s->map[i].data->base, NULL);
	}
	if (s) {
		auto_image(&s->img);
		free(s->map);
	}
	free(s);
	fs->bpfmaps = NULL;
}

const struct file_type bpfmap_type = {
	.name = "bpf map",
	.deed = "stored with its contents",
	.type = FD_TYPES__BPFMAP,
	.match = match,
	.dump = dump,
	.dump_done = dump_done,
	.prepare = prepare_maps,
	.check = check,
	.create = create,
	.fown = fown,
	.end = end,
};

const struct file_type bpf_other_row = {
	.name = "bpf object",
	.match = match_other,
	.device = true,
	.refuse = "bpf programs, links and type descriptions cannot be read back from the kernel:"
		  " detach and close it",
};
