/* SPDX-License-Identifier: MIT */
/*
 * style.h - which numbers a person wants to see as what.
 */
#ifndef STASIS_IMAGE_STYLE_H
#define STASIS_IMAGE_STYLE_H

#include <stdint.h>

enum style_kind {
	STYLE_PLAIN,
	STYLE_HEX,
	STYLE_ADDRESS,			/* IPv4 or IPv6, one or four words in network order */
	STYLE_DEVICE,			/* major:minor, kernel encoding */
	STYLE_STAT_DEVICE,		/* major:minor, encoding of struct stat */
	STYLE_BITS,			/* names of the bits set */
	STYLE_NAME,			/* name of the value */
	STYLE_TEXT			/* bytes that are mostly text */
};

struct style_word {
	uint32_t value;
	const char *name;		/* NULL ends a list */
};

struct style {
	const char *message;
	const char *field;		/* NULL: all fields of the message */
	enum style_kind kind;
	const struct style_word *words;	/* for STYLE_BITS and STYLE_NAME */
};

/* How to print a field. Never NULL. */
const struct style *style_of(const char *message, const char *field);

#endif
