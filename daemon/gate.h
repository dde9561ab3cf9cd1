/* SPDX-License-Identifier: Apache-2.0 */
/* The gate before a version: compares what a checkpoint was measured at with
 * the newest version's figures and says whether it may follow it.
 *
 * 1. Only what is defined on both sides is compared: the first version of a
 *    model needs its weights finite and enough samples, no more.
 * 2. A calibration outside the bounds is held where it is further off than
 *    the newest version's: a model that is on its way there goes through.
 * 3. An operator may force what is held, but never weights that are not
 *    finite.
 * Pure; any thread. Does not publish. */
#ifndef DAEMON_GATE_H
#define DAEMON_GATE_H

#include <stddef.h>
#include <stdint.h>

#include "snapshot/snapshot.h"

struct daemon_gate_config {
    uint64_t samples; /* trained at least */
    double auc_drop;  /* at most this below the newest version's */
    double calibration_min, calibration_max;
    double norm_factor; /* dense norm at most this times as large */
};

enum daemon_gate_reason {
    DAEMON_GATE_PASSED,
    DAEMON_GATE_NOT_FINITE,
    DAEMON_GATE_SAMPLES,
    DAEMON_GATE_AUC,
    DAEMON_GATE_CALIBRATION,
    DAEMON_GATE_NORM,
    DAEMON_GATE_ROLLBACK, /* an operator went back; nothing is judged */
    DAEMON_GATE_REASONS
};
extern const char *const daemon_gate_words[]; /* "passed", "not_finite" .. */

/* `last`: the newest version's, NULL where there is none of this model. In
 * `text` stands why it is held, with both figures; "" where it passed. */
enum daemon_gate_reason
daemon_gate_judge(const struct daemon_gate_config *config,
                  const struct snapshot_judged *last,
                  const struct snapshot_judged *next, char *text, size_t size);

#endif
