/* SPDX-License-Identifier: Apache-2.0 */
/* What came of a publication, in the log and in the status; see
 * publisher_parts.h. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/publisher_parts.h"
#include "daemon/recent.h"

enum { SAY_MS = 10000 /* a version that is held again and again */ };

BASE_ON(publish)
void daemon_publisher_failed(struct daemon_publisher *publisher,
                         const struct base_error *error)
{
    base_log(BASE_LOG_ERROR, "event=publish_failed error=\"%s\"", error->text);
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.failed++;
    snprintf(publisher->status.last_error, sizeof publisher->status.last_error,
             "%s", error->text);
    pthread_mutex_unlock(&publisher->mutex);
}

/* What is held is tried again with the next delta; the log says it anew where
 * the reason is another, or after a while. */
BASE_ON(publish)
static void say_held(struct daemon_publisher *publisher, const char *text,
                     uint64_t position)
{
    const struct daemon_gate_status *gate = &publisher->status.gate;
    int64_t now_ms = base_monotonic_ms();
    if (gate->holding && gate->reason == publisher->verdict &&
        now_ms - publisher->said_ms < SAY_MS)
        return;
    publisher->said_ms = now_ms;
    base_log(BASE_LOG_WARN,
             "event=version_held reason=%s position=%llu text=\"%s\" "
             "hint=\"interestd publish --force publishes it once\"",
             daemon_gate_words[publisher->verdict],
             (unsigned long long)position, text);
}

BASE_ON(publish)
void daemon_publisher_held(struct daemon_publisher *publisher, const char *text,
                      uint64_t position)
{
    say_held(publisher, text, position);
    pthread_mutex_lock(&publisher->mutex);
    struct daemon_gate_status *gate = &publisher->status.gate;
    if (!gate->holding)
        gate->since_ms = base_wall_ms();
    gate->holding = true;
    gate->reason = publisher->verdict;
    gate->position = position;
    gate->held[publisher->verdict]++;
    gate->judged = publisher->judged;
    gate->judged_once = true;
    snprintf(gate->text, sizeof gate->text, "%.199s", text);
    daemon_recent_held(&publisher->status.recent, base_wall_ms(), position,
                       publisher->verdict, gate->text);
    publisher->status.last_error[0] = '\0';
    pthread_mutex_unlock(&publisher->mutex);
}

static void note_passed(struct daemon_gate_status *gate,
                        const struct snapshot_judged *judged)
{
    gate->holding = false;
    gate->reason = DAEMON_GATE_PASSED;
    gate->text[0] = '\0';
    gate->since_ms = 0;
    gate->position = 0;
    gate->forced += judged->forced;
    gate->judged = *judged;
    gate->judged_once = true;
}

BASE_ON(publish)
void daemon_publisher_succeeded(struct daemon_publisher *publisher,
                         const struct snapshot_announcement *made,
                         int64_t took_us)
{
    /* A delta a second would fill a log. */
    base_log(made->delta ? BASE_LOG_DEBUG : BASE_LOG_INFO,
             "event=published folder=%s position=%llu took_us=%lld",
             made->folder_name, (unsigned long long)made->position,
             (long long)took_us);
    publisher->current = *made;
    publisher->announced_ms = base_monotonic_ms();
    publisher->held_ms = 0;
    publisher->deltas = made->delta ? publisher->deltas + 1 : 0;
    publisher->bytes = made->delta ? publisher->bytes + made->bytes : 0;
    pthread_mutex_lock(&publisher->mutex);
    struct daemon_publish_status *status = &publisher->status;
    status->epoch = made->epoch;
    status->version = made->version;
    status->position = made->position;
    status->created_ms = made->created_ms;
    status->newest_event_ms = made->newest_event_ms;
    status->published++;
    status->deltas += made->delta;
    status->delta_bytes += made->delta ? made->bytes : 0;
    status->chain = publisher->deltas;
    status->rollback_epoch = made->rollback_epoch;
    status->rollback_version = made->rollback_version;
    if (!made->delta)
        status->base_position = made->position;
    status->last_us = (uint64_t)took_us;
    status->last_error[0] = '\0';
    note_passed(&status->gate, &publisher->judged);
    daemon_recent_passed(&status->recent, made, &publisher->judged);
    pthread_mutex_unlock(&publisher->mutex);
}

/* What the gate says from now on, until a version is forced. */
void daemon_publisher_rolled_back(struct daemon_publisher *publisher)
{
    char text[200];
    const struct snapshot_announcement *current = &publisher->current;
    if (!current->rollback_version)
        return;
    snprintf(text, sizeof text, "rolled back to v%llu-%llu; training goes on; "
             "interestd publish --force lets versions go on",
             (unsigned long long)current->rollback_epoch,
             (unsigned long long)current->rollback_version);
    publisher->verdict = DAEMON_GATE_ROLLBACK;
    daemon_publisher_held(publisher, text, current->position);
}
