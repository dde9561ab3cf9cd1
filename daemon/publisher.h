/* SPDX-License-Identifier: Apache-2.0 */
/* The `publish` thread: asks the published model's trainer for a delta every
 * publish.delta_ms where something was trained, turns it into a version and has
 * it announced, with a base beside it now and then (beside.h); where a chain
 * begins, for a checkpoint, which becomes a base. Every 10 s without a version
 * the newest is announced again. A failed publication is logged and tried
 * again; one that the gate (gate.h) holds likewise, ever more seldom, at least
 * every 10 s; what was current stays current.
 *
 * Order of use: open, (trainer opened, its checkpoints come through
 * daemon_publisher_checkpointed), start, (trainer stopped), finish, free. */
#ifndef DAEMON_PUBLISHER_H
#define DAEMON_PUBLISHER_H

#include "base/status.h"
#include "daemon/config.h"
#include "daemon/status.h"

struct daemon_publisher;

/* Opens the model folder. BORROWS `ingest` until free. */
enum base_status
daemon_publisher_open(const struct daemon_config *config, struct ingest *ingest,
                      struct daemon_publisher **publisher,
                      struct base_error *error) BASE_MUST_CHECK;
/* A checkpoint of the published model; `self` is the publisher. Any thread. */
void daemon_publisher_checkpointed(void *self, const char *path,
                                   uint64_t position, uint64_t request);
/* A delta of the published model, to be given back by
 * learner_trainer_settle(); `self` is the publisher. Any thread. */
void daemon_publisher_changed(void *self, struct learner_delta *delta);
/* What is published; NULL where it is nothing that the published model could
 * have trained. Before start. BORROWS. */
const struct snapshot_announcement *
daemon_publisher_version(const struct daemon_publisher *publisher);
/* Has CURRENT announced once more (its outbox row may be missing) and starts
 * the thread. BORROWS `trainer`, the published model's, until finish; NULL:
 * nothing will be published. Call after ingest_start. */
enum base_status
daemon_publisher_start(struct daemon_publisher *publisher,
                       struct learner_trainer *trainer,
                       struct base_error *error) BASE_MUST_CHECK;
/* Publishes the trainer's last delta, or its last checkpoint where a chain must
 * begin, ends the thread, waits. */
void daemon_publisher_finish(struct daemon_publisher *publisher);
/* Asks for a version of what is trained by now; with `force` it need not pass
 * the gate. Does not wait. False where the published model is not trained.
 * Role loop, between start and finish. */
bool daemon_publisher_publish(struct daemon_publisher *publisher, bool force);
/* For request `serial` to forget: versions but those of the newest chain and
 * leftovers of models (damaged or replaced checkpoints) are removed, then
 * status.purged says so. Does not wait. Role loop, between start and finish. */
void daemon_publisher_purge(struct daemon_publisher *publisher,
                            uint64_t serial);
/* See rollback.h; status.rollbacks comes to the number that this returns. Until
 * a version is published with `force` nothing is published any more, also not
 * at the end or after a restart. Does not wait. 0 where another is under way.
 * Role loop, between start and finish. */
uint64_t daemon_publisher_rollback(struct daemon_publisher *publisher,
                                   const char *version, bool learner);
/* The next version, of what is trained by now, is a base: a chain of its own.
 * Does not wait. Role loop, between start and finish. */
void daemon_publisher_base(struct daemon_publisher *publisher);
/* Any thread. */
void daemon_publisher_status(struct daemon_publisher *publisher,
                             struct daemon_publish_status *status);
void daemon_publisher_free(struct daemon_publisher *publisher);

#endif
