/* SPDX-License-Identifier: Apache-2.0 */
/* The index of one table: 64-bit hash -> 32-bit slots that may be meant. Keys
 * are not stored; the caller compares, and gives hashes back for a split.
 *
 * Extendible hashing (Fagin 1979): a directory by the hash's high bits names
 * blocks of 256 lines. A line is 64 bytes with 12 slots and a byte of each
 * one's hash, so a look-up mostly costs one line and one row. What does not
 * fit in its line goes to the next one of its block; `passed` counts them, so
 * that a search knows when to end. A block that is 7/8 full becomes two.
 *
 * 1. No call moves more than one block (2,688 slots) or doubles the directory
 *    (8 bytes a block): growth never pauses.
 * 2. At 7/16, the least after a split, 12.3 bytes a slot; at 7/8 half of it.
 *    A block is never given back before the clear.
 * One thread at a time changes it. Slots are not 0. */
#ifndef LEARNER_INDEX_H
#define LEARNER_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    LEARNER_INDEX_CELLS = 12,  /* of a line */
    LEARNER_INDEX_LINES = 256, /* of a block */
    LEARNER_INDEX_FULL =
        LEARNER_INDEX_CELLS * LEARNER_INDEX_LINES * 7 / 8, /* slots */
};

struct learner_index_line {
    uint8_t tags[LEARNER_INDEX_CELLS]; /* 0: empty */
    uint16_t passed; /* slots of this line and those before that went on */
    uint16_t zero;
    uint32_t slots[LEARNER_INDEX_CELLS];
};

struct learner_index_block {
    struct learner_index_line lines[LEARNER_INDEX_LINES];
    uint32_t used;
    uint32_t depth; /* high bits that all its hashes share */
    uint8_t zero[56];
};

struct learner_index {
    struct learner_index_block **directory; /* (1 << depth); OWNS */
    unsigned depth;
    size_t blocks;
    /* hash(self, slot) of a slot that is in the index; prefetch(self, slot)
     * brings near what that will need. */
    uint64_t (*hash)(const void *self, uint32_t slot);
    void (*prefetch)(const void *self, uint32_t slot);
    const void *self;
};

/* A search under way. */
struct learner_index_probe {
    const struct learner_index_block *block;
    uint32_t line, left; /* lines not looked at yet */
    uint32_t matches;    /* cells of the line that remain, a bit each */
    uint8_t tag;
};

/* An empty index; takes no memory. hash, prefetch and self stay. */
void learner_index_clear(struct learner_index *index);

void learner_index_prefetch(const struct learner_index *index, uint64_t hash);
void learner_index_begin(const struct learner_index *index, uint64_t hash,
                         struct learner_index_probe *probe);
/* The next slot that may have the hash; 0: there is none. */
uint32_t learner_index_next(struct learner_index_probe *probe);

/* Room for one insert of `hash`. */
enum base_status learner_index_reserve(struct learner_index *index,
                                       uint64_t hash,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* After reserve(). */
void learner_index_insert(struct learner_index *index, uint64_t hash,
                          uint32_t slot);
/* The slot is there. */
void learner_index_remove(struct learner_index *index, uint64_t hash,
                          uint32_t slot);
size_t learner_index_bytes(const struct learner_index *index);

#endif
