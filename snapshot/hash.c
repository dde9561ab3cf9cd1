/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3-128 and its text form; see hash.h. The only place of this folder that
 * includes xxhash.h. */
#include "snapshot/hash.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

struct snapshot_hash snapshot_hash_of(const void *data, size_t size)
{
    XXH128_hash_t hash = XXH3_128bits(data, size);
    return (struct snapshot_hash){hash.low64, hash.high64};
}

bool snapshot_hash_equal(struct snapshot_hash a, struct snapshot_hash b)
{
    return a.low == b.low && a.high == b.high;
}

void snapshot_u64_print(uint64_t value, char text[17])
{
    snprintf(text, 17, "%016llx", (unsigned long long)value);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool snapshot_u64_scan(const char *text, size_t length, uint64_t *value)
{
    if (length != 16)
        return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < length; i++) {
        int digit = digit_of(text[i]);
        if (digit < 0)
            return false;
        sum = sum << 4 | (uint64_t)digit;
    }
    *value = sum;
    return true;
}

void snapshot_hash_print(struct snapshot_hash hash,
                         char text[SNAPSHOT_HASH_TEXT])
{
    snapshot_u64_print(hash.high, text);
    snapshot_u64_print(hash.low, text + 16);
}

bool snapshot_hash_scan(const char *text, size_t length,
                        struct snapshot_hash *hash)
{
    return length == 32 && snapshot_u64_scan(text, 16, &hash->high) &&
           snapshot_u64_scan(text + 16, 16, &hash->low);
}

/* The state is an incomplete type of ours over the library's own, which wants
 * an alignment that only its allocator knows. */
struct snapshot_hasher *snapshot_hasher_new(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state)
        XXH3_128bits_reset(state);
    return (struct snapshot_hasher *)state;
}

void snapshot_hasher_free(struct snapshot_hasher *hasher)
{
    XXH3_freeState((XXH3_state_t *)hasher);
}

void snapshot_hasher_add(struct snapshot_hasher *hasher, const void *data,
                         size_t size)
{
    XXH3_128bits_update((XXH3_state_t *)hasher, data, size);
}

struct snapshot_hash snapshot_hasher_end(const struct snapshot_hasher *hasher)
{
    XXH128_hash_t hash = XXH3_128bits_digest((const XXH3_state_t *)hasher);
    return (struct snapshot_hash){hash.low64, hash.high64};
}
