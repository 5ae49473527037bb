/* SPDX-License-Identifier: MIT */
/*
 * subjects.h - what the tasks of a files_world have open: run in them, _exit() with a number where
 * it fails.
 */
#ifndef STASIS_SUBJECTS_H
#define STASIS_SUBJECTS_H

/* A file of that name and text; the descriptor. */
int subject_file(const char *name, int flags, const char *text);
void subject_regular(void);
void subject_regular_child(void);
void subject_pipes(void);
void subject_pipes_small(void);
void subject_pipes_child(void);
void subject_fifo(void);
void subject_ghosts(void);
void subject_ghosts_child(void);
void subject_lock(void);
void subject_many(void);

#endif
