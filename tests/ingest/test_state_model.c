/* SPDX-License-Identifier: Apache-2.0 */
/* Random streams through the state machine and through plain_state.c: equal
 * ledgers, sequences, journal lines and chain, whatever the commits, re-opens
 * and kills in between. INTERESTD_STREAMS sets the number of streams. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ingest/pending.h"
#include "plain_state.h"
#include "state_fixture.h"
#include "streams.h"

enum {
    SHORT = 160,
    LONG = 3800,
    PARTITIONS = STREAM_PARTITIONS,
    STREAMS = 600,
};

struct stream {
    struct stream_draw draw;
    struct fixture_event events[LONG];
    unsigned count;
};

static uint64_t draw(struct stream *stream, uint64_t below)
{
    return stream_draw(&stream->draw, below);
}

static void draw_events(struct stream *stream, unsigned length)
{
    stream->count = length / 2 + (unsigned)draw(stream, length / 2);
    stream_draw_merged(&stream->draw, stream->events, stream->count);
}

/* Index of the first event that the committed state has not applied. */
static unsigned resume_at(struct stream *stream, struct state_fixture *fixture)
{
    unsigned count, i = 0;
    const struct ingest_position *positions =
        ingest_state_positions(fixture->state, &count);
    for (; i < stream->count; i++) {
        const struct ingest_event *event = &stream->events[i].event;
        unsigned p = 0;
        while (p < count && (positions[p].topic != event->topic ||
                             positions[p].partition != event->partition))
            p++;
        assert_true(p < count);
        if (event->offset >= positions[p].next)
            break;
    }
    return i;
}

static void run_state(struct stream *stream, struct state_fixture *fixture)
{
    unsigned kills = 0;
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    state_fixture_start(fixture, PARTITIONS);
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    for (unsigned i = 0; i < stream->count; i++) {
        state_fixture_apply(fixture, &stream->events[i].event);
        uint64_t what = draw(stream, 60);
        if (what < 3) { /* commit, sometimes with a restart */
            state_fixture_commit(fixture);
            if (what == 0) {
                state_fixture_close(fixture);
                state_fixture_open(fixture);
                assert_int_equal(resume_at(stream, fixture), i + 1);
            }
            state_fixture_begin(fixture);
        } else if (what == 3 && kills++ < 3) {
            state_fixture_close(fixture);
            state_fixture_open(fixture);
            i = resume_at(stream, fixture) - 1;
            state_fixture_begin(fixture);
        }
    }
    state_fixture_commit(fixture);
}

/* Every batch from every batch end, in both directions of asking. */
static void check_batches(struct state_fixture *fixture,
                          const struct plain_state *plain)
{
    struct ingest_journal *journal;
    struct learner_batch batch;
    assert_int_equal(
        ingest_journal_new(fixture->state, &journal, &fixture->error), 0);
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned k = 0; k < plain->batches; k++) {
            unsigned i = pass ? plain->batches - 1 - k : k;
            uint64_t first = i ? plain->batch[i - 1].end : 0;
            if (ingest_journal_next(journal, first, 0, &batch,
                                    &fixture->error))
                fail_msg("%s", fixture->error.text);
            assert_int_equal(batch.first, first);
            assert_int_equal(batch.end, plain->batch[i].end);
            assert_int_equal(batch.samples, batch.end - first);
            assert_int_equal(batch.journal_hash[0],
                             plain->batch[i].chain[0]);
            assert_int_equal(batch.journal_hash[1],
                             plain->batch[i].chain[1]);
            assert_int_equal(batch.group_begin[batch.groups], batch.samples);
        }
    }
    assert_int_equal(ingest_journal_next(journal, plain->batch_first, 0,
                                         &batch, &fixture->error),
                     BASE_AGAIN);
    ingest_journal_free(journal);
}

static void compare(const char *got, const char *wanted, const char *what,
                    uint64_t seed)
{
    size_t line = 0, at = 0;
    if (strcmp(got, wanted) == 0)
        return;
    while (got[at] && got[at] == wanted[at]) {
        if (got[at] == '\n')
            line = at + 1;
        at++;
    }
    fail_msg("stream %llu, %s:\n got    %.*s\n wanted %.*s",
             (unsigned long long)seed, what,
             (int)strcspn(got + line, "\n"), got + line,
             (int)strcspn(wanted + line, "\n"), wanted + line);
}

static void compare_dump(struct state_fixture *fixture,
                         enum ingest_inspect what, const char *wanted,
                         const char *name, uint64_t seed)
{
    char *got = state_fixture_dump(fixture, what);
    compare(got, wanted, name, seed);
    free(got);
}

static void print_all(struct plain_state *plain, const struct stream *stream,
                      char *texts[3])
{
    size_t size;
    plain->samples = open_memstream(&texts[0], &size);
    for (unsigned i = 0; i < stream->count; i++)
        plain_apply(plain, &stream->events[i].event);
    fclose(plain->samples);
    FILE *out = open_memstream(&texts[1], &size);
    plain_print_ledger(plain, PARTITIONS, out);
    fclose(out);
    out = open_memstream(&texts[2], &size);
    plain_print_sequences(plain, out);
    fclose(out);
}

/* ---- processes that are killed ------------------------------------------- */

static void must_in_child(enum base_status status)
{
    if (status)
        _exit(1);
}

/* Applies what is left, committing every few events; ends the process. */
static _Noreturn void run_child(struct stream *stream,
                                struct state_fixture *fixture)
{
    struct base_error *error = &fixture->error;
    unsigned count;
    must_in_child(
        ingest_state_open(&fixture->config, &fixture->state, error));
    must_in_child(ingest_state_begin(fixture->state, error));
    ingest_state_positions(fixture->state, &count);
    for (unsigned i = 0; count == 0 && i < INGEST_TOPICS * PARTITIONS; i++)
        must_in_child(ingest_state_start_partition(
            fixture->state, (uint8_t)(i / PARTITIONS),
            (int32_t)(i % PARTITIONS), 0, error));
    for (unsigned i = count ? resume_at(stream, fixture) : 0;
         i < stream->count; i++) {
        must_in_child(ingest_state_apply(fixture->state,
                                         &stream->events[i].event, error));
        if (i % 7 == 0) {
            must_in_child(ingest_state_commit(fixture->state, error));
            must_in_child(ingest_state_begin(fixture->state, error));
        }
    }
    must_in_child(ingest_state_commit(fixture->state, error));
    _exit(0);
}

static unsigned killed;

/* Runs the stream in processes that are killed after a random time. */
static void run_killed(struct stream *stream, struct state_fixture *fixture)
{
    for (unsigned round = 0;; round++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            run_child(stream, fixture);
        if (round < 12) {
            usleep((useconds_t)(1000 + draw(stream, 25000)));
            kill(child, SIGKILL);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        killed++;
    }
    state_fixture_open(fixture);
}

/* ---- comparing ----------------------------------------------------------- */

static uint64_t check_stream(uint64_t seed, unsigned length,
                             void (*run)(struct stream *stream,
                                         struct state_fixture *fixture),
                             uint64_t totals[])
{
    static struct stream stream;
    static struct plain_state plain;
    struct state_fixture fixture;
    char *texts[3];
    memset(&stream, 0, sizeof stream);
    memset(&plain, 0, sizeof plain);
    stream.draw.seed = seed;
    state_fixture_init(&fixture);
    stream_draw_config(&stream.draw, &fixture.config);
    draw_events(&stream, length);
    plain.config = &fixture.config;
    print_all(&plain, &stream, texts);
    run(&stream, &fixture);
    check_batches(&fixture, &plain);
    state_fixture_close(&fixture);
    compare_dump(&fixture, INGEST_INSPECT_LEDGER, texts[1], "ledger", seed);
    compare_dump(&fixture, INGEST_INSPECT_SAMPLES, texts[0], "samples", seed);
    compare_dump(&fixture, INGEST_INSPECT_SEQUENCES, texts[2], "sequences",
                 seed);
    for (unsigned i = 0; i < INGEST_TOPICS * PLAIN_PARTITIONS; i++)
        for (int b = 0; b < INGEST_BUCKET_COUNT; b++)
            totals[b] +=
                plain.buckets[i / PLAIN_PARTITIONS][i % PLAIN_PARTITIONS][b];
    for (int i = 0; i < 3; i++)
        free(texts[i]);
    state_fixture_fini(&fixture);
    return plain.position;
}

/* Several blocks of impressions and of clicks that fill, retire and go. */
static void long_streams_agree(void **unused)
{
    uint64_t totals[INGEST_BUCKET_COUNT] = {0};
    (void)unused;
    for (uint64_t seed = 9001; seed <= 9008; seed++)
        check_stream(seed, LONG, run_state, totals);
    assert_true(totals[INGEST_NEGATIVE] > 8 * INGEST_PENDING_BLOCK / 2);
}

static void killed_processes_agree(void **unused)
{
    uint64_t totals[INGEST_BUCKET_COUNT] = {0};
    (void)unused;
    killed = 0;
    for (uint64_t seed = 5001; seed <= 5040; seed++)
        check_stream(seed, SHORT, run_killed, totals);
    print_message("%u processes killed\n", killed);
    assert_true(killed > 0);
}

static void random_streams_agree(void **unused)
{
    uint64_t totals[INGEST_BUCKET_COUNT] = {0}, samples = 0;
    const char *wish = getenv("INTERESTD_STREAMS");
    uint64_t streams = wish ? strtoull(wish, NULL, 10) : STREAMS;
    (void)unused;
    for (uint64_t seed = 1; seed <= streams; seed++)
        samples += check_stream(seed, SHORT, run_state, totals);
    /* The streams must have met every rule that a stream can meet. */
    assert_true(samples > streams);
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++)
        if (i != INGEST_UNLABELLED && i != INGEST_FORGOTTEN &&
            i != INGEST_LOST)
            assert_true(totals[i] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_streams_agree),
        cmocka_unit_test(long_streams_agree),
        cmocka_unit_test(killed_processes_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
