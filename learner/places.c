/* SPDX-License-Identifier: Apache-2.0 */
/* The places of a batch's unique ids; see places.h.
 *
 * A small open-addressing map. Its cells carry the number of the batch that
 * wrote them, so it is never cleared. */
#include "learner/places.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"

enum { AHEAD = 8 }; /* rows under way while one is looked at */

struct learner_places_cell {
    uint64_t key;
    uint32_t at;    /* place */
    uint32_t epoch; /* of the batch that wrote it */
};

void learner_places_init(struct learner_places *places,
                         struct learner_table *table)
{
    *places = (struct learner_places){
        .table = table, .width = learner_table_width(table)};
}

void learner_places_fini(struct learner_places *places)
{
    free(places->cells);
    free(places->keys);
    free(places->slots);
    free(places->occurrences);
    free(places->moved);
    free(places->created);
    free(places->negative);
    free(places->rows);
    free(places->drows);
    learner_places_init(places, places->table);
}

enum base_status learner_places_reserve(struct learner_places *places,
                                        size_t ids, struct base_error *error)
{
    if (ids <= places->room)
        return BASE_OK;
    uint32_t room = places->room ? places->room : 256;
    while (room < ids)
        room *= 2;
    uint32_t epoch = places->epoch;
    size_t bytes =
        ((size_t)room * places->width * sizeof(float) + 63) & ~(size_t)63;
    learner_places_fini(places);
    places->epoch = epoch;
    places->mask = 2 * room - 1;
    places->cells = calloc(2 * (size_t)room, sizeof *places->cells);
    places->keys = malloc(room * sizeof *places->keys);
    places->slots = malloc(room * sizeof *places->slots);
    places->occurrences = malloc(room * sizeof *places->occurrences);
    places->moved = malloc(room * sizeof *places->moved);
    places->created = malloc(room);
    places->negative = malloc(room);
    places->rows = aligned_alloc(64, bytes);
    places->drows = aligned_alloc(64, bytes);
    if (!places->cells || !places->keys || !places->slots ||
        !places->occurrences || !places->moved || !places->created ||
        !places->negative || !places->rows || !places->drows)
        return base_fail(error, BASE_SYSTEM,
                         "gather: no memory for %u rows of a batch", room);
    places->room = room;
    return BASE_OK;
}

void learner_places_begin(struct learner_places *places)
{
    places->count = 0;
    places->moved_any = false;
    if (++places->epoch)
        return;
    places->epoch = 1; /* once in 2^32 batches */
    for (uint32_t i = 0; places->cells && i <= places->mask; i++)
        places->cells[i].epoch = 0;
}

void learner_places_prefetch(const struct learner_places *places, uint64_t key)
{
    __builtin_prefetch(
        &places->cells[(uint32_t)base_random_mix(key) & places->mask], 1);
}

uint32_t learner_places_of(struct learner_places *places, uint64_t key)
{
    uint32_t i = (uint32_t)base_random_mix(key) & places->mask;
    struct learner_places_cell *cell = &places->cells[i];
    while (cell->epoch == places->epoch) {
        if (cell->key == key)
            return cell->at;
        i = (i + 1) & places->mask;
        cell = &places->cells[i];
    }
    uint32_t at = places->count++;
    *cell = (struct learner_places_cell){key, at, places->epoch};
    places->keys[at] = key;
    places->occurrences[at] = 0;
    places->created[at] = places->negative[at] = 0;
    learner_table_prefetch(places->table, key);
    return at;
}

void learner_places_pack(struct learner_places *places, uint32_t at)
{
    memcpy(places->rows + (size_t)at * places->width,
           learner_table_row(places->table, places->slots[at])->values,
           places->width * sizeof(float));
}

void learner_places_find(struct learner_places *places, uint32_t first)
{
    const struct learner_table *table = places->table;
    for (uint32_t i = first; i < places->count + AHEAD; i++) {
        if (i < places->count)
            places->slots[i] = learner_table_guess(table, places->keys[i]);
        if (i < first + AHEAD)
            continue;
        uint32_t at = i - AHEAD;
        places->slots[at] = learner_table_settle(table, places->keys[at],
                                                 places->slots[at]);
        places->moved[at] = at;
        learner_places_pack(places, at);
    }
}

uint32_t learner_places_unknown(struct learner_places *places)
{
    uint32_t count = places->count;
    uint32_t at = learner_places_of(places, 0);
    if (at == count) {
        places->slots[at] = 0;
        places->moved[at] = at;
        learner_places_pack(places, at);
    }
    return at;
}

void learner_places_move(struct learner_places *places, uint32_t at)
{
    uint32_t to = learner_places_unknown(places);
    places->moved_any = true;
    places->moved[at] = to;
    places->occurrences[to] += places->occurrences[at];
    places->occurrences[at] = 0;
}
