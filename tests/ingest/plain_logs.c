/* SPDX-License-Identifier: Apache-2.0 */
/* See plain_logs.h. */
#include "plain_logs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

unsigned plain_slot(const struct plain_record *record)
{
    return record->made.event.topic * STREAM_PARTITIONS +
           (unsigned)record->made.event.partition;
}

/* What a decision between records says more. */
static void read_between(const char *line, struct plain_decision *one)
{
    char text[400], topic[16];
    snprintf(text, sizeof text, "%.*s", (int)strcspn(line, "\n"), line);
    const char *lost = strstr(text, "\"lost ["), *behind =
                                                    strstr(text, "behind");
    int64_t from;
    one->behind = (struct ingest_event){.offset = -1};
    if (one->skipped)
        assert_int_equal(sscanf(lost, "\"lost [%" SCNd64 ", %" SCNd64, &from,
                                &one->to), 2);
    if (!behind)
        return;
    assert_int_equal(sscanf(behind, "behind\":\"%15[a-z]/%d@%" SCNd64, topic,
                            &one->behind.partition, &one->behind.offset), 3);
    one->behind.topic = topic[0] == 'c';
    one->behind.own_ms = one->own_ms;
    one->behind.apply_ms = one->apply_ms;
}

void plain_decisions_read(const char *text, struct plain_decided *decided)
{
    decided->count = 0;
    for (; *text; text += strcspn(text, "\n") + 1) {
        struct plain_decision *one = &decided->items[decided->count++];
        char topic[16], kind[40];
        unsigned partition;
        assert_true(decided->count <= PLAIN_DECISIONS);
        assert_int_equal(
            sscanf(text,
                   "{\"topic\":\"%15[a-z]\",\"partition\":%u,\"offset\":"
                   "%" SCNd64 ",\"kind\":\"%39[a-z+]\",\"own_ms\":%" SCNd64
                   ",\"apply_ms\":%" SCNd64 "}",
                   topic, &partition, &one->offset, kind, &one->own_ms,
                   &one->apply_ms),
            6);
        one->slot = (topic[0] == 'c') * STREAM_PARTITIONS + partition;
        one->floored = strstr(kind, "floored");
        one->clamped = strstr(kind, "clamped");
        one->ahead = strstr(kind, "ahead");
        one->stopped = strstr(kind, "stopped");
        one->skipped = strstr(kind, "skipped");
        if (one->stopped || one->skipped)
            read_between(text, one);
    }
}

static const struct plain_decision *decision_on(const struct plain_decided *decided,
                                          const struct plain_record *record)
{
    static const struct plain_decision none;
    for (unsigned i = 0; decided && i < decided->count; i++)
        if (decided->items[i].slot == plain_slot(record) &&
            decided->items[i].offset == record->made.event.offset &&
            !decided->items[i].stopped && !decided->items[i].skipped)
            return &decided->items[i];
    return &none;
}

static bool is_given_up(const struct plain_decided *decided,
                        const struct plain_record *record)
{
    int64_t offset = record->made.event.offset;
    for (unsigned i = 0; decided && i < decided->count; i++)
        if (decided->items[i].skipped &&
            decided->items[i].slot == plain_slot(record) &&
            offset >= decided->items[i].offset &&
            offset < decided->items[i].to)
            return true;
    return false;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int in_order(const void *left, const void *right)
{
    const struct ingest_event *a = left, *b = right;
    const int64_t x[] = {a->apply_ms, a->own_ms, a->topic, a->partition,
                         a->offset};
    const int64_t y[] = {b->apply_ms, b->own_ms, b->topic, b->partition,
                         b->offset};
    for (unsigned i = 0; i < 5; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* STATE a: times a record has by its own log and the decisions. How many. */
static unsigned order_logs(const struct plain_logs *logs,
                           const struct plain_decided *decided,
                           struct ingest_event *events)
{
    int64_t own[PLAIN_SLOTS] = {0}, apply[PLAIN_SLOTS] = {0};
    unsigned i = 0;
    for (unsigned k = 0; k < logs->count; k++) {
        const struct plain_record *record = &logs->records[k];
        const struct plain_decision *decision = decision_on(decided, record);
        unsigned slot = plain_slot(record);
        if (is_given_up(decided, record))
            continue;
        events[i] = record->made.event;
        events[i].ids = record->made.ids;
        if (decision->ahead) {
            events[i].kind = INGEST_EVENT_DEAD;
            events[i].reason = INGEST_REASON_TIME;
        }
        if (events[i].kind != INGEST_EVENT_DEAD) {
            int64_t stamp = events[i].event_ms;
            if (events[i].kafka_ms > 0 && events[i].kafka_ms < stamp)
                stamp = events[i].kafka_ms;
            own[slot] = larger(
                own[slot], decision->clamped ? decision->own_ms : stamp);
        }
        apply[slot] = larger(apply[slot], own[slot]);
        if (decision->floored)
            apply[slot] = larger(apply[slot], decision->apply_ms);
        events[i].own_ms = own[slot];
        events[i++].apply_ms = apply[slot];
    }
    qsort(events, i, sizeof *events, in_order);
    return i;
}

/* Stops and skips that came before this record; NULL: all. */
static void apply_between(struct plain_state *plain,
                          const struct plain_decided *decided, unsigned *done,
                          const struct ingest_event *before)
{
    for (; decided && *done < decided->count; ++*done) {
        const struct plain_decision *one = &decided->items[*done];
        if (!one->stopped && !one->skipped)
            continue;
        if (before && one->behind.offset >= 0 &&
            in_order(&one->behind, before) >= 0)
            return;
        if (one->stopped)
            plain_stop(plain, (int32_t)(one->slot % STREAM_PARTITIONS));
        else
            plain_skip(plain, one->slot / STREAM_PARTITIONS,
                       (int32_t)(one->slot % STREAM_PARTITIONS), one->to);
    }
}

void plain_views_fini(struct plain_views *views)
{
    for (int i = 0; i < PLAIN_VIEWS; i++)
        free(views->text[i]);
    *views = (struct plain_views){0};
}

void plain_logs_run(const struct ingest_config *config,
                      const struct plain_logs *logs, const struct plain_decided *decided,
                      struct plain_views *views, uint64_t *seen)
{
    static struct plain_state plain;
    static struct ingest_event events[PLAIN_RECORDS];
    size_t size;
    memset(&plain, 0, sizeof plain);
    plain.config = config;
    plain.samples = open_memstream(&views->text[PLAIN_SAMPLES], &size);
    unsigned count = order_logs(logs, decided, events), done = 0;
    for (unsigned i = 0; i < count; i++) {
        apply_between(&plain, decided, &done, &events[i]);
        plain_apply(&plain, &events[i]);
    }
    apply_between(&plain, decided, &done, NULL);
    fclose(plain.samples);
    FILE *out = open_memstream(&views->text[PLAIN_LEDGER], &size);
    plain_print_ledger(&plain, STREAM_PARTITIONS, out);
    fclose(out);
    out = open_memstream(&views->text[PLAIN_SEQUENCES], &size);
    plain_print_sequences(&plain, out);
    fclose(out);
    out = open_memstream(&views->text[PLAIN_CHAIN], &size);
    fprintf(out, "%016" PRIx64 "%016" PRIx64, plain.chain[1], plain.chain[0]);
    fclose(out);
    for (unsigned i = 0; i < PLAIN_SLOTS; i++)
        for (int b = 0; b < INGEST_BUCKET_COUNT; b++)
            seen[b] += plain.buckets[i / STREAM_PARTITIONS]
                                    [i % STREAM_PARTITIONS][b];
}
