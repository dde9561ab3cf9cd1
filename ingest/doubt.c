/* SPDX-License-Identifier: Apache-2.0 */
/* Doubt: whether the brokers still hold the logs that were read. librdkafka
 * 2.0.2 reads on at the old offset of a topic that was made anew, and says so
 * nowhere but in a line of its log.
 *
 * 1. Whatever may come with another log (a partition that was gone for a
 *    moment, an end that shrank, a lost connection, an assignment) raises
 *    `doubts`, before the records behind it can be polled.
 * 2. While `doubts` is not what the last good check began with, nothing is
 *    handed over: so nothing of another log is ever applied.
 * 3. A check reads the last applied record of every partition again. It runs
 *    now and then without a doubt too, and asks for the partitions' number
 *    and for open transactions on the way.
 *
 * Role ingest, but where said; the questions themselves are asked by the
 * watch's own thread (watch.h). */
#include "ingest/source_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "ingest/topics.h"

enum {
    CHECK_MS = 5000,     /* between checks without a doubt */
    STALLED_MS = 1000,   /* while a transaction holds a partition up */
    AGAIN_MS = 250,      /* and behind one that was not answered */
    UNREADABLE_MAX = 3,  /* checks until a damaged anchor is let be */
    STALL_SAID_MS = 5000,
};

void ingest_source_doubt(struct ingest_source *source)
{
    atomic_fetch_add(&source->doubts, 1);
}

bool ingest_source_in_doubt(const struct ingest_source *source)
{
    return atomic_load(&source->doubts) != source->settled;
}

static void note_watch(struct ingest_source *source, const char *text)
{
    pthread_mutex_lock(&source->mutex);
    size_t size = strnlen(text, sizeof source->watch_error - 1);
    bool same = strncmp(source->watch_error, text,
                        sizeof source->watch_error - 1) == 0;
    memcpy(source->watch_error, text, size);
    source->watch_error[size] = '\0';
    pthread_mutex_unlock(&source->mutex);
    if (!same && text[0])
        base_log(BASE_LOG_WARN, "event=watch_trouble text=\"%s\"", text);
}

/* ---- cluster ------------------------------------------------------------ */

static bool same_cluster(const struct ingest_source *source,
                         rd_kafka_t *handle, char *other, size_t size)
{
    char *id = rd_kafka_clusterid(handle, 0); /* what is known, no question */
    if (!id)
        return true;
    bool same = strcmp(id, source->cluster) == 0;
    if (!same)
        snprintf(other, size, "%s", id);
    rd_kafka_mem_free(handle, id);
    return same;
}

void ingest_source_compare_cluster(struct ingest_source *source)
{
    if (source->other_cluster[0] ||
        (same_cluster(source, source->consumer, source->other_cluster,
                      sizeof source->other_cluster) &&
         same_cluster(source, source->helper, source->other_cluster,
                      sizeof source->other_cluster)))
        return;
    base_log(BASE_LOG_ERROR, "event=cluster_replaced was=%s is=%s",
             source->cluster, source->other_cluster);
    for (unsigned i = 0; i < source->per_topic; i++)
        ingest_source_stop_pair(source, i, INGEST_CAUSE_CLUSTER, -1);
}

/* ---- answers ------------------------------------------------------------ */

/* False where the anchor could not be judged: to be asked again. */
static bool judge_anchor(struct ingest_source *source, unsigned i,
                         enum ingest_anchor anchor, int64_t offset)
{
    struct ingest_slot *slot = &source->slots[i];
    if (anchor == INGEST_ANCHOR_OTHER)
        ingest_source_stop_pair(source, i, INGEST_CAUSE_OTHER, offset);
    if (anchor == INGEST_ANCHOR_DAMAGED)
        return ++slot->unreadable >= UNREADABLE_MAX;
    slot->unreadable = 0;
    if (anchor == INGEST_ANCHOR_GONE && slot->gone != offset) {
        slot->gone = offset;
        base_log(BASE_LOG_WARN, "event=anchor_gone topic=%s partition=%d "
                 "offset=%lld", ingest_source_topic(source, i),
                 source->positions[i].partition, (long long)offset);
    }
    return true;
}

/* Held up by an open transaction: committed records end before the log does,
 * and all of them are read. */
static bool judge_stall(struct ingest_source *source, unsigned i,
                        int64_t stable, int64_t end)
{
    struct ingest_slot *slot = &source->slots[i];
    bool held = stable >= 0 && stable < end &&
                ingest_merge_position(source->merge, i) >= stable &&
                ingest_merge_position(source->merge, i) < end;
    pthread_mutex_lock(&source->mutex);
    if (!held)
        slot->stalled_ms = 0;
    else if (slot->stalled_ms == 0 || slot->stalled_at != stable)
        slot->stalled_ms = source->now_ms;
    slot->stalled_at = stable;
    int64_t since_ms = slot->stalled_ms;
    pthread_mutex_unlock(&source->mutex);
    bool say = held && source->now_ms - since_ms >= STALL_SAID_MS;
    if (say && !slot->stall_said)
        base_log(BASE_LOG_WARN, "event=transaction_open topic=%s partition=%d "
                 "offset=%lld end=%lld waited_ms=%lld",
                 ingest_source_topic(source, i),
                 source->positions[i].partition, (long long)stable,
                 (long long)end, (long long)(source->now_ms - since_ms));
    slot->stall_said = say;
    return held;
}

static bool any_stopped(const struct ingest_source *source)
{
    for (unsigned i = 0; i < source->slot_count; i++)
        if (source->slots[i].cause || source->slots[i].stopped)
            return true;
    return false;
}

/* More partitions are taken in once both topics have them; with fewer the
 * topic was made anew. */
static void judge_count(struct ingest_source *source,
                        const unsigned counts[INGEST_TOPICS])
{
    struct base_error error = {.text = ""};
    for (unsigned i = 0; i < source->slot_count; i++)
        if (i % source->per_topic >= counts[i / source->per_topic])
            ingest_source_stop_pair(source, i, INGEST_CAUSE_FEWER,
                                    counts[i / source->per_topic]);
    if (ingest_topics_check(source->config, counts, &error))
        note_watch(source, error.text);
    else if (counts[0] > source->per_topic && any_stopped(source))
        note_watch(source, "new partitions wait until those that stopped "
                           "go on");
    else
        note_watch(source, "");
    source->reopen =
        !error.status && counts[0] > source->per_topic && !any_stopped(source);
}

static void take_check(struct ingest_source *source,
                       const struct ingest_watch_answer *answer)
{
    bool judged = true, stalled = false;
    for (unsigned k = 0; k < answer->count; k++) {
        unsigned i = answer->slots[k];
        if (source->slots[i].stopped)
            continue;
        judged &= judge_anchor(source, i, answer->anchors[k],
                               answer->positions[k].anchor_offset);
        stalled |=
            judge_stall(source, i, answer->stable[k], answer->ends[k]);
    }
    if (stalled)
        source->check_ms = source->now_ms + STALLED_MS;
    judge_count(source, answer->partitions);
    if (source->wiring.begins)
        source->wiring.begins(source->wiring.self, answer->positions,
                              answer->begins, answer->count);
    if (judged)
        source->settled = answer->mark;
}

static void take_damage(struct ingest_source *source,
                        const struct ingest_watch_answer *answer)
{
    ingest_source_stop_pair(source, answer->slots[0], INGEST_CAUSE_DAMAGE,
                            answer->status ? -1 : answer->damage_end);
}

static void take_answer(struct ingest_source *source)
{
    struct ingest_watch_answer answer;
    if (!ingest_watch_answered(source->watch, &answer))
        return;
    source->check_ms = source->now_ms + CHECK_MS;
    if (answer.damage)
        take_damage(source, &answer);
    else if (!answer.status)
        take_check(source, &answer);
    else if (answer.status != BASE_STOPPED)
        note_watch(source, answer.error.text);
    if (answer.status)
        source->check_ms = source->now_ms + AGAIN_MS;
    ingest_watch_done(source->watch);
}

/* ---- questions ---------------------------------------------------------- */

static bool ask_damage(struct ingest_source *source)
{
    for (unsigned i = 0; i < source->slot_count; i++) {
        struct ingest_slot *slot = &source->slots[i];
        if (!slot->damaged || slot->cause || slot->stopped)
            continue;
        (void)ingest_watch_ask_damage(source->watch, &source->positions[i], i,
                                      slot->next);
        return true;
    }
    return false;
}

void ingest_source_look_after(struct ingest_source *source)
{
    take_answer(source);
    if (ask_damage(source))
        return;
    uint64_t doubts = atomic_load(&source->doubts);
    bool fresh = doubts != source->settled && doubts != source->asked_doubts;
    if (!fresh && source->now_ms < source->check_ms)
        return;
    unsigned count = ingest_source_active(source);
    if (count == 0) {
        source->settled = doubts;
    } else if (ingest_watch_ask(source->watch, doubts, source->positions,
                                source->asking, count)) {
        source->asked_doubts = doubts;
        source->check_ms = INT64_MAX; /* until there is an answer */
    }
}
