/* SPDX-License-Identifier: Apache-2.0 */
/* Avro's binary encoding, written by hand for tests: right and wrong values
 * alike. Bytes that do not fit end the test program. One thread. */
#ifndef TESTS_INGEST_WIRE_H
#define TESTS_INGEST_WIRE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct wire {
    size_t size;
    uint8_t bytes[4096];
};

static inline void wire_bytes(struct wire *wire, const void *bytes,
                              size_t size)
{
    if (size > sizeof wire->bytes - wire->size)
        abort();
    if (size)
        memcpy(wire->bytes + wire->size, bytes, size);
    wire->size += size;
}

static inline void wire_byte(struct wire *wire, unsigned byte)
{
    uint8_t one = (uint8_t)byte;
    wire_bytes(wire, &one, 1);
}

/* A varint as it is, without zigzag. */
static inline void wire_raw(struct wire *wire, uint64_t raw)
{
    while (raw >= 0x80) {
        wire_byte(wire, (unsigned)(raw & 0x7f) | 0x80);
        raw >>= 7;
    }
    wire_byte(wire, (unsigned)raw);
}

static inline void wire_long(struct wire *wire, int64_t value)
{
    wire_raw(wire, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static inline void wire_string(struct wire *wire, const char *text)
{
    wire_long(wire, (int64_t)strlen(text));
    wire_bytes(wire, text, strlen(text));
}

/* A branch of a union, and its string. */
static inline void wire_branch(struct wire *wire, int64_t branch,
                               const char *text)
{
    wire_long(wire, branch);
    if (text)
        wire_string(wire, text);
}

#endif
