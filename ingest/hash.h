/* SPDX-License-Identifier: Apache-2.0 */
/* learner_id and learner_id_of_int, inlined into the decoder: the same bits,
 * without a call for each field. A test compares them with the learner's. */
#ifndef INGEST_HASH_H
#define INGEST_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t ingest_hash_bytes(uint64_t seed, const void *bytes,
                                         size_t size)
{
    uint64_t id = XXH3_64bits_withSeed(bytes, size, seed);
    return id ? id : 1;
}

/* Over the decimal digits, with a '-' in front of a negative value. */
static inline uint64_t ingest_hash_int(uint64_t seed, int64_t value)
{
    char digits[20];
    char *at = digits + sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (value < 0)
        *--at = '-';
    return ingest_hash_bytes(seed, at, (size_t)(digits + sizeof digits - at));
}

#endif
