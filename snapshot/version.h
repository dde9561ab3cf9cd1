/* SPDX-License-Identifier: Apache-2.0 */
/* A published version, opened in two steps: first its manifest (verified
 * against CURRENT), from which the caller makes or finds the model; then its
 * weights (verified against the manifest) and the golden requests. Nothing is
 * parsed before its size and hash agree. Immutable once open; any thread. */
#ifndef SNAPSHOT_VERSION_H
#define SNAPSHOT_VERSION_H

#include "snapshot/current.h"
#include "snapshot/weights.h"

struct snapshot_version {
    int folder; /* descriptor while opening, then -1 */
    struct snapshot_current current;
    struct snapshot_manifest manifest;
    struct snapshot_weights weights;
};

/* After success or failure snapshot_version_fini is the caller's to call. */
enum base_status snapshot_version_begin(const char *model_folder,
                                        const struct snapshot_current *current,
                                        struct snapshot_version *version,
                                        struct base_error *error)
    BASE_MUST_CHECK;
/* BORROWS nothing from `model` beyond the call. */
enum base_status snapshot_version_finish(struct snapshot_version *version,
                                         const struct learner_model *model,
                                         struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_version_fini(struct snapshot_version *version);

#endif
