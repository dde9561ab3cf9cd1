/* SPDX-License-Identifier: Apache-2.0 */
/* Three tables, crosses, and batches of made-up samples for the gather, with a
 * plain list of all cells: what id each should have in prediction and in
 * training. One world a process. */
#ifndef TESTS_LEARNER_GATHER_WORLD_H
#define TESTS_LEARNER_GATHER_WORLD_H

#include "base/map.h"
#include "learner/gather.h"
#include "learner/model.h"

/* The stream has six fields, the model uses all but the second. */
enum {
    STREAM = 6, /* gender, (off), goods, genre, genre', pid */
    ITEMS = 3,  /* goods, genre, genre' */
    FIELDS = 5, /* of the model */
    TABLES = 4, /* gender, goods and pid, genre, crosses */
    GOODS = 2,  /* its column in the stream */
    CROSS = 3,
    B = 24,
    T_MAX = 6,
    CELLS = 8192,
    PURPOSE = 11,
};

struct cell {
    unsigned table;
    uint64_t id; /* training: 0 where dropped out */
    uint32_t at;
    bool negative;
};

struct world {
    struct learner_model model;
    struct learner_table *tables[TABLES];
    struct learner_gather gather;
    struct learner_updater updater;
    struct learner_cut *cut; /* never begun: it has nothing to save */
    struct base_map *counts[TABLES]; /* occurrences of ids without a row */
    struct learner_batch batch;
    uint64_t ids[B][STREAM], history[B * T_MAX][ITEMS];
    uint64_t negatives[B * T_MAX][ITEMS];
    uint32_t group_begin[B + 1], history_begin[B + 1];
    struct cell cells[CELLS];
    unsigned count;
};

extern struct world world;

void world_set_up(struct learner_model_config config);
void world_tear_down(void);
struct learner_model_config world_settings(void);
void world_list(bool training, bool negatives);
void world_check_cells(bool unique);
void world_find(uint64_t n);
void world_train(bool negatives);
float world_gradient(unsigned t, uint32_t at, unsigned i);
void world_put_gradients(void);
void world_apply(uint32_t number);

#endif
