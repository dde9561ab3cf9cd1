/* SPDX-License-Identifier: Apache-2.0 */
/* What is left to do once the state has forgotten users (STATE g), as a state
 * machine that survives restarts: the request is in the state until it is done.
 *
 * Let p be the position behind the journal's records of the request.
 *   training    each model reaches p and drops the rows
 *   checkpoint  each model writes checkpoints until the oldest that it keeps is
 *               at p or behind it; in a quiet stream a mark moves the position,
 *               so that the next one is another one
 *   journal     what is before p goes
 *   version     a base behind the users' records, where anything was ever
 *               published; in a quiet stream a mark makes it another version
 *   purge       where asked for: older versions, and leftovers of models
 *   done
 * It decides only; run.c acts. Role loop. */
#ifndef DAEMON_FORGET_H
#define DAEMON_FORGET_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/status.h"

/* Asked for again after so many looks: a reader may have held a version. */
enum { DAEMON_FORGET_PURGE_LOOKS = 25 };

enum daemon_forget_act {
    DAEMON_FORGET_WAIT,
    DAEMON_FORGET_CHECKPOINT, /* of each model */
    DAEMON_FORGET_MARK,       /* the journal moves on */
    DAEMON_FORGET_PUBLISH,    /* a base */
    DAEMON_FORGET_PURGE,
    DAEMON_FORGET_DONE,
};

/* What it looks at: minima over the models that train. */
struct daemon_forget_view {
    struct ingest_forget_status forget;
    uint64_t journal_begin;
    uint64_t trained, checkpointed, oldest;
    uint64_t newest; /* greatest position of a checkpoint */
    bool published;  /* there is a version, and a model to publish */
    uint64_t published_position; /* of the newest base; 0: since the start of
                                    the process there was none */
    uint64_t version_position;   /* of the newest version */
    uint64_t purged; /* newest request that was purged for */
};

struct daemon_forget {
    uint64_t serial; /* of the request at work */
    uint64_t goal;   /* checkpoints from here on count */
    bool asked, marking, publishing, closing;
    unsigned purging; /* looks since the purge was asked for */
    enum daemon_forget_phase phase;
};

void daemon_forget_look(const struct daemon_status *status,
                        struct daemon_forget_view *view);
enum daemon_forget_act daemon_forget_next(struct daemon_forget *forget,
                                          const struct daemon_forget_view *view);

#endif
