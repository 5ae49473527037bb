/* SPDX-License-Identifier: MIT */
/*
 * cuda_scene.h - trees of CUDA tasks, made of stand-ins for NVIDIA's parts.
 */
#ifndef STASIS_CUDA_SCENE_H
#define STASIS_CUDA_SCENE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/cuda/standin.h"
#include "workers/gpu/nvidia/cuda.h"

#define TASKS 3

/* A tree of TASKS, and what handles them. */
struct scene {
	Options opts;
	struct cuda *cuda;
	pid_t pid[TASKS];
	struct fault f;
};

/*
 * main() of such a test: devices, in a mount namespace of our own; some tests for each of what can
 * ask the driver (cuda-checkpoint, libcuda), the others by cuda-checkpoint. The exit status.
 */
typedef void scene_tests(void);
int scene_main(scene_tests *each, scene_tests *once);
/*
 * The path of what asks the driver; that of another stand-in, "": of their directory. Freed by the
 * caller.
 */
char *scene_tool(void);
char *scene_part(const char *name);
/* What becomes of the calls that follow (tests/cuda/standin.h); counts begin anew. */
void scene_script(const char *script);
/* Start the tasks of a scene, and end them: if they are to be alive they must work. */
void scene_begin(struct scene *s, const char *script);
void scene_finish(struct scene *s, bool alive);
/* Do it to the first tasks as far as it goes: their number. */
size_t scene_for_all(struct scene *s, int (*deed)(struct cuda *, pid_t, struct fault *));
/* Does the fault say that? Else it is printed. */
bool scene_says(const struct scene *s, const char *word);
/* How often the tool was asked for a deed; "" counts all. */
int scene_calls(const char *deed);
/* CUDA works in the task: calls succeed, with memory as it was. It stands: no call ends. */
bool scene_works(pid_t pid);
bool scene_stands(pid_t pid);
/* What the stand-in says of it: RUNNING, ...; 99: nothing. */
unsigned scene_state(pid_t pid);
/* Calls of the API take two seconds, and the first task is in such a call. None that follow do. */
void scene_slow(const struct scene *s);
void scene_fast(void);

#endif
