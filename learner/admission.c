/* SPDX-License-Identifier: Apache-2.0 */
/* Admission; see admission.h. Saved as u64 occurrences counted, then the
 * cells, 16 in a little-endian word, the first in its low bits. */
#include "learner/admission.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/random.h"

enum { WORDS = LEARNER_ADMISSION_CELLS / 16 };

struct undo {
    uint32_t cell;
    uint32_t value;
};

struct learner_admission {
    unsigned k;
    uint64_t counted; /* occurrences ever counted and kept */
    uint64_t pending; /* of this batch */
    uint64_t waiting; /* cells in 1 .. k - 1 */
    struct undo *undo;
    size_t undo_count, undo_room;
    uint64_t *words; /* (WORDS) */
};

enum base_status learner_admission_new(struct learner_admission **admission,
                                       unsigned k, struct base_error *error)
{
    struct learner_admission *made = calloc(1, sizeof *made);
    BASE_ASSERT(k >= 1 && k <= LEARNER_ADMISSION_MOST);
    if (made)
        made->words = calloc(WORDS, sizeof *made->words);
    if (!made || !made->words) {
        learner_admission_free(made);
        return base_fail(error, BASE_SYSTEM, "admission: no memory for %d "
                         "cells", LEARNER_ADMISSION_CELLS);
    }
    made->k = k;
    *admission = made;
    return BASE_OK;
}

void learner_admission_free(struct learner_admission *admission)
{
    if (!admission)
        return;
    free(admission->undo);
    free(admission->words);
    free(admission);
}

enum base_status learner_admission_reserve(struct learner_admission *admission,
                                           size_t ids,
                                           struct base_error *error)
{
    if (ids <= admission->undo_room)
        return BASE_OK;
    struct undo *undo = realloc(admission->undo, 2 * ids * sizeof *undo);
    if (!undo)
        return base_fail(error, BASE_SYSTEM,
                         "admission: no memory for %zu ids of a batch", ids);
    admission->undo = undo;
    admission->undo_room = 2 * ids;
    return BASE_OK;
}

static uint32_t get(const struct learner_admission *admission, uint32_t cell)
{
    return admission->words[cell >> 4] >> (cell & 15) * 4 & 15;
}

static bool waits(const struct learner_admission *admission, uint32_t value)
{
    return value > 0 && value < admission->k;
}

static void put(struct learner_admission *admission, uint32_t cell,
                uint32_t value)
{
    admission->waiting += waits(admission, value);
    admission->waiting -= waits(admission, get(admission, cell));
    unsigned shift = (cell & 15) * 4;
    uint64_t *word = &admission->words[cell >> 4];
    *word = (*word & ~(UINT64_C(15) << shift)) | (uint64_t)value << shift;
}

bool learner_admission_count(struct learner_admission *admission,
                             uint64_t table, uint64_t key,
                             uint32_t occurrences)
{
    uint64_t hash = base_random_mix(table + base_random_mix(key));
    uint32_t cell = (uint32_t)(hash & (LEARNER_ADMISSION_CELLS - 1));
    uint32_t had = get(admission, cell);
    BASE_ASSERT(admission->undo_count < admission->undo_room);
    admission->undo[admission->undo_count++] = (struct undo){cell, had};
    admission->pending += occurrences;
    uint32_t has = occurrences < LEARNER_ADMISSION_MOST - had
                       ? had + occurrences : LEARNER_ADMISSION_MOST;
    put(admission, cell, has);
    return has >= admission->k;
}

/* Cells of a word in 1 .. k - 1. A cell in a byte of its own plus 128 - n has
 * the high bit where the cell is n or more. */
static unsigned waiting_cells(uint64_t word, unsigned k)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t even = word & ones * 15, odd = word >> 4 & ones * 15;
    uint64_t some = ((even + ones * 127) & highs) >> 1 |
                    ((odd + ones * 127) & highs);
    uint64_t enough = ((even + ones * (128 - k)) & highs) >> 1 |
                      ((odd + ones * (128 - k)) & highs);
    return (unsigned)__builtin_popcountll(some & ~enough);
}

static void count_waiting(struct learner_admission *admission)
{
    admission->waiting = 0;
    for (size_t i = 0; i < WORDS; i++)
        admission->waiting += waiting_cells(admission->words[i], admission->k);
}

void learner_admission_keep(struct learner_admission *admission)
{
    uint64_t round = admission->counted / LEARNER_ADMISSION_HALVING;
    admission->counted += admission->pending;
    admission->pending = 0;
    admission->undo_count = 0;
    if (admission->counted / LEARNER_ADMISSION_HALVING == round)
        return;
    for (size_t i = 0; i < WORDS; i++)
        admission->words[i] =
            admission->words[i] >> 1 & UINT64_C(0x7777777777777777);
    count_waiting(admission);
}

void learner_admission_discard(struct learner_admission *admission)
{
    while (admission->undo_count) {
        const struct undo *undo = &admission->undo[--admission->undo_count];
        put(admission, undo->cell, undo->value);
    }
    admission->pending = 0;
}

uint64_t learner_admission_waiting(const struct learner_admission *admission)
{
    return admission ? admission->waiting : 0;
}

size_t learner_admission_size(const struct learner_admission *admission)
{
    return admission ? 8 + WORDS * sizeof *admission->words : 0;
}

void learner_admission_save(const struct learner_admission *admission,
                            void *bytes)
{
    if (!admission)
        return;
    uint8_t *at = base_put_u64(bytes, admission->counted);
    memcpy(at, admission->words, WORDS * sizeof *admission->words);
}

enum base_status learner_admission_load(struct learner_admission *admission,
                                        const void *bytes, size_t size,
                                        struct base_error *error)
{
    if (size != learner_admission_size(admission))
        return base_fail(error, BASE_CORRUPT,
                         "admission: %zu bytes, not %zu", size,
                         learner_admission_size(admission));
    if (!admission)
        return BASE_OK;
    memcpy(&admission->counted, bytes, 8);
    memcpy(admission->words, (const uint8_t *)bytes + 8,
           WORDS * sizeof *admission->words);
    admission->pending = 0;
    admission->undo_count = 0;
    count_waiting(admission);
    return BASE_OK;
}
