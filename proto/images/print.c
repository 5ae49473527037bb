/* SPDX-License-Identifier: MIT */
/*
 * print.c - walk a message by its descriptor and print what is set.
 *
 * Text is for people: flags by name, addresses in hex, as style.c says.
 * JSON is for programs: plain numbers, enum names, base64, as "crit decode".
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/images/print.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "proto/images/style.h"

#define HEX_MAX 64			/* bytes shown of a byte string, in text */

static void new_line(struct printer *p)
{
	fprintf(p->out, "\n%*s", p->depth * 2, "");
}

void print_open(struct printer *p, char bracket)
{
	if (p->json)
		putc(bracket, p->out);
	p->depth++;
	p->inside = false;
}

void print_close(struct printer *p, char bracket)
{
	p->depth--;
	if (p->json) {
		if (p->inside)
			new_line(p);
		putc(bracket, p->out);
	}
	p->inside = true;
}

void print_item(struct printer *p)
{
	if (!p->json)
		return;
	if (p->inside)
		putc(',', p->out);
	p->inside = true;
	new_line(p);
}

void print_key(struct printer *p, const char *name, long index)
{
	if (p->json) {
		print_item(p);
		print_string(p, name);
		fputs(": ", p->out);
		return;
	}
	new_line(p);
	fputs(name, p->out);
	if (index >= 0)
		fprintf(p->out, "[%ld]", index);
	putc(':', p->out);
}

/* Bytes of the UTF-8 character at s, 0 when it is not one. */
static int utf8_length(const unsigned char *s)
{
	int n = *s < 0x80 ? 1 : *s >= 0xc2 && *s < 0xe0 ? 2 : *s >= 0xe0 && *s < 0xf0 ? 3 :
		*s >= 0xf0 && *s < 0xf5 ? 4 : 0;
	int i;

	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] >= 0xa0) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

/*
 * A quoted string, for JSON and text alike. Control characters are escaped; bytes that
 * are not UTF-8 become the character with their number.
 */
void print_string(struct printer *p, const char *s)
{
	const unsigned char *c = (const unsigned char *)s;
	int n;

	putc('"', p->out);
	for (; *c; c += n) {
		n = utf8_length(c);
		if (*c == '"' || *c == '\\')
			fprintf(p->out, "\\%c", *c);
		else if (*c < 0x20 || *c == 0x7f || n == 0)
			fprintf(p->out, "\\u%04x", *c);
		else
			fwrite(c, 1, n, p->out);
		if (n == 0)
			n = 1;
	}
	putc('"', p->out);
}

void print_number(struct printer *p, uint64_t v)
{
	fprintf(p->out, "%" PRIu64, v);
}

void print_base64(struct printer *p, const uint8_t *data, size_t n)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v;

	for (; n; data += 3, n -= n < 3 ? n : 3) {
		v = data[0] << 16 | (n > 1 ? data[1] << 8 : 0) | (n > 2 ? data[2] : 0);
		putc(digits[v >> 18], p->out);
		putc(digits[v >> 12 & 63], p->out);
		putc(n > 1 ? digits[v >> 6 & 63] : '=', p->out);
		putc(n > 2 ? digits[v & 63] : '=', p->out);
	}
}

/* Socket names: quoted-printable in JSON, as crit has them; \xNN in text. */
static void print_text_bytes(struct printer *p, const ProtobufCBinaryData *b)
{
	size_t i;

	putc('"', p->out);
	for (i = 0; i < b->len; i++) {
		unsigned char c = b->data[i];

		if (c >= 0x20 && c < 0x7f && !strchr("=\"\\", c))
			putc(c, p->out);
		else
			fprintf(p->out, p->json ? "=%02X" : "\\x%02x", c);
	}
	putc('"', p->out);
}

static void print_bytes(struct printer *p, const ProtobufCBinaryData *b)
{
	size_t i;

	if (p->json) {
		putc('"', p->out);
		print_base64(p, b->data, b->len);
		putc('"', p->out);
		return;
	}
	fprintf(p->out, "%zu bytes", b->len);
	for (i = 0; i < b->len && i < HEX_MAX; i++)
		fprintf(p->out, "%s%02x", i % 16 ? "" : " ", b->data[i]);
	if (i < b->len)
		fputs(" ...", p->out);
}

static void print_bits(struct printer *p, const struct style_word *w, uint64_t v)
{
	const char *bar = "";

	if (!v)
		putc('0', p->out);
	for (; w->name; w++) {
		if (!(v & w->value))
			continue;
		fprintf(p->out, "%s%s", bar, w->name);
		v &= ~(uint64_t)w->value;
		bar = " | ";
	}
	if (v)
		fprintf(p->out, "%s%#" PRIx64, bar, v);
}

static void print_name(struct printer *p, const struct style_word *w, uint64_t v)
{
	for (; w->name; w++)
		if (w->value == v)
			break;
	if (w->name)
		fprintf(p->out, "%s (%" PRIu64 ")", w->name, v);
	else
		print_number(p, v);
}

/* A number that is not negative, in its style. JSON keeps it plain. */
static void print_unsigned(struct printer *p, const struct style *st, uint64_t v)
{
	if (p->json || st->kind == STYLE_PLAIN)
		print_number(p, v);
	else if (st->kind == STYLE_DEVICE)
		fprintf(p->out, "%" PRIu64 ":%" PRIu64, v >> 20, v & 0xfffff);
	else if (st->kind == STYLE_STAT_DEVICE)
		fprintf(p->out, "%u:%u", major(v), minor(v));
	else if (st->kind == STYLE_BITS)
		print_bits(p, st->words, v);
	else if (st->kind == STYLE_NAME)
		print_name(p, st->words, v);
	else
		fprintf(p->out, "%#" PRIx64, v);
}

static void print_enum(struct printer *p, const ProtobufCEnumDescriptor *desc, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(desc, value);

	if (!v)
		fprintf(p->out, "%d", value);
	else if (p->json)
		print_string(p, v->name);
	else
		fputs(v->name, p->out);
}

static void print_submessage(struct printer *p, const ProtobufCMessage *msg)
{
	print_open(p, '{');
	print_message(p, msg);
	print_close(p, '}');
}

/* One value of a field; at points to it, in the type protobuf-c gives it. */
static void print_value(struct printer *p, const ProtobufCFieldDescriptor *fd,
			const struct style *st, const void *at)
{
	switch (fd->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		fprintf(p->out, "%" PRId32, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		fprintf(p->out, "%" PRId64, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		print_unsigned(p, st, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		print_unsigned(p, st, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		fprintf(p->out, "%g", (double)*(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		fprintf(p->out, "%g", *(const double *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		fputs(*(const protobuf_c_boolean *)at ? "true" : "false", p->out);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		print_enum(p, fd->descriptor, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		print_string(p, *(char *const *)at);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		if (st->kind == STYLE_TEXT)
			print_text_bytes(p, at);
		else
			print_bytes(p, at);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		print_submessage(p, *(ProtobufCMessage *const *)at);
		break;
	}
}

static size_t size_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	default:
		return 4;
	}
}

/* An address in words of network order. False when the count fits neither family. */
static bool print_address(struct printer *p, const uint32_t *words, size_t n)
{
	char text[INET6_ADDRSTRLEN];

	if (n != 1 && n != 4)
		return false;
	inet_ntop(n == 1 ? AF_INET : AF_INET6, words, text, sizeof(text));
	fputs(text, p->out);
	return true;
}

/* Numbers and strings stand on one line, messages below each other. */
static void print_repeated(struct printer *p, const ProtobufCFieldDescriptor *fd,
			   const struct style *st, const char *array, size_t n)
{
	size_t size = size_of(fd->type);
	size_t i;

	if (fd->type == PROTOBUF_C_TYPE_MESSAGE && !p->json) {
		for (i = 0; i < n; i++) {
			print_key(p, fd->name, i);
			print_value(p, fd, st, array + i * size);
		}
		return;
	}
	print_key(p, fd->name, -1);
	if (!p->json)
		putc(' ', p->out);
	if (!p->json && st->kind == STYLE_ADDRESS && print_address(p, (const void *)array, n))
		return;
	if (fd->type != PROTOBUF_C_TYPE_MESSAGE) {
		putc('[', p->out);
		for (i = 0; i < n; i++) {
			fputs(i ? ", " : "", p->out);
			print_value(p, fd, st, array + i * size);
		}
		putc(']', p->out);
		return;
	}
	print_open(p, '[');
	for (i = 0; i < n; i++) {
		print_item(p);
		print_value(p, fd, st, array + i * size);
	}
	print_close(p, ']');
}

/*
 * Is an optional or required field there? protobuf-c: has_ flag, or pointer not NULL; members of
 * a oneof share their place and a number.
 */
static bool is_set(const ProtobufCFieldDescriptor *fd, const char *base)
{
	const void *at = base + fd->offset;

	if (fd->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(base + fd->quantifier_offset) == fd->id;
	if (fd->type == PROTOBUF_C_TYPE_STRING || fd->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void *const *)at && *(void *const *)at != fd->default_value;
	if (fd->label == PROTOBUF_C_LABEL_REQUIRED)
		return true;
	return *(const protobuf_c_boolean *)(base + fd->quantifier_offset);
}

static void print_field(struct printer *p, const ProtobufCMessage *msg,
			const ProtobufCFieldDescriptor *fd)
{
	const struct style *st = style_of(msg->descriptor->name, fd->name);
	const char *base = (const char *)msg;
	size_t n;

	if (fd->label == PROTOBUF_C_LABEL_REPEATED) {
		n = *(const size_t *)(base + fd->quantifier_offset);
		if (n)
			print_repeated(p, fd, st, *(char *const *)(base + fd->offset), n);
		return;
	}
	if (!is_set(fd, base))
		return;
	print_key(p, fd->name, -1);
	if (!p->json && fd->type != PROTOBUF_C_TYPE_MESSAGE)
		putc(' ', p->out);
	print_value(p, fd, st, base + fd->offset);
}

/* A field the schema does not have: number and packed bytes. */
static void print_unknown(struct printer *p, const ProtobufCMessageUnknownField *u)
{
	ProtobufCBinaryData b = { u->len, u->data };
	char name[32];

	snprintf(name, sizeof(name), "unknown_%" PRIu32, u->tag);
	print_key(p, name, -1);
	if (!p->json)
		putc(' ', p->out);
	print_bytes(p, &b);
}

void print_message(struct printer *p, const ProtobufCMessage *msg)
{
	unsigned int i;

	for (i = 0; i < msg->descriptor->n_fields; i++)
		print_field(p, msg, &msg->descriptor->fields[i]);
	for (i = 0; i < msg->n_unknown_fields; i++)
		print_unknown(p, &msg->unknown_fields[i]);
}
