/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a table's file: open addressing over the rows' keys, linear
 * probing from base_random_mix(key) modulo the capacity. An entry is row + 1;
 * 0 is empty. Invariants: capacity is a power of two, at least twice the rows,
 * so that every probe ends. Any thread. */
#ifndef SNAPSHOT_INDEX_H
#define SNAPSHOT_INDEX_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"

/* Capacity for so many rows: a power of two, at least 16. */
uint64_t snapshot_index_capacity(uint64_t rows);

/* index (capacity), zeroed; keys (rows), all different. */
void snapshot_index_build(uint32_t *index, uint64_t capacity,
                          const uint64_t *keys, uint64_t rows);

/* True when each key is found and the index holds nothing else. */
bool snapshot_index_check(const uint32_t *index, uint64_t capacity,
                          const uint64_t *keys, uint64_t rows);

/* The row of `key`, or 0, the OOV row, which has key 0. */
static inline uint32_t snapshot_index_find(const uint32_t *index,
                                           uint64_t mask, const uint64_t *keys,
                                           uint64_t key)
{
    for (uint64_t at = base_random_mix(key) & mask; index[at];
         at = (at + 1) & mask)
        if (keys[index[at] - 1] == key)
            return index[at] - 1;
    return 0;
}

#endif
