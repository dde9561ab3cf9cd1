/* SPDX-License-Identifier: Apache-2.0 */
/* Golden requests: a few requests in each manifest with the scores that the
 * published weights gave, so that a reader can tell that its own arithmetic
 * and its reading of the files agree with the learner. One thread a call. */
#ifndef SNAPSHOT_GOLDEN_H
#define SNAPSHOT_GOLDEN_H

#include "snapshot/weights.h"

/* Other arithmetic may differ from the manifest's scores by so much. */
#define SNAPSHOT_GOLDEN_TOLERANCE 1e-5f

/* Puts `count` requests into the manifest, a pure function of its position
 * and the tables' keys, and scores them. */
enum base_status snapshot_golden_make(struct snapshot_manifest *manifest,
                                      unsigned count,
                                      const struct learner_model *model,
                                      const struct snapshot_weights *weights,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* Scores them again: the same bits where the manifest's arithmetic is this
 * machine's, else within the tolerance. BASE_CORRUPT otherwise. */
enum base_status
snapshot_golden_check(const struct snapshot_manifest *manifest,
                      const struct learner_model *model,
                      const struct learner_parameters *parameters,
                      struct base_error *error) BASE_MUST_CHECK;

#endif
