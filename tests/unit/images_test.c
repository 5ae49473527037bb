/* SPDX-License-Identifier: MIT */
/*
 * images_test.c - the image files: what is written is read back, by us and by crit.
 *
 * Rights:   a scratch directory.
 * Holds:    that directory, removed at the end.
 */
#include "tests/unit/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "proto/images/files.pb-c.h"
#include "proto/images/image.h"
#include "proto/images/show.h"
#include "proto/images/task.pb-c.h"
#include "tests/world/image_samples.h"

/* What is known of CRIU 4.2, written down apart from the table under test. */
static const struct {
	enum img_type type;
	const char *name;
	uint32_t magic;
} known[] = {
	{ IMG_INVENTORY, "inventory.img", 0x58313116 },
	{ IMG_FDINFO, "fdinfo-26.img", 0x56213732 },
	{ IMG_PAGEMAP, "pagemap-26.img", 0x56084025 },
	{ IMG_SHMEM_PAGEMAP, "pagemap-shmem-26.img", 0x56084025 },
	{ IMG_REG_FILES, "reg-files.img", 0x50363636 },
	{ IMG_EXT_FILES, "ext-files.img", 0x59255641 },
	{ IMG_NS_FILES, "ns-files.img", 0x61394011 },
	{ IMG_EVENTFD_FILE, "eventfd.img", 0x44523722 },
	{ IMG_EVENTPOLL_FILE, "eventpoll.img", 0x45023858 },
	{ IMG_EVENTPOLL_TFD, "eventpoll-tfd.img", 0x44433746 },
	{ IMG_SIGNALFD, "signalfd.img", 0x57323820 },
	{ IMG_INOTIFY_FILE, "inotify.img", 0x48424431 },
	{ IMG_INOTIFY_WD, "inotify-wd.img", 0x54562009 },
	{ IMG_FANOTIFY_FILE, "fanotify.img", 0x55096122 },
	{ IMG_FANOTIFY_MARK, "fanotify-mark.img", 0x56506035 },
	{ IMG_CORE, "core-26.img", 0x55053847 },
	{ IMG_IDS, "ids-26.img", 0x54432030 },
	{ IMG_MM, "mm-26.img", 0x57492820 },
	{ IMG_VMAS, "vmas-26.img", 0x54123737 },
	{ IMG_PIPES, "pipes.img", 0x56513555 },
	{ IMG_PIPES_DATA, "pipes-data.img", 0x56453709 },
	{ IMG_FIFO, "fifo.img", 0x58364939 },
	{ IMG_FIFO_DATA, "fifo-data.img", 0x59333054 },
	{ IMG_PSTREE, "pstree.img", 0x50273030 },
	{ IMG_SIGACT, "sigacts-26.img", 0x55344201 },
	{ IMG_UNIXSK, "unixsk.img", 0x54373943 },
	{ IMG_INETSK, "inetsk.img", 0x56443851 },
	{ IMG_PACKETSK, "packetsk.img", 0x60454618 },
	{ IMG_NETLINK_SK, "netlinksk.img", 0x58005614 },
	{ IMG_SK_QUEUES, "sk-queues.img", 0x56264026 },
	{ IMG_ITIMERS, "itimers-26.img", 0x57464056 },
	{ IMG_POSIX_TIMERS, "posix-timers-26.img", 0x52603957 },
	{ IMG_CREDS, "creds-26.img", 0x54023547 },
	{ IMG_UTSNS, "utsns-26.img", 0x54473203 },
	{ IMG_IPC_VAR, "ipcns-var-26.img", 0x53115007 },
	{ IMG_IPCNS_SHM, "ipcns-shm-26.img", 0x46283044 },
	{ IMG_IPCNS_MSG, "ipcns-msg-26.img", 0x55453737 },
	{ IMG_IPCNS_SEM, "ipcns-sem-26.img", 0x59573019 },
	{ IMG_FS, "fs-26.img", 0x51403912 },
	{ IMG_REMAP_FPATH, "remap-fpath.img", 0x59133954 },
	{ IMG_GHOST_FILE, "ghost-file-1a.img", 0x52583605 },
	{ IMG_MEMFD_INODE, "memfd.img", 0x48453499 },
	{ IMG_TCP_STREAM, "tcp-stream-1a.img", 0x51465506 },
	{ IMG_MNTS, "mountpoints-26.img", 0x55563928 },
	{ IMG_NETDEV, "netdev-26.img", 0x57373951 },
	{ IMG_NETNS, "netns-26.img", 0x55933752 },
	{ IMG_IFADDR, "ifaddr-26.img", 0 },
	{ IMG_ROUTE, "route-26.img", 0 },
	{ IMG_ROUTE6, "route6-26.img", 0 },
	{ IMG_RULE, "rule-26.img", 0 },
	{ IMG_IPTABLES, "iptables-26.img", 0 },
	{ IMG_IP6TABLES, "ip6tables-26.img", 0 },
	{ IMG_NFTABLES, "nftables-26.img", 0 },
	{ IMG_TMPFS_IMG, "tmpfs-26.tar.gz.img", 0 },
	{ IMG_TMPFS_DEV, "tmpfs-dev-26.tar.gz.img", 0 },
	{ IMG_AUTOFS, "autofs-26.img", 0x49353943 },
	{ IMG_BINFMT_MISC_OLD, "binfmt-misc-26.img", 0x67343323 },
	{ IMG_BINFMT_MISC, "binfmt-misc.img", 0x67343323 },
	{ IMG_TTY_FILES, "tty.img", 0x59433025 },
	{ IMG_TTY_INFO, "tty-info.img", 0x59453036 },
	{ IMG_TTY_DATA, "tty-data.img", 0x59413026 },
	{ IMG_FILE_LOCKS, "filelocks.img", 0x54323616 },
	{ IMG_RLIMIT, "rlimit-26.img", 0x57113925 },
	{ IMG_PAGES, "pages-26.img", 0 },
	{ IMG_SIGNAL, "signal-s-26.img", 0x59255647 },
	{ IMG_PSIGNAL, "signal-p-26.img", 0x59255647 },
	{ IMG_TUNFILE, "tunfile.img", 0x57143751 },
	{ IMG_CGROUP, "cgroup.img", 0x59383330 },
	{ IMG_TIMERFD, "timerfd.img", 0x50493712 },
	{ IMG_CPUINFO, "cpuinfo.img", 0x61404013 },
	{ IMG_SECCOMP, "seccomp.img", 0x64413049 },
	{ IMG_USERNS, "userns-26.img", 0x55474906 },
	{ IMG_NETNF_CT, "netns-ct-26.img", 0 },
	{ IMG_NETNF_EXP, "netns-exp-26.img", 0 },
	{ IMG_FILES, "files.img", 0x56303138 },
	{ IMG_TIMENS, "timens-26.img", 0x43114433 },
	{ IMG_PIDNS, "pidns-26.img", 0x61157326 },
	{ IMG_BPFMAP_FILE, "bpfmap-file.img", 0x57506142 },
	{ IMG_BPFMAP_DATA, "bpfmap-data.img", 0x64324033 },
	{ IMG_APPARMOR, "apparmor.img", 0x59423047 },
	{ IMG_PIDFD, "pidfd.img", 0x54435556 },
	{ IMG_STATS_DUMP, "stats-dump", 0x57093306 },
	{ IMG_STATS_RESTORE, "stats-restore", 0x57093306 },
	{ IMG_IRMAP_CACHE, "irmap-cache", 0x57004059 },
};

static bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t n = protobuf_c_message_get_packed_size(a);
	AUTO_FREE uint8_t *pa = xcalloc(1, n);
	AUTO_FREE uint8_t *pb = xcalloc(1, n);

	if (a->descriptor != b->descriptor || protobuf_c_message_get_packed_size(b) != n)
		return false;
	protobuf_c_message_pack(a, pa);
	protobuf_c_message_pack(b, pb);
	return memcmp(pa, pb, n) == 0;
}

static void names_and_magics(void)
{
	char name[64];
	uint64_t id;
	size_t i;

	for (i = 0; i < ARRAY_LEN(known); i++) {
		image_name(known[i].type, SAMPLE_ID, name, sizeof(name));
		CHECK(strcmp(name, known[i].name) == 0);
		CHECK(image_info(known[i].type)->magic == known[i].magic);
		CHECK(image_type_by_name(name, &id) == (int)known[i].type);
		CHECK(id == (strpbrk(image_info(known[i].type)->name, "%") ? SAMPLE_ID : 0));
	}
	CHECK(image_type_by_name("core-.img", NULL) < 0);
	CHECK(image_type_by_name("core-1.img.bak", NULL) < 0);
	CHECK(image_type_by_name("dump.log", NULL) < 0);
	CHECK(image_type_by_magic(0x55053847) == IMG_CORE);
	CHECK(image_type_by_magic(0x56084025) == IMG_PAGEMAP);
	CHECK(image_type_by_magic(0) < 0);
}

static void frame_bytes(void)
{
	static const unsigned char fs[] = { 0x19, 0x43, 0x56, 0x54, 0x12, 0x39, 0x40, 0x51,
					    4, 0, 0, 0, 0x08, 1, 0x10, 2 };
	AUTO_IMAGE struct image *img = NULL;
	FsEntry e = FS_ENTRY__INIT;
	struct fault f = { 0 };
	unsigned char got[64];
	char path[128];
	int fd;

	e.cwd_id = 1;
	e.root_id = 2;
	img = image_create(sample_dir_fd(), IMG_FS, SAMPLE_ID, &f);
	CHECK(img && image_write(img, &e.base, &f) == 0 && image_close(&img, &f) == 0);
	sample_path(IMG_FS, path, sizeof(path));
	fd = open(path, O_RDONLY);
	CHECK(read(fd, got, sizeof(got)) == sizeof(fs) && memcmp(got, fs, sizeof(fs)) == 0);
	close(fd);
}

static void round_trip_one(enum img_type type)
{
	AUTO_IMAGE struct image *img = NULL;
	struct fault f = { 0 };
	char data[sizeof(sample_data)];
	size_t bytes;
	int i;

	if (!CHECK(sample_write(type)))
		return;
	img = image_open(sample_dir_fd(), type, SAMPLE_ID, &f);
	for (i = 0; img && i < sample_entries(type); i++) {
		AUTO_MSG ProtobufCMessage *want = sample_entry(type, i, &bytes);
		AUTO_MSG ProtobufCMessage *got = NULL;

		if (!CHECK(image_read(img, &got, &f) == 1))
			break;
		CHECK(same_message(want, got));
		CHECK(image_read_data(img, data, bytes, &f) == 0);
		CHECK(memcmp(data, sample_data, bytes) == 0);
	}
	CHECK(img && image_left(img) == 0);
	if (f.code)
		fprintf(stderr, "%s\n", f.text);
}

static void round_trip(void)
{
	int t;

	for (t = 0; t < IMG_TYPES; t++)
		if (sample_has_frame(t))
			round_trip_one(t);
}

/* Larger than every buffer, with raw data moved around the image by its descriptor. */
static void large_image(void)
{
	AUTO_FREE char *big = xcalloc(1, 300000);
	AUTO_IMAGE struct image *img = NULL;
	AUTO_MSG ProtobufCMessage *msg = NULL;
	PipeDataEntry e = PIPE_DATA_ENTRY__INIT;
	struct fault f = { 0 };
	int i;

	e.bytes = 300000;
	img = image_create(sample_dir_fd(), IMG_PIPES_DATA, 0, &f);
	for (i = 0; i < 3; i++) {
		memset(big, 'a' + i, 300000);
		CHECK(image_write(img, &e.base, &f) == 0);
		CHECK(image_write_data(img, big, 100000, &f) == 0);
		CHECK(write(image_fd(img, &f), big, 199999) == 199999);
		CHECK(image_write_data(img, big, 1, &f) == 0);
	}
	CHECK(image_offset(img) ==
	      8 + 3 * (300000 + 4 + protobuf_c_message_get_packed_size(&e.base)));
	CHECK(image_close(&img, &f) == 0);
	img = image_open(sample_dir_fd(), IMG_PIPES_DATA, 0, &f);
	for (i = 0; i < 3; i++) {
		CHECK(image_read_one(img, &msg, &f) == 0);
		auto_msg(&msg);
		msg = NULL;
		CHECK(image_read_data(img, big, 150000, &f) == 0);
		CHECK(big[0] == 'a' + i && big[149999] == 'a' + i);
		CHECK(read(image_fd(img, &f), big, 10) == 10 && big[9] == 'a' + i);
		CHECK(image_skip_data(img, 150000, &f) == 0);
	}
	CHECK(image_read(img, &msg, &f) == 0);
}

/* One of many processes: wait for the start, then append entries with data. */
static void append_child(int start, int number, int entries)
{
	AUTO_IMAGE struct image *img = NULL;
	SkPacketEntry e = SK_PACKET_ENTRY__INIT;
	struct fault f = { 0 };
	char data[300];
	char go;
	int i;

	if (read(start, &go, 1) < 0)
		_exit(2);
	img = image_append(sample_dir_fd(), IMG_SK_QUEUES, 0, &f);
	for (i = 0; img && i < entries; i++) {
		e.id_for = number * 1000 + i;
		e.length = (number * 31 + i) % sizeof(data);
		memset(data, number, e.length);
		if (image_write_with_data(img, &e.base, data, e.length, &f) < 0)
			break;
	}
	_exit(!img || i < entries || image_close(&img, &f) < 0);
}

/* Read what the children appended: all entries, each whole, each once. */
static void check_appended(int children, int entries)
{
	AUTO_IMAGE struct image *img = NULL;
	AUTO_FREE bool *seen = xcalloc(children * 1000, sizeof(bool));
	struct fault f = { 0 };
	unsigned char data[300];
	int n = 0;

	img = image_open(sample_dir_fd(), IMG_SK_QUEUES, 0, &f);
	while (img) {
		AUTO_MSG ProtobufCMessage *msg = NULL;
		SkPacketEntry *e;

		if (image_read(img, &msg, &f) != 1)
			break;
		e = (SkPacketEntry *)msg;
		if (!CHECK(e->id_for < children * 1000u && !seen[e->id_for]))
			break;
		seen[e->id_for] = true;
		n++;
		CHECK(image_read_data(img, data, e->length, &f) == 0);
		CHECK(!e->length || (data[0] == e->id_for / 1000 &&
				     data[e->length - 1] == e->id_for / 1000));
	}
	CHECK(!f.code && n == children * entries);
}

static void append_round(int children, int entries)
{
	int start[2], status, i;

	sample_clean();
	CHECK(pipe(start) == 0);
	for (i = 0; i < children; i++) {
		if (fork() == 0) {
			close(start[1]);
			append_child(start[0], i, entries);
		}
	}
	close(start[1]);
	close(start[0]);
	while (wait(&status) > 0)
		CHECK(status == 0);
	check_appended(children, entries);
	CHECK(sample_clean() == 1);
}

static void append_together(void)
{
	int i;

	append_round(8, 500);
	for (i = 0; i < 30; i++)
		append_round(6, 2);
}

static void absent_and_foreign(void)
{
	struct fault f = { 0 }, g = { 0 };
	char from[128], to[128];

	sample_clean();
	CHECK(!image_open(sample_dir_fd(), IMG_CORE, 1, &f) && f.code == ENOENT);
	CHECK(!image_open_optional(sample_dir_fd(), IMG_CORE, 1, &g) && g.code == 0);
	CHECK(sample_write(IMG_FS));
	sample_path(IMG_FS, from, sizeof(from));
	sample_path(IMG_MM, to, sizeof(to));
	CHECK(rename(from, to) == 0);
	CHECK(!image_open_optional(sample_dir_fd(), IMG_MM, SAMPLE_ID, &g) && g.code == EBADMSG);
	unlink(to);
	CHECK(mkfifo(to, 0600) == 0);
	memset(&g, 0, sizeof(g));
	CHECK(!image_open(sample_dir_fd(), IMG_MM, SAMPLE_ID, &g) && g.code == EINVAL);
	sample_clean();
}

/* A write that fails when the buffer goes out, at close, must not pass for success. */
static void full_disk_child(void)
{
	const struct rlimit tiny = { 100, 100 };
	struct fault f = { 0 };
	struct image *img;
	FsEntry e = FS_ENTRY__INIT;
	bool ok;
	int i;

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &tiny);
	img = image_create(sample_dir_fd(), IMG_FS, SAMPLE_ID, &f);
	for (i = 0; i < 100; i++)
		image_write(img, &e.base, &f);
	ok = f.code == 0 && image_close(&img, &f) == -1 && f.code == EFBIG && !img;
	memset(&f, 0, sizeof(f));
	img = image_append(sample_dir_fd(), IMG_FS, SAMPLE_ID, &f);
	ok = ok && image_write(img, &e.base, &f) == 0 && image_close(&img, &f) == -1 &&
	     f.code == EFBIG && !img;
	_exit(!ok);
}

static void full_disk(void)
{
	int status = -1;

	if (fork() == 0)
		full_disk_child();
	wait(&status);
	CHECK(status == 0);
}

static int run_command(char *cmd)
{
	int status = system(cmd);

	free(cmd);
	return status;
}

/*
 * crit of CRIU 4.2 has no handler for some types, and cannot encode the last two: it
 * calls a function for bytes on a string.
 */
static bool crit_knows(enum img_type type)
{
	static const enum img_type lacks[] = {
		IMG_PIDFD, IMG_BINFMT_MISC, IMG_BINFMT_MISC_OLD, IMG_SIGNAL, IMG_PSIGNAL,
		IMG_IPCNS_SHM, IMG_BPFMAP_DATA,
	};
	size_t i;

	for (i = 0; i < ARRAY_LEN(lacks); i++)
		if (lacks[i] == type)
			return false;
	return sample_has_frame(type);
}

/* crit must read our image, and make the same bytes from our JSON of it. */
static void crit_agrees_on(const char *crit, enum img_type type)
{
	char path[128], json[160];
	struct fault f = { 0 };
	FILE *out;

	if (!CHECK(sample_write(type)))
		return;
	sample_path(type, path, sizeof(path));
	snprintf(json, sizeof(json), "%s.j", path);
	out = fopen(json, "w");
	CHECK(show_file(path, true, out, &f) == 0);
	fclose(out);
	if (!CHECK(run_command(xasprintf("f=%s; %s decode -i $f >$f.d && %s encode -i $f.j -o $f.n"
					 " && cmp $f $f.n", path, crit, crit)) == 0))
		fprintf(stderr, "crit disagrees on %s\n", path);
}

static void crit_agrees(void)
{
	const char *crit = getenv("STASIS_CRIT") ? getenv("STASIS_CRIT") : "crit";
	int t;

	if (run_command(xasprintf("%s --help >/dev/null 2>&1", crit)) != 0) {
		check_skip("no crit (name the command in STASIS_CRIT)");
		return;
	}
	sample_for_crit();
	for (t = 0; t < IMG_TYPES; t++)
		if (crit_knows(t))
			crit_agrees_on(crit, t);
}

int main(void)
{
	check_run("names and magics are those of CRIU 4.2", names_and_magics);
	check_run("a file has the bytes of the format", frame_bytes);
	check_run("every type is read back as written", round_trip);
	check_run("large images and raw data in between", large_image);
	check_run("processes append together without mixing", append_together);
	check_run("absent and foreign files are told apart", absent_and_foreign);
	check_run("a write that fails is reported", full_disk);
	check_run("crit reads our images and our JSON", crit_agrees);
	sample_end();
	return check_done();
}
