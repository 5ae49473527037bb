/* SPDX-License-Identifier: MIT */
/*
 * pipe.c - pipes and FIFOs: their ends, size and contents.
 *
 * Dump:     the bytes are copied (packets.c), never taken. They are stored when the first end
 *           that can read is met; a pipe whose readers are all outside the tree keeps its
 *           contents there.
 * Restore:  the pipe is made, sized and filled once; each open file of the image is one of its
 *           two ends or, when it had been opened through /proc, another opening of them.
 *           A FIFO is held open for reading and writing meanwhile, so no open waits.
 * Rights:   ptrace access to the tasks; the paths of FIFOs.
 * Holds:    dump: the two data images; restore: both ends of every pipe until files_finish.
 */
#include "workers/files/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "proto/control/util.h"
#include "workers/files/external.h"
#include "workers/files/files.h"
#include "workers/files/packets.h"
#include "workers/files/regular.h"

#define REOPENED 0100000		/* O_LARGEFILE: opened by path, not by pipe(2) */

struct pipe {
	uint32_t id;
	bool named;			/* a FIFO: its ids are apart from those of pipes */
	uint32_t next;			/* in its bucket */
	bool made;
	int fd[2];			/* -1 when there is none; FIFO: both ends in fd[0] */
	bool taken[2];		/* the end belongs to a file, or to the user: not ours to close */
	PipeDataEntry *data;		/* NULL: empty, usual size */
	unsigned char *bytes;
	const PipePacketsEntry *packets;	/* how the bytes are divided, NULL: a stream */
};

#define BUCKETS 4096

struct pipes {
	struct image *img[2];		/* dump: of pipes, of FIFOs */
	struct pipe *pipe;
	size_t n, cap;
	uint32_t bucket[BUCKETS];	/* by id: number in pipe[] + 1, chained by next */
};

static struct pipe *find_pipe(struct files *fs, uint32_t id, bool named)
{
	struct pipes *s = fs->pipes;
	uint32_t i;

	for (i = s ? s->bucket[id % BUCKETS] : 0; i; i = s->pipe[i - 1].next)
		if (s->pipe[i - 1].id == id && s->pipe[i - 1].named == named)
			return &s->pipe[i - 1];
	return NULL;
}

static struct pipe *add_pipe(struct files *fs, uint32_t id, bool named)
{
	struct pipes *s;
	struct pipe *p;

	if (!fs->pipes)
		fs->pipes = xcalloc(1, sizeof(*fs->pipes));
	s = fs->pipes;
	p = grow(&s->pipe, s->n++, &s->cap, sizeof(*p));
	*p = (struct pipe){ .id = id, .named = named, .fd = { -1, -1 },
			    .next = s->bucket[id % BUCKETS] };
	s->bucket[id % BUCKETS] = s->n;
	return p;
}

/* Dump */

static bool match_pipe(const struct facts *x)
{
	return x->link && strncmp(x->link, "pipe:[", 6) == 0;
}

static bool match_fifo(const struct facts *x)
{
	return x->link && x->link[0] == '/' && S_ISFIFO(x->st.st_mode) && !(x->flags & O_PATH);
}

static int dump_contents(struct files *fs, const struct facts *x, bool named, struct fault *f)
{
	PipeDataEntry e = PIPE_DATA_ENTRY__INIT;
	struct pipe_copy copy;
	struct image **img;
	int size, r;

	if ((x->flags & O_ACCMODE) == O_WRONLY || find_pipe(fs, x->st.st_ino, named))
		return 0;
	add_pipe(fs, x->st.st_ino, named);
	img = &fs->pipes->img[named];
	if (!*img)
		*img = image_create(files_image_dir(fs), named ? IMG_FIFO_DATA : IMG_PIPES_DATA, 0,
				    f);
	if (!*img)
		return -1;
	size = fcntl(x->dup, F_GETPIPE_SZ);
	if (size < 0)
		return fault(f, errno, "ask the size of the pipe");
	r = packets_copy(x->dup, size, &copy, f);
	if (r == 0 && copy.npieces)
		r = packets_write_entry(fs, x->st.st_ino, named, &copy, f);
	e.pipe_id = x->st.st_ino;
	e.bytes = copy.n;
	e.has_size = true;
	e.size = size;
	if (r == 0)
		r = image_write_with_data(*img, &e.base, copy.bytes, copy.n, f);
	packets_free(&copy);
	return r;
}

static int dump_pipe(struct files *fs, const struct facts *x, struct fault *f)
{
	PipeEntry p = PIPE_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	char who[400];

	p.id = x->id;
	p.pipe_id = x->st.st_ino;
	p.flags = x->flags;
	p.fown = x->fown;
	e.type = FD_TYPES__PIPE;
	e.id = x->id;
	e.pipe = &p;
	if (files_write_entry(fs, &e, f) < 0)
		return -1;
	if (dump_contents(fs, x, false, f) < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	return 0;
}

/* The path goes to a reg file entry of its own. */
static int dump_fifo(struct files *fs, const struct facts *x, struct fault *f)
{
	FifoEntry p = FIFO_ENTRY__INIT;
	FileEntry e = FILE_ENTRY__INIT;
	struct facts named = *x;
	char who[400];

	named.id = files_new_id(fs);
	if (regular_dump(fs, &named, f) < 0)
		return -1;
	p.id = x->id;
	p.pipe_id = x->st.st_ino;
	p.has_regf_id = true;
	p.regf_id = named.id;
	e.type = FD_TYPES__FIFO;
	e.id = x->id;
	e.fifo = &p;
	if (files_write_entry(fs, &e, f) < 0)
		return -1;
	if (dump_contents(fs, x, true, f) < 0)
		return fault_prefix(f, "%s", facts_name(x, who, sizeof(who)));
	return 0;
}

static int dump_done(struct files *fs, struct fault *f)
{
	if (!fs->pipes)
		return 0;
	if (image_close(&fs->pipes->img[0], f) < 0)
		return -1;
	return image_close(&fs->pipes->img[1], f);
}

/* Restore */

static int read_contents(struct files *fs, bool named, struct fault *f)
{
	AUTO_IMAGE struct image *img = NULL;
	ProtobufCMessage *msg;
	PipeDataEntry *e;
	struct pipe *p;
	int r;

	img = image_open_optional(files_image_dir(fs), named ? IMG_FIFO_DATA : IMG_PIPES_DATA, 0,
				  f);
	if (!img)
		return f->code ? -1 : 0;
	while ((r = image_read(img, &msg, f)) > 0) {
		e = (PipeDataEntry *)msg;
		p = find_pipe(fs, e->pipe_id, named);
		if (p) {
			protobuf_c_message_free_unpacked(msg, NULL);
			return fault(f, -EBADMSG, "%s: pipe %u appears twice", image_label(img),
				     p->id);
		}
		p = add_pipe(fs, e->pipe_id, named);
		p->data = e;
		if (e->bytes > image_left(img))
			return fault(f, -EBADMSG, "%s: pipe %u: %u bytes announced, %llu left",
				     image_label(img), p->id, e->bytes,
				     (unsigned long long)image_left(img));
		p->bytes = xcalloc(e->bytes, 1);
		if (image_read_data(img, p->bytes, e->bytes, f) < 0)
			return -1;
	}
	return r;
}

static int prepare_pipes(struct files *fs, struct fault *f)
{
	return read_contents(fs, false, f);
}

static int prepare_fifos(struct files *fs, struct fault *f)
{
	return read_contents(fs, true, f);
}

static int check_pipe(struct files *fs, struct file *file, struct fault *f)
{
	const PipeEntry *p = file->entry->pipe;

	if (!p || p->id != file->id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete pipe", file->id);
	if ((p->flags & O_ACCMODE) == O_ACCMODE)
		return fault(f, -EBADMSG, "files.img: pipe %u has impossible flags %#o", file->id,
			     p->flags);
	if (!find_pipe(fs, p->pipe_id, false))
		add_pipe(fs, p->pipe_id, false);
	return 0;
}

static int check_fifo(struct files *fs, struct file *file, struct fault *f)
{
	const FifoEntry *p = file->entry->fifo;
	char who[64];

	if (!p || p->id != file->id || !p->has_regf_id)
		return fault(f, -EBADMSG, "files.img: file %u is no complete fifo", file->id);
	snprintf(who, sizeof(who), "fifo %u", file->id);
	if (!regular_find(fs, p->regf_id, who, f))
		return -1;
	if (!find_pipe(fs, p->pipe_id, true))
		add_pipe(fs, p->pipe_id, true);
	return 0;
}

int pipe_set_packets(struct files *fs, const PipePacketsEntry *e, uint64_t sum, struct fault *f)
{
	struct pipe *p = find_pipe(fs, e->pipe_id, e->fifo);

	if (!p || !p->data || p->data->bytes != sum || p->packets)
		return fault(f, -EBADMSG, "files.img: file %u does not divide the contents of pipe "
			     "%u", e->id, e->pipe_id);
	p->packets = e;
	return 0;
}

/* Size and contents into a new pipe. fd must not block. */
static int fill(struct pipe *p, int fd, struct fault *f)
{
	ssize_t n;

	if (!p->data)
		return 0;
	if (p->data->has_size && (int)p->data->size != fcntl(fd, F_GETPIPE_SZ) &&
	    fcntl(fd, F_SETPIPE_SZ, (int)p->data->size) < 0)
		return fault(f, errno, "pipe %u: give it %u bytes of room (fs.pipe-max-size and"
			     " fs.pipe-user-pages-soft limit it)", p->id, p->data->size);
	if (p->packets)
		return packets_refill(fd, p->bytes, p->packets, f);
	n = p->data->bytes ? write(fd, p->bytes, p->data->bytes) : 0;
	if (n < 0)
		return fault(f, errno, "pipe %u: put back its %u bytes", p->id, p->data->bytes);
	if ((size_t)n != p->data->bytes)
		return fault(f, -EBADMSG, "pipe %u: %u bytes do not fit its size", p->id,
			     p->data->bytes);
	return 0;
}

static int make_pipe(struct files *fs, struct pipe *p, struct fault *f)
{
	char key[32];
	int given;

	p->made = true;
	snprintf(key, sizeof(key), "pipe:[%u]", p->id);
	given = external_inherited(fs, key);
	if (given >= 0) {
		/* Its other end is the user's: every file is an opening of the one given. */
		p->fd[0] = p->fd[1] = given;
		p->taken[0] = p->taken[1] = true;
		return 0;
	}
	if (pipe2(p->fd, O_CLOEXEC) < 0)
		return fault(f, errno, "make pipe %u", p->id);
	if (!p->data || !p->data->bytes)
		return fill(p, p->fd[1], f);
	if (fcntl(p->fd[1], F_SETFL, O_NONBLOCK) < 0 || fill(p, p->fd[1], f) < 0 ||
	    fcntl(p->fd[1], F_SETFL, 0) < 0)
		return f->code ? -1 : fault(f, errno, "fill pipe %u", p->id);
	return 0;
}

/* It needs nothing but itself. */
static bool early_pipe(struct files *fs, const struct file *file)
{
	(void)fs;
	(void)file;
	return true;
}

static enum created create_pipe(struct files *fs, struct file *file, struct fault *f)
{
	const PipeEntry *e = file->entry->pipe;
	struct pipe *p = find_pipe(fs, e->pipe_id, false);
	int end = (e->flags & O_ACCMODE) == O_RDONLY ? 0 : 1;

	if (!p->made && make_pipe(fs, p, f) < 0)
		return CREATE_FAILED;
	if (!(e->flags & REOPENED) && !p->taken[end]) {
		file->fd = p->fd[end];
		p->taken[end] = true;
		if (!(e->flags & FILES_STATUS_FLAGS))
			return CREATED;
	} else {
		file->fd = files_reopen(p->fd[end], e->flags & (O_ACCMODE | O_NONBLOCK), f);
	}
	if (file->fd < 0)
		return fault(f, errno, "open pipe %u", p->id);
	return files_set_flags(file->fd, e->flags, f) < 0 ? CREATE_FAILED : CREATED;
}

static enum created create_fifo(struct files *fs, struct file *file, struct fault *f)
{
	const FifoEntry *e = file->entry->fifo;
	struct pipe *p = find_pipe(fs, e->pipe_id, true);
	struct file *named = files_find(fs, e->regf_id);
	int flags = regular_open_flags(named->entry->reg);

	if (!p->made) {
		p->made = true;
		p->fd[0] = regular_open(fs, named, O_RDWR | O_NONBLOCK, f);
		if (p->fd[0] < 0 || fill(p, p->fd[0], f) < 0)
			return fault_prefix(f, "fifo %u", file->id);
	}
	/* No open(2) of a FIFO takes O_DIRECT. */
	file->fd = regular_open(fs, named, flags & ~O_DIRECT, f);
	if (file->fd < 0 || (!(flags & O_PATH) && files_set_flags(file->fd, flags, f) < 0))
		return CREATE_FAILED;
	return CREATED;
}

static const FownEntry *pipe_fown(struct files *fs, const struct file *file)
{
	(void)fs;
	return file->entry->pipe->fown;
}

static const FownEntry *fifo_fown(struct files *fs, const struct file *file)
{
	return files_find(fs, file->entry->fifo->regf_id)->entry->reg->fown;
}

/* Of both directions; the ends given by the user are not ours to close. */
static void end(struct files *fs)
{
	struct pipes *s = fs->pipes;
	size_t i;

	for (i = 0; s && i < s->n; i++) {
		struct pipe *p = &s->pipe[i];

		if (!p->taken[0])
			auto_close(&p->fd[0]);
		if (!p->taken[1])
			auto_close(&p->fd[1]);
		if (p->data)
			protobuf_c_message_free_unpacked(&p->data->base, NULL);
		free(p->bytes);
	}
	if (s) {
		auto_image(&s->img[0]);
		auto_image(&s->img[1]);
		free(s->pipe);
	}
	free(s);
	fs->pipes = NULL;
}

const struct file_type pipe_type = {
	.name = "pipe",
	.deed = "stored with what it holds",
	.type = FD_TYPES__PIPE,
	.match = match_pipe,
	.dump = dump_pipe,
	.dump_done = dump_done,
	.prepare = prepare_pipes,
	.check = check_pipe,
	.create = create_pipe,
	.early = early_pipe,
	.fown = pipe_fown,
	.end = end,
};

const struct file_type fifo_type = {
	.name = "fifo",
	.deed = "stored with what it holds",
	.type = FD_TYPES__FIFO,
	.match = match_fifo,
	.dump = dump_fifo,
	.prepare = prepare_fifos,
	.check = check_fifo,
	.create = create_fifo,
	.fown = fifo_fown,
};
