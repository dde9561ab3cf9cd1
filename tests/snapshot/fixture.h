/* SPDX-License-Identifier: Apache-2.0 */
/* For the snapshot tests: a small model with weights drawn from a seed, as
 * content to publish and, independent of any file, as parameters to score
 * with. */
#ifndef TESTS_SNAPSHOT_FIXTURE_H
#define TESTS_SNAPSHOT_FIXTURE_H

#include "snapshot/publisher.h"

struct fixture {
    struct learner_schema schema;
    struct learner_model_config config;
    struct learner_model *model; /* OWNS */
    float *dense;                /* OWNS */
    uint64_t rows;               /* of each table */
    uint64_t *keys[LEARNER_TABLES_MAX]; /* OWNS (rows), ascending from 0 */
    float *values[LEARNER_TABLES_MAX];  /* OWNS (rows, dimension) */
    uint64_t position;
};

/* Four tables of `rows` rows, fields gender | goods, cate | pid. */
void fixture_init(struct fixture *fixture, uint64_t seed, uint64_t rows);
/* The same with another width of the MLP's first layer and activation. */
void fixture_init_with(struct fixture *fixture, uint64_t seed, uint64_t rows,
                       uint16_t mlp_width, enum learner_activation activation);
/* The seeds' features: gender, age_level | goods, shop, cate (18 each) | pid,
 * hour; fixture_request does not fit to it. */
void fixture_init_full(struct fixture *fixture, uint64_t seed, uint64_t rows);
/* Multi-hot fields: gender | goods, genres (3 places) | tags (2 places); all
 * tables of dimension 4; fixture_request does not fit to it. */
void fixture_init_multi(struct fixture *fixture, uint64_t seed, uint64_t rows);
void fixture_fini(struct fixture *fixture);

struct snapshot_content fixture_content(struct fixture *fixture);
/* What a checkpoint would have said; to be fini'd. */
void fixture_manifest(const struct fixture *fixture,
                      struct snapshot_manifest *manifest);
struct learner_parameters fixture_parameters(const struct fixture *fixture);

/* A publisher on `folder` (5 versions, 4 golden requests); checked. */
struct snapshot_publisher *fixture_publisher(const char *folder);
/* Publishes the weights; checked. */
struct snapshot_announcement
fixture_publish(struct snapshot_publisher *publisher,
                struct fixture *fixture);

/* Ids for a request, drawn from the keys and beyond. */
struct fixture_request {
    uint64_t profile[1], context[1];
    uint64_t history[100 * 2];
    uint64_t items[500 * 2];
    uint32_t history_size, candidates;
};
void fixture_request(const struct fixture *fixture, uint64_t seed,
                     uint32_t history_size, uint32_t candidates,
                     struct fixture_request *request);
/* Makes every row what a file of that row type gives back. */
void fixture_round(struct fixture *fixture, enum snapshot_dtype dtype);
/* Scores without files; checked. */
void fixture_score(const struct fixture *fixture,
                   const struct fixture_request *request, float *probability);

/* mkdtemp under TMPDIR or /tmp; cmocka setup and teardown: *state is the
 * path. */
int fixture_folder(void **state);
int fixture_remove(void **state);

#endif
