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
/* What it works on. BORROWS all. */
struct daemon_rollback_site {
    const struct daemon_config *config;
    const struct learner_trainer_config *model; /* the published one */
    struct snapshot_publisher *publisher;
    struct learner_trainer *trainer; /* its; NULL: it is not trained. No delta
                                        of it is in the caller's hands */
    uint64_t forgotten; /* position of the newest user who is forgotten: an
                           older version still has rows of such */
};
/* made->version is not 0: the first step is done, as that. Role publish. */
enum base_status
daemon_rollback_do(const struct daemon_rollback_site *site,
                   const struct daemon_rollback *rollback,
                   struct snapshot_announcement *made,
                   struct base_error *error) BASE_MUST_CHECK;

#endif
