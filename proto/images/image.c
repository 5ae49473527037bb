/* SPDX-License-Identifier: MIT */
/*
 * image.c - the frame around entries: magics, lengths, buffers.
 *
 * Reading:  one open, one fstat and, for all but large files, one pread into a
 *           buffer entries are unpacked from. pread, so that the position of
 *           the descriptor belongs to callers that splice.
 * Writing:  entries gather in the buffer and go out when it is full.
 * Append:   each entry goes out at once by a single write(2), which the kernel
 *           does not mix with those of other processes (O_APPEND).
 *
 * Rights:   the image directory.
 * Holds:    a descriptor and a buffer per open image.
 */
#include "proto/images/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "proto/control/util.h"
#include "proto/images/check.h"

#define BUFFER 65536			/* read ahead; largest write when creating */
#define APPEND_BATCH (BUFFER / 2)	/* entries of a shared image gathered for one write */
#define ENTRY_MAX INT32_MAX		/* CRIU keeps the length in an int */
#define NAME_SIZE 64
#define MODE 0600

enum mode { READING, CREATING, APPENDING };

struct image {
	int fd;
	enum img_type type;
	enum mode mode;
	char name[NAME_SIZE];
	unsigned char *buf;
	size_t cap;
	size_t len;			/* bytes in buf */
	size_t pos;			/* of them already taken (reading) */
	uint64_t off;			/* where buf begins in the file (reading) */
	uint64_t size;			/* of the file (reading) */
	unsigned int entry;		/* number of the next entry */
};

static struct image *image_new(enum img_type type, enum mode mode, const char *name)
{
	struct image *img = xcalloc(1, sizeof(*img));

	img->fd = -1;
	img->type = type;
	img->mode = mode;
	snprintf(img->name, sizeof(img->name), "%s", name);
	return img;
}

const char *image_label(const struct image *img)
{
	return img->name;
}

void auto_image(struct image **img)
{
	if (!*img)
		return;
	if ((*img)->fd >= 0)
		close((*img)->fd);
	free((*img)->buf);
	free(*img);
	*img = NULL;
}

void auto_msg(void *msg_ptr)
{
	ProtobufCMessage *msg = *(ProtobufCMessage **)msg_ptr;

	if (msg)
		protobuf_c_message_free_unpacked(msg, NULL);
}

/* Write the magics of a type to p. Returns their length: 0, 4 or 8 bytes. */
static size_t put_magics(enum img_type type, void *p)
{
	uint32_t magic[2];

	magic[0] = image_is_service(type) ? IMAGE_MAGIC_SERVICE : IMAGE_MAGIC_COMMON;
	magic[1] = image_info(type)->magic;
	if (!magic[1])
		return 0;
	if (type == IMG_INVENTORY) {
		memcpy(p, &magic[1], 4);
		return 4;
	}
	memcpy(p, magic, 8);
	return 8;
}

/*
 * Bytes of the length before an entry: four, but eight in the files of AMD GPUs, the only ones
 * with entries and no magic.
 */
static size_t length_width(const struct image *img)
{
	return image_info(img->type)->magic ? 4 : 8;
}

/* Reading */

uint64_t image_left(const struct image *img)
{
	return img->size - (img->off + img->pos);
}

uint64_t image_offset(const struct image *img)
{
	if (img->mode == READING)
		return img->off + img->pos;
	return (uint64_t)lseek(img->fd, 0, SEEK_CUR) + img->len;
}

static int read_at(struct image *img, void *buf, size_t n, uint64_t off, struct fault *f)
{
	ssize_t r = pread_full(img->fd, buf, n, off);

	if (r < 0)
		return fault(f, errno, "%s: read at %" PRIu64, img->name, off);
	if ((size_t)r < n)
		return fault(f, -EBADMSG, "%s: became shorter while it was read", img->name);
	return 0;
}

/* Have n bytes in the buffer from pos on. The caller knows the file has them. */
static int need(struct image *img, size_t n, struct fault *f)
{
	size_t have = img->len - img->pos;
	size_t want;

	if (have >= n)
		return 0;
	want = n > BUFFER ? n : BUFFER;
	if (want > image_left(img))
		want = image_left(img);
	if (have)
		memmove(img->buf, img->buf + img->pos, have);
	img->off += img->pos;
	img->pos = 0;
	img->len = have;
	if (want > img->cap) {
		img->cap = want;
		img->buf = xrealloc(img->buf, want, 1);
	}
	if (read_at(img, img->buf + have, want - have, img->off + have, f) < 0)
		return -1;
	img->len = want;
	return 0;
}

static int check_magics(struct image *img, struct fault *f)
{
	unsigned char want[8];
	size_t n = put_magics(img->type, want);
	uint32_t magic;

	if (image_left(img) < n)
		return fault(f, -EBADMSG, "%s: only %" PRIu64 " bytes long: the image is"
			     " truncated; dump again", img->name, img->size);
	if (!n)
		return 0;
	if (need(img, n, f) < 0)
		return -1;
	memcpy(&magic, img->buf + n - 4, 4);
	if (memcmp(img->buf, want, n) != 0)
		return fault(f, -EBADMSG, "%s: magic %#x is not that of %s (%#x): another file,"
			     " or damaged", img->name, magic, image_info(img->type)->tag,
			     image_info(img->type)->magic);
	img->pos = n;
	return 0;
}

/*
 * Open path and check it. O_NONBLOCK so that a fifo in the directory cannot hold us up;
 * on regular files, all we accept, it means nothing.
 */
static struct image *open_as(int dirfd, const char *path, const char *label, enum img_type type,
			     struct fault *f)
{
	AUTO_IMAGE struct image *img = image_new(type, READING, label);
	struct stat st;

	img->fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (img->fd < 0) {
		fault(f, errno, "open image %s", path);
		return NULL;
	}
	if (fstat(img->fd, &st) < 0) {
		fault(f, errno, "stat image %s", path);
		return NULL;
	}
	if (!S_ISREG(st.st_mode)) {
		fault(f, -EINVAL, "%s: not a regular file", path);
		return NULL;
	}
	img->size = st.st_size;
	if (check_magics(img, f) < 0)
		return NULL;
	return take_ptr(&img);
}

struct image *image_open(int dirfd, enum img_type type, uint64_t id, struct fault *f)
{
	char name[NAME_SIZE];

	image_name(type, id, name, sizeof(name));
	return open_as(dirfd, name, name, type, f);
}

struct image *image_open_optional(int dirfd, enum img_type type, uint64_t id, struct fault *f)
{
	struct fault absent = { 0 };
	struct image *img;

	img = image_open(dirfd, type, id, &absent);
	if (!img && absent.code != ENOENT)
		*f = absent;
	return img;
}

/* The type told by the magics at the start of a file, or -1. */
static int type_by_content(const char *path, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	uint32_t magic[2] = { 0, 0 };
	int type;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fault(f, errno, "open image %s", path);
	if (read_full(fd, magic, sizeof(magic)) < 0)
		return fault(f, errno, "read image %s", path);
	if (magic[0] == IMAGE_MAGIC_COMMON || magic[0] == IMAGE_MAGIC_SERVICE)
		type = image_type_by_magic(magic[1]);
	else
		type = magic[0] == image_info(IMG_INVENTORY)->magic ? IMG_INVENTORY : -1;
	if (type < 0)
		return fault(f, -EINVAL, "%s: neither name nor magic is that of an image", path);
	return type;
}

struct image *image_open_path(const char *path, enum img_type *type, struct fault *f)
{
	const char *slash = strrchr(path, '/');
	const char *label = slash ? slash + 1 : path;
	int t = image_type_by_name(label, NULL);

	if (t < 0)
		t = type_by_content(path, f);
	if (t < 0)
		return NULL;
	*type = t;
	return open_as(AT_FDCWD, path, label, t, f);
}

/* The length before an entry: 1, 0 at the end of the file, -1. */
static int read_length(struct image *img, size_t *n, struct fault *f)
{
	size_t width = length_width(img);
	uint64_t left = image_left(img);
	uint64_t len = 0;

	if (!left)
		return 0;
	if (left < width)
		return fault(f, -EBADMSG, "%s: entry %u: %" PRIu64 " stray bytes at the end: the"
			     " image is truncated or damaged; dump again", img->name, img->entry,
			     left);
	if (need(img, width, f) < 0)
		return -1;
	memcpy(&len, img->buf + img->pos, width);
	left -= width;
	if (len > left || len > ENTRY_MAX)
		return fault(f, -EBADMSG, "%s: entry %u: %" PRIu64 " bytes announced, %" PRIu64
			     " left: the image is truncated or damaged; dump again", img->name,
			     img->entry, len, left);
	img->pos += width;
	*n = len;
	return 1;
}

static int unpack(struct image *img, const ProtobufCMessageDescriptor *desc, size_t n,
		  ProtobufCMessage **msg, struct fault *f)
{
	const uint8_t *data = img->buf + img->pos;

	if (message_needs_check(desc) && message_check(desc, data, n, f) < 0)
		return -1;
	*msg = protobuf_c_message_unpack(desc, NULL, n, data);
	if (*msg)
		return 0;
	message_check(desc, data, n, f);
	return fault(f, -EBADMSG, "not a valid %s", desc->name);
}

int image_read_as(struct image *img, const ProtobufCMessageDescriptor *desc,
		  ProtobufCMessage **msg, struct fault *f)
{
	size_t n = 0;
	int r;

	*msg = NULL;
	r = read_length(img, &n, f);
	if (r <= 0)
		return r;
	if (need(img, n, f) < 0)
		return -1;
	if (unpack(img, desc, n, msg, f) < 0)
		return fault_prefix(f, "%s: entry %u", img->name, img->entry);
	img->pos += n;
	img->entry++;
	return 1;
}

int image_read(struct image *img, ProtobufCMessage **msg, struct fault *f)
{
	const struct img_info *info = image_info(img->type);

	if (!info->entry)
		die("%s has no entries to read", img->name);
	return image_read_as(img, img->entry || !info->head ? info->entry : info->head, msg, f);
}

int image_read_one(struct image *img, ProtobufCMessage **msg, struct fault *f)
{
	int r = image_read(img, msg, f);

	if (r == 0)
		return fault(f, -EBADMSG, "%s: entry %u is missing: the image is truncated;"
			     " dump again", img->name, img->entry);
	return r < 0 ? -1 : 0;
}

static int check_left(struct image *img, uint64_t len, struct fault *f)
{
	if (len <= image_left(img))
		return 0;
	return fault(f, -EBADMSG, "%s: entry %u: %" PRIu64 " bytes of data announced, %" PRIu64
		     " left: the image is truncated or damaged; dump again", img->name,
		     img->entry ? img->entry - 1 : 0, len, image_left(img));
}

int image_read_data(struct image *img, void *data, size_t len, struct fault *f)
{
	size_t have = img->len - img->pos;

	if (check_left(img, len, f) < 0)
		return -1;
	if (have > len)
		have = len;
	if (have)
		memcpy(data, img->buf + img->pos, have);
	img->pos += have;
	if (have == len)
		return 0;
	if (read_at(img, (char *)data + have, len - have, img->off + img->pos, f) < 0)
		return -1;
	return image_skip_data(img, len - have, f);
}

int image_skip_data(struct image *img, uint64_t len, struct fault *f)
{
	if (check_left(img, len, f) < 0)
		return -1;
	if (len <= img->len - img->pos) {
		img->pos += len;
		return 0;
	}
	img->off += img->pos + len;
	img->pos = 0;
	img->len = 0;
	return 0;
}

/* Writing */

static int flush(struct image *img, struct fault *f)
{
	size_t len = img->len;

	if (!len)
		return 0;
	img->len = 0;
	if (write_full(img->fd, img->buf, len) < 0)
		return fault(f, errno, "write image %s", img->name);
	return 0;
}

/* Room for n more bytes at the end of the buffer. */
static int reserve(struct image *img, size_t n, struct fault *f)
{
	if (img->len + n > BUFFER && flush(img, f) < 0)
		return -1;
	if (img->len + n > img->cap) {
		img->cap = img->len + n < 1024 ? 1024 : (img->len + n) * 2;
		img->buf = xrealloc(img->buf, img->cap, 1);
	}
	return 0;
}

struct image *image_create(int dirfd, enum img_type type, uint64_t id, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	char name[NAME_SIZE];

	image_name(type, id, name, sizeof(name));
	img = image_new(type, CREATING, name);
	img->fd = openat(dirfd, name,
			 O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, MODE);
	if (img->fd < 0) {
		fault(f, errno, "create image %s", name);
		return NULL;
	}
	reserve(img, 8, f);
	img->len = put_magics(type, img->buf);
	return take_ptr(&img);
}

/*
 * Make the file with its magics appear in one step: written under a name of its own,
 * then linked. Losing the race to another process is fine, its file is the same.
 */
static int create_with_magics(int dirfd, enum img_type type, const char *name, struct fault *f)
{
	AUTO_CLOSE int fd = -1;
	char temp[NAME_SIZE + 24];
	unsigned char magics[8];
	size_t n = put_magics(type, magics);
	uint64_t nonce;
	int r;

	if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
		return fault(f, errno, "getrandom");
	snprintf(temp, sizeof(temp), ".%s.%016" PRIx64, name, nonce);
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
	if (fd < 0)
		return fault(f, errno, "create image %s", name);
	if (write_full(fd, magics, n) < 0)
		r = fault(f, errno, "write image %s", name);
	else if (linkat(dirfd, temp, dirfd, name, 0) < 0 && errno != EEXIST)
		r = fault(f, errno, "create image %s", name);
	else
		r = 0;
	unlinkat(dirfd, temp, 0);
	return r;
}

struct image *image_append(int dirfd, enum img_type type, uint64_t id, struct fault *f)
{
	const int flags = O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC;
	AUTO_IMAGE struct image *img = NULL;
	char name[NAME_SIZE];

	image_name(type, id, name, sizeof(name));
	img = image_new(type, APPENDING, name);
	img->fd = openat(dirfd, name, flags);
	if (img->fd < 0 && errno == ENOENT) {
		if (create_with_magics(dirfd, type, name, f) < 0)
			return NULL;
		img->fd = openat(dirfd, name, flags);
	}
	if (img->fd < 0) {
		fault(f, errno, "open image %s", name);
		return NULL;
	}
	return take_ptr(&img);
}

/* Put all that is buffered, whole entries, at the end of the file by one write(2). */
static int append_now(struct image *img, struct fault *f)
{
	size_t len = img->len;
	ssize_t r;

	img->len = 0;
	do {
		r = write(img->fd, img->buf, len);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return fault(f, errno, "write image %s", img->name);
	if ((size_t)r != len)
		return fault(f, ENOSPC, "%s: entry cut off at %zd of %zu bytes", img->name, r, len);
	return 0;
}

/* Pack a message behind its length. It must be complete: see protobuf_c_message_check. */
static int put_entry(struct image *img, const ProtobufCMessage *msg, size_t data_len,
		     struct fault *f)
{
	size_t n = protobuf_c_message_get_packed_size(msg);
	size_t width = length_width(img);
	uint64_t len = n;

	if (!protobuf_c_message_check(msg))
		die("%s: entry %u: incomplete %s", img->name, img->entry, msg->descriptor->name);
	if (n > ENTRY_MAX)
		return fault(f, EFBIG, "%s: entry %u: %zu bytes", img->name, img->entry, n);
	if (reserve(img, width + n + data_len, f) < 0)
		return -1;
	memcpy(img->buf + img->len, &len, width);
	protobuf_c_message_pack(msg, img->buf + img->len + width);
	img->len += width + n;
	img->entry++;
	return 0;
}

int image_write(struct image *img, const ProtobufCMessage *msg, struct fault *f)
{
	if (put_entry(img, msg, 0, f) < 0)
		return -1;
	return img->mode == APPENDING && img->len >= APPEND_BATCH ? append_now(img, f) : 0;
}

int image_write_with_data(struct image *img, const ProtobufCMessage *msg, const void *data,
			  size_t len, struct fault *f)
{
	if (img->mode != APPENDING)
		return image_write(img, msg, f) < 0 ? -1 : image_write_data(img, data, len, f);
	if (put_entry(img, msg, len, f) < 0)
		return -1;
	if (len)
		memcpy(img->buf + img->len, data, len);
	img->len += len;
	return append_now(img, f);
}

int image_write_data(struct image *img, const void *data, size_t len, struct fault *f)
{
	if (img->mode != CREATING)
		die("%s: raw data written to an image not created here", img->name);
	if (len > BUFFER) {
		if (flush(img, f) < 0)
			return -1;
		if (write_full(img->fd, data, len) < 0)
			return fault(f, errno, "write image %s", img->name);
		return 0;
	}
	if (reserve(img, len, f) < 0)
		return -1;
	if (len)
		memcpy(img->buf + img->len, data, len);
	img->len += len;
	return 0;
}

int image_fd(struct image *img, struct fault *f)
{
	if (img->mode != READING)
		return flush(img, f) < 0 ? -1 : img->fd;
	if (lseek(img->fd, image_offset(img), SEEK_SET) < 0)
		return fault(f, errno, "seek in image %s", img->name);
	return img->fd;
}

int image_close(struct image **img, struct fault *f)
{
	int r = 0;

	if (!*img)
		return 0;
	if ((*img)->mode == APPENDING && (*img)->len)
		r = append_now(*img, f);
	else if ((*img)->mode == CREATING)
		r = flush(*img, f);
	if (close(take_fd(&(*img)->fd)) < 0 && (*img)->mode != READING)
		r = fault(f, errno, "close image %s", (*img)->name);
	auto_image(img);
	return r;
}
