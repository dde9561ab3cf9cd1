/* SPDX-License-Identifier: Apache-2.0 */
/* The delta's cut; see delta.h, and learner.h for who reads one. */
#include "learner/delta.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "learner/keyed.h"

enum { SPARE = 1 << 26 }; /* bytes that a copy may hold and not need */

/* Copied rows of a table, in the order in which they came; W weights each. */
struct copied {
    uint64_t *keys; /* (count) OWNS */
    float *weights; /* (count, W) OWNS */
    size_t count, room, W;
    uint64_t *gone; /* OWNS */
    size_t gone_count, gone_room;
    struct learner_keyed *sorted; /* OWNS, after sort() */
};

struct learner_delta {
    struct learner_delta_info info;
    float *dense; /* OWNS */
    struct copied tables[LEARNER_TABLES_MAX];
};

/* Rows that are still to be copied: a bit a slot. */
struct left {
    uint64_t *bits;
    uint32_t words, room;
};

struct learner_delta_cut {
    const struct learner_model *model;
    struct learner_table *const *tables;
    unsigned table_count;
    struct learner_changes since_version, since_cut;
    bool flying, copying;
    unsigned table; /* cursor */
    uint32_t word;
    struct left left[LEARNER_TABLES_MAX];
    struct learner_delta delta;
};

enum base_status learner_delta_new(const struct learner_model *model,
                                   struct learner_table *const *tables,
                                   struct learner_delta_cut **cut,
                                   struct base_error *error)
{
    struct learner_delta_cut *made = calloc(1, sizeof *made);
    *cut = made;
    if (!made)
        return base_fail(error, BASE_SYSTEM, "delta: no memory");
    made->model = model;
    made->tables = tables;
    made->table_count = learner_model_tables(model);
    learner_changes_init(&made->since_version, made->table_count);
    learner_changes_init(&made->since_cut, made->table_count);
    for (unsigned t = 0; t < made->table_count; t++)
        made->delta.tables[t].W = learner_table_width(tables[t]);
    made->delta.dense = malloc(learner_dense_size(model) * sizeof(float));
    if (made->delta.dense)
        return BASE_OK;
    learner_delta_free(made);
    *cut = NULL;
    return base_fail(error, BASE_SYSTEM, "delta: no memory");
}

void learner_delta_free(struct learner_delta_cut *cut)
{
    if (!cut)
        return;
    for (unsigned t = 0; t < cut->table_count; t++) {
        struct copied *copied = &cut->delta.tables[t];
        free(copied->keys);
        free(copied->weights);
        free(copied->gone);
        free(copied->sorted);
        free(cut->left[t].bits);
    }
    learner_changes_fini(&cut->since_version);
    learner_changes_fini(&cut->since_cut);
    free(cut->delta.dense);
    free(cut);
}

/* ---- copying ------------------------------------------------------------- */

static void copy_row(struct learner_delta_cut *cut, unsigned t, uint32_t slot)
{
    struct copied *copied = &cut->delta.tables[t];
    const struct learner_row *row = learner_table_row(cut->tables[t], slot);
    BASE_ASSERT(copied->count < copied->room);
    copied->keys[copied->count] = row->key;
    memcpy(copied->weights + copied->count * copied->W, row->values,
           copied->W * sizeof(float));
    copied->count++;
}

/* A row that is about to change, where it is still to be copied. */
static void copy_early(struct learner_delta_cut *cut, unsigned t,
                       uint32_t slot)
{
    struct left *left = &cut->left[t];
    uint64_t bit = UINT64_C(1) << (slot & 63);
    if (!cut->copying || slot >> 6 >= left->words ||
        !(left->bits[slot >> 6] & bit))
        return;
    left->bits[slot >> 6] &= ~bit;
    copy_row(cut, t, slot);
}

void learner_delta_touch(struct learner_delta_cut *cut, unsigned t,
                         uint32_t slot, bool fresh)
{
    if (!cut)
        return;
    copy_early(cut, t, slot);
    learner_changes_touch(&cut->since_version, t, slot, fresh);
    if (cut->flying)
        learner_changes_touch(&cut->since_cut, t, slot, fresh);
}

void learner_delta_gone(struct learner_delta_cut *cut, unsigned t,
                        uint32_t slot)
{
    if (!cut)
        return;
    uint64_t key = learner_table_row(cut->tables[t], slot)->key;
    copy_early(cut, t, slot);
    learner_changes_gone(&cut->since_version, t, slot, key);
    if (cut->flying)
        learner_changes_gone(&cut->since_cut, t, slot, key);
}

/* Copies the rows of one word of bits. */
static unsigned copy_word(struct learner_delta_cut *cut, unsigned t,
                          uint32_t word)
{
    uint64_t *bits = &cut->left[t].bits[word];
    unsigned rows = (unsigned)__builtin_popcountll(*bits);
    size_t bytes = sizeof(struct learner_row) + 4 * cut->delta.tables[t].W;
    for (uint64_t at = *bits; at; at &= at - 1) {
        const char *row = (const char *)learner_table_row(
            cut->tables[t], word * 64 + (uint32_t)__builtin_ctzll(at));
        for (size_t i = 0; i < bytes && i < 256; i += 64)
            __builtin_prefetch(row + i);
    }
    for (; *bits; *bits &= *bits - 1)
        copy_row(cut, t, word * 64 + (uint32_t)__builtin_ctzll(*bits));
    return rows;
}

bool learner_delta_step(struct learner_delta_cut *cut, unsigned rows)
{
    unsigned done = 0;
    while (cut->copying && done < rows) {
        if (cut->table == cut->table_count) {
            cut->copying = false;
        } else if (cut->word == cut->left[cut->table].words) {
            cut->table++;
            cut->word = 0;
        } else {
            done += copy_word(cut, cut->table, cut->word++);
        }
    }
    return cut->copying;
}

/* ---- begin and settle ---------------------------------------------------- */

/* Room for so many; what is far too large is given back. */
static bool reserve_rows(struct copied *copied, size_t rows)
{
    size_t bytes = 8 + 4 * copied->W;
    copied->count = copied->gone_count = 0;
    if (rows <= copied->room && (copied->room - rows) * bytes <= SPARE)
        return true;
    size_t room = rows + rows / 4 + 64;
    free(copied->keys);
    free(copied->weights);
    copied->keys = malloc(room * sizeof *copied->keys);
    copied->weights = malloc(room * copied->W * sizeof *copied->weights);
    copied->room = copied->keys && copied->weights ? room : 0;
    return copied->room != 0;
}

static bool copy_gone(struct copied *copied,
                      const struct learner_changes_table *changes)
{
    if (changes->gone_count > copied->gone_room) {
        free(copied->gone);
        copied->gone = malloc(changes->gone_count * sizeof *copied->gone);
        copied->gone_room = copied->gone ? changes->gone_count : 0;
        if (!copied->gone)
            return false;
    }
    if (changes->gone_count)
        memcpy(copied->gone, changes->gone,
               changes->gone_count * sizeof *copied->gone);
    copied->gone_count = changes->gone_count;
    return true;
}

/* The rows to copy: those touched, and the OOV row. */
static bool begin_table(struct learner_delta_cut *cut, unsigned t)
{
    const struct learner_changes_table *changes = &cut->since_version.tables[t];
    struct copied *copied = &cut->delta.tables[t];
    struct left *left = &cut->left[t];
    uint32_t words = changes->words ? changes->words : 1;
    if (words > left->room) {
        free(left->bits);
        left->bits = malloc(words * sizeof *left->bits);
        left->room = left->bits ? words : 0;
    }
    left->words = 0;
    if (words > left->room)
        return false;
    left->bits[0] = 0;
    if (changes->words)
        memcpy(left->bits, changes->touched, words * sizeof *left->bits);
    left->bits[0] |= 1;
    left->words = words;
    size_t rows = 0;
    for (uint32_t i = 0; i < words; i++)
        rows += (unsigned)__builtin_popcountll(left->bits[i]);
    return reserve_rows(copied, rows) && copy_gone(copied, changes);
}

void learner_delta_begin(struct learner_delta_cut *cut,
                         const struct learner_delta_info *info,
                         const float *dense, uint64_t step)
{
    struct learner_delta *delta = &cut->delta;
    BASE_ASSERT(!cut->flying);
    delta->info = *info;
    delta->info.model = cut->model;
    delta->info.since = cut->since_version.position;
    memcpy(delta->info.since_hash, cut->since_version.journal_hash,
           sizeof delta->info.since_hash);
    memcpy(delta->dense, dense,
           learner_dense_size(cut->model) * sizeof(float));
    bool complete = cut->since_version.known;
    for (unsigned t = 0; t < cut->table_count; t++) {
        delta->info.rows[t] = learner_table_rows(cut->tables[t]);
        cut->delta.tables[t].count = cut->delta.tables[t].gone_count = 0;
        complete = complete && begin_table(cut, t);
    }
    delta->info.complete = cut->copying = complete;
    cut->table = cut->word = 0;
    cut->flying = true;
    learner_changes_start(&cut->since_cut, info->position, info->journal_hash,
                          step);
}

void learner_delta_settle(struct learner_delta_cut *cut, bool committed)
{
    BASE_ASSERT(cut->flying && !cut->copying);
    cut->flying = false;
    if (!committed)
        return;
    struct learner_changes old = cut->since_version;
    cut->since_version = cut->since_cut;
    cut->since_cut = old;
}

void learner_delta_start(struct learner_delta_cut *cut, uint64_t position,
                         const uint64_t journal_hash[2], uint64_t step)
{
    learner_changes_start(&cut->since_version, position, journal_hash, step);
}

bool learner_delta_copying(const struct learner_delta_cut *cut)
{
    return cut->copying;
}

bool learner_delta_flying(const struct learner_delta_cut *cut)
{
    return cut->flying;
}

void learner_delta_lose(struct learner_delta_cut *cut, const char *why)
{
    if (!cut)
        return;
    learner_changes_lose(&cut->since_version, why);
    if (cut->flying)
        learner_changes_lose(&cut->since_cut, why);
}

bool learner_delta_known(const struct learner_delta_cut *cut)
{
    return cut->since_version.known;
}

uint64_t learner_delta_since(const struct learner_delta_cut *cut)
{
    return cut->since_version.position;
}

uint64_t learner_delta_copied(const struct learner_delta_cut *cut)
{
    uint64_t rows = 0;
    for (unsigned t = 0; t < cut->table_count; t++)
        rows += cut->delta.tables[t].count;
    return rows;
}

uint64_t learner_delta_bytes(const struct learner_delta_cut *cut)
{
    uint64_t bytes = 0;
    for (unsigned t = 0; t < cut->table_count; t++) {
        const struct copied *copied = &cut->delta.tables[t];
        bytes += copied->room * (8 + 4 * copied->W) + 8 * copied->gone_room;
    }
    return bytes;
}

struct learner_delta *learner_delta_get(struct learner_delta_cut *cut)
{
    return &cut->delta;
}

/* ---- in a checkpoint ------------------------------------------------------ */

size_t learner_delta_size(const struct learner_delta_cut *cut)
{
    size_t size = 8;
    if (cut->since_version.known)
        size += learner_changes_size(&cut->since_version);
    if (cut->flying && cut->since_cut.known)
        size += learner_changes_size(&cut->since_cut);
    return size;
}

void learner_delta_save(const struct learner_delta_cut *cut, void *bytes)
{
    bool version = cut->since_version.known;
    bool flying = cut->flying && cut->since_cut.known;
    void *at = base_put_u64(bytes, (uint64_t)version + flying);
    if (version)
        at = learner_changes_save(&cut->since_version, at);
    if (flying)
        learner_changes_save(&cut->since_cut, at);
}

/* Bits of the rows that were trained after the note's moment. */
static void mark_touched(struct learner_delta_cut *cut, uint64_t step,
                         bool every_row)
{
    struct learner_changes *changes = &cut->since_version;
    uint32_t since = (uint32_t)(step - changes->step);
    for (unsigned t = 0; t < cut->table_count; t++) {
        const struct learner_table *table = cut->tables[t];
        for (uint32_t i = 0; i < learner_table_slots(table); i++) {
            const struct learner_row *row = learner_table_row(table, i);
            if (row->live && since &&
                (every_row || (uint32_t)step - row->touched < since))
                learner_changes_touch(changes, t, i, false);
        }
    }
}

enum base_status learner_delta_load(struct learner_delta_cut *cut,
                                    uint64_t position,
                                    const uint64_t journal_hash[2],
                                    uint64_t step, bool every_row,
                                    const void *bytes, size_t size,
                                    struct base_error *error)
{
    const uint8_t *at = bytes;
    struct learner_changes *changes = &cut->since_version;
    uint64_t count = size >= 8 ? base_get_u64(at) : 0;
    changes->known = false;
    if (size < 8 || count > 2)
        return base_fail(error, BASE_CORRUPT, "changes do not fit");
    at += 8;
    size -= 8;
    for (; count; count--) {
        enum base_status status =
            learner_changes_load(changes, &at, &size, error);
        if (status)
            return status;
        changes->known =
            changes->position == position &&
            changes->journal_hash[0] == journal_hash[0] &&
            changes->journal_hash[1] == journal_hash[1];
        if (!changes->known)
            continue;
        mark_touched(cut, step, every_row);
        return BASE_OK;
    }
    return BASE_OK;
}

/* ---- reading ------------------------------------------------------------- */

const struct learner_delta_info *
learner_delta_get_info(const struct learner_delta *delta)
{
    return &delta->info;
}

const float *learner_delta_dense(const struct learner_delta *delta)
{
    return delta->dense;
}

static enum base_status sort_rows(struct copied *copied,
                                  struct base_error *error)
{
    free(copied->sorted);
    copied->sorted = malloc((copied->count + 1) * sizeof *copied->sorted);
    if (!copied->sorted)
        return base_fail(error, BASE_SYSTEM, "no memory to sort %zu rows",
                         copied->count);
    for (size_t i = 0; i < copied->count; i++)
        copied->sorted[i] = (struct learner_keyed){
            copied->keys[i], copied->weights + i * copied->W};
    return learner_keyed_sort(&copied->sorted, copied->count, error);
}

/* In order, without the keys that are there again. */
static enum base_status sort_gone(struct copied *copied,
                                  struct base_error *error)
{
    size_t n = copied->gone_count, kept = 0, row = 0;
    if (!n)
        return BASE_OK;
    struct learner_keyed *sorted = malloc(n * sizeof *sorted);
    if (!sorted)
        return base_fail(error, BASE_SYSTEM, "no memory to sort %zu keys", n);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct learner_keyed){copied->gone[i], NULL};
    enum base_status status = learner_keyed_sort(&sorted, n, error);
    for (size_t i = 0; !status && i < n; i++) {
        while (row < copied->count && copied->sorted[row].key < sorted[i].key)
            row++;
        if (row == copied->count || copied->sorted[row].key != sorted[i].key)
            copied->gone[kept++] = sorted[i].key;
    }
    copied->gone_count = kept;
    free(sorted);
    return status;
}

enum base_status learner_delta_sort(struct learner_delta *delta,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    unsigned tables = learner_model_tables(delta->info.model);
    for (unsigned t = 0; !status && t < tables; t++) {
        status = sort_rows(&delta->tables[t], error);
        if (!status)
            status = sort_gone(&delta->tables[t], error);
    }
    return status ? base_wrap(error, "delta") : BASE_OK;
}

enum base_status learner_delta_rows(
    const struct learner_delta *delta, unsigned table,
    enum base_status (*each)(void *self, uint64_t key, const float *weights),
    void *self, struct base_error *error)
{
    const struct copied *copied = &delta->tables[table];
    (void)error;
    for (size_t i = 0; i < copied->count; i++) {
        enum base_status status =
            each(self, copied->sorted[i].key, copied->sorted[i].row);
        if (status)
            return status;
    }
    return BASE_OK;
}

const uint64_t *learner_delta_keys_gone(const struct learner_delta *delta,
                                        unsigned table, uint64_t *count)
{
    *count = delta->tables[table].gone_count;
    return delta->tables[table].gone;
}
