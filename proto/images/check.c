/* SPDX-License-Identifier: MIT */
/*
 * check.c - look at a packed message before it is unpacked.
 *
 * protobuf-c takes any enum value, recurses as deep as the input asks (cgroup
 * and AppArmor trees nest in themselves) and answers every damage with NULL.
 * This walk refuses the first two and names the field for the third.
 *
 * Rights:   none.
 * Holds:    nothing.
 */
#include "proto/images/check.h"

#include <errno.h>

#define DEPTH_MAX 100			/* unpacking takes about 2 KB of stack per level */
#define FIELDS_MAX 128

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
	const uint8_t *p;
	size_t left;
};

static int walk(const ProtobufCMessageDescriptor *desc, struct cursor c, int depth,
		struct fault *f);

/* A base 128 number of at most ten bytes. 0, or -1 when it is cut off or longer. */
static int get_varint(struct cursor *c, uint64_t *v)
{
	int shift;

	*v = 0;
	for (shift = 0; shift < 70 && c->left; shift += 7) {
		uint8_t b = *c->p++;

		c->left--;
		if (shift < 64)
			*v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return 0;
	}
	return -1;
}

/* Take one value off the cursor; bytes are returned in *val, numbers in *num. */
static int get_value(struct cursor *c, unsigned int wire, struct cursor *val, uint64_t *num)
{
	uint64_t n;

	*val = *c;
	switch (wire) {
	case WIRE_VARINT:
		return get_varint(c, num);
	case WIRE_64:
		n = 8;
		break;
	case WIRE_32:
		n = 4;
		break;
	case WIRE_BYTES:
		if (get_varint(c, &n) < 0)
			return -1;
		break;
	default:
		return -1;
	}
	if (n > c->left)
		return -1;
	val->p = c->p;
	val->left = n;
	c->p += n;
	c->left -= n;
	return 0;
}

static unsigned int wire_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

static int check_enum(const ProtobufCFieldDescriptor *fd, uint64_t num, struct fault *f)
{
	if (protobuf_c_enum_descriptor_get_value(fd->descriptor, (int)num))
		return 0;
	return fault(f, -EBADMSG, "%s: value %d is not known", fd->name, (int)num);
}

/* Numbers of a repeated field may come packed into one byte string. */
static int check_packed(const ProtobufCFieldDescriptor *fd, struct cursor c, struct fault *f)
{
	unsigned int wire = wire_of(fd->type);
	struct cursor val;
	uint64_t num = 0;

	while (c.left) {
		if (get_value(&c, wire, &val, &num) < 0)
			return fault(f, -EBADMSG, "%s: cut off", fd->name);
		if (fd->type == PROTOBUF_C_TYPE_ENUM && check_enum(fd, num, f) < 0)
			return -1;
	}
	return 0;
}

static int check_field(const ProtobufCFieldDescriptor *fd, unsigned int wire, struct cursor val,
		       uint64_t num, int depth, struct fault *f)
{
	if (wire != wire_of(fd->type)) {
		if (fd->label == PROTOBUF_C_LABEL_REPEATED && wire == WIRE_BYTES)
			return check_packed(fd, val, f);
		return fault(f, -EBADMSG, "%s: wrong wire type %u", fd->name, wire);
	}
	if (fd->type == PROTOBUF_C_TYPE_ENUM)
		return check_enum(fd, num, f);
	if (fd->type != PROTOBUF_C_TYPE_MESSAGE)
		return 0;
	if (walk(fd->descriptor, val, depth + 1, f) < 0)
		return depth < 4 ? fault_prefix(f, "%s", fd->name) : -1;
	return 0;
}

static int check_required(const ProtobufCMessageDescriptor *desc, const bool *seen,
			  struct fault *f)
{
	unsigned int i;

	for (i = 0; i < desc->n_fields; i++)
		if (desc->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !seen[i])
			return fault(f, -EBADMSG, "%s is missing", desc->fields[i].name);
	return 0;
}

static int walk(const ProtobufCMessageDescriptor *desc, struct cursor c, int depth,
		struct fault *f)
{
	const ProtobufCFieldDescriptor *fd = NULL;
	bool seen[FIELDS_MAX] = { false };
	struct cursor val;
	uint64_t key, num = 0;

	if (desc->n_fields > FIELDS_MAX)
		die("%s has more than %d fields", desc->name, FIELDS_MAX);
	if (depth > DEPTH_MAX)
		return fault(f, -EBADMSG, "nested more than %d deep", DEPTH_MAX);
	while (c.left) {
		if (get_varint(&c, &key) < 0 || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3)
			return fault(f, -EBADMSG, "no field begins after %s",
				     fd ? fd->name : "the start");
		fd = protobuf_c_message_descriptor_get_field(desc, key >> 3);
		if (get_value(&c, key & 7, &val, &num) < 0)
			return fault(f, -EBADMSG, "%s: cut off", fd ? fd->name : "unknown field");
		if (!fd)
			continue;
		if (check_field(fd, key & 7, val, num, depth, f) < 0)
			return -1;
		seen[fd - desc->fields] = true;
	}
	return check_required(desc, seen, f);
}

int message_check(const ProtobufCMessageDescriptor *desc, const uint8_t *data, size_t len,
		  struct fault *f)
{
	return walk(desc, (struct cursor){ data, len }, 0, f);
}

bool message_needs_check(const ProtobufCMessageDescriptor *desc)
{
	unsigned int i;

	for (i = 0; i < desc->n_fields; i++)
		if (desc->fields[i].type == PROTOBUF_C_TYPE_MESSAGE ||
		    desc->fields[i].type == PROTOBUF_C_TYPE_ENUM)
			return true;
	return false;
}
