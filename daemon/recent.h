/* SPDX-License-Identifier: Apache-2.0 */
/* The newest verdicts on versions: published ones with what they were judged
 * at, held ones with the reason. A stream of deltas would wash away what
 * matters, so of deltas that passed by themselves the oldest go first. Also
 * counts how old a version's newest sample was at its publication. Plain data;
 * who holds it guards it. */
#ifndef DAEMON_RECENT_H
#define DAEMON_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/gate.h"
#include "snapshot/snapshot.h"

enum {
    DAEMON_RECENT_KEPT = 24,
    DAEMON_RECENT_DELTAS = 8, /* more than these go first */
    DAEMON_FRESH_BUCKETS = 20
};

struct daemon_verdict {
    int64_t at_ms;                   /* of the newest, where `times` > 1 */
    enum daemon_gate_reason verdict; /* PASSED: it was published */
    bool delta, forced;
    uint64_t times; /* a hold for one reason, said again and again */
    uint64_t epoch, version, position, bytes;
    int64_t newest_event_ms;
    double auc, calibration; /* of what was published */
    char text[200];          /* why it was held */
};

/* Upper bounds in seconds of all buckets but the last. */
extern const double daemon_fresh_bounds[DAEMON_FRESH_BUCKETS - 1];

struct daemon_recent {
    unsigned count; /* oldest first */
    struct daemon_verdict verdict[DAEMON_RECENT_KEPT];
    /* Versions by the age of their newest sample (its event time) when they
     * were published: what a reader saw at its freshest. */
    uint64_t fresh[DAEMON_FRESH_BUCKETS];
};

void daemon_recent_passed(struct daemon_recent *recent,
                          const struct snapshot_announcement *made,
                          const struct snapshot_judged *judged);
void daemon_recent_held(struct daemon_recent *recent, int64_t at_ms,
                        uint64_t position, enum daemon_gate_reason reason,
                        const char *text);

#endif
