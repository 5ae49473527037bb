/* SPDX-License-Identifier: MIT */
/*
 * gate_guard.c - an agent learns of our death, whatever kills us: robust futexes.
 *
 * When a thread dies, the kernel walks the list it registered (set_robust_list) and, for each node
 * whose futex word holds that thread's id, sets GATE_DEATH_BIT and wakes one waiter. The word
 * is `death` of the leader's mailbox, the node lies beside it in the shared page.
 *
 * The list is walked early in a thread's exit, its tracees run on at the end of it, and agents in
 * the order of the list. So heralds, which are first, are heard before any task runs. Nodes that
 * only take time come between it and the agents: each has its word in a page that is not there yet,
 * which makes 128 of them last some 0.1 ms.
 *
 * Rights:   none.
 * Holds:    per thread a list of guarded gates. Where it is, the kernel remembers:
 *           get_robust_list; so there is no variable for it here.
 * Relies on no robust pthread mutex being held: glibc's list of them is replaced while
 * there is a herald or any gate is guarded, and put back afterwards. Sharing it instead
 * would need glibc's private node layout, and its writes into pages that a task can write to.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "proto/control/util.h"
#include "workers/common/gate_client.h"

/* The kernel stops after 2048 nodes (ROBUST_LIST_LIMIT). */
#define NODES_MAX 1700
#define DELAYS 128
#define PAGE 4096ul
#define DELAYS_SIZE (2 * DELAYS * PAGE)

/* Word minus node. An odd place for a futex: also tells our list from any other. */
#define FUTEX_OFFSET \
	((long)offsetof(struct gate_mailbox, death) - (long)offsetof(struct gate_mailbox, pad2[1]))

_Static_assert((long)offsetof(struct gate_herald, death) -
	       (long)offsetof(struct gate_herald, node) == FUTEX_OFFSET,
	       "a herald's word lies where the kernel looks for it");

/*
 * One thread's list. When it is full, `more` belongs to a helper thread that does nothing
 * but hold the next one: a list's length is limited per thread.
 */
struct guard {
	struct robust_list_head head;
	struct robust_list *front; /* gates come after it: the head, a herald or the last delay */
	unsigned heralds;
	void *delays;
	struct guard *more;
	struct gate **gates;
	size_t n, cap;
	pid_t tid;
	pthread_t helper;
	sem_t ready, end;
	struct robust_list_head *old;	/* glibc's, of the first thread */
	size_t old_size;
};

static struct robust_list *node_of(struct gate *g)
{
	return (struct robust_list *)((char *)&gate_mailbox(g, 0)->death - FUTEX_OFFSET);
}

/* This thread's list, or NULL. *other receives what is registered instead. */
static struct guard *find_guard(struct robust_list_head **other, size_t *other_size)
{
	struct robust_list_head *head = NULL;

	*other = NULL;
	*other_size = sizeof(*head);
	if (syscall(SYS_get_robust_list, 0, &head, other_size) < 0 || !head)
		return NULL;
	if (head->futex_offset == FUTEX_OFFSET)
		return (struct guard *)((char *)head - offsetof(struct guard, head));
	*other = head;
	return NULL;
}

/* Register the list for the calling thread. */
static void adopt(struct guard *l)
{
	l->head.list.next = &l->head.list;
	l->front = &l->head.list;
	l->head.futex_offset = FUTEX_OFFSET;
	l->tid = gettid();
	if (syscall(SYS_set_robust_list, &l->head, sizeof(l->head)) < 0)
		die("set_robust_list: errno %d", errno);
}

static void *hold(void *arg)
{
	struct guard *l = arg;

	adopt(l);
	sem_post(&l->ready);
	while (sem_wait(&l->end) < 0 && errno == EINTR)
		;
	return NULL;
}

static struct guard *start_helper(struct fault *f)
{
	struct guard *l = xcalloc(1, sizeof(*l));
	sigset_t all, old;
	int r;

	sem_init(&l->ready, 0, 0);
	sem_init(&l->end, 0, 0);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&l->helper, NULL, hold, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		fault(f, r, "start a thread to guard more than %d tasks", NODES_MAX);
		free(l);
		return NULL;
	}
	while (sem_wait(&l->ready) < 0)
		;
	return l;
}

static void end_helper(struct guard *l)
{
	sem_post(&l->end);
	pthread_join(l->helper, NULL);
	free(l->gates);
	free(l);
}

/* This thread's list, made when there is none. */
static struct guard *need_guard(void)
{
	struct robust_list_head *other;
	size_t other_size;
	struct guard *l = find_guard(&other, &other_size);

	if (l)
		return l;
	l = xcalloc(1, sizeof(*l));
	l->old = other;
	l->old_size = other_size;
	adopt(l);
	return l;
}

int gate_guard(struct gate *g, struct fault *f)
{
	struct guard *l = need_guard();

	while (l->n == NODES_MAX) {
		if (!l->more)
			l->more = start_helper(f);
		if (!l->more)
			return -1;
		l = l->more;
	}
	*(struct gate **)grow(&l->gates, l->n, &l->cap, sizeof(*l->gates)) = g;
	l->n++;
	__atomic_store_n(&gate_mailbox(g, 0)->death, l->tid, __ATOMIC_RELEASE);
	node_of(g)->next = l->front->next;
	__atomic_store_n(&l->front->next, node_of(g), __ATOMIC_RELEASE);
	/* An agent that sleeps already looks at one word only: let it look again. */
	syscall(SYS_futex, &gate_mailbox(g, 0)->request, FUTEX_WAKE, 1, NULL, NULL, 0);
	return 0;
}

/* Take gate i out. The order is that of the array, last first; nodes themselves are never read. */
static void unlink_gate(struct guard *l, size_t i)
{
	struct robust_list *after = i ? node_of(l->gates[i - 1]) : &l->head.list;
	struct robust_list *before = i + 1 < l->n ? node_of(l->gates[i + 1]) : l->front;
	size_t k;

	__atomic_store_n(&before->next, after, __ATOMIC_RELEASE);
	l->n--;
	for (k = i; k < l->n; k++)
		l->gates[k] = l->gates[k + 1];
}

/* End the helpers behind l that have nothing left to hold. */
static void shrink(struct guard *l)
{
	if (!l->more)
		return;
	shrink(l->more);
	if (l->more->n || l->more->more)
		return;
	end_helper(l->more);
	l->more = NULL;
}

/* Give the thread glibc's list back when ours is empty. */
static void release(struct guard *l)
{
	shrink(l);
	if (l->n || l->more || l->front != &l->head.list)
		return;
	syscall(SYS_set_robust_list, l->old, l->old_size);
	free(l->gates);
	free(l);
}

/*
 * Pages in pairs: the word at the end of one that is not there, the node at the start of the next.
 */
static struct robust_list *delay(const struct guard *l, size_t i)
{
	return (struct robust_list *)((char *)l->delays + (2 * i + 1) * PAGE);
}

/* Between the herald and the gates. */
static struct robust_list *chain_delays(struct guard *l, struct robust_list *gates)
{
	size_t i;

	l->delays = mmap(NULL, DELAYS_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->delays == MAP_FAILED)
		die("no memory for a list");
	madvise(l->delays, DELAYS_SIZE, MADV_NOHUGEPAGE);
	for (i = 0; i < DELAYS; i++)
		delay(l, i)->next = i + 1 < DELAYS ? delay(l, i + 1) : gates;
	return delay(l, 0);
}

/* The last one is first. Gates come after all of them, and after the delays. */
void gate_herald(struct gate_herald *h, bool ahead)
{
	struct guard *l = need_guard();

	if (l->heralds++ == GATE_HERALDS_MAX)
		die("a thread has %d heralds at most", GATE_HERALDS_MAX);
	h->node.next = ahead && !l->delays ? chain_delays(l, l->head.list.next) : l->head.list.next;
	__atomic_store_n(&h->death, l->tid | GATE_WAITERS_BIT, __ATOMIC_RELEASE);
	if (l->heralds == 1)
		l->front = l->delays ? delay(l, DELAYS - 1) : &h->node;
	__atomic_store_n(&l->head.list.next, &h->node, __ATOMIC_RELEASE);
}

/* Without the last herald nobody is to be told ahead of anything. */
static void drop_delays(struct guard *l)
{
	__atomic_store_n(&l->head.list.next, l->front->next, __ATOMIC_RELEASE);
	l->front = &l->head.list;
	if (l->delays)
		munmap(take_ptr(&l->delays), DELAYS_SIZE);
}

void gate_herald_end(struct gate_herald *h)
{
	struct robust_list_head *other;
	size_t other_size;
	struct guard *l = h ? find_guard(&other, &other_size) : NULL;
	struct robust_list *before;

	if (!l || l->front == &l->head.list)
		return;
	for (before = &l->head.list; before->next != &h->node; before = before->next)
		if (before == l->front)
			return;
	if (l->front == &h->node)
		l->front = before;
	__atomic_store_n(&before->next, h->node.next, __ATOMIC_RELEASE);
	if (!--l->heralds)
		drop_delays(l);
	release(l);
}

bool gate_heralds_await(const struct gate_herald *const *h, size_t n)
{
	struct futex_waitv wait[GATE_HERALDS_MAX] = { 0 };
	size_t i;

	for (i = 0; i < n; i++) {
		uint32_t word = __atomic_load_n(&h[i]->death, __ATOMIC_ACQUIRE);

		if (word & GATE_DEATH_BIT)
			return true;
		wait[i].val = word;
		wait[i].uaddr = (uintptr_t)&h[i]->death;
		wait[i].flags = FUTEX_32;
	}
	return syscall(SYS_futex_waitv, wait, n, 0, NULL, CLOCK_MONOTONIC) < 0 && errno != EAGAIN &&
	       errno != EINTR;
}

void gate_unguard(struct gate *g)
{
	struct robust_list_head *other;
	size_t other_size, i;
	struct guard *first = g ? find_guard(&other, &other_size) : NULL, *l;

	for (l = first; l; l = l->more)
		for (i = l->n; i-- > 0;)
			if (l->gates[i] == g) {
				unlink_gate(l, i);
				release(first);
				return;
			}
}
