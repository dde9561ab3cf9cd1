/* SPDX-License-Identifier: Apache-2.0 */
/* See plain_state.h. Shares no code with ingest but names and the hash. */
#include "plain_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "ingest/digest.h"

/* ---- behaviors and histories --------------------------------------------- */

static uint32_t ordinals(const struct plain_state *plain, uint64_t user)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < plain->behavior_count; i++)
        count += plain->behaviors[i].user == user;
    return count;
}

static bool older(const struct plain_behavior *a,
                  const struct plain_behavior *b)
{
    return a->time < b->time || (a->time == b->time && a->ordinal < b->ordinal);
}

static void behave(struct plain_state *plain, const struct plain_event *click,
                   int64_t time, const uint64_t *ids)
{
    struct plain_behavior *oldest = NULL;
    struct plain_behavior *made = &plain->behaviors[plain->behavior_count];
    unsigned kept = 0;
    made->user = click->event.user;
    made->time = time;
    made->ordinal = ordinals(plain, made->user);
    made->partition = click->event.partition;
    made->dropped = false;
    memcpy(made->ids, ids, sizeof made->ids);
    plain->behavior_count++;
    for (unsigned i = 0; i < plain->behavior_count; i++) {
        struct plain_behavior *one = &plain->behaviors[i];
        if (one->user != made->user || one->dropped)
            continue;
        kept++;
        if (!oldest || older(one, oldest))
            oldest = one;
    }
    if (kept > plain->config->history_max + plain->config->history_slack)
        oldest->dropped = true;
}

/* The k-th latest behavior that the impression may know, or NULL. */
static const struct plain_behavior *
latest(const struct plain_state *plain, const struct plain_event *impression,
       const struct plain_behavior *than)
{
    const struct plain_behavior *best = NULL;
    int64_t ttl = plain->config->history_ttl_ms;
    for (unsigned i = 0; i < plain->behavior_count; i++) {
        const struct plain_behavior *one = &plain->behaviors[i];
        if (one->dropped || one->user != impression->event.user ||
            one->time >= impression->event.event_ms ||
            (ttl && one->time < impression->event.event_ms - ttl) ||
            one->ordinal >= impression->seen || (than && !older(one, than)))
            continue;
        if (!best || older(best, one))
            best = one;
    }
    return best;
}

static uint32_t history_of(const struct plain_state *plain,
                           const struct plain_event *impression, uint64_t *ids)
{
    const struct plain_behavior *found[LEARNER_HISTORY_MAX], *one = NULL;
    uint32_t count = 0;
    while (count < plain->config->history_max &&
           (one = latest(plain, impression, one)) != NULL)
        found[count++] = one;
    for (uint32_t i = 0; i < count; i++)
        memcpy(ids + i * FIXTURE_ITEMS, found[count - 1 - i]->ids,
               sizeof one->ids);
    return count;
}

/* ---- journal ------------------------------------------------------------- */

static void print_ids(FILE *out, const uint64_t *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%s\"%016" PRIx64 "\"", i ? "," : "[", ids[i]);
    fputs("]", out);
}

/* h' = XXH3-128(h || record). */
static void chain(struct plain_state *plain, const void *record, size_t size)
{
    uint8_t *joined = malloc(size + 16);
    if (!joined)
        abort();
    memcpy(joined, plain->chain, 16);
    memcpy(joined + 16, record, size);
    struct ingest_digest digest = ingest_digest_128(joined, size + 16);
    plain->chain[0] = digest.low;
    plain->chain[1] = digest.high;
    free(joined);
}

static void mark(struct plain_state *plain, uint8_t type, uint8_t label,
                 uint32_t count, uint64_t number)
{
    uint8_t record[16] = {type, label};
    memcpy(record + 4, &count, 4);
    memcpy(record + 8, &number, 8);
    chain(plain, record, sizeof record);
}

void plain_end_batch(struct plain_state *plain)
{
    if (plain->position == plain->batch_first)
        return;
    mark(plain, 3, 0, (uint32_t)(plain->position - plain->batch_first),
         plain->position);
    plain->batch_first = plain->position;
    plain->group_size = 0;
    plain->batch[plain->batches].end = plain->position;
    memcpy(plain->batch[plain->batches].chain, plain->chain, 16);
    plain->batches++;
    if (plain->samples)
        fprintf(plain->samples, "{\"batch_end\":%" PRIu64 "}\n",
                plain->position);
}

static void final(struct plain_state *plain,
                  const struct plain_event *impression)
{
    mark(plain, 2, impression->clicked, 0, impression->position);
    if (plain->samples)
        fprintf(plain->samples, "{\"final\":%" PRIu64 ",\"label\":%d}\n",
                impression->position, impression->clicked);
}

static void print_sample(const struct plain_state *plain,
                         const struct plain_event *impression, uint8_t kind,
                         uint8_t label, const uint64_t *history,
                         uint32_t count)
{
    static const char *const names[] = {"window", "fnw_negative",
                                        "fnw_positive"};
    FILE *out = plain->samples;
    if (!out)
        return;
    fprintf(out,
            "{\"position\":%" PRIu64 ",\"user\":\"%016" PRIx64
            "\",\"event_ms\":%" PRId64 ",\"label\":%d,\"kind\":\"%s\","
            "\"ids\":",
            plain->position, impression->event.user,
            impression->event.event_ms, label, names[kind]);
    print_ids(out, impression->ids, FIXTURE_FIELDS);
    fputs(",\"history\":[", out);
    for (uint32_t i = 0; i < count; i++) {
        fputs(i ? "," : "", out);
        print_ids(out, history + i * FIXTURE_ITEMS, FIXTURE_ITEMS);
    }
    fputs("]}\n", out);
}

static void chain_sample(struct plain_state *plain,
                         const struct plain_event *impression, uint8_t kind,
                         uint8_t label, const uint64_t *history,
                         uint32_t count)
{
    uint8_t record[24 + 8 * (FIXTURE_FIELDS + 64 * FIXTURE_ITEMS)];
    size_t bytes = 8 * (size_t)count * FIXTURE_ITEMS;
    bool before = plain->group_size > 0 && plain->group_size < 64 &&
                  plain->group_user == impression->event.user &&
                  plain->group_count == count &&
                  memcmp(plain->group_history, history, bytes) == 0;
    uint32_t written = before ? 0 : count;
    record[0] = 1;
    record[1] = kind;
    record[2] = label;
    record[3] = !before;
    memcpy(record + 4, &written, 4);
    memcpy(record + 8, &impression->event.event_ms, 8);
    memcpy(record + 16, &impression->event.user, 8);
    memcpy(record + 24, impression->ids, 8 * FIXTURE_FIELDS);
    if (!before)
        memcpy(record + 24 + 8 * FIXTURE_FIELDS, history, bytes);
    chain(plain, record,
          24 + 8 * FIXTURE_FIELDS + (before ? (size_t)0 : bytes));
    plain->group_size = before ? plain->group_size + 1 : 1;
    plain->group_user = impression->event.user;
    plain->group_count = count;
    memcpy(plain->group_history, history, bytes);
}

static void sample(struct plain_state *plain,
                   const struct plain_event *impression,
                   enum learner_sample_kind kind, uint8_t label)
{
    uint64_t history[LEARNER_HISTORY_MAX * FIXTURE_ITEMS] = {0};
    uint32_t count = history_of(plain, impression, history);
    print_sample(plain, impression, (uint8_t)kind, label, history, count);
    chain_sample(plain, impression, (uint8_t)kind, label, history, count);
    plain->position++;
    if (plain->position - plain->batch_first == plain->config->batch_size)
        plain_end_batch(plain);
}

/* ---- rules --------------------------------------------------------------- */

static uint64_t *bucket(struct plain_state *plain,
                        const struct plain_event *one, enum ingest_bucket to)
{
    return &plain->buckets[one->event.topic][one->event.partition][to];
}

static void settle(struct plain_state *plain, const struct plain_event *one,
                   enum ingest_bucket to)
{
    --*bucket(plain, one, INGEST_WAITING);
    ++*bucket(plain, one, to);
}

static bool fnw(const struct plain_state *plain)
{
    return plain->config->label_mode == INGEST_LABEL_FNW;
}

static bool fires_before(const struct plain_event *a,
                         const struct plain_event *b)
{
    if (a->due != b->due)
        return a->due < b->due;
    if (a->event.topic != b->event.topic)
        return a->event.topic < b->event.topic;
    if (a->event.partition != b->event.partition)
        return a->event.partition < b->event.partition;
    if (a->event.user != b->event.user)
        return a->event.user < b->event.user;
    if (a->event.event_ms != b->event.event_ms)
        return a->event.event_ms < b->event.event_ms;
    return a->event.offset < b->event.offset;
}

/* topic INGEST_TOPICS: of both. */
static struct plain_event *first_waiting(struct plain_state *plain,
                                         uint8_t topic)
{
    struct plain_event *first = NULL;
    for (unsigned i = 0; i < plain->count; i++) {
        struct plain_event *one = &plain->events[i];
        if (one->waits &&
            (topic == INGEST_TOPICS || one->event.topic == topic) &&
            (!first || fires_before(one, first)))
            first = one;
    }
    return first;
}

static void fire_one(struct plain_state *plain, struct plain_event *one)
{
    one->waits = false;
    if (one->event.topic == INGEST_CLICKS) {
        settle(plain, one, INGEST_ORGANIC);
        behave(plain, one, one->event.event_ms, one->ids);
    } else if (fnw(plain)) {
        final(plain, one);
    } else if (!one->clicked &&
               (double)(base_random_mix(one->event.event_id) >> 11) *
                       0x1p-53 >=
                   plain->config->negative_keep) {
        settle(plain, one, INGEST_DOWN_SAMPLED);
    } else {
        settle(plain, one, one->clicked ? INGEST_POSITIVE : INGEST_NEGATIVE);
        sample(plain, one, LEARNER_WINDOW, one->clicked);
    }
}

static uint64_t accepted_of(const struct plain_state *plain, uint8_t topic)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < plain->count; i++)
        count += plain->events[i].accepted &&
                 plain->events[i].event.topic == topic;
    return count;
}

static bool remembered(const struct plain_state *plain,
                       const struct ingest_event *event)
{
    for (unsigned i = 0; i < plain->count; i++) {
        const struct plain_event *one = &plain->events[i];
        if (!one->accepted || one->event.topic != event->topic ||
            one->event.event_id != event->event_id)
            continue;
        if (one->waits && event->topic == INGEST_IMPRESSIONS)
            return true;
        if (plain->config->remembered_max && !one->waits &&
            accepted_of(plain, event->topic) - one->number >
                plain->config->remembered_max)
            continue;
        if (plain->own[event->topic][one->event.partition] <=
            one->event.event_ms + plain->config->lateness_ms)
            return true;
    }
    return false;
}

static enum ingest_bucket join(struct plain_state *plain,
                               struct plain_event *click,
                               struct plain_event *impression)
{
    const struct ingest_config *config = plain->config;
    int64_t shown = impression->event.event_ms;
    int64_t clicked = click->event.event_ms;
    if (click->event.user != impression->event.user ||
        clicked < shown - config->skew_ms ||
        clicked > shown + config->window_ms) {
        behave(plain, click, clicked, click->ids);
        return INGEST_ORPHAN;
    }
    bool labels = !impression->clicked && fnw(plain);
    impression->clicked = true;
    if (labels)
        sample(plain, impression, LEARNER_FNW_POSITIVE, 1);
    behave(plain, click, clicked > shown ? clicked : shown,
           impression->ids + FIXTURE_PROFILE);
    return labels ? INGEST_POSITIVE : INGEST_JOINED_CLICK;
}

static void evict(struct plain_state *plain)
{
    uint64_t open = 0;
    for (unsigned i = 0; i < plain->count; i++)
        open += plain->events[i].waits &&
                plain->events[i].event.topic == INGEST_IMPRESSIONS;
    if (open <= plain->config->pending_max)
        return;
    struct plain_event *one = first_waiting(plain, INGEST_IMPRESSIONS);
    one->waits = false;
    if (fnw(plain))
        final(plain, one);
    else
        settle(plain, one, INGEST_EVICTED);
}

static void evict_click(struct plain_state *plain)
{
    uint64_t open = 0;
    for (unsigned i = 0; i < plain->count; i++)
        open += plain->events[i].waits &&
                plain->events[i].event.topic == INGEST_CLICKS;
    if (plain->config->waiting_clicks_max == 0 ||
        open <= plain->config->waiting_clicks_max)
        return;
    struct plain_event *one = first_waiting(plain, INGEST_CLICKS);
    one->waits = false;
    settle(plain, one, INGEST_EVICTED);
    behave(plain, one, one->event.event_ms, one->ids);
}

static void apply_impression(struct plain_state *plain,
                             struct plain_event *impression)
{
    const struct ingest_config *config = plain->config;
    const struct ingest_event *event = &impression->event;
    impression->seen = ordinals(plain, event->user);
    impression->due = event->event_ms + config->lateness_ms;
    if (impression->due < event->apply_ms)
        impression->due = event->apply_ms;
    impression->due += config->window_ms;
    impression->position = plain->position;
    if (fnw(plain))
        sample(plain, impression, LEARNER_FNW_NEGATIVE, 0);
    ++*bucket(plain, impression,
              fnw(plain) ? INGEST_NEGATIVE : INGEST_WAITING);
    impression->number = accepted_of(plain, INGEST_IMPRESSIONS);
    impression->accepted = impression->waits = true;
    for (unsigned i = 0; i < plain->count; i++) {
        struct plain_event *click = &plain->events[i];
        if (click->waits && click->event.topic == INGEST_CLICKS &&
            click->event.impression == event->event_id) {
            click->waits = false;
            settle(plain, click, join(plain, click, impression));
        }
    }
    evict(plain);
}

static struct plain_event *open_impression(struct plain_state *plain,
                                           uint64_t id)
{
    for (unsigned i = 0; i < plain->count; i++) {
        struct plain_event *one = &plain->events[i];
        if (one->waits && one->event.topic == INGEST_IMPRESSIONS &&
            one->event.event_id == id)
            return one;
    }
    return NULL;
}

static void apply_click(struct plain_state *plain, struct plain_event *click)
{
    const struct ingest_config *config = plain->config;
    const struct ingest_event *event = &click->event;
    struct plain_event *impression =
        open_impression(plain, event->impression);
    click->number = accepted_of(plain, INGEST_CLICKS);
    click->accepted = true;
    if (event->impression == 0) {
        ++*bucket(plain, click, INGEST_BEHAVIOR);
        behave(plain, click, event->event_ms, click->ids);
    } else if (impression) {
        ++*bucket(plain, click, join(plain, click, impression));
    } else {
        ++*bucket(plain, click, INGEST_WAITING);
        click->waits = true;
        click->due =
            event->event_ms + config->lateness_ms + config->skew_ms;
        if (click->due < event->apply_ms)
            click->due = event->apply_ms;
        evict_click(plain);
    }
}

void plain_apply(struct plain_state *plain, const struct ingest_event *event)
{
    struct plain_event *first, *one = &plain->events[plain->count];
    while ((first = first_waiting(plain, INGEST_TOPICS)) != NULL &&
           first->due < event->apply_ms)
        fire_one(plain, first);
    memset(one, 0, sizeof *one);
    one->event = *event;
    if (event->ids)
        memcpy(one->ids, event->ids,
               8 * (event->kind == INGEST_EVENT_CLICK ? FIXTURE_ITEMS
                                                      : FIXTURE_FIELDS));
    plain->count++;
    int64_t *next = &plain->next[event->topic][event->partition];
    *bucket(plain, one, INGEST_CONTROL) += (uint64_t)(event->offset - *next);
    *next = event->offset + 1;
    if (event->kind == INGEST_EVENT_DEAD) {
        ++*bucket(plain, one, INGEST_DEAD_LETTER);
        plain->reasons[event->reason]++;
        return;
    }
    plain->own[event->topic][event->partition] = event->own_ms;
    bool late = event->event_ms < event->own_ms - plain->config->lateness_ms;
    if (remembered(plain, event)) {
        ++*bucket(plain, one, INGEST_DUPLICATE);
    } else if (late) {
        ++*bucket(plain, one, INGEST_LATE);
        if (event->kind == INGEST_EVENT_CLICK)
            behave(plain, one, event->event_ms, one->ids);
    } else if (event->kind == INGEST_EVENT_CLICK) {
        apply_click(plain, one);
    } else {
        apply_impression(plain, one);
    }
}

void plain_stop(struct plain_state *plain, int32_t partition)
{
    for (int topic = 0; topic < INGEST_TOPICS; topic++)
        for (unsigned i = 0; i < plain->count; i++) {
            struct plain_event *one = &plain->events[i];
            if (!one->waits || one->event.topic != topic ||
                one->event.partition != partition)
                continue;
            one->waits = false;
            if (topic == INGEST_CLICKS) {
                settle(plain, one, INGEST_ORGANIC);
                behave(plain, one, one->event.event_ms, one->ids);
            } else if (!fnw(plain)) {
                settle(plain, one, INGEST_UNLABELLED);
            }
        }
}

void plain_skip(struct plain_state *plain, unsigned topic, int32_t partition,
                int64_t to)
{
    int64_t *next = &plain->next[topic][partition];
    plain->buckets[topic][partition][INGEST_LOST] += (uint64_t)(to - *next);
    *next = to;
    plain_stop(plain, partition);
}

/* ---- printing ------------------------------------------------------------ */

static void print_buckets(const uint64_t *buckets, FILE *out)
{
    const char *comma = "";
    fputs("{", out);
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++)
        if (buckets[i]) {
            fprintf(out, "%s\"%s\":%" PRIu64, comma,
                    ingest_bucket_name((enum ingest_bucket)i), buckets[i]);
            comma = ",";
        }
    fputs("}", out);
}

void plain_print_ledger(const struct plain_state *plain, unsigned partitions,
                        FILE *out)
{
    uint64_t sums[INGEST_BUCKET_COUNT] = {0};
    const char *comma = "";
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++)
        for (unsigned i = 0; i < partitions; i++) {
            fprintf(out,
                    "{\"topic\":\"%s\",\"partition\":%u,\"start\":0,"
                    "\"next\":%" PRId64 ",\"buckets\":",
                    topic ? "clicks" : "impressions", i,
                    plain->next[topic][i]);
            print_buckets(plain->buckets[topic][i], out);
            fputs("}\n", out);
            for (int b = 0; b < INGEST_BUCKET_COUNT; b++)
                sums[b] += plain->buckets[topic][i][b];
        }
    fputs("{\"reasons\":{", out);
    for (int i = 0; i < INGEST_REASON_COUNT; i++)
        if (plain->reasons[i]) {
            fprintf(out, "%s\"%s\":%" PRIu64, comma,
                    ingest_reason_name((enum ingest_reason)i),
                    plain->reasons[i]);
            comma = ",";
        }
    fputs("}}\n{\"totals\":", out);
    print_buckets(sums, out);
    fputs("}\n", out);
}

static const struct plain_behavior *
oldest_after(const struct plain_state *plain, uint64_t user,
             const struct plain_behavior *than)
{
    const struct plain_behavior *best = NULL;
    for (unsigned i = 0; i < plain->behavior_count; i++) {
        const struct plain_behavior *one = &plain->behaviors[i];
        if (one->user == user && !one->dropped &&
            (!than || older(than, one)) && (!best || older(one, best)))
            best = one;
    }
    return best;
}

static void print_sequence(const struct plain_state *plain,
                           const struct plain_behavior *made, FILE *out)
{
    const struct plain_behavior *one = NULL;
    const char *comma = "";
    fprintf(out,
            "{\"user\":\"%016" PRIx64 "\",\"partition\":%d,"
            "\"next_ordinal\":%u,\"behaviors\":[",
            made->user, (int)made->partition, ordinals(plain, made->user));
    while ((one = oldest_after(plain, made->user, one)) != NULL) {
        fprintf(out, "%s[%" PRId64 ",%u,", comma, one->time, one->ordinal);
        print_ids(out, one->ids, FIXTURE_ITEMS);
        fputs("]", out);
        comma = ",";
    }
    fputs("]}\n", out);
}

void plain_print_sequences(const struct plain_state *plain, FILE *out)
{
    const struct plain_behavior *last = NULL;
    for (;;) {
        const struct plain_behavior *next = NULL;
        for (unsigned i = 0; i < plain->behavior_count; i++) {
            const struct plain_behavior *one = &plain->behaviors[i];
            if (one->ordinal == 0 && (!last || one->user > last->user) &&
                (!next || one->user < next->user))
                next = one;
        }
        if (!next)
            return;
        print_sequence(plain, next, out);
        last = next;
    }
}
