/* SPDX-License-Identifier: Apache-2.0 */
/* The places of one table's unique ids in one batch: id -> place, and for each
 * place its row's slot and the packed copies that a step works on. U places,
 * W floats of a row. Train thread. Private to gather.c. */
#ifndef LEARNER_PLACES_H
#define LEARNER_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/table.h"

struct learner_places_cell; /* private */

/* The arrays have `room` elements. */
struct learner_places {
    struct learner_table *table; /* BORROWS */
    unsigned width;              /* W */
    struct learner_places_cell *cells;
    uint32_t mask;
    uint32_t epoch;       /* of this batch */
    uint32_t count, room; /* U */
    uint32_t table_slots; /* of the table before rows were made */
    bool moved_any;
    uint64_t *keys;
    uint32_t *slots;       /* 0 where there is no row */
    uint32_t *occurrences; /* cells that point here, negatives apart */
    uint32_t *moved;       /* place that stands for this */
    uint8_t *created;      /* the row was made for this batch */
    uint8_t *negative;     /* a negative points here */
    float *rows, *drows;   /* (U,W) */
};

/* BORROWS table until fini. */
void learner_places_init(struct learner_places *places,
                         struct learner_table *table);
void learner_places_fini(struct learner_places *places);
/* Room for `ids` places, between batches. */
enum base_status learner_places_reserve(struct learner_places *places,
                                        size_t ids, struct base_error *error)
    BASE_MUST_CHECK;
/* A new batch: no place yet. */
void learner_places_begin(struct learner_places *places);
/* Brings near what of() will look at. */
void learner_places_prefetch(const struct learner_places *places,
                             uint64_t key);
/* Place of `key`, made where there was none; its slot is found later. */
uint32_t learner_places_of(struct learner_places *places, uint64_t key);
/* Finds the slots and packs the rows of all places from `first` on. */
void learner_places_find(struct learner_places *places, uint32_t first);
/* Place of id 0, the OOV row's, with its row. */
uint32_t learner_places_unknown(struct learner_places *places);
/* Copies the row of place `at`. */
void learner_places_pack(struct learner_places *places, uint32_t at);
/* From here on the OOV row's place stands for `at`. */
void learner_places_move(struct learner_places *places, uint32_t at);

#endif
