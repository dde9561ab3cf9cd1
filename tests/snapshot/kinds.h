/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of model, and every switch that a score depends on, as real
 * models: trained for a moment on the learner tests' rich stream (multi-hot
 * fields, fields that share a table), then published from their checkpoint. */
#ifndef TESTS_SNAPSHOT_KINDS_H
#define TESTS_SNAPSHOT_KINDS_H

#include "learner/learner.h"
#include "snapshot/snapshot.h"
#include "tests/learner/trainer_run.h"

struct kind_case {
    const char *name; /* of a folder */
    enum learner_kind kind;
    enum learner_profile profile;
    const char *switches; /* "attention=inner pooling=mean", or "" */
    const char *fields_off; /* "goods gender", or "" */
};
extern const struct kind_case kind_cases[];
extern const unsigned kind_case_count;

/* Trains the case; run->path is its checkpoint. To be run_fini'd. */
void kind_train(const struct kind_case *one, struct run *run);
/* Publishes run's checkpoint into `folder`, which is new; checked. */
void kind_publish(const struct run *run, const char *folder);

#endif
