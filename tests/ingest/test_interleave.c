/* SPDX-License-Identifier: Apache-2.0 */
/* Random partition logs through the merge and the state machine, against a
 * model that sorts all of them and looks at everything (plain_state.c):
 *
 * 1. read to their ends in a random interleaving, with commits, restarts and
 *    kills: the model's ledger, sequences, samples, their order and hash, and
 *    no decision recorded;
 * 2. with idle partitions, lying clocks, and partitions that stop and go on
 *    behind what is given up: the model's, given the decisions recorded;
 * 3. those decisions given, another interleaving, a later clock: the same.
 *
 * A case that fails is cut down to few records before it is printed.
 *   test_ingest_interleave [CASES] [FIRST_SEED] */
#include <setjmp.h>
#include <stdarg.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <unistd.h>

#include "base/file.h"
#include "ingest/merge.h"
#include "plain_logs.h"
#include "state_fixture.h"
#include "streams.h"

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { CASES = 300 };
#else
enum { CASES = 2500 };
#endif

enum {
    IDLE_MS = 5,
    KILLS = 3,
    STOPS = 3,
    TEXT = 2048,
};
static const int64_t LATER_MS = INT64_MAX / 4; /* a clock that clamps nothing */

static uint64_t cases = CASES, first_seed = 1;

static const char *const view_names[] = {"ledger", "samples", "sequences",
                                         "chain"};
static uint64_t seen[INGEST_BUCKET_COUNT]; /* of all models */

/* ---- drawing ------------------------------------------------------------ */

/* Kafka's time is missing, behind or ahead; now and then the producer's clock
 * is far ahead. */
static void draw_clocks(struct stream_draw *draw, struct ingest_event *event)
{
    uint64_t what = stream_draw(draw, 240);
    event->kafka_ms = event->event_ms;
    if (what < 40)
        event->kafka_ms = -1;
    else if (what < 80)
        event->kafka_ms += (int64_t)stream_draw(draw, 30);
    else if (what < 110)
        event->kafka_ms -= (int64_t)stream_draw(draw, 20);
    else if (what == 110)
        event->event_ms = event->kafka_ms += INGEST_AHEAD_MS + 500;
    else if (what == 111)
        event->event_ms = event->kafka_ms +=
            INGEST_FUTURE_MS + INGEST_AHEAD_MS + 500;
}

static void draw_logs(struct stream_draw *draw, struct plain_logs *logs)
{
    int64_t now = 50, next[PLAIN_SLOTS] = {0};
    logs->count = PLAIN_RECORDS / 4 + (unsigned)stream_draw(draw, 3 * PLAIN_RECORDS / 4);
    for (unsigned i = 0; i < logs->count; i++) {
        struct plain_record *record = &logs->records[i];
        struct ingest_event *event = &record->made.event;
        now += stream_draw(draw, 30) ? (int64_t)stream_draw(draw, 4)
                                     : (int64_t)stream_draw(draw, 150);
        stream_draw_event(draw, &record->made, now);
        event->partition = (int32_t)stream_draw(draw, STREAM_PARTITIONS);
        draw_clocks(draw, event);
        record->written_ms = now;
        int64_t *offset = &next[plain_slot(record)];
        event->offset = *offset + (stream_draw(draw, 10) ? 0 : 2);
        *offset = event->offset + 1;
    }
}

/* ---- merge and state ---------------------------------------------------- */

/* One run over the logs; `draw` decides what happens when. */
struct run {
    struct state_fixture fixture;
    const struct plain_logs *logs;
    const struct ingest_decisions *given;
    bool clocked; /* partitions fall idle, the clock is the records' own */
    struct stream_draw draw;
    struct ingest_merge *merge;
    int64_t now_ms; /* monotonic */
    unsigned kills, stops;
    bool stopped[STREAM_PARTITIONS];
    size_t repeated; /* given decisions between records */
    char *failure; /* (TEXT) */
};

static bool must(struct run *run, enum base_status status, const char *what)
{
    if (status && !run->failure[0])
        snprintf(run->failure, TEXT, "%s: %s", what, run->fixture.error.text);
    return status == BASE_OK;
}

/* The first record of the slot at or behind `offset`, or NULL. */
static const struct plain_record *record_at(const struct plain_logs *logs, unsigned slot,
                                      int64_t offset)
{
    for (unsigned i = 0; i < logs->count; i++)
        if (plain_slot(&logs->records[i]) == slot &&
            logs->records[i].made.event.offset >= offset)
            return &logs->records[i];
    return NULL;
}

/* What the slot reads next; what is given up is passed over. */
static const struct plain_record *next_of(const struct run *run, unsigned slot)
{
    const struct plain_record *next;
    while ((next = record_at(run->logs, slot,
                             ingest_merge_position(run->merge, slot))) &&
           run->given &&
           ingest_repeats_passed(ingest_decisions_repeats(run->given),
                                 next->made.event.topic,
                                 next->made.event.partition,
                                 next->made.event.offset))
        ingest_merge_reached(run->merge, slot, next->made.event.offset + 1);
    return next;
}

/* A merge that goes on where the state is. */
static bool make_merge(struct run *run)
{
    struct ingest_merge_start starts[PLAIN_SLOTS];
    struct ingest_event last;
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(run->fixture.state, &count);
    for (unsigned i = 0; i < PLAIN_SLOTS; i++) {
        starts[i] = (struct ingest_merge_start){
            .topic = (uint8_t)(i / STREAM_PARTITIONS),
            .partition = (int32_t)(i % STREAM_PARTITIONS)};
        for (unsigned k = 0; k < count; k++)
            if (positions[k].topic == starts[i].topic &&
                positions[k].partition == starts[i].partition) {
                starts[i].next = positions[k].next;
                starts[i].own_ms = positions[k].own_ms;
                starts[i].apply_ms = positions[k].apply_ms;
            }
    }
    ingest_state_last(run->fixture.state, &last);
    struct ingest_merge_config config = {.slots = PLAIN_SLOTS,
                                         .ids = FIXTURE_FIELDS,
                                         .depth = 8,
                                         .idle_ms = IDLE_MS,
                                         .starts = starts,
                                         .last = last.offset < 0 ? NULL
                                                                 : &last,
                                         .decisions = run->given};
    ingest_merge_free(run->merge);
    run->merge = NULL;
    if (!must(run, ingest_merge_new(&config, &run->merge, &run->fixture.error),
              "merge"))
        return false;
    for (unsigned i = 0; i < PLAIN_SLOTS; i++)
        if (run->stopped[i % STREAM_PARTITIONS])
            ingest_merge_stop(run->merge, i);
    if (run->given)
        run->repeated = ingest_repeats_done(
            ingest_decisions_repeats(run->given), &last);
    return true;
}

static bool open_state(struct run *run)
{
    struct state_fixture *fixture = &run->fixture;
    if (!must(run, ingest_state_open(&fixture->config, &fixture->state,
                                     &fixture->error), "open") ||
        !must(run, ingest_state_begin(fixture->state, &fixture->error),
              "begin"))
        return false;
    unsigned known;
    ingest_state_positions(fixture->state, &known);
    for (unsigned i = known; i < PLAIN_SLOTS; i++)
        if (!must(run, ingest_state_start_partition(
                           fixture->state, (uint8_t)(i / STREAM_PARTITIONS),
                           (int32_t)(i % STREAM_PARTITIONS), 0,
                           &fixture->error), "start"))
            return false;
    return make_merge(run);
}

static void push(struct run *run, unsigned slot, const struct plain_record *record)
{
    uint64_t *ids;
    int64_t wall_ms = run->clocked ? record->written_ms : LATER_MS;
    struct ingest_event *event =
        ingest_merge_reserve(run->merge, slot, &ids);
    const struct ingest_event *from = &record->made.event;
    assert_non_null(event);
    *event = *from;
    memcpy(ids, record->made.ids, sizeof record->made.ids);
    enum ingest_reason judged =
        ingest_merge_judge(run->merge, slot, wall_ms);
    if (judged) {
        event->kind = INGEST_EVENT_DEAD;
        event->reason = (uint8_t)judged;
        event->payload_size = 6;
    }
    event->payload = NULL;
    if (event->kind == INGEST_EVENT_DEAD)
        event->payload = (const uint8_t *)strdup("spoilt");
    ingest_merge_push(run->merge, slot, run->now_ms, wall_ms);
}

/* What the store thread does around a record where decisions are given. */
static bool repeat(struct run *run, const struct ingest_event *event,
                   bool behind)
{
    const struct ingest_repeats *all =
        run->given ? ingest_decisions_repeats(run->given) : NULL;
    for (; all && run->repeated < all->count; run->repeated++) {
        const struct ingest_repeat *one = &all->items[run->repeated];
        int order = ingest_event_order(&one->behind, event);
        if (order > 0 || (order == 0 && !behind))
            break;
        if (!must(run, ingest_repeat_apply(one, run->fixture.state,
                                           &run->fixture.error), "repeat"))
            return false;
    }
    return true;
}

/* Applies at most `most` of what may go. */
static bool apply(struct run *run, unsigned most)
{
    const struct ingest_event *event;
    while (most-- > 0 && (event = ingest_merge_peek(run->merge))) {
        if (!repeat(run, event, false) ||
            !must(run, ingest_state_apply(run->fixture.state, event,
                                          &run->fixture.error), "apply") ||
            !repeat(run, event, true))
            return false;
        ingest_merge_pop(run->merge);
    }
    return true;
}

static bool commit(struct run *run)
{
    return must(run, ingest_state_commit(run->fixture.state,
                                         &run->fixture.error), "commit");
}

/* Ends like a kill where nothing is committed, and opens again. */
static bool restart(struct run *run, bool committed)
{
    if (committed && !commit(run))
        return false;
    state_fixture_close(&run->fixture);
    return open_state(run);
}

/* The broker said, a while ago or now, that this was its end. */
static void answer(struct run *run, unsigned slot)
{
    ingest_merge_answer(run->merge, slot,
                        run->now_ms - (int64_t)stream_draw(&run->draw, 9),
                        ingest_merge_position(run->merge, slot));
}

static bool begin(struct run *run)
{
    return must(run, ingest_state_begin(run->fixture.state,
                                        &run->fixture.error), "begin");
}

/* A fault stops both partitions of a number. */
static bool stop(struct run *run, unsigned number)
{
    if (!must(run, ingest_state_stop_partition(run->fixture.state,
                                               (int32_t)number, "a fault",
                                               &run->fixture.error), "stop"))
        return false;
    run->stopped[number] = true;
    for (unsigned i = 0; i < PLAIN_SLOTS; i++)
        if (i % STREAM_PARTITIONS == number)
            ingest_merge_stop(run->merge, i);
    return commit(run) && begin(run);
}

static int64_t next_offset(struct run *run, unsigned slot)
{
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(run->fixture.state, &count);
    for (unsigned k = 0; k < count; k++)
        if (positions[k].topic == slot / STREAM_PARTITIONS &&
            positions[k].partition == (int32_t)(slot % STREAM_PARTITIONS))
            return positions[k].next;
    return 0;
}

/* An operator lets them go on, giving up what one or both have next. */
static bool resume(struct run *run, unsigned number)
{
    run->stopped[number] = false;
    if (!restart(run, true))
        return false;
    for (unsigned i = number; i < PLAIN_SLOTS; i += STREAM_PARTITIONS) {
        struct ingest_skip skip = {.topic = (uint8_t)(i / STREAM_PARTITIONS),
                                   .partition = (int32_t)number, .start = -1,
                                   .to = next_offset(run, i)};
        skip.to += (int64_t)stream_draw(&run->draw, 5);
        if (stream_draw(&run->draw, 3) &&
            !must(run, ingest_state_skip(run->fixture.state, &skip,
                                         &run->fixture.error), "skip"))
            return false;
    }
    return commit(run) && begin(run) && make_merge(run);
}

static bool do_something(struct run *run)
{
    unsigned slot = (unsigned)stream_draw(&run->draw, PLAIN_SLOTS);
    uint64_t what = stream_draw(&run->draw, 160);
    unsigned number = slot % STREAM_PARTITIONS;
    if (run->stopped[number])
        return stream_draw(&run->draw, 30) || resume(run, number);
    const struct plain_record *next = next_of(run, slot);
    run->now_ms += (int64_t)stream_draw(&run->draw, 4);
    if (what >= 60 && next)
        push(run, slot, next);
    else if (what >= 40)
        return apply(run, 1 + (unsigned)stream_draw(&run->draw, 12));
    else if (what >= 12 && run->clocked)
        answer(run, slot);
    else if (what >= 8 && next)
        ingest_merge_reached(run->merge, slot, next->made.event.offset);
    else if (what >= 5)
        return commit(run) && begin(run);
    else if (what >= 3)
        return restart(run, true);
    else if (what == 2 && run->clocked && run->stops++ < STOPS)
        return stop(run, number);
    else if (what == 0 && run->kills++ < KILLS)
        return restart(run, false);
    return true;
}

static bool all_read(const struct run *run)
{
    for (unsigned i = 0; i < PLAIN_SLOTS; i++)
        if (run->stopped[i % STREAM_PARTITIONS] || next_of(run, i))
            return false;
    return true;
}

static bool run_through(struct run *run)
{
    if (!open_state(run))
        return false;
    while (!all_read(run))
        if (!do_something(run))
            return false;
    run->now_ms += 2 * IDLE_MS;
    for (unsigned i = 0; i < PLAIN_SLOTS; i++)
        ingest_merge_answer(run->merge, i, run->now_ms,
                            ingest_merge_position(run->merge, i));
    if (!apply(run, PLAIN_RECORDS))
        return false;
    if (ingest_merge_size(run->merge))
        snprintf(run->failure, TEXT, "records wait though all is read");
    return commit(run) && !run->failure[0];
}

/* ---- comparing ---------------------------------------------------------- */

static bool same_view(const struct run *run, const char *got,
                      const char *wanted, const char *what)
{
    size_t line = 0, at = 0;
    if (strcmp(got, wanted) == 0)
        return true;
    for (; got[at] && got[at] == wanted[at]; at++)
        if (got[at] == '\n')
            line = at + 1;
    snprintf(run->failure, TEXT, "%s:\n got    %.*s\n wanted %.*s", what,
             (int)strcspn(got + line, "\n"), got + line,
             (int)strcspn(wanted + line, "\n"), wanted + line);
    return false;
}

static bool same_as(struct run *run, const struct plain_views *model)
{
    static const enum ingest_inspect inspected[] = {
        INGEST_INSPECT_LEDGER, INGEST_INSPECT_SAMPLES,
        INGEST_INSPECT_SEQUENCES, INGEST_INSPECT_META};
    bool same = true;
    for (int i = 0; same && i < PLAIN_VIEWS; i++) {
        char *got = state_fixture_dump(&run->fixture, inspected[i]);
        const char *from = got;
        if (i == PLAIN_CHAIN) {
            from = strstr(got, "\"chain\":\"");
            assert_non_null(from);
            from += 9;
            got[(from - got) + 32] = '\0';
        }
        same = same_view(run, from, model->text[i], view_names[i]);
        free(got);
    }
    return same;
}

/* A run of its own folder; *decisions (OWNS) is what it recorded. */
static bool run_once(const struct ingest_config *config, struct run *run,
                     char **decisions)
{
    char folder[200];
    state_fixture_init(&run->fixture);
    snprintf(folder, sizeof folder, "%s", run->fixture.config.folder);
    run->fixture.config = *config;
    snprintf(run->fixture.config.folder, sizeof run->fixture.config.folder,
             "%s", folder);
    bool well = run_through(run);
    state_fixture_close(&run->fixture);
    ingest_merge_free(run->merge);
    if (well)
        *decisions =
            state_fixture_dump(&run->fixture, INGEST_INSPECT_DECISIONS);
    return well;
}

static bool check_run(const struct ingest_config *config, struct run *run,
                      const struct ingest_config *model_config,
                      char **decisions)
{
    static struct plain_decided decided;
    struct plain_views model = {0};
    bool well = run_once(config, run, decisions);
    if (well) {
        plain_decisions_read(*decisions, &decided);
        if (decided.count && !run->clocked && !run->given) {
            snprintf(run->failure, TEXT, "decided without a cause: %s",
                     *decisions);
            well = false;
        }
    }
    if (well) {
        plain_logs_run(model_config, run->logs, &decided, &model, seen);
        well = same_as(run, &model);
        plain_views_fini(&model);
    }
    state_fixture_fini(&run->fixture);
    return well;
}

static struct ingest_decisions *given_by(const char *text)
{
    char path[] = "/tmp/interestd-decisions-XXXXXX";
    struct ingest_decisions *decisions = NULL;
    struct base_error error;
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    close(file);
    if (ingest_decisions_read(path, &decisions, &error))
        fail_msg("%s", error.text);
    unlink(path);
    return decisions;
}

/* Records of all cases that a clock decided about. */
static struct {
    uint64_t floored, clamped, ahead, stopped, skipped;
} given_records;

static void count_given(const char *text)
{
    static struct plain_decided decided;
    plain_decisions_read(text, &decided);
    for (unsigned i = 0; i < decided.count; i++) {
        given_records.floored += decided.items[i].floored;
        given_records.clamped += decided.items[i].clamped;
        given_records.ahead += decided.items[i].ahead;
        given_records.stopped += decided.items[i].stopped;
        given_records.skipped += decided.items[i].skipped;
    }
}

/* Case `logs`: false with the reason in failure (TEXT). */
static bool check_case(const struct ingest_config *config,
                       const struct ingest_config *model_config,
                       const struct plain_logs *logs, char *failure)
{
    char *none = NULL, *decided = NULL, *again = NULL;
    struct ingest_decisions *given = NULL;
    struct run run = {.logs = logs, .failure = failure,
                      .draw.seed = logs->seed * 3};
    failure[0] = '\0';
    bool well = check_run(config, &run, model_config, &none);
    if (well) {
        run = (struct run){.logs = logs, .failure = failure,
                           .draw.seed = logs->seed * 3 + 1, .clocked = true};
        well = check_run(config, &run, model_config, &decided);
    }
    if (well) {
        count_given(decided);
        given = given_by(decided);
        run = (struct run){.logs = logs, .failure = failure, .given = given,
                           .draw.seed = logs->seed * 3 + 2};
        well = check_run(config, &run, model_config, &again);
    }
    ingest_decisions_free(given);
    free(none);
    free(decided);
    free(again);
    return well;
}

/* ---- shrinking ---------------------------------------------------------- */

static void without(const struct plain_logs *logs, unsigned from, unsigned count,
                    struct plain_logs *less)
{
    *less = *logs;
    if (from + count > logs->count)
        count = logs->count - from;
    memmove(&less->records[from], &less->records[from + count],
            (logs->count - from - count) * sizeof less->records[0]);
    less->count -= count;
    for (unsigned i = 0; i < less->count; i++)
        less->records[i].made.event.ids = less->records[i].made.ids;
}

/* Leaves out what the failure does not need. */
static void shrink(const struct ingest_config *config,
                   const struct ingest_config *model_config,
                   struct plain_logs *logs, char *failure)
{
    static struct plain_logs less;
    char text[TEXT];
    for (unsigned size = logs->count; size > 0; size /= 2)
        for (unsigned from = 0; from < logs->count;) {
            without(logs, from, size, &less);
            if (check_case(config, model_config, &less, text)) {
                from += size;
                continue;
            }
            *logs = less;
            memcpy(failure, text, TEXT);
        }
}

static void print_case(const struct ingest_config *config,
                       const struct plain_logs *logs)
{
    print_error("stream %" PRIu64 ": %s, window %d, lateness %d, skew %d, "
                "history %u + %u, ttl %d, pending %d, keep %g, batch %u\n",
                logs->seed,
                config->label_mode == INGEST_LABEL_FNW ? "fnw" : "window",
                (int)config->window_ms, (int)config->lateness_ms,
                (int)config->skew_ms, config->history_max,
                config->history_slack, (int)config->history_ttl_ms,
                (int)config->pending_max, config->negative_keep,
                config->batch_size);
    for (unsigned i = 0; i < logs->count; i++) {
        const struct ingest_event *event = &logs->records[i].made.event;
        print_error(" %s/%d@%d%s event_ms %d kafka_ms %d at %d user %.4" PRIx64
                    " id %.4" PRIx64 " of %.4" PRIx64 "\n",
                    event->topic ? "clicks" : "impressions",
                    (int)event->partition, (int)event->offset,
                    event->kind == INGEST_EVENT_DEAD ? " dead" : "",
                    (int)event->event_ms, (int)event->kafka_ms,
                    (int)logs->records[i].written_ms, event->user >> 48,
                    event->event_id >> 48, event->impression >> 48);
    }
}

static void make_case(uint64_t seed, struct ingest_config *config,
                      struct plain_logs *logs)
{
    struct stream_draw draw = {.seed = seed};
    struct state_fixture fixture;
    state_fixture_init(&fixture);
    state_fixture_fini(&fixture);
    memset(logs, 0, sizeof *logs);
    logs->seed = seed;
    *config = fixture.config;
    config->map_bytes = 64 << 20;
    stream_draw_config(&draw, config);
    draw_logs(&draw, logs);
}

/* ---- tests -------------------------------------------------------------- */

static void any_interleaving_ends_the_same(void **unused)
{
    static struct plain_logs logs;
    static struct ingest_config config;
    char failure[TEXT];
    (void)unused;
    print_message("%" PRIu64 " streams from seed %" PRIu64 "\n", cases,
                  first_seed);
    for (uint64_t seed = first_seed; seed < first_seed + cases; seed++) {
        make_case(seed, &config, &logs);
        if (check_case(&config, &config, &logs, failure))
            continue;
        shrink(&config, &config, &logs, failure);
        print_case(&config, &logs);
        fail_msg("%s", failure);
    }
    print_message("given: %" PRIu64 " floored, %" PRIu64 " clamped, %" PRIu64
                  " ahead, %" PRIu64 " stopped, %" PRIu64 " skipped\n",
                  given_records.floored, given_records.clamped,
                  given_records.ahead, given_records.stopped,
                  given_records.skipped);
    /* The streams must have met every rule that a stream can meet. */
    assert_true(given_records.floored > 0);
    assert_true(given_records.clamped > 0);
    assert_true(given_records.ahead > 0);
    assert_true(given_records.stopped > 0);
    assert_true(given_records.skipped > 0);
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++)
        if (i != INGEST_FORGOTTEN)
            assert_true(seen[i] > 0);
}

/* A model with another rule is told from the daemon, by a few records. */
static void a_difference_is_found_and_cut_down(void **unused)
{
    static struct plain_logs logs;
    static struct ingest_config config, other;
    char failure[TEXT];
    (void)unused;
    for (uint64_t seed = 1; seed < 100; seed++) {
        make_case(seed, &config, &logs);
        other = config;
        other.window_ms += 1;
        if (check_case(&config, &other, &logs, failure))
            continue;
        unsigned whole = logs.count;
        shrink(&config, &other, &logs, failure);
        assert_true(failure[0]);
        assert_in_range(logs.count, 1, whole / 3);
        return;
    }
    fail_msg("100 streams do not tell one window from another");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_difference_is_found_and_cut_down),
        cmocka_unit_test(any_interleaving_ends_the_same),
    };
    if (argc > 1)
        cases = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 10);
    /* Thousands of small stores: a sync is of no interest here. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
