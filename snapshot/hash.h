/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-128 of files and texts, and how it is written: 32 lower-case hex
 * digits, high half first, as `xxhsum -H2` prints it. Guards against torn and
 * rotten bytes, not against a forger. Any thread. */
#ifndef SNAPSHOT_HASH_H
#define SNAPSHOT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SNAPSHOT_HASH_TEXT = 33 }; /* with its NUL */

struct snapshot_hash {
    uint64_t low, high;
};

struct snapshot_hash snapshot_hash_of(const void *data, size_t size);
bool snapshot_hash_equal(struct snapshot_hash a, struct snapshot_hash b);

void snapshot_hash_print(struct snapshot_hash hash,
                         char text[SNAPSHOT_HASH_TEXT]);
/* False unless text[0..length) is exactly 32 lower-case hex digits. */
bool snapshot_hash_scan(const char *text, size_t length,
                        struct snapshot_hash *hash);

/* 16 lower-case hex digits, the text form of ids and other 64-bit values that
 * a JSON number cannot hold. */
void snapshot_u64_print(uint64_t value, char text[17]);
bool snapshot_u64_scan(const char *text, size_t length, uint64_t *value);

/* Hash of a stream. */
struct snapshot_hasher; /* OWNS */
struct snapshot_hasher *snapshot_hasher_new(void); /* NULL: no memory */
void snapshot_hasher_free(struct snapshot_hasher *hasher);
void snapshot_hasher_add(struct snapshot_hasher *hasher, const void *data,
                         size_t size);
struct snapshot_hash snapshot_hasher_end(const struct snapshot_hasher *hasher);

#endif
