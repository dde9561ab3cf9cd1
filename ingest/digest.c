/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3 of whole values; see digest.h. */
#include "ingest/digest.h"

#include <xxhash.h>

uint64_t ingest_digest_64(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

struct ingest_digest ingest_digest_128(const void *data, size_t size)
{
    XXH128_hash_t hash = XXH3_128bits(data, size);
    return (struct ingest_digest){hash.low64, hash.high64};
}
