/* SPDX-License-Identifier: Apache-2.0 */
/* A synthetic journal: a learner_source whose batch at a position is a
 * function of (seed, position) alone. Users have one of a few interests, which
 * their history shows; an item of that interest is clicked more often. Groups
 * share user and history.
 * Plain: gender; goods, cate; pid, hour. Rich: gender, age; goods, shop, cate,
 * genres (three places, any of them absent); pid, hour, tags (two places),
 * cate_seen, which shares cate's table.
 * One reading thread; `limit` may be moved by another. */
#ifndef TESTS_LEARNER_STREAM_H
#define TESTS_LEARNER_STREAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "learner/learner.h"

enum stream_lengths { STREAM_CONSTANT, STREAM_GEOMETRIC, STREAM_UNIFORM };

struct stream_config {
    uint64_t seed;
    uint32_t batch_size;
    uint32_t group_max;       /* samples of a group: 1 .. this */
    enum stream_lengths lengths;
    uint32_t history_mean, history_max;
    uint64_t users, goods, cates; /* sizes of the vocabularies */
    uint32_t interests;
    bool fnw; /* negatives at once, positives and finals later */
    bool rich;
    /* New goods come into fashion and old ones go: the vocabulary moves by one
     * every so many samples; 0: never. */
    uint32_t fashion;
};

struct stream; /* OWNS its arrays */

void stream_schema(struct learner_schema *schema);
/* All tables of `dimension`. */
void stream_rich_schema(struct learner_schema *schema, uint16_t dimension);
struct stream *stream_new(const struct stream_config *config);
void stream_free(struct stream *stream);
/* Batches end at `limit`, a multiple of batch_size; then BASE_AGAIN. */
void stream_set_limit(struct stream *stream, uint64_t limit);
/* From here on next() fails with `status`; BASE_OK: not. */
void stream_set_failure(struct stream *stream, enum base_status status);
struct learner_source stream_source(struct stream *stream);

#endif
