/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon knows of itself, as JSON (/status) and as Prometheus text
 * (/metrics). Both read one copy, so a page never mixes two moments. Pure
 * functions; any thread. */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"
#include "daemon/beside.h"
#include "daemon/gate.h"
#include "daemon/recent.h"
#include "daemon/usage.h"
#include "ingest/ingest.h"
#include "learner/learner.h"

/* What the gate said last, and how often it said what. */
struct daemon_gate_status {
    bool holding; /* what was judged last is not published */
    enum daemon_gate_reason reason;
    char text[200];
    int64_t since_ms;  /* held since, wall clock */
    uint64_t position; /* journal position of what is held */
    uint64_t held[DAEMON_GATE_REASONS]; /* by this process, as forced */
    uint64_t forced;
    bool judged_once; /* by this process; else `judged` is empty */
    struct snapshot_judged judged;
};

struct daemon_publish_status {
    uint64_t epoch, version, position; /* of the newest version; 0: none */
    int64_t created_ms, newest_event_ms;
    uint64_t published, failed; /* by this process */
    uint64_t deltas, delta_bytes; /* of those, with their files' bytes */
    uint64_t chain;             /* deltas since the newest base */
    uint64_t last_us;           /* duration of the newest publication */
    uint64_t base_position; /* where the newest version's chain began; 0: not
                               by this process */
    /* Of the newest delta: event time of its newest sample to the copy, the
     * copy to the commit; wall clock. */
    int64_t cut_lag_ms, commit_ms;
    struct daemon_beside_status beside;
    uint64_t purged;            /* newest request to forget that old versions
                                   and leftovers were removed for */
    uint64_t removed;           /* folders so removed */
    uint64_t rollbacks; /* the newest request to roll back that was done or
                           has failed */
    char rollback_error[1000]; /* why it failed; "": it did not */
    uint64_t rollback_epoch, rollback_version; /* whose content the newest
                                                  version has; 0: its own */
    char last_error[1000];      /* "" while all is well */
    struct daemon_gate_status gate;
    struct daemon_recent recent; /* of this process */
};

enum {
    DAEMON_MODELS_MAX = 1 + DAEMON_SHADOWS_MAX,
    DAEMON_REASON_MAX = 1000
};

enum daemon_model_state {
    DAEMON_MODEL_TRAINING,
    DAEMON_MODEL_DETACHED, /* a shadow that could not keep up */
    DAEMON_MODEL_FAILED,   /* its thread ended by itself */
    DAEMON_MODEL_REFUSED,  /* a shadow whose checkpoints do not fit */
};

extern const char *const daemon_model_state_words[]; /* "training" .. */

struct daemon_model_status {
    char name[LEARNER_NAME_MAX];
    enum learner_kind kind;
    bool shadow, published;
    enum daemon_model_state state;
    char reason[DAEMON_REASON_MAX]; /* of a state other than TRAINING */
    unsigned table_count;
    char tables[LEARNER_TABLES_MAX][LEARNER_NAME_MAX];
    struct learner_status learner;
    /* RelaImpr in percent against `base`, the first model of that kind; ""
     * where there is none. Not a number where undefined. */
    char base[LEARNER_NAME_MAX];
    int64_t rela_impr_window_ms; /* begin of the newest event-time window that
                                    both have closed; -1: none */
    double rela_impr;       /* over that window */
    double rela_impr_total; /* over all samples of both; only where they began
                               at the same position and both still train */
};

/* Where the newest request to forget stands (forget.h). */
#define DAEMON_FORGET_PHASES(X)                                                \
    X(DAEMON_FORGET_NOTHING, "done")                                           \
    X(DAEMON_FORGET_TRAINING, "training")                                      \
    X(DAEMON_FORGET_CHECKPOINTS, "checkpoint")                                 \
    X(DAEMON_FORGET_JOURNAL, "journal")                                        \
    X(DAEMON_FORGET_VERSION, "version")                                        \
    X(DAEMON_FORGET_PURGING, "purge")
enum daemon_forget_phase {
#define X(code, name) code,
    DAEMON_FORGET_PHASES(X)
#undef X
};

struct daemon_status {
    const char *phase; /* "starting", "running", "stopping" */
    const char *config_file; /* BORROWS; NULL: not known */
    int64_t started_ms, now_ms;
    int64_t loop_lag_us; /* lateness of the loop's last tick */
    bool paused;         /* by an operator */
    struct ingest_status ingest;
    struct learner_status learner; /* of the main model, as the windows */
    unsigned model_count;          /* the main model is the first */
    struct daemon_model_status models[DAEMON_MODELS_MAX];
    struct daemon_publish_status publish;
    struct daemon_usage usage;
    enum daemon_forget_phase forget_phase;
    unsigned window_count;
    struct learner_window windows[LEARNER_WINDOWS_KEPT];
};

/* NULL where memory is refused; free() it. */
char *daemon_status_json(const struct daemon_status *status);
char *daemon_status_metrics(const struct daemon_status *status);

/* Ready: running, partitions assigned, nothing stopped, room on the disk. */
bool daemon_status_ready(const struct daemon_status *status);

#endif
