/* SPDX-License-Identifier: Apache-2.0 */
/* For the snapshot tests: a fixture that changes as a model in training does,
 * published as deltas and as bases beside them. Checked: a failure ends the
 * test. */
#ifndef TESTS_SNAPSHOT_CHAIN_H
#define TESTS_SNAPSHOT_CHAIN_H

#include "tests/snapshot/fixture.h"

/* What changed in a fixture. */
struct chain_change {
    struct fixture *fixture;             /* BORROWS */
    uint64_t count[LEARNER_TABLES_MAX];  /* changed rows, the OOV row first */
    uint64_t *row[LEARNER_TABLES_MAX];   /* OWNS; their places, ascending */
    uint64_t gone_count[LEARNER_TABLES_MAX];
    uint64_t *gone[LEARNER_TABLES_MAX];  /* OWNS; ascending */
};

/* New dense weights; in each table up to `rows` rows change, a quarter of them
 * by going, a new key taking their place. The position moves on by 10. */
void chain_change(struct fixture *fixture, uint64_t seed, uint64_t rows,
                  struct chain_change *change);
void chain_change_fini(struct chain_change *change);

struct snapshot_announcement
chain_publish_delta(struct snapshot_publisher *publisher,
                    const struct chain_change *change);
/* The fixture as it is now, beside the delta that was announced. */
void chain_publish_beside(struct snapshot_publisher *publisher,
                          struct fixture *fixture,
                          const struct snapshot_announcement *delta);

#endif
