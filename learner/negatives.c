/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of negatives; see negatives.h.
 *
 * The items of a history are kept in a small open-addressing set, whose cells
 * carry the number of the group that wrote them, so it is never cleared. */
#include "learner/negatives.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"

#define PURPOSE_NEGATIVES UINT64_C(0x6e656761746976) /* "negativ" */

struct cell {
    uint64_t item;
    uint64_t group; /* number of the group that wrote it; 0: none */
};

struct learner_negatives {
    uint64_t seed;
    bool any;
    unsigned stream_fields, stream_items; /* F and f of a batch */
    unsigned items;                       /* f of the model */
    unsigned column[LEARNER_FIELDS_MAX];  /* of a model's item field among
                                             the stream's item fields */
    unsigned first_item;                  /* field of the stream's first */
    unsigned names; /* places of the first item field, which names an item */
    uint64_t *pool; /* (LEARNER_NEGATIVES_POOL, f) a ring */
    uint64_t added; /* items ever; the next one's place, modulo the pool */
    uint64_t *drawn; /* (N,f) */
    size_t drawn_room;
    struct cell *cells; /* items of the group's history */
    uint64_t mask;      /* number of cells - 1 */
    uint64_t group;
    uint64_t *name; /* (longest history) names of the group's behaviors */
};

/* ---- room ---------------------------------------------------------------- */

static enum base_status reserve(struct learner_negatives *negatives,
                                size_t behaviors, uint32_t longest,
                                struct base_error *error)
{
    size_t ids = behaviors * negatives->items;
    if (ids > negatives->drawn_room) {
        uint64_t *larger = realloc(negatives->drawn,
                                   2 * ids * sizeof *larger);
        if (!larger)
            return base_fail(error, BASE_SYSTEM,
                             "negatives: no memory for %zu ids", 2 * ids);
        negatives->drawn = larger;
        negatives->drawn_room = 2 * ids;
    }
    uint64_t cells = 64;
    while (cells < (uint64_t)longest * 2)
        cells *= 2;
    if (negatives->name && cells <= negatives->mask + 1)
        return BASE_OK;
    free(negatives->cells);
    free(negatives->name);
    negatives->cells = calloc(cells, sizeof *negatives->cells);
    negatives->name = malloc(cells / 2 * sizeof *negatives->name);
    if (!negatives->cells || !negatives->name)
        return base_fail(error, BASE_SYSTEM,
                         "negatives: no memory for a history of %u", longest);
    negatives->mask = cells - 1;
    return BASE_OK;
}

/* ---- draws --------------------------------------------------------------- */

/* The cell of `item`, or the one where it would go. */
static struct cell *find(const struct learner_negatives *negatives,
                         uint64_t item)
{
    uint64_t i = base_random_mix(item) & negatives->mask;
    while (negatives->cells[i].group == negatives->group &&
           negatives->cells[i].item != item)
        i = (i + 1) & negatives->mask;
    return &negatives->cells[i];
}

/* What an item of the model's fields is known by: its first field's first
 * value. */
static uint64_t name_of(const struct learner_negatives *negatives,
                        const uint64_t *item)
{
    for (unsigned i = 0; i < negatives->names; i++)
        if (item[i] != LEARNER_ABSENT)
            return item[i];
    return 0;
}

/* The model's fields of a stream's item. One without a name gets the unknown
 * one: all fields absent would look like a cell left out. */
static void take(const struct learner_negatives *negatives,
                 const uint64_t *stream, uint64_t *item)
{
    for (unsigned j = 0; j < negatives->items; j++)
        item[j] = stream[negatives->column[j]];
    if (name_of(negatives, item) == 0)
        item[0] = 0;
}

static bool refused(const struct learner_negatives *negatives, uint64_t item,
                    uint64_t next)
{
    return item == next ||
           (!negatives->any &&
            find(negatives, item)->group == negatives->group);
}

static void draw_cell(const struct learner_negatives *negatives,
                      uint64_t position, uint32_t t, uint64_t next,
                      uint64_t *ids)
{
    uint32_t count = learner_negatives_count(negatives);
    for (uint64_t k = 0; k < LEARNER_NEGATIVES_TRIES; k++) {
        uint64_t bits =
            base_random_u64(negatives->seed, PURPOSE_NEGATIVES, position,
                            (uint64_t)t * LEARNER_NEGATIVES_TRIES + k);
        const uint64_t *item = negatives->pool +
                               base_random_below(bits, count) *
                                   negatives->items;
        if (refused(negatives, name_of(negatives, item), next))
            continue;
        memcpy(ids, item, negatives->items * sizeof *ids);
        return;
    }
    for (unsigned j = 0; j < negatives->items; j++)
        ids[j] = LEARNER_ABSENT;
}

static void draw_group(struct learner_negatives *negatives,
                       const struct learner_batch *batch, uint32_t group)
{
    uint32_t begin = batch->history_begin[group];
    uint32_t end = batch->history_begin[group + 1];
    uint64_t position = batch->first + batch->group_begin[group];
    const uint64_t *behavior =
        batch->history + (size_t)begin * negatives->stream_items;
    uint64_t *ids = negatives->drawn + (size_t)begin * negatives->items;
    uint64_t *name = negatives->name;
    negatives->group++;
    for (uint32_t i = begin; i < end; i++, name++) {
        take(negatives, behavior, ids); /* overwritten below */
        *name = name_of(negatives, ids);
        *find(negatives, *name) = (struct cell){*name, negatives->group};
        behavior += negatives->stream_items;
    }
    for (uint32_t i = begin; i < end; i++, ids += negatives->items) {
        if (i > begin)
            draw_cell(negatives, position, i - begin,
                      negatives->name[i - begin], ids);
        else
            for (unsigned j = 0; j < negatives->items; j++)
                ids[j] = LEARNER_ABSENT;
    }
}

enum base_status learner_negatives_draw(struct learner_negatives *negatives,
                                        const struct learner_batch *batch,
                                        const uint64_t **ids,
                                        struct base_error *error)
{
    *ids = NULL;
    if (learner_negatives_count(negatives) < LEARNER_NEGATIVES_LEAST ||
        !batch->groups)
        return BASE_OK;
    uint32_t longest = 0;
    for (uint32_t g = 0; g < batch->groups; g++) {
        uint32_t T = batch->history_begin[g + 1] - batch->history_begin[g];
        longest = T > longest ? T : longest;
    }
    enum base_status status = reserve(
        negatives, batch->history_begin[batch->groups], longest, error);
    if (status)
        return status;
    for (uint32_t g = 0; g < batch->groups; g++)
        draw_group(negatives, batch, g);
    *ids = negatives->drawn;
    return BASE_OK;
}

/* ---- the pool ------------------------------------------------------------ */

void learner_negatives_add(struct learner_negatives *negatives,
                           const struct learner_batch *batch)
{
    for (uint32_t i = 0; i < batch->samples; i++) {
        if (!batch->label[i])
            continue;
        const uint64_t *item = batch->ids +
                               (size_t)i * negatives->stream_fields +
                               negatives->first_item;
        take(negatives, item,
             negatives->pool + negatives->added++ % LEARNER_NEGATIVES_POOL *
                                   negatives->items);
    }
}

uint32_t learner_negatives_count(const struct learner_negatives *negatives)
{
    return negatives->added < LEARNER_NEGATIVES_POOL
               ? (uint32_t)negatives->added
               : LEARNER_NEGATIVES_POOL;
}

enum base_status learner_negatives_new(const struct learner_model *model,
                                       const struct learner_schema *stream,
                                       struct learner_negatives **negatives,
                                       struct base_error *error)
{
    const struct learner_model_config *config =
        learner_model_get_config(model);
    const struct learner_schema *own = learner_model_schema(model);
    struct learner_negatives *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "negatives: no memory");
    made->seed = config->seed;
    made->any = config->auxiliary_any;
    made->stream_fields = stream->field_count;
    made->stream_items = stream->item_count;
    made->first_item = stream->profile_count;
    made->items = own->item_count;
    made->names = 1u + own->fields[own->profile_count].more;
    for (unsigned j = 0; j < own->item_count; j++)
        made->column[j] =
            learner_model_column(model, own->profile_count + j) -
            stream->profile_count;
    made->pool = calloc((size_t)LEARNER_NEGATIVES_POOL * made->items,
                        sizeof *made->pool);
    if (!made->pool) {
        learner_negatives_free(made);
        return base_fail(error, BASE_SYSTEM, "negatives: no memory for %d "
                         "items", LEARNER_NEGATIVES_POOL);
    }
    *negatives = made;
    return BASE_OK;
}

void learner_negatives_free(struct learner_negatives *negatives)
{
    if (!negatives)
        return;
    free(negatives->pool);
    free(negatives->drawn);
    free(negatives->cells);
    free(negatives->name);
    free(negatives);
}

/* ---- bytes --------------------------------------------------------------- */

static size_t pool_bytes(const struct learner_negatives *negatives)
{
    return (size_t)learner_negatives_count(negatives) * negatives->items *
           sizeof *negatives->pool;
}

size_t learner_negatives_size(const struct learner_negatives *negatives)
{
    return 16 + pool_bytes(negatives);
}

size_t learner_negatives_size_max(const struct learner_negatives *negatives)
{
    return 16 + (size_t)LEARNER_NEGATIVES_POOL * negatives->items *
                    sizeof *negatives->pool;
}

void learner_negatives_save(const struct learner_negatives *negatives,
                            void *bytes)
{
    uint8_t *at = base_put_u64(bytes, negatives->added);
    at = base_put_u64(at, negatives->items);
    memcpy(at, negatives->pool, pool_bytes(negatives));
}

enum base_status learner_negatives_load(struct learner_negatives *negatives,
                                        const void *bytes, size_t size,
                                        struct base_error *error)
{
    const uint8_t *at = bytes;
    if (size < 16 || base_get_u64(at + 8) != negatives->items)
        return base_fail(error, BASE_CORRUPT,
                         "negatives: %zu bytes, not items of %u fields", size,
                         negatives->items);
    uint64_t before = negatives->added;
    negatives->added = base_get_u64(at);
    if (learner_negatives_size(negatives) != size) {
        negatives->added = before;
        return base_fail(error, BASE_CORRUPT,
                         "negatives: %zu bytes do not fit their own count",
                         size);
    }
    memcpy(negatives->pool, at + 16, size - 16);
    return BASE_OK;
}
