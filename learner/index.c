/* SPDX-License-Identifier: Apache-2.0 */
/* The index of one table; see index.h. A hash's high bits choose the block,
 * its lowest 8 bits the line, the 8 bits above those the tag. */
#include "learner/index.h"

#include <stdlib.h>
#include <string.h>

enum {
    CELLS = LEARNER_INDEX_CELLS,
    LINES = LEARNER_INDEX_LINES,
    DEPTH_MAX = 40,
    AHEAD = 16,
};

_Static_assert(sizeof(struct learner_index_line) == 64, "one cache line");
_Static_assert(sizeof(struct learner_index_block) % 64 == 0, "whole lines");

static uint8_t tag_of(uint64_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 8);
    return tag ? tag : 1;
}

static struct learner_index_block *block_of(const struct learner_index *index,
                                            uint64_t hash)
{
    return index->directory[index->depth ? hash >> (64 - index->depth) : 0];
}

/* Bit i for byte i of `bytes` that is 0: adding 127 to its low seven bits
 * sets the eighth of all others; the product collects the eighths. */
static uint32_t zero_bytes(uint64_t bytes)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    uint64_t zero = ~(((bytes & low) + low) | bytes | low);
    return (uint32_t)((zero >> 7) * UINT64_C(0x0102040810204080) >> 56);
}

/* A bit for each cell of the line whose tag is `tag`. */
static uint32_t match(const struct learner_index_line *line, uint8_t tag)
{
    const uint64_t eight = UINT64_C(0x0101010101010101) * tag;
    uint64_t first, last;
    memcpy(&first, line->tags, 8);
    memcpy(&last, line->tags + CELLS - 8, 8);
    return zero_bytes(first ^ eight) | zero_bytes(last ^ eight) << (CELLS - 8);
}

void learner_index_clear(struct learner_index *index)
{
    size_t entries = index->directory ? (size_t)1 << index->depth : 0;
    for (size_t i = 0; i < entries;) {
        struct learner_index_block *block = index->directory[i];
        i += (size_t)1 << (index->depth - block->depth);
        free(block);
    }
    free(index->directory);
    index->directory = NULL;
    index->depth = 0;
    index->blocks = 0;
}

void learner_index_prefetch(const struct learner_index *index, uint64_t hash)
{
    if (index->directory)
        __builtin_prefetch(&block_of(index, hash)->lines[hash % LINES]);
}

void learner_index_begin(const struct learner_index *index, uint64_t hash,
                         struct learner_index_probe *probe)
{
    *probe = (struct learner_index_probe){.tag = tag_of(hash)};
    if (!index->directory)
        return;
    probe->block = block_of(index, hash);
    probe->line = (uint32_t)(hash % LINES);
    probe->left = LINES - 1;
    probe->matches = match(&probe->block->lines[probe->line], probe->tag);
}

uint32_t learner_index_next(struct learner_index_probe *probe)
{
    if (!probe->block)
        return 0;
    const struct learner_index_line *line = &probe->block->lines[probe->line];
    while (!probe->matches) {
        if (!line->passed || !probe->left)
            return 0;
        probe->left--;
        probe->line = (probe->line + 1) % LINES;
        line = &probe->block->lines[probe->line];
        probe->matches = match(line, probe->tag);
    }
    unsigned cell = (unsigned)__builtin_ctz(probe->matches);
    probe->matches &= probe->matches - 1;
    return line->slots[cell];
}

static void put(struct learner_index_block *block, uint64_t hash,
                uint32_t slot)
{
    struct learner_index_line *line = &block->lines[hash % LINES];
    uint32_t empty;
    for (uint32_t i = 1; !(empty = match(line, 0)); i++) {
        line->passed++;
        line = &block->lines[(hash + i) % LINES];
    }
    unsigned cell = (unsigned)__builtin_ctz(empty);
    line->tags[cell] = tag_of(hash);
    line->slots[cell] = slot;
    block->used++;
}

void learner_index_insert(struct learner_index *index, uint64_t hash,
                          uint32_t slot)
{
    struct learner_index_block *block = block_of(index, hash);
    BASE_ASSERT(block->used < LEARNER_INDEX_FULL);
    put(block, hash, slot);
}

void learner_index_remove(struct learner_index *index, uint64_t hash,
                          uint32_t slot)
{
    struct learner_index_block *block = block_of(index, hash);
    for (uint32_t i = 0; i < LINES; i++) {
        struct learner_index_line *line = &block->lines[(hash + i) % LINES];
        for (unsigned cell = 0; cell < CELLS; cell++)
            if (line->tags[cell] && line->slots[cell] == slot) {
                line->tags[cell] = 0;
                line->slots[cell] = 0;
                block->used--;
                return;
            }
        BASE_ASSERT(line->passed);
        line->passed--;
    }
    BASE_ASSERT(!"the slot is in the index");
}

/* ---- growth -------------------------------------------------------------- */

static struct learner_index_block *new_block(uint32_t depth)
{
    struct learner_index_block *block = aligned_alloc(64, sizeof *block);
    if (block) {
        memset(block, 0, sizeof *block);
        block->depth = depth;
    }
    return block;
}

static enum base_status start(struct learner_index *index,
                              struct base_error *error)
{
    index->directory = malloc(sizeof *index->directory);
    struct learner_index_block *block = index->directory ? new_block(0) : NULL;
    if (!block) {
        free(index->directory);
        index->directory = NULL;
        return base_fail(error, BASE_SYSTEM, "table: no memory for an index");
    }
    index->directory[0] = block;
    index->blocks = 1;
    return BASE_OK;
}

static enum base_status double_directory(struct learner_index *index,
                                         struct base_error *error)
{
    size_t entries = (size_t)1 << index->depth;
    struct learner_index_block **larger =
        realloc(index->directory, 2 * entries * sizeof(*larger));
    if (!larger || index->depth == DEPTH_MAX)
        return base_fail(error, larger ? BASE_LIMIT : BASE_SYSTEM,
                         "table: the index cannot have %zu blocks",
                         2 * entries);
    for (size_t i = entries; i-- > 0;)
        larger[2 * i] = larger[2 * i + 1] = larger[i];
    index->directory = larger;
    index->depth++;
    return BASE_OK;
}

/* The block's slots by the next bit of their hashes: 0 stay, 1 go to `other`.
 */
static void share(const struct learner_index *index,
                  struct learner_index_block *block,
                  struct learner_index_block *other)
{
    uint32_t slots[LEARNER_INDEX_FULL], count = 0;
    for (uint32_t i = 0; i < LINES; i++)
        for (unsigned cell = 0; cell < CELLS; cell++)
            if (block->lines[i].tags[cell])
                slots[count++] = block->lines[i].slots[cell];
    memset(block->lines, 0, sizeof block->lines);
    block->used = 0;
    for (uint32_t i = 0; i < count && i < AHEAD; i++)
        index->prefetch(index->self, slots[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            index->prefetch(index->self, slots[i + AHEAD]);
        uint64_t hash = index->hash(index->self, slots[i]);
        put(hash << (block->depth - 1) >> 63 ? other : block, hash, slots[i]);
    }
}

static enum base_status split(struct learner_index *index, uint64_t hash,
                              struct base_error *error)
{
    struct learner_index_block *block = block_of(index, hash);
    if (block->depth == index->depth) {
        enum base_status status = double_directory(index, error);
        if (status)
            return status;
    }
    struct learner_index_block *other = new_block(block->depth + 1);
    if (!other)
        return base_fail(error, BASE_SYSTEM,
                         "table: no memory for an index of %zu blocks",
                         index->blocks + 1);
    /* The directory's entries of the block: the upper half goes. */
    size_t entries = (size_t)1 << (index->depth - block->depth);
    size_t first = (hash >> (64 - index->depth)) & ~(entries - 1);
    block->depth++;
    share(index, block, other);
    for (size_t i = first + entries / 2; i < first + entries; i++)
        index->directory[i] = other;
    index->blocks++;
    return BASE_OK;
}

enum base_status learner_index_reserve(struct learner_index *index,
                                       uint64_t hash,
                                       struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (!index->directory)
        status = start(index, error);
    while (!status && block_of(index, hash)->used >= LEARNER_INDEX_FULL)
        status = split(index, hash, error);
    return status;
}

size_t learner_index_bytes(const struct learner_index *index)
{
    size_t entries = index->directory ? (size_t)1 << index->depth : 0;
    return entries * sizeof *index->directory +
           index->blocks * sizeof(struct learner_index_block);
}
