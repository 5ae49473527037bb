// SPDX-License-Identifier: MIT
/*
 * unix_hasty.c - a client sends before it is accepted, again and again: what waits at such a moment
 * nobody can see, so the dump has to find another one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../case.h"

static pid_t server;

static volatile sig_atomic_t ending;

static void end(int sig)
{
	ending = sig;
}

static void ask(int listener, const struct sockaddr_un *at, long n)
{
	int client = socket(AF_UNIX, SOCK_STREAM, 0), conn;
	long got = -1;

	CHECK(connect(client, (const struct sockaddr *)at, sizeof(*at)) == 0);
	CHECK(write(client, &n, sizeof(n)) == sizeof(n));
	case_sleep_ms(30);
	conn = accept(listener, NULL, NULL);
	CHECK(conn >= 0 && read(conn, &got, sizeof(got)) == sizeof(got) && got == n);
	CHECK(write(conn, &got, sizeof(got)) == sizeof(got));
	close(conn);
	CHECK(read(client, &got, sizeof(got)) == sizeof(got) && got == n);
	CHECK(read(client, &got, sizeof(got)) == 0);
	close(client);
	case_sleep_ms(10);
}

static void serve(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	long n;

	snprintf(at.sun_path + 1, sizeof(at.sun_path) - 1, "stasis-hasty-%d", getpid());
	CHECK(bind(listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listener, 5) == 0);
	signal(SIGTERM, end);
	for (n = 0; !ending; n++)
		ask(listener, &at, n);
	exit(0);
}

static void before(void)
{
	server = fork();
	if (!server)
		serve();
	CHECK(server > 0);
	case_sleep_ms(60);
}

static void after(void)
{
	CHECK(kill(server, SIGTERM) == 0);
	case_child_ok(server);
}

const struct test_case test_case = {
	.proves = "a dump waits for a moment when no connection has data before it is accepted",
	.criu_fails = "it loses the data",
	.before = before,
	.after = after,
};
