/* SPDX-License-Identifier: MIT */
/*
 * task.c - a stand-in for a CUDA task: task LIBCUDA DIR. It loads the given libcuda (libcuda.c),
 * fills device memory, and then counts in it by calls of the API, each of which takes two seconds
 * while there is DIR/slow, and says so in there by the line "PID". DIR/count-PID has the number of
 * good calls, or "bad" when device memory is not as left.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATTERN 0x5a

static uint64_t expected;
static char slow[4096];
static int bad;

static void fill(uint8_t *memory)
{
	memset(memory + 4096, PATTERN, 4096);
}

static void take_long(void)
{
	int fd = open(slow, O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%d\n", getpid());
	close(fd);
	usleep(2000000);
}

static void count(uint8_t *memory)
{
	uint64_t *n = (uint64_t *)memory;
	int i;

	for (i = 0; i < 4096; i++)
		bad |= memory[4096 + i] != PATTERN;
	bad |= *n != expected;
	take_long();
	*n = ++expected;
}

int main(int argc, char **argv)
{
	void *lib = argc > 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
	int (*init)(unsigned) = lib ? (int (*)(unsigned))dlsym(lib, "cuInit") : NULL;
	void (*call)(void (*)(uint8_t *)) = NULL;
	char path[4096], text[32];
	int fd, n;

	if (lib)
		call = (void (*)(void (*)(uint8_t *)))dlsym(lib, "standin_call");
	if (!init || !call || init(0)) {
		fprintf(stderr, "no stand-in of libcuda, or no devices\n");
		return 1;
	}
	snprintf(slow, sizeof(slow), "%s/slow", argv[2]);
	snprintf(path, sizeof(path), "%s/count-%d", argv[2], getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
	call(fill);
	for (;;) {
		call(count);
		n = bad ? snprintf(text, sizeof(text), "bad") :
			  snprintf(text, sizeof(text), "%016llu", (unsigned long long)expected);
		if (pwrite(fd, text, n, 0) != n)
			return 1;
		usleep(2000);
	}
}
