/* SPDX-License-Identifier: MIT */
/*
 * print.h - any protobuf message as indented text or JSON.
 */
#ifndef STASIS_IMAGE_PRINT_H
#define STASIS_IMAGE_PRINT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The caller fills out and json; the rest starts at zero. */
struct printer {
	FILE *out;
	bool json;
	int depth;
	bool inside;			/* JSON: something precedes in this object or list */
};

/* An object or list: print_open, then members, then print_close. Text has no brackets. */
void print_open(struct printer *p, char bracket);
void print_close(struct printer *p, char bracket);

/* The name of the next member. Text: index < 0 means not part of a list. */
void print_key(struct printer *p, const char *name, long index);

/* Separate the members of a list without names (JSON only). */
void print_item(struct printer *p);

void print_string(struct printer *p, const char *s);
void print_number(struct printer *p, uint64_t v);

/* Base64 in pieces: every piece but the last has a multiple of three bytes. */
void print_base64(struct printer *p, const uint8_t *data, size_t n);

/* The members of a message, between print_open and print_close of the caller. */
void print_message(struct printer *p, const ProtobufCMessage *msg);

#endif
