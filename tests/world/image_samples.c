/* SPDX-License-Identifier: MIT */
/*
 * image_samples.c - an image of every type in a scratch directory.
 *
 * Messages are filled by their descriptors, every field of every type.
 *
 * Rights:   a scratch directory.
 * Holds:    that directory.
 */
#include "tests/world/image_samples.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/image.h"

#define ENTRIES 2			/* written to images that may have many */
#define DEPTH 3				/* of trees that nest in themselves */

/* Raw data behind an entry: the fields that announce it, the bytes it takes. */
static const struct {
	enum img_type type;
	const char *field[2];
	uint32_t value[2];
	size_t bytes;
} extras[] = {
	{ IMG_PIPES_DATA, { "bytes" }, { 5 }, 5 },
	{ IMG_FIFO_DATA, { "bytes" }, { 0 }, 0 },
	{ IMG_SK_QUEUES, { "length" }, { 6 }, 6 },
	{ IMG_TCP_STREAM, { "inq_len", "outq_len" }, { 3, 4 }, 7 },
	{ IMG_BPFMAP_DATA, { "keys_bytes", "values_bytes" }, { 4, 8 }, 12 },
	{ IMG_IPCNS_SEM, { "nsems" }, { 4 }, 8 },
	{ IMG_IPCNS_SHM, { "size", "in_pagemaps" }, { 8, 0 }, 8 },
	{ IMG_IPCNS_MSG, { "qnum" }, { 0 }, 0 },
	{ IMG_GHOST_FILE, { "chunks" }, { 0 }, 9 },
};

const char sample_data[SAMPLE_DATA] = "raw data here";

static char *sample_dir(void)
{
	static char path[64];

	return path;
}

int sample_dir_fd(void)
{
	static int fd = -1;

	if (fd < 0) {
		snprintf(sample_dir(), 64, "/tmp/images_test.XXXXXX");
		if (!mkdtemp(sample_dir()))
			die("mkdtemp %s", sample_dir());
		fd = open(sample_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	return fd;
}

void sample_path(enum img_type type, char *path, size_t size)
{
	char name[64];

	image_name(type, SAMPLE_ID, name, sizeof(name));
	snprintf(path, size, "%s/%s", sample_dir(), name);
}

int sample_clean(void)
{
	AUTO_CLOSEDIR DIR *d = NULL;
	struct dirent *e;
	int n = 0;

	sample_dir_fd();
	d = opendir(sample_dir());
	while (d && (e = readdir(d)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			n += unlinkat(sample_dir_fd(), e->d_name, 0) == 0;
	return n;
}

bool sample_has_frame(enum img_type type)
{
	return image_info(type)->entry && image_info(type)->magic;
}

static ProtobufCMessage *make(const ProtobufCMessageDescriptor *desc, unsigned int seed, int depth);

/* Fields and types of files that Stasis alone has, and CRIU's crit cannot write, begin here. */
#define OWN 1000
#define OWN_END 60000

static bool for_crit;			/* make messages without them */

void sample_for_crit(void)
{
	for_crit = true;
}

static bool is_own(int number)
{
	return number >= OWN && number < OWN_END;
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return 8;
	default:
		return 4;
	}
}

static void make_value(const ProtobufCFieldDescriptor *fd, void *at, unsigned int seed, int depth)
{
	const ProtobufCEnumDescriptor *e = fd->descriptor;
	ProtobufCBinaryData *b = at;

	switch (fd->type) {
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = xasprintf("%s \"%u\" \303\251", fd->name, seed);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		b->data = (uint8_t *)xasprintf("bytes%u", seed);
		b->len = strlen((char *)b->data);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)at = make(fd->descriptor, seed, depth + 1);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		*(int *)at = e->values[seed % e->n_values].value;
		if (for_crit && is_own(*(int *)at))
			*(int *)at = e->values[0].value;
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = seed & 1;
		break;
	default:
		memset(at, seed * 37 + 1, value_size(fd->type));
		break;
	}
}

/* A message with every field set; lists have two elements. Free as if it was unpacked. */
static ProtobufCMessage *make(const ProtobufCMessageDescriptor *desc, unsigned int seed, int depth)
{
	char *base = xcalloc(1, desc->sizeof_message);
	const ProtobufCFieldDescriptor *fd;
	unsigned int i, j;
	char *list;

	protobuf_c_message_init(desc, base);
	for (i = 0; i < desc->n_fields; i++) {
		fd = &desc->fields[i];
		seed = seed * 31 + i;
		if (for_crit && is_own(fd->id))
			continue;
		if (fd->label != PROTOBUF_C_LABEL_REPEATED) {
			make_value(fd, base + fd->offset, seed, depth);
			if (fd->label == PROTOBUF_C_LABEL_OPTIONAL && fd->quantifier_offset)
				*(protobuf_c_boolean *)(base + fd->quantifier_offset) = 1;
			continue;
		}
		if (fd->descriptor == desc && depth > DEPTH)
			continue;
		list = xcalloc(2, value_size(fd->type));
		for (j = 0; j < 2; j++)
			make_value(fd, list + j * value_size(fd->type), seed + j, depth);
		*(char **)(base + fd->offset) = list;
		*(size_t *)(base + fd->quantifier_offset) = 2;
	}
	return (ProtobufCMessage *)base;
}

static void set_number(ProtobufCMessage *msg, const char *name, uint32_t v)
{
	const ProtobufCFieldDescriptor *fd;
	char *at;

	fd = protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, name);
	if (!fd)
		die("no field %s", name);
	at = (char *)msg + fd->offset;
	if (value_size(fd->type) == 8)
		*(uint64_t *)at = v;
	else
		*(uint32_t *)at = v;
}

ProtobufCMessage *sample_entry(enum img_type type, int index, size_t *bytes)
{
	const struct img_info *info = image_info(type);
	ProtobufCMessage *msg;
	size_t i, k;

	msg = make(index == 0 && info->head ? info->head : info->entry, type + index, 0);
	*bytes = 0;
	for (i = 0; i < ARRAY_LEN(extras); i++) {
		if (extras[i].type != type)
			continue;
		for (k = 0; k < 2 && extras[i].field[k]; k++)
			set_number(msg, extras[i].field[k], extras[i].value[k]);
		*bytes = extras[i].bytes;
	}
	return msg;
}

int sample_entries(enum img_type type)
{
	return image_info(type)->many ? ENTRIES : 1;
}

bool sample_write(enum img_type type)
{
	AUTO_IMAGE struct image *img = NULL;
	struct fault f = { 0 };
	size_t bytes;
	int i;

	img = image_create(sample_dir_fd(), type, SAMPLE_ID, &f);
	for (i = 0; img && i < sample_entries(type); i++) {
		AUTO_MSG ProtobufCMessage *msg = sample_entry(type, i, &bytes);

		image_write_with_data(img, msg, sample_data, bytes, &f);
	}
	if (img && image_close(&img, &f) == 0 && !f.code)
		return true;
	fprintf(stderr, "%s\n", f.text);
	return false;
}

void sample_end(void)
{
	sample_clean();
	rmdir(sample_dir());
}
