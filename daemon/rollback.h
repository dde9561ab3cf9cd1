/* SPDX-License-Identifier: Apache-2.0 */
/* Rolling back: what an operator asks for, what the publish thread does for it,
 * what came of it. First an older version's content is published again; then,
 * where it is asked for, the published model's learner goes back to a kept
 * checkpoint at or before it and skips the journal from there to where it
 * stood. Whether that can be is looked at before the first step. */
#ifndef DAEMON_ROLLBACK_H
#define DAEMON_ROLLBACK_H

#include "daemon/config.h"
#include "snapshot/snapshot.h"

struct daemon_rollback {
    uint64_t serial; /* of the request; 0: none */
    char version[64]; /* v<epoch>-<version> */
    bool learner;
};

/* BASE_OK where it could be done now. Any thread. */
enum base_status
daemon_rollback_check(const struct daemon_config *config,
                      const struct learner_trainer_config *model,
                      const struct daemon_rollback *rollback,
                      struct snapshot_listed *version,
                      struct base_error *error) BASE_MUST_CHECK;
/* *published: the first step is done, *made says as what. `trainer` of the
 * published model, or NULL; it holds no delta that the caller has. Role
 * publish. */
enum base_status
daemon_rollback_do(const struct daemon_config *config,
                   const struct learner_trainer_config *model,
                   struct snapshot_publisher *publisher,
                   struct learner_trainer *trainer,
                   const struct daemon_rollback *rollback, bool *published,
                   struct snapshot_announcement *made,
                   struct base_error *error) BASE_MUST_CHECK;

#endif
