/* SPDX-License-Identifier: Apache-2.0 */
/* XXH3 over stored values. Together with its .c only sample.c (the chain)
 * includes xxhash.h on the side of the state. Any thread. */
#ifndef INGEST_DIGEST_H
#define INGEST_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* 128 bits as learner_batch.journal_hash has them. */
struct ingest_digest {
    uint64_t low, high;
};

uint64_t ingest_digest_64(const void *data, size_t size, uint64_t seed);
struct ingest_digest ingest_digest_128(const void *data, size_t size);

#endif
