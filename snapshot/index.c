/* SPDX-License-Identifier: Apache-2.0 */
/* Index of a table's file; see index.h. */
#include "snapshot/index.h"

uint64_t snapshot_index_capacity(uint64_t rows)
{
    uint64_t capacity = 16;
    while (capacity < 2 * rows)
        capacity *= 2;
    return capacity;
}

void snapshot_index_build(uint32_t *index, uint64_t capacity,
                          const uint64_t *keys, uint64_t rows)
{
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t at = base_random_mix(keys[row]) & (capacity - 1);
        while (index[at])
            at = (at + 1) & (capacity - 1);
        index[at] = (uint32_t)(row + 1);
    }
}

bool snapshot_index_check(const uint32_t *index, uint64_t capacity,
                          const uint64_t *keys, uint64_t rows)
{
    uint64_t used = 0;
    if (capacity < 16 || capacity & (capacity - 1) || rows > capacity / 2)
        return false;
    for (uint64_t at = 0; at < capacity; at++) {
        if (index[at] > rows)
            return false;
        used += index[at] != 0;
    }
    if (used != rows)
        return false;
    for (uint64_t row = 0; row < rows; row++) {
        uint64_t at = base_random_mix(keys[row]) & (capacity - 1);
        while (index[at] && index[at] != row + 1)
            at = (at + 1) & (capacity - 1);
        if (!index[at])
            return false;
    }
    return true;
}
