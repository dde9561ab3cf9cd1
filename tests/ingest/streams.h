/* SPDX-License-Identifier: Apache-2.0 */
/* Streams drawn from a seed: configurations and events with small numbers, so
 * that every rule of the state meets every other. */
#ifndef TESTS_INGEST_STREAMS_H
#define TESTS_INGEST_STREAMS_H

#include "state_fixture.h"

enum { STREAM_PARTITIONS = 2 };

/* A generator; equal seeds draw equal numbers. */
struct stream_draw {
    uint64_t seed, count;
};

/* In [0, below). */
uint64_t stream_draw(struct stream_draw *draw, uint64_t below);
void stream_draw_config(struct stream_draw *draw,
                        struct ingest_config *config);
/* An impression, click or dead letter of about the time `now`. The dead one's
 * payload is a literal of 6 bytes. Partition, offset and merge times are the
 * caller's. */
void stream_draw_event(struct stream_draw *draw, struct fixture_event *made,
                       int64_t now);

/* `count` of them in the order that a merge of STREAM_PARTITIONS partitions a
 * topic would hand over, with all that it sets. */
void stream_draw_merged(struct stream_draw *draw, struct fixture_event *events,
                        unsigned count);

#endif
