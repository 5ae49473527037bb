/* SPDX-License-Identifier: MIT */
/*
 * show.c - go through the entries of an image and the raw data between them.
 *
 * Messages print themselves by their descriptors (print.c). Only the raw data
 * needs knowledge of the type: which fields tell its length.
 *
 * Rights:   the files named by the user.
 * Holds:    nothing.
 */
#include "proto/images/show.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "proto/images/ipc.pb-c.h"
#include "proto/images/print.h"
#include "proto/images/sockets.pb-c.h"

#define PIECE 49152			/* a multiple of three, for base64 */

/* Print n raw bytes: base64 in JSON, in text only how many. */
static int show_bytes(struct printer *p, struct image *img, uint64_t n, struct fault *f)
{
	AUTO_FREE uint8_t *piece = NULL;
	size_t now;
	int r = 0;

	if (!p->json)
		fprintf(p->out, " %" PRIu64 " bytes", n);
	if (!p->json || n > image_left(img)) {
		fputs(p->json ? "null" : "", p->out);
		return image_skip_data(img, n, f);
	}
	piece = xcalloc(1, PIECE);
	putc('"', p->out);
	while (n && r == 0) {
		now = n < PIECE ? n : PIECE;
		r = image_read_data(img, piece, now, f);
		if (r == 0)
			print_base64(p, piece, now);
		n -= now;
	}
	putc('"', p->out);
	return r;
}

static uint64_t padding(uint64_t n, uint64_t align)
{
	return (align - n % align) % align;
}

static int show_pipe_data(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			  struct fault *f)
{
	print_key(p, "extra", -1);
	return show_bytes(p, img, ((const PipeDataEntry *)msg)->bytes, f);
}

static int show_packet(struct printer *p, struct image *img, const ProtobufCMessage *msg,
		       struct fault *f)
{
	print_key(p, "extra", -1);
	return show_bytes(p, img, ((const SkPacketEntry *)msg)->length, f);
}

static int show_bpf_map(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			struct fault *f)
{
	const BpfmapDataEntry *e = (const BpfmapDataEntry *)msg;

	print_key(p, "extra", -1);
	return show_bytes(p, img, (uint64_t)e->keys_bytes + e->values_bytes, f);
}

static int show_tcp_queues(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			   struct fault *f)
{
	const TcpStreamEntry *e = (const TcpStreamEntry *)msg;
	int r;

	print_key(p, "extra", -1);
	print_open(p, '{');
	print_key(p, "inq", -1);
	r = show_bytes(p, img, e->inq_len, f);
	if (r == 0) {
		print_key(p, "outq", -1);
		r = show_bytes(p, img, e->outq_len, f);
	}
	print_close(p, '}');
	return r;
}

static int show_shm(struct printer *p, struct image *img, const ProtobufCMessage *msg,
		    struct fault *f)
{
	const IpcShmEntry *e = (const IpcShmEntry *)msg;

	if (e->has_in_pagemaps && e->in_pagemaps)
		return 0;
	print_key(p, "extra", -1);
	if (show_bytes(p, img, e->size, f) < 0)
		return -1;
	return image_skip_data(img, padding(e->size, 4), f);
}

static int show_semaphores(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			   struct fault *f)
{
	uint64_t n = ((const IpcSemEntry *)msg)->nsems;
	uint64_t i;
	uint16_t v;
	int r = 0;

	print_key(p, "extra", -1);
	fputs(p->json ? "[" : " [", p->out);
	for (i = 0; i < n && r == 0; i++) {
		r = image_read_data(img, &v, sizeof(v), f);
		if (r == 0)
			fprintf(p->out, "%s%u", i ? ", " : "", v);
	}
	putc(']', p->out);
	return r < 0 ? -1 : image_skip_data(img, padding(n * sizeof(v), 8), f);
}

/* One queued message. In JSON two items of the list: the message and its bytes. */
static int show_ipc_message(struct printer *p, struct image *img, long index, struct fault *f)
{
	AUTO_MSG ProtobufCMessage *msg = NULL;
	uint64_t n;
	int r;

	r = image_read_as(img, &ipc_msg__descriptor, &msg, f);
	if (r <= 0)
		return r < 0 ? -1 : fault(f, -EBADMSG, "%s: message %ld of a queue is missing",
					  image_label(img), index);
	n = ((IpcMsg *)msg)->msize;
	print_item(p);
	if (!p->json)
		print_key(p, "message", index);
	print_open(p, '{');
	print_message(p, msg);
	if (!p->json)
		print_key(p, "extra", -1);
	else
		print_close(p, '}');
	print_item(p);
	r = show_bytes(p, img, n, f);
	if (!p->json)
		print_close(p, '}');
	return r < 0 ? -1 : image_skip_data(img, padding(n, 8), f);
}

static int show_ipc_messages(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			     struct fault *f)
{
	uint32_t n = ((const IpcMsgEntry *)msg)->qnum;
	uint32_t i;
	int r = 0;

	print_key(p, "extra", -1);
	print_open(p, '[');
	for (i = 0; i < n && r == 0; i++)
		r = show_ipc_message(p, img, i, f);
	print_close(p, ']');
	return r;
}

/* Contents of a ghost file, up to the end. A sparse one has chunks instead. */
static int show_ghost(struct printer *p, struct image *img, const ProtobufCMessage *msg,
		      struct fault *f)
{
	const GhostFileEntry *e = (const GhostFileEntry *)msg;

	if (e->has_chunks && e->chunks)
		return 0;
	print_key(p, "extra", -1);
	return show_bytes(p, img, image_left(img), f);
}

static int show_ghost_chunk(struct printer *p, struct image *img, const ProtobufCMessage *msg,
			    struct fault *f)
{
	print_key(p, "extra", -1);
	return show_bytes(p, img, ((const GhostChunkEntry *)msg)->len, f);
}

/* Which types have raw data behind an entry, and who prints it. */
static const struct {
	enum img_type type;
	int (*show)(struct printer *p, struct image *img, const ProtobufCMessage *msg,
		    struct fault *f);
} extras[] = {
	{ IMG_PIPES_DATA, show_pipe_data },
	{ IMG_FIFO_DATA, show_pipe_data },
	{ IMG_SK_QUEUES, show_packet },
	{ IMG_BPFMAP_DATA, show_bpf_map },
	{ IMG_TCP_STREAM, show_tcp_queues },
	{ IMG_IPCNS_SHM, show_shm },
	{ IMG_IPCNS_SEM, show_semaphores },
	{ IMG_IPCNS_MSG, show_ipc_messages },
	{ IMG_GHOST_FILE, show_ghost },
};

static int show_extra(struct printer *p, struct image *img, enum img_type type,
		      const ProtobufCMessage *msg, struct fault *f)
{
	size_t i;

	if (msg->descriptor == &ghost_chunk_entry__descriptor)
		return show_ghost_chunk(p, img, msg, f);
	for (i = 0; i < ARRAY_LEN(extras); i++)
		if (extras[i].type == type)
			return extras[i].show(p, img, msg, f);
	return 0;
}

/* Print the next entry: 1, 0 at the end, -1. */
static int show_entry(struct printer *p, struct image *img, enum img_type type, long index,
		      struct fault *f)
{
	AUTO_MSG ProtobufCMessage *msg = NULL;
	int r;

	if (type == IMG_GHOST_FILE && index > 0)
		r = image_read_as(img, &ghost_chunk_entry__descriptor, &msg, f);
	else
		r = image_read(img, &msg, f);
	if (r <= 0)
		return r;
	if (p->json)
		print_item(p);
	else
		print_key(p, "entry", index);
	print_open(p, '{');
	print_message(p, msg);
	r = show_extra(p, img, type, msg, f);
	print_close(p, '}');
	return r < 0 ? -1 : 1;
}

static int show_entries(struct printer *p, struct image *img, enum img_type type,
			struct fault *f)
{
	long i;
	int r = 1;

	if (p->json) {
		print_key(p, "entries", -1);
		print_open(p, '[');
	}
	for (i = 0; r > 0; i++)
		r = show_entry(p, img, type, i, f);
	if (p->json)
		print_close(p, ']');
	else if (r < 0)
		fprintf(p->out, "\n%*sdamaged: %s", p->depth * 2, "", f->text);
	return r;
}

/* The members of one image's object, raw images being told by their size only. */
static int show_image(struct printer *p, const char *path, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	const struct img_info *info;
	enum img_type type;
	int r = 0;

	img = image_open_path(path, &type, f);
	if (!img)
		return -1;
	info = image_info(type);
	print_key(p, "magic", -1);
	if (p->json)
		print_string(p, info->tag);
	else
		fprintf(p->out, " %s", info->tag);
	if (info->entry) {
		r = show_entries(p, img, type, f);
	} else {
		print_key(p, "size", -1);
		fputs(p->json ? "" : " ", p->out);
		print_number(p, image_left(img));
	}
	return r;
}

/* One image as an object of its own. */
static int show_object(struct printer *p, const char *path, struct fault *f)
{
	int r;

	print_open(p, '{');
	r = show_image(p, path, f);
	print_close(p, '}');
	return r;
}

static int check_output(FILE *out, struct fault *f)
{
	if (fflush(out) == 0 && !ferror(out))
		return 0;
	return fault(f, errno ? errno : EIO, "write output");
}

int show_file(const char *path, bool json, FILE *out, struct fault *f)
{
	const char *slash = strrchr(path, '/');
	struct printer p = { .out = out, .json = json };
	int r;

	if (!json)
		fprintf(out, "%s", slash ? slash + 1 : path);
	r = show_object(&p, path, f);
	putc('\n', out);
	return check_output(out, f) < 0 ? -1 : r;
}

static int is_image(const struct dirent *e)
{
	return image_type_by_name(e->d_name, NULL) >= 0;
}

/* Print one file of a directory. The first fault of all files is the one kept. */
static int show_member(struct printer *p, const char *dir, const char *name, struct fault *f)
{
	AUTO_FREE char *path = xasprintf("%s/%s", dir, name);
	struct fault own = { 0 };

	if (p->json)
		print_key(p, name, -1);
	else
		fputs(name, p->out);
	if (show_object(p, path, &own) == 0) {
		fputs(p->json ? "" : "\n\n", p->out);
		return 0;
	}
	fputs(p->json ? "" : "\n\n", p->out);
	return fault(f, -own.code, "%s", own.text);
}

int show_dir(const char *path, bool json, FILE *out, struct fault *f)
{
	struct printer p = { .out = out, .json = json };
	struct dirent **files;
	int n, i;
	int r = 0;

	n = scandir(path, &files, is_image, versionsort);
	if (n < 0)
		return fault(f, errno, "read directory %s", path);
	if (json)
		print_open(&p, '{');
	for (i = 0; i < n; i++) {
		if (show_member(&p, path, files[i]->d_name, f) < 0)
			r = -1;
		free(files[i]);
	}
	free(files);
	if (json) {
		print_close(&p, '}');
		putc('\n', out);
	}
	if (n == 0)
		return fault(f, -ENOENT, "%s: no image in this directory", path);
	return check_output(out, f) < 0 ? -1 : r;
}
