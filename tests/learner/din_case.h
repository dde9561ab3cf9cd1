/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up schema, model and batch for the tests of DIN: everything that
 * learner_step_* takes and gives, in one place, from a seed. */
#ifndef TESTS_LEARNER_DIN_CASE_H
#define TESTS_LEARNER_DIN_CASE_H

#include "learner/model.h"
#include "learner/step.h"

enum { DIN_CASE_TABLES = 8 };

struct din_case_spec {
    uint16_t profile, item, context; /* fields */
    uint16_t dimension;              /* of every table, + its index */
    uint16_t attention[2], mlp[2];
    enum learner_activation activation;
    bool softmax, fnw;
    uint16_t shards;
    uint32_t groups, group_max, history_max;
    uint32_t rows; /* per table */
    uint64_t seed;
};

struct din_case {
    struct learner_model *model;
    struct learner_batch batch;
    uint32_t *group_begin, *history_begin;
    uint8_t *label, *kind;
    uint32_t *index, *history_index;
    uint32_t row_count[DIN_CASE_TABLES];
    float *rows[DIN_CASE_TABLES], *drows[DIN_CASE_TABLES];
    float *dense, *ddense, *probability;
    struct learner_step_input input;
    struct learner_step_output output;
};

/* Small widths that are no multiples of 16, both label modes off. */
struct din_case_spec din_case_small(void);
/* The default widths with three item tables of dimension 18. */
struct din_case_spec din_case_default(void);

void din_case_init(struct din_case *c, const struct din_case_spec *spec);
/* Memory of the arrays whose sizes are known (batch.samples, .groups,
 * history_begin's end, row_count) for a model that is already made. */
void din_case_allocate(struct din_case *c, uint32_t samples, uint32_t groups,
                       uint32_t behaviors);
void din_case_fini(struct din_case *c);

/* Every weight, statistic and slope at random, so that none hides behind a 0
 * or a 1. */
void din_case_randomize(struct din_case *c, uint64_t seed);

void din_case_predict(struct din_case *c, unsigned threads);
void din_case_train(struct din_case *c, unsigned threads);

float *din_case_memory(size_t floats);

#endif
