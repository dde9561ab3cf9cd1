/* SPDX-License-Identifier: Apache-2.0 */
/* The merge against a sort: random streams under random interleavings leave
 * in one order; idle, floors, clamps, stops and restarts by hand. */
#include "ingest/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

enum { SLOTS = 6, PER_SLOT = 40, IDLE = 100 };
static const int64_t wall = 1000000000;

static uint64_t random_state = 1;
static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

/* ---- streams ------------------------------------------------------------ */

struct record {
    bool dead;
    int64_t event_ms, kafka_ms, offset;
};

struct stream {
    struct record records[PER_SLOT];
    unsigned count, sent;
};

static void make_stream(struct stream *stream)
{
    int64_t time = 1000, offset = draw(5);
    stream->sent = 0;
    stream->count = draw(PER_SLOT + 1);
    for (unsigned i = 0; i < stream->count; i++) {
        struct record *record = &stream->records[i];
        time += draw(20);
        record->dead = draw(10) == 0;
        record->event_ms = time - (int64_t)draw(30);
        record->kafka_ms = draw(4) ? time : (int64_t)draw(2) - 1;
        record->offset = offset;
        offset += 1 + (draw(8) == 0 ? draw(3) : 0);
    }
}

static void start_of(struct ingest_merge_start *starts)
{
    for (unsigned i = 0; i < SLOTS; i++)
        starts[i] = (struct ingest_merge_start){
            .topic = i % 2, .partition = (int32_t)(i / 2),
            .own_ms = INT64_MIN, .apply_ms = INT64_MIN};
}

static struct ingest_merge *new_merge(const struct ingest_merge_start *starts,
                                      const struct ingest_event *last,
                                      const struct ingest_decisions *given)
{
    struct ingest_merge_config config = {
        .slots = SLOTS, .ids = 2, .depth = 16, .idle_ms = IDLE,
        .starts = starts, .last = last, .decisions = given};
    struct ingest_merge *merge = NULL;
    struct base_error error;
    assert_int_equal(ingest_merge_new(&config, &merge, &error), BASE_OK);
    return merge;
}

static void push(struct ingest_merge *merge, unsigned slot,
                 const struct record *record, int64_t now)
{
    uint64_t *ids;
    struct ingest_event *event = ingest_merge_reserve(merge, slot, &ids);
    assert_non_null(event);
    event->kind = record->dead ? INGEST_EVENT_DEAD : INGEST_EVENT_CLICK;
    event->event_ms = record->event_ms;
    event->kafka_ms = record->kafka_ms;
    event->offset = record->offset;
    if (record->dead)
        event->payload = malloc(3);
    ids[0] = slot;
    ids[1] = (uint64_t)record->offset;
    ingest_merge_push(merge, slot, now, wall);
}

static void push_time(struct ingest_merge *merge, unsigned slot,
                      int64_t offset, int64_t event_ms, int64_t now)
{
    push(merge, slot,
         &(struct record){.event_ms = event_ms, .kafka_ms = -1,
                          .offset = offset}, now);
}

struct output {
    unsigned count;
    struct ingest_event events[SLOTS * PER_SLOT];
};

static void drain(struct ingest_merge *merge, struct output *output,
                  unsigned most)
{
    const struct ingest_event *event;
    while (most-- > 0 && (event = ingest_merge_peek(merge))) {
        assert_int_equal(event->ids[0], event->partition * 2 + event->topic);
        assert_int_equal(event->ids[1], event->offset);
        output->events[output->count++] = *event;
        ingest_merge_pop(merge);
    }
}

static void at_ends(struct ingest_merge *merge, int64_t asked_ms)
{
    for (unsigned i = 0; i < SLOTS; i++)
        ingest_merge_answer(merge, i, asked_ms,
                            ingest_merge_position(merge, i));
}

/* ---- the plain model: keys by the rules, then a sort -------------------- */

static int by_order(const void *a, const void *b)
{
    return ingest_event_order(a, b);
}

static void model(const struct stream *streams, struct output *output)
{
    output->count = 0;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        int64_t own = 0;
        for (unsigned i = 0; i < streams[slot].count; i++) {
            const struct record *record = &streams[slot].records[i];
            int64_t at = record->event_ms;
            if (record->kafka_ms > 0 && record->kafka_ms < at)
                at = record->kafka_ms;
            if (!record->dead && at > own)
                own = at;
            output->events[output->count++] = (struct ingest_event){
                .topic = slot % 2, .partition = (int32_t)(slot / 2),
                .offset = record->offset, .own_ms = own, .apply_ms = own};
        }
    }
    qsort(output->events, output->count, sizeof output->events[0], by_order);
}

static void assert_same(const struct output *got, const struct output *wanted)
{
    assert_int_equal(got->count, wanted->count);
    for (unsigned i = 0; i < got->count; i++) {
        assert_int_equal(
            ingest_event_order(&got->events[i], &wanted->events[i]), 0);
        assert_int_equal(got->events[i].decisions, 0);
    }
}

/* Pushes in random turns, taking out what may go now and then. */
static void interleave(struct ingest_merge *merge, struct stream *streams,
                       struct output *output, unsigned steps)
{
    while (steps-- > 0) {
        unsigned slot = draw(SLOTS);
        struct stream *stream = &streams[slot];
        for (unsigned burst = draw(6); burst > 0; burst--)
            if (stream->sent < stream->count)
                push(merge, slot, &stream->records[stream->sent++], 0);
        drain(merge, output, draw(12));
    }
}

static void push_rest(struct ingest_merge *merge, struct stream *streams)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        while (streams[slot].sent < streams[slot].count)
            push(merge, slot, &streams[slot].records[streams[slot].sent++], 0);
}

static void test_any_interleaving(void **state)
{
    (void)state;
    static struct stream streams[SLOTS];
    static struct output got, wanted;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    for (int round = 0; round < 2000; round++) {
        for (unsigned i = 0; i < SLOTS; i++)
            make_stream(&streams[i]);
        model(streams, &wanted);
        struct ingest_merge *merge = new_merge(starts, NULL, NULL);
        got.count = 0;
        interleave(merge, streams, &got, draw(150));
        push_rest(merge, streams);
        at_ends(merge, IDLE);
        drain(merge, &got, UINT32_MAX);
        assert_int_equal(ingest_merge_size(merge), 0);
        ingest_merge_free(merge);
        assert_same(&got, &wanted);
    }
}

/* Positions as the state would keep them after the first `count` events. */
static void positions(const struct output *output,
                      struct ingest_merge_start *starts)
{
    start_of(starts);
    for (unsigned i = 0; i < output->count; i++) {
        const struct ingest_event *event = &output->events[i];
        struct ingest_merge_start *at =
            &starts[event->partition * 2 + event->topic];
        at->next = event->offset + 1;
        at->own_ms = event->own_ms;
        at->apply_ms = event->apply_ms;
    }
}

static void test_restart_goes_on(void **state)
{
    (void)state;
    static struct stream streams[SLOTS];
    static struct output got, wanted;
    struct ingest_merge_start starts[SLOTS];
    for (int round = 0; round < 1000; round++) {
        for (unsigned i = 0; i < SLOTS; i++)
            make_stream(&streams[i]);
        model(streams, &wanted);
        start_of(starts);
        struct ingest_merge *merge = new_merge(starts, NULL, NULL);
        got.count = 0;
        interleave(merge, streams, &got, draw(60));
        ingest_merge_free(merge);
        positions(&got, starts);
        merge = new_merge(
            starts, got.count ? &got.events[got.count - 1] : NULL, NULL);
        for (unsigned i = 0; i < SLOTS; i++) {
            struct stream *stream = &streams[i];
            stream->sent = 0;
            while (stream->sent < stream->count &&
                   stream->records[stream->sent].offset < starts[i].next)
                stream->sent++;
        }
        interleave(merge, streams, &got, draw(60));
        push_rest(merge, streams);
        at_ends(merge, IDLE);
        drain(merge, &got, UINT32_MAX);
        ingest_merge_free(merge);
        assert_same(&got, &wanted);
    }
}

/* ---- idle, floors, clamps ----------------------------------------------- */

static void test_waits_for_an_answer(void **state)
{
    (void)state;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    unsigned slots[SLOTS];
    int64_t due;
    assert_int_equal(ingest_merge_blockers(merge, slots, &due), 0);
    push_time(merge, 0, 0, 500, 1000);
    push_time(merge, 0, 1, 501, 1050);
    assert_null(ingest_merge_peek(merge));
    assert_int_equal(ingest_merge_blockers(merge, slots, &due), SLOTS - 1);
    assert_int_equal(due, 1000 + IDLE);
    assert_int_equal(slots[0], 1);
    /* Asked too early: does not count. */
    at_ends(merge, 1000 + IDLE - 1);
    assert_null(ingest_merge_peek(merge));
    /* Asked in time, but one partition has more than we have read. */
    at_ends(merge, 1000 + IDLE);
    ingest_merge_answer(merge, 3, 1000 + IDLE, 7);
    assert_null(ingest_merge_peek(merge));
    /* All that are empty are asked again, not the one alone: each in its turn
     * would hold what is behind. */
    assert_int_equal(ingest_merge_blockers(merge, slots, &due), SLOTS - 1);
    assert_int_equal(slots[0], 1);
    assert_int_equal(slots[SLOTS - 2], SLOTS - 1);
    /* It turns out that those were no records (aborted, control). */
    ingest_merge_reached(merge, 3, 7);
    assert_int_equal(ingest_merge_peek(merge)->offset, 0);
    ingest_merge_pop(merge);
    /* The second came 50 ms later: the same answer does not free it. */
    assert_null(ingest_merge_peek(merge));
    at_ends(merge, 1050 + IDLE);
    assert_int_equal(ingest_merge_peek(merge)->offset, 1);
    ingest_merge_free(merge);
}

static void test_floor_after_idle(void **state)
{
    (void)state;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    struct output output = {0};
    push_time(merge, 0, 0, 500, 0);
    at_ends(merge, IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 1);
    push_time(merge, 1, 0, 400, 200); /* below 500: floor */
    push_time(merge, 1, 1, 450, 200); /* stands on the same floor */
    push_time(merge, 2, 0, 800, 200); /* above: none */
    at_ends(merge, 200 + IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 4);
    assert_int_equal(output.events[1].apply_ms, 501);
    assert_int_equal(output.events[1].own_ms, 400);
    assert_int_equal(output.events[1].decisions, INGEST_FLOORED);
    assert_int_equal(output.events[2].apply_ms, 501);
    assert_int_equal(output.events[2].decisions, 0);
    assert_int_equal(output.events[3].apply_ms, 800);
    assert_int_equal(output.events[3].decisions, 0);
    ingest_merge_free(merge);
}

static void test_clamp(void **state)
{
    (void)state;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    struct output output = {0};
    push_time(merge, 0, 0, wall + INGEST_AHEAD_MS, 0);
    push_time(merge, 0, 1, wall + 86400000, 0);
    push(merge, 2, &(struct record){.event_ms = wall + 99999999,
                                    .kafka_ms = 77}, 0);
    at_ends(merge, IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 3);
    assert_int_equal(output.events[0].own_ms, 77);
    assert_int_equal(output.events[0].decisions, 0);
    assert_int_equal(output.events[1].decisions, 0);
    assert_int_equal(output.events[2].own_ms, wall + INGEST_AHEAD_MS);
    assert_int_equal(output.events[2].event_ms, wall + 86400000);
    assert_int_equal(output.events[2].decisions, INGEST_CLAMPED);
    ingest_merge_free(merge);
}

static void test_stop_frees_the_others(void **state)
{
    (void)state;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    for (unsigned i = 0; i + 1 < SLOTS; i++)
        push_time(merge, i, 0, 100 * (i + 1), 0);
    assert_null(ingest_merge_peek(merge));
    ingest_merge_stop(merge, SLOTS - 1);
    ingest_merge_stop(merge, 0);
    assert_true(ingest_merge_stopped(merge, 0));
    assert_int_equal(ingest_merge_size(merge), SLOTS - 2);
    assert_int_equal(ingest_merge_peek(merge)->own_ms, 200);
    ingest_merge_pop(merge);
    assert_null(ingest_merge_peek(merge)); /* now slot 1 is empty */
    ingest_merge_free(merge);
}

/* ---- decisions given as input ------------------------------------------- */

static struct ingest_decisions *decisions_of(const char *text,
                                             enum base_status status)
{
    char path[] = "/tmp/interestd-merge-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
    struct ingest_decisions *decisions = NULL;
    struct base_error error = {.text = ""};
    assert_int_equal(ingest_decisions_read(path, &decisions, &error), status);
    if (status)
        assert_non_null(strstr(error.text, ":2:"));
    unlink(path);
    return decisions;
}

/* As push_time, by the given clock; a dead letter where that says so. */
static bool push_judged(struct ingest_merge *merge, unsigned slot,
                        int64_t offset, int64_t event_ms, int64_t wall_ms)
{
    uint64_t *ids;
    struct ingest_event *event = ingest_merge_reserve(merge, slot, &ids);
    assert_non_null(event);
    *event = (struct ingest_event){
        .kind = INGEST_EVENT_CLICK, .topic = event->topic,
        .partition = event->partition, .offset = offset,
        .event_ms = event_ms, .kafka_ms = event_ms};
    ids[0] = slot;
    ids[1] = (uint64_t)offset;
    bool ahead = ingest_merge_judge(merge, slot, wall_ms) ==
                 INGEST_REASON_TIME;
    assert_int_equal(event->decisions, ahead ? INGEST_AHEAD : 0);
    if (ahead)
        event->kind = INGEST_EVENT_DEAD;
    ingest_merge_push(merge, slot, 0, wall_ms);
    return ahead;
}

/* Kafka's time as far ahead as the event's: the clock judges. */
static void test_ahead(void **state)
{
    (void)state;
    const int64_t limit = wall + INGEST_AHEAD_MS + INGEST_FUTURE_MS;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    static struct output output;
    output.count = 0;
    assert_false(push_judged(merge, 0, 0, 500, wall));
    assert_true(push_judged(merge, 0, 1, limit + 1, wall));
    assert_true(push_judged(merge, 0, 2, INT64_MAX, wall));
    assert_false(push_judged(merge, 0, 3, limit, wall));
    uint64_t *ids;
    ingest_merge_reserve(merge, 1, &ids)->kind = INGEST_EVENT_DEAD;
    assert_int_equal(ingest_merge_judge(merge, 1, wall),
                     INGEST_REASON_NONE); /* is dead already */
    at_ends(merge, IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 4);
    static const uint8_t marks[] = {0, INGEST_AHEAD, INGEST_AHEAD,
                                    INGEST_CLAMPED};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(output.events[i].offset, i);
        assert_int_equal(output.events[i].decisions, marks[i]);
        assert_int_equal(output.events[i].own_ms,
                         i < 3 ? 500 : wall + INGEST_AHEAD_MS);
    }
    ingest_merge_free(merge);
}

/* Given decisions say who was ahead, not today's clock. */
static void test_ahead_as_given(void **state)
{
    (void)state;
    const int64_t limit = wall + INGEST_AHEAD_MS + INGEST_FUTURE_MS;
    struct ingest_decisions *given = decisions_of(
        "{\"topic\": \"impressions\", \"partition\": 0, \"offset\": 1,"
        " \"kind\": \"floored+ahead\", \"own_ms\": 7, \"apply_ms\": 9}\n"
        "{\"topic\": \"impressions\", \"partition\": 0, \"offset\": 2,"
        " \"kind\": \"clamped\", \"own_ms\": 20, \"apply_ms\": 20}\n",
        BASE_OK);
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, given);
    static struct output output;
    output.count = 0;
    assert_false(push_judged(merge, 0, 0, 5, wall));
    assert_true(push_judged(merge, 0, 1, limit + 1, limit + 86400000));
    assert_false(push_judged(merge, 0, 2, limit + 1, wall));
    assert_false(push_judged(merge, 0, 3, limit + 1, wall));
    at_ends(merge, IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 4);
    static const uint8_t marks[] = {0, INGEST_FLOORED | INGEST_AHEAD,
                                    INGEST_CLAMPED, INGEST_CLAMPED};
    static const int64_t own[] = {5, 5, 20, wall + INGEST_AHEAD_MS};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(output.events[i].decisions, marks[i]);
        assert_int_equal(output.events[i].own_ms, own[i]);
    }
    assert_int_equal(output.events[1].apply_ms, 9);
    ingest_merge_free(merge);
    ingest_decisions_free(given);
}

/* A schema that is known by now was not then. */
static void test_unregistered_as_given(void **state)
{
    (void)state;
    struct ingest_decisions *given = decisions_of(
        "{\"topic\": \"impressions\", \"partition\": 0, \"offset\": 1,"
        " \"kind\": \"floored+unregistered\", \"own_ms\": 7,"
        " \"apply_ms\": 9}\n",
        BASE_OK);
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, given);
    for (int64_t offset = 0; offset < 3; offset++) {
        uint64_t *ids;
        struct ingest_event *event = ingest_merge_reserve(merge, 0, &ids);
        event->kind = INGEST_EVENT_CLICK;
        event->offset = offset;
        event->event_ms = event->kafka_ms = 5;
        ids[0] = 0;
        ids[1] = (uint64_t)offset;
        enum ingest_reason reason = ingest_merge_judge(merge, 0, wall);
        assert_int_equal(reason, offset == 1 ? INGEST_REASON_SCHEMA_UNKNOWN
                                             : INGEST_REASON_NONE);
        assert_int_equal(event->decisions,
                         offset == 1 ? INGEST_UNREGISTERED : 0);
        if (reason)
            event->kind = INGEST_EVENT_DEAD;
        ingest_merge_push(merge, 0, 0, wall);
    }
    static struct output output;
    output.count = 0;
    at_ends(merge, IDLE);
    drain(merge, &output, UINT32_MAX);
    assert_int_equal(output.count, 3);
    assert_int_equal(output.events[1].decisions,
                     INGEST_FLOORED | INGEST_UNREGISTERED);
    assert_int_equal(output.events[1].own_ms, 5);
    assert_int_equal(output.events[1].apply_ms, 9);
    ingest_merge_free(merge);
    ingest_decisions_free(given);
}

/* A live run with floors; its decisions, given to a run that has all at once,
 * lead to the same order and the same keys. */
static void test_given_decisions_replace_the_clock(void **state)
{
    (void)state;
    static struct stream streams[SLOTS];
    static struct output live, again;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    uint64_t floored = 0;
    for (int round = 0; round < 300; round++) {
        for (unsigned i = 0; i < SLOTS; i++)
            make_stream(&streams[i]);
        struct ingest_merge *merge = new_merge(starts, NULL, NULL);
        live.count = again.count = 0;
        for (int i = 0; i < 10; i++) {
            interleave(merge, streams, &live, 10);
            at_ends(merge, IDLE); /* quiet moments: everybody passes */
            drain(merge, &live, UINT32_MAX);
        }
        push_rest(merge, streams);
        at_ends(merge, IDLE);
        drain(merge, &live, UINT32_MAX);
        ingest_merge_free(merge);
        static char text[SLOTS * PER_SLOT * 160];
        size_t used = 0;
        text[0] = '\0';
        for (unsigned i = 0; i < live.count; i++)
            if (live.events[i].decisions) {
                const struct ingest_event *event = &live.events[i];
                floored++;
                used += (size_t)sprintf(
                    text + used,
                    "{\"topic\": \"%s\", \"partition\": %d, \"offset\": %lld,"
                    " \"kind\": \"floored\", \"own_ms\": %lld,"
                    " \"apply_ms\": %lld}\n",
                    event->topic ? "clicks" : "impressions", event->partition,
                    (long long)event->offset, (long long)event->own_ms,
                    (long long)event->apply_ms);
            }
        struct ingest_decisions *given = decisions_of(text, BASE_OK);
        for (unsigned i = 0; i < SLOTS; i++)
            streams[i].sent = 0;
        merge = new_merge(starts, NULL, given);
        interleave(merge, streams, &again, 50);
        push_rest(merge, streams);
        at_ends(merge, IDLE);
        drain(merge, &again, UINT32_MAX);
        ingest_merge_free(merge);
        ingest_decisions_free(given);
        assert_int_equal(again.count, live.count);
        for (unsigned i = 0; i < live.count; i++) {
            assert_int_equal(
                ingest_event_order(&live.events[i], &again.events[i]), 0);
            assert_int_equal(live.events[i].decisions,
                             again.events[i].decisions);
        }
    }
    assert_true(floored > 300);
}

static void test_decision_lines(void **state)
{
    (void)state;
    struct ingest_decisions *given = decisions_of(
        "{\"topic\": \"clicks\", \"partition\": 1, \"offset\": 9,"
        " \"kind\": \"floored+clamped\", \"own_ms\": 5, \"apply_ms\": 6}\n\n"
        "{\"kind\": \"configuration\", \"partition\": 1}\n"
        "{\"topic\": \"clicks\", \"partition\": 1, \"offset\": 4,"
        " \"kind\": \"clamped\", \"own_ms\": 3, \"apply_ms\": 3}\n", BASE_OK);
    assert_int_equal(ingest_decisions_count(given), 2);
    size_t cursor = 0;
    assert_null(ingest_decisions_find(given, INGEST_CLICKS, 1, 3, &cursor));
    assert_int_equal(
        ingest_decisions_find(given, INGEST_CLICKS, 1, 4, &cursor)->kinds,
        INGEST_CLAMPED);
    assert_null(ingest_decisions_find(given, INGEST_CLICKS, 1, 8, &cursor));
    assert_int_equal(
        ingest_decisions_find(given, INGEST_CLICKS, 1, 9, &cursor)->kinds,
        INGEST_CLAMPED | INGEST_FLOORED);
    cursor = 0;
    assert_null(ingest_decisions_find(given, INGEST_IMPRESSIONS, 1, 9,
                                      &cursor));
    ingest_decisions_free(given);
    static const char *const wrong[] = {
        "{\"kind\": \"configuration\"}\nnonsense\n",
        "{\"kind\": \"configuration\"}\n{\"topic\": \"clicks\"}\n",
        "{\"kind\": \"configuration\"}\n{\"kind\": \"floored\", \"topic\": \"x\"}\n",
        ("{\"kind\": \"configuration\"}\n{\"kind\": \"floored\", \"topic\":"
         " \"clicks\", \"partition\": \"1\"}\n")};
    for (unsigned i = 0; i < 4; i++)
        assert_null(decisions_of(wrong[i], BASE_DATA));
    static const char *const between[] = {
        "\"stopped\", \"text\": \"why\", \"behind\": \"clicks/1@\"}\n",
        "\"stopped\", \"text\": \"why\", \"behind\": \"x/1@2\"}\n",
        "\"stopped\", \"text\": \"why\", \"behind\": \"clicks/1@2x\"}\n",
        "\"skipped\", \"text\": \"lost\", \"behind\": \"clicks/1@2\"}\n",
        "\"skipped\", \"text\": \"lost [4, 3)\"}\n",
        "\"skipped\"}\n"};
    for (unsigned i = 0; i < 6; i++) {
        char line[300];
        snprintf(line, sizeof line,
                 "\n{\"topic\": \"clicks\", \"partition\": 1, \"offset\": 4, "
                 "\"own_ms\": 3, \"apply_ms\": 3, \"kind\": %s", between[i]);
        assert_null(decisions_of(line, BASE_DATA));
    }
}

/* ---- speed: printed, not asserted --------------------------------------- */

static void test_speed(void **state)
{
    (void)state;
    enum { WIDE = 32, EVENTS = 2000000 };
    struct ingest_merge_start starts[WIDE];
    for (unsigned i = 0; i < WIDE; i++)
        starts[i] = (struct ingest_merge_start){
            .topic = i % 2, .partition = (int32_t)i / 2};
    struct ingest_merge_config config = {.slots = WIDE, .ids = 7,
                                         .depth = 1024, .starts = starts};
    struct ingest_merge *merge = NULL;
    assert_int_equal(ingest_merge_new(&config, &merge, NULL), BASE_OK);
    int64_t times[WIDE] = {0}, offsets[WIDE] = {0}, begun = base_monotonic_us();
    unsigned out = 0;
    struct ingest_event last = {.apply_ms = 0};
    while (out < EVENTS) {
        for (unsigned slot = 0; slot < WIDE; slot++)
            for (unsigned n = ingest_merge_room(merge, slot); n > 0; n--) {
                times[slot] += draw(3);
                push(merge, slot,
                     &(struct record){.event_ms = times[slot], .kafka_ms = -1,
                                      .offset = offsets[slot]++}, 0);
            }
        const struct ingest_event *event;
        while ((event = ingest_merge_peek(merge))) {
            assert_true(ingest_event_order(&last, event) <= 0);
            last = *event;
            ingest_merge_pop(merge);
            out++;
        }
    }
    double seconds = (double)(base_monotonic_us() - begun) / 1e6;
    print_message("merge: %u partitions, %.2f M events/s\n", WIDE,
                  out / seconds / 1e6);
    ingest_merge_free(merge);
}

/* Few dead letters with large payloads fill a queue. */
static void test_payloads_are_bounded(void **state)
{
    (void)state;
    struct ingest_merge_start starts[SLOTS];
    start_of(starts);
    struct ingest_merge *merge = new_merge(starts, NULL, NULL);
    for (int64_t offset = 0; offset < 2; offset++) {
        assert_int_equal(ingest_merge_room(merge, 0), 16 - offset);
        uint64_t *ids;
        struct ingest_event *event = ingest_merge_reserve(merge, 0, &ids);
        event->kind = INGEST_EVENT_DEAD;
        event->offset = offset;
        event->payload_size = INGEST_MERGE_PAYLOADS / 2;
        event->payload = malloc(event->payload_size);
        ingest_merge_push(merge, 0, 0, wall);
    }
    assert_int_equal(ingest_merge_room(merge, 0), 0);
    assert_int_equal(ingest_merge_room(merge, 1), 16);
    for (unsigned i = 1; i < SLOTS; i++)
        ingest_merge_stop(merge, i);
    assert_non_null(ingest_merge_peek(merge));
    ingest_merge_pop(merge);
    assert_int_equal(ingest_merge_room(merge, 0), 15);
    ingest_merge_stop(merge, 0);
    ingest_merge_free(merge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_interleaving),
        cmocka_unit_test(test_restart_goes_on),
        cmocka_unit_test(test_waits_for_an_answer),
        cmocka_unit_test(test_floor_after_idle),
        cmocka_unit_test(test_clamp),
        cmocka_unit_test(test_stop_frees_the_others),
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_ahead_as_given),
        cmocka_unit_test(test_unregistered_as_given),
        cmocka_unit_test(test_given_decisions_replace_the_clock),
        cmocka_unit_test(test_decision_lines),
        cmocka_unit_test(test_payloads_are_bounded),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
