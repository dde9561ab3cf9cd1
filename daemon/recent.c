/* SPDX-License-Identifier: Apache-2.0 */
/* The newest verdicts; see recent.h. */
#include "daemon/recent.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const double daemon_fresh_bounds[DAEMON_FRESH_BUCKETS - 1] = {
    0.25, 0.5, 0.75, 1,  1.5, 2,   3,   4,    5,    7.5,
    10,   15,  30,   60, 120, 300, 900, 3600, 86400};

static bool plain(const struct daemon_verdict *verdict)
{
    return verdict->verdict == DAEMON_GATE_PASSED && verdict->delta &&
           !verdict->forced;
}

static unsigned oldest_to_go(const struct daemon_recent *recent)
{
    unsigned first = DAEMON_RECENT_KEPT, deltas = 0;
    for (unsigned i = recent->count; i-- > 0;)
        if (plain(&recent->verdict[i])) {
            first = i;
            deltas++;
        }
    return deltas > DAEMON_RECENT_DELTAS ? first : 0;
}

static struct daemon_verdict *add(struct daemon_recent *recent)
{
    if (recent->count == DAEMON_RECENT_KEPT) {
        unsigned gone = oldest_to_go(recent);
        memmove(&recent->verdict[gone], &recent->verdict[gone + 1],
                (recent->count - gone - 1) * sizeof recent->verdict[0]);
        recent->count--;
    }
    struct daemon_verdict *verdict = &recent->verdict[recent->count++];
    memset(verdict, 0, sizeof *verdict);
    verdict->auc = verdict->calibration = (double)NAN;
    verdict->times = 1;
    return verdict;
}

static unsigned bucket(double seconds)
{
    unsigned i = 0;
    while (i < DAEMON_FRESH_BUCKETS - 1 && seconds > daemon_fresh_bounds[i])
        i++;
    return i;
}

void daemon_recent_passed(struct daemon_recent *recent,
                          const struct snapshot_announcement *made,
                          const struct snapshot_judged *judged)
{
    struct daemon_verdict *verdict = add(recent);
    verdict->at_ms = made->created_ms;
    verdict->verdict = DAEMON_GATE_PASSED;
    verdict->delta = made->delta;
    verdict->forced = judged->forced;
    verdict->epoch = made->epoch;
    verdict->version = made->version;
    verdict->position = made->position;
    verdict->bytes = made->bytes;
    verdict->newest_event_ms = made->newest_event_ms;
    verdict->auc = judged->auc;
    verdict->calibration = judged->calibration;
    int64_t age_ms = made->created_ms - made->newest_event_ms;
    recent->fresh[bucket((double)age_ms / 1e3)]++;
}

void daemon_recent_held(struct daemon_recent *recent, int64_t at_ms,
                        uint64_t position, enum daemon_gate_reason reason,
                        const char *text)
{
    struct daemon_verdict *last =
        recent->count ? &recent->verdict[recent->count - 1] : NULL;
    uint64_t times = 1;
    if (last && last->verdict == reason)
        times += last->times;
    else
        last = add(recent);
    last->times = times;
    last->at_ms = at_ms;
    last->verdict = reason;
    last->position = position;
    snprintf(last->text, sizeof last->text, "%s", text);
}
