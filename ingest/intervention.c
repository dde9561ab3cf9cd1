/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator, or a fault, does to the state from outside of the stream:
 * a partition stops, goes to another member of the group, goes on elsewhere or
 * is new, another cluster is accepted.
 * Each is a decision in the transaction of its effect. Thread: store. */
#include "ingest/join.h"

#include <stdio.h>
#include <string.h>

#include "ingest/repeat.h"

/* The decision, once a topic, and what waits of the number leaves. */
static enum base_status let_go(struct ingest_state *state, int32_t partition,
                               uint8_t kind, const char *reason,
                               struct base_error *error)
{
    enum base_status status = BASE_OK;
    struct ingest_event event;
    char text[600], behind[INGEST_BEHIND_TEXT];
    ingest_state_last(state, &event);
    ingest_repeat_place(&event, behind);
    snprintf(text, sizeof text, "%.500s%s", reason, behind);
    for (uint8_t topic = 0; !status && topic < INGEST_TOPICS; topic++) {
        struct ingest_partition *found =
            ingest_ledger_find(&state->ledger, topic, partition);
        if (!found)
            continue;
        event.topic = topic;
        event.partition = partition;
        event.offset = found->position.next;
        status = ingest_decision_put(state->store, &state->totals.letters,
                                     &event, kind, text, error);
    }
    if (!status)
        status = ingest_join_stop(state, partition, error);
    return ingest_state_note(state, status);
}

enum base_status ingest_state_stop_partition(struct ingest_state *state,
                                             int32_t partition,
                                             const char *reason,
                                             struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : let_go(state, partition, INGEST_DECISION_STOPPED, reason,
                           error);
}

enum base_status ingest_state_revoke_partition(struct ingest_state *state,
                                               int32_t partition,
                                               struct base_error *error)
{
    bool waits = false;
    enum base_status status = ingest_state_check_begun(state, error);
    if (!status)
        status = ingest_state_note(
            state, ingest_join_waits(state, partition, &waits, error));
    if (status || !waits)
        return status;
    return let_go(state, partition, INGEST_DECISION_REVOKED,
                  "another member of the group has it", error);
}

enum base_status ingest_state_note_start(struct ingest_state *state,
                                         uint8_t topic, int32_t partition,
                                         int64_t offset,
                                         struct base_error *error)
{
    char text[80];
    struct ingest_event event;
    ingest_state_last(state, &event);
    event.topic = topic;
    event.partition = partition;
    event.offset = offset;
    snprintf(text, sizeof text, "partition added, read from %lld on",
             (long long)offset);
    return ingest_state_note(
        state, ingest_decision_put(state->store, &state->totals.letters, &event,
                                   INGEST_DECISION_CONFIGURATION, text, error));
}

static void describe_skip(const struct ingest_skip *skip, int64_t next,
                          char *text, size_t size)
{
    if (skip->start < 0)
        snprintf(text, size, "lost [%lld, %lld)", (long long)next,
                 (long long)skip->to);
    else
        snprintf(text, size,
                 "another log, from %lld on; lost [%lld, %lld), and of the "
                 "former log all from %lld on",
                 (long long)skip->start, (long long)skip->start,
                 (long long)skip->to, (long long)next);
}

enum base_status ingest_state_skip(struct ingest_state *state,
                                   const struct ingest_skip *skip,
                                   struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    if (status)
        return status;
    struct ingest_partition *partition =
        ingest_ledger_find(&state->ledger, skip->topic, skip->partition);
    if (!partition)
        return ingest_state_note(
            state, base_fail(error, BASE_USAGE,
                             "state: partition %d of topic %d was "
                             "never read",
                             (int)skip->partition, skip->topic));
    char text[300], behind[INGEST_BEHIND_TEXT];
    struct ingest_event event;
    ingest_state_last(state, &event);
    ingest_repeat_place(&event, behind);
    event.topic = skip->topic;
    event.partition = skip->partition;
    event.offset = partition->position.next;
    describe_skip(skip, partition->position.next, text, sizeof text);
    strcat(text, behind);
    status = ingest_ledger_skip(partition, skip->start, skip->to, error);
    if (!status)
        status =
            ingest_decision_put(state->store, &state->totals.letters, &event,
                                INGEST_DECISION_SKIPPED, text, error);
    if (!status)
        status = ingest_join_stop(state, skip->partition, error);
    return ingest_state_note(state, status);
}

enum base_status ingest_state_accept_cluster(struct ingest_state *state,
                                             const char *cluster_id,
                                             struct base_error *error)
{
    char text[400];
    struct ingest_event last;
    snprintf(text, sizeof text, "cluster: %s -> %s", state->totals.cluster,
             cluster_id);
    enum base_status status =
        ingest_state_set_cluster(state, cluster_id, error);
    if (status)
        return status;
    ingest_state_last(state, &last);
    return ingest_state_note(
        state, ingest_decision_put(state->store, &state->totals.letters, &last,
                                   INGEST_DECISION_CONFIGURATION, text, error));
}

enum base_status
ingest_state_trim_decisions(struct ingest_state *state,
                            const struct ingest_position *begins,
                            unsigned count, uint64_t *at, uint64_t *gone,
                            struct base_error *error)
{
    enum base_status status = ingest_state_check_begun(state, error);
    return status ? status
                  : ingest_state_note(
                        state, ingest_decisions_trim(state->store, begins,
                                                     count, at, gone, error));
}
