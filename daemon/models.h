/* SPDX-License-Identifier: Apache-2.0 */
/* The models of the daemon: the main one and its shadows, each a trainer with
 * its own thread, checkpoints and metrics over the one journal.
 *
 * 1. The main model reads the journal by right: ingest waits for it. A shadow
 *    follows; one that cannot keep up is detached by ingest at the journal's
 *    cap, the published one too.
 * 2. Whatever happens to a shadow (detached, failed, a checkpoint that does
 *    not fit) is said in the log, /status and /metrics and stops nothing else;
 *    what happens to the main model ends the daemon.
 * 3. Checkpoints of one model, the published one, are passed on, once it has
 *    trained something.
 *
 * A new shadow starts at the journal's oldest position, which is said. One
 * whose checkpoint lies before it has missed samples: it starts again there,
 * the old folder becomes shadow/<name>.old.
 *
 * Order of use: open (ingest is open), start (ingest is started), stop,
 * stop_rest, free (before ingest). The loop's thread, where nothing else is
 * said. */
#ifndef DAEMON_MODELS_H
#define DAEMON_MODELS_H

#include "base/status.h"
#include "daemon/config.h"
#include "daemon/status.h"

struct daemon_models;

struct daemon_models_hooks {
    void *self;
    /* A checkpoint of the published model; its trainer's writer thread. */
    void (*checkpointed)(void *self, const char *path, uint64_t position,
                         uint64_t request);
    /* A delta of it; its train thread. See learner_trainer_config. */
    void (*changed)(void *self, struct learner_delta *delta);
    bool has_version; /* the newest version may be one that it trained */
    uint64_t version_position, version_hash[2], version_samples;
    /* The main model's thread ended by itself; that thread. */
    void (*failed)(void *self, const struct base_error *error);
};

/* BASE_CORRUPT where store and checkpoints of the main model are not of one
 * moment. BORROWS config and ingest until free. */
enum base_status daemon_models_open(const struct daemon_config *config,
                                    struct ingest *ingest,
                                    const struct daemon_models_hooks *hooks,
                                    struct daemon_models **models,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status daemon_models_start(struct daemon_models *models,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Trainer of the main and of the published model; the latter is NULL where it
 * is a shadow that was refused. */
struct learner_trainer *daemon_models_main(const struct daemon_models *models);
struct learner_trainer *
daemon_models_published(const struct daemon_models *models);
/* No model trains, or all do again; what is asked of them still happens. */
void daemon_models_pause(struct daemon_models *models, bool paused);
/* Each model writes a checkpoint at its next batch end. */
void daemon_models_checkpoint(struct daemon_models *models);
/* Ends the main and the published model, so that the last version can be made;
 * then the others, which are paused meanwhile. With `checkpoint` each writes a
 * last one. The error is the main model's, a shadow's is logged. */
enum base_status daemon_models_stop(struct daemon_models *models,
                                    bool checkpoint, struct base_error *error);
void daemon_models_stop_rest(struct daemon_models *models, bool checkpoint);
void daemon_models_free(struct daemon_models *models);
/* Fills learner, windows and models of *status. */
void daemon_models_status(struct daemon_models *models,
                          struct daemon_status *status);

/* (AUC - 0.5) / (AUC of the base model - 0.5) - 1, in percent; not a number
 * where either is undefined or the base model is no better than chance. */
double daemon_rela_impr(double auc, double base_auc);

#endif
