/* SPDX-License-Identifier: Apache-2.0 */
/* A made-up schema, model and batch for any kind of model: everything that
 * learner_step_* takes and gives, from a seed. Profile, item and context each
 * have single fields; profile and item a multi-hot one besides, some of whose
 * places are absent; two fields share a table. Row 0 of a table is its OOV
 * row, row n that of id n. */
#ifndef TESTS_LEARNER_NET_CASE_H
#define TESTS_LEARNER_NET_CASE_H

#include "learner/model.h"
#include "learner/step.h"

enum { NET_CASE_TABLES = 8 };

/* A kind with some switches changed. */
struct net_variant {
    const char *name;
    enum learner_kind kind;
    enum learner_profile profile;
    void (*change)(struct learner_model_config *config); /* or NULL */
};
extern const struct net_variant net_variants[];
extern const unsigned net_variant_count;

struct net_case_spec {
    const struct net_variant *variant;
    uint16_t shards;
    uint32_t groups, group_max, history_max; /* at most; some are smaller */
    bool exact;   /* all groups and histories have the largest size */
    bool unknown; /* every id is 0 */
    uint32_t rows;
    uint64_t seed;
};

struct net_case {
    struct learner_model *model;
    struct learner_batch batch;
    uint32_t *group_begin, *history_begin;
    uint8_t *label, *kind;
    uint32_t *index, *history_index, *negative_index, *cross_index;
    uint32_t row_count[NET_CASE_TABLES];
    float *rows[NET_CASE_TABLES], *drows[NET_CASE_TABLES];
    float *dense, *ddense, *probability;
    struct learner_step_input input;
    struct learner_step_output output;
};

/* 11 groups of up to 4 samples, histories of up to 7. */
struct net_case_spec net_case_usual(const struct net_variant *variant);

void net_case_init(struct net_case *c, const struct net_case_spec *spec);
void net_case_fini(struct net_case *c);
/* The same samples, each a group of its own with a copy of its history. */
void net_case_split(struct net_case *split, const struct net_case *c);

void net_case_predict(struct net_case *c, unsigned threads);
void net_case_train(struct net_case *c, unsigned threads);

size_t net_case_table_size(const struct net_case *c, unsigned table);
/* Row of the cross table under a key. */
uint32_t net_case_cross_row(const struct net_case *c, uint64_t key);

#endif
