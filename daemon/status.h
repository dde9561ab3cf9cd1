/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon knows of itself, as JSON (/status) and as Prometheus text
 * (/metrics). Both read one copy, so a page never mixes two moments. Pure
 * functions; any thread. */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "ingest/ingest.h"
#include "learner/learner.h"

struct daemon_publish_status {
    uint64_t epoch, version, position; /* of the newest version; 0: none */
    int64_t created_ms, newest_event_ms;
    uint64_t published, failed; /* by this process */
    uint64_t last_us;           /* duration of the newest publication */
    char last_error[1000];      /* "" while all is well */
};

struct daemon_status {
    const char *phase; /* "starting", "running", "stopping" */
    int64_t started_ms, now_ms;
    int64_t loop_lag_us; /* lateness of the loop's last tick */
    struct learner_schema schema;
    struct ingest_status ingest;
    struct learner_status learner;
    struct daemon_publish_status publish;
    unsigned window_count;
    struct learner_window windows[LEARNER_WINDOWS_KEPT];
};

/* NULL where memory is refused; free() it. */
char *daemon_status_json(const struct daemon_status *status);
char *daemon_status_metrics(const struct daemon_status *status);

/* Ready: running, partitions assigned, nothing stopped. */
bool daemon_status_ready(const struct daemon_status *status);

#endif
