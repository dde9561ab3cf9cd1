/* SPDX-License-Identifier: Apache-2.0 */
/* Fault 20: a run of the state machine over a stream, with a commit every few
 * events, is recorded as the operations it does on its files; then folders are
 * built that a power loss at any of them could have left. Each opens, verifies
 * and holds exactly the state of a commit: of the last that had returned, or of
 * the one that was under way. Some go on to the end of the stream.
 *   test_ingest_power_loss [STATES] [SEED] */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "../support/disk.h"
#include "base/file.h"
#include "base/random.h"
#include "ingest/digest.h"
#include "plain_state.h"
#include "state_fixture.h"
#include "streams.h"

enum {
    STATES = 6000,
    STATES_A_RUN = 600,
    EVENTS = 700,
    COMMITS = EVENTS,
    GO_ON = 16, /* of so many states one goes on to the end */
    VIEWS = 3
};
static const enum ingest_inspect views[VIEWS] = {
    INGEST_INSPECT_LEDGER, INGEST_INSPECT_SAMPLES, INGEST_INSPECT_SEQUENCES};

static unsigned long states = STATES, first_seed = 1;

/* What the model says after each commit; [0] is before the first. */
struct promise {
    uint64_t views[VIEWS];
};

static struct {
    struct state_fixture fixture;
    struct fixture_event events[EVENTS];
    struct promise promises[COMMITS];
    unsigned commits;
} run;

static uint64_t hash(const char *text)
{
    return ingest_digest_64(text, strlen(text), 0);
}

static void note_promise(struct plain_state *plain, char **samples)
{
    struct promise *made = &run.promises[run.commits];
    char *text;
    size_t size;
    fflush(plain->samples);
    made->views[1] = hash(*samples);
    FILE *out = open_memstream(&text, &size);
    plain_print_ledger(plain, STREAM_PARTITIONS, out);
    fclose(out);
    made->views[0] = hash(text);
    free(text);
    out = open_memstream(&text, &size);
    plain_print_sequences(plain, out);
    fclose(out);
    made->views[2] = hash(text);
    free(text);
}

static void commit(struct plain_state *plain, char **samples)
{
    state_fixture_commit(&run.fixture);
    run.commits++;
    disk_mark(run.commits);
    note_promise(plain, samples);
}

/* Applies the stream with the recorder on, and to the model beside it. */
static void record_run(uint64_t seed)
{
    static struct plain_state plain;
    struct stream_draw draw = {.seed = seed};
    char *samples;
    size_t size;
    memset(&run, 0, sizeof run);
    memset(&plain, 0, sizeof plain);
    state_fixture_init(&run.fixture);
    stream_draw_config(&draw, &run.fixture.config);
    run.fixture.config.map_bytes = 64 << 20;
    stream_draw_merged(&draw, run.events, EVENTS);
    plain.config = &run.fixture.config;
    plain.samples = open_memstream(&samples, &size);
    disk_record(run.fixture.folder);
    state_fixture_open(&run.fixture);
    state_fixture_begin(&run.fixture);
    state_fixture_start(&run.fixture, STREAM_PARTITIONS);
    commit(&plain, &samples);
    for (unsigned i = 0; i < EVENTS; i++) {
        if (i == 0 || stream_draw(&draw, 6) == 0) {
            if (i > 0)
                commit(&plain, &samples);
            state_fixture_begin(&run.fixture);
        }
        state_fixture_apply(&run.fixture, &run.events[i].event);
        plain_apply(&plain, &run.events[i].event);
    }
    commit(&plain, &samples);
    state_fixture_close(&run.fixture);
    disk_stop();
    fclose(plain.samples);
    free(samples);
}

/* ---- a state that a power loss left -------------------------------------- */

/* The commit whose state the views are; -1: none's. */
static int commit_of(struct state_fixture *fixture, unsigned from)
{
    struct promise got;
    for (int i = 0; i < VIEWS; i++) {
        char *text = state_fixture_dump(fixture, views[i]);
        got.views[i] = hash(text);
        free(text);
    }
    for (unsigned i = from; i <= run.commits && i <= from + 1; i++)
        if (memcmp(&got, &run.promises[i], sizeof got) == 0)
            return (int)i;
    return -1;
}

static bool is_applied(struct state_fixture *fixture,
                       const struct ingest_event *event)
{
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(fixture->state, &count);
    for (unsigned i = 0; i < count; i++)
        if (positions[i].topic == event->topic &&
            positions[i].partition == event->partition)
            return event->offset < positions[i].next;
    return false;
}

static bool goes_on(struct state_fixture *fixture)
{
    unsigned known;
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    ingest_state_positions(fixture->state, &known);
    if (known == 0)
        state_fixture_start(fixture, STREAM_PARTITIONS);
    for (unsigned i = 0; i < EVENTS; i++)
        if (!is_applied(fixture, &run.events[i].event))
            state_fixture_apply(fixture, &run.events[i].event);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    return commit_of(fixture, run.commits) == (int)run.commits;
}

static bool is_fresh(struct state_fixture *fixture)
{
    unsigned known;
    ingest_state_positions(fixture->state, &known);
    return known == 0;
}

/* NULL, or what is wrong with the state that the crash leaves. */
static const char *check(const struct disk_crash *crash, bool go_on)
{
    static struct state_fixture fixture;
    static char text[1100];
    char folder[300];
    unsigned promised = disk_marked(crash);
    fixture = run.fixture;
    snprintf(folder, sizeof folder, "%s/crash", run.fixture.folder);
    snprintf(fixture.config.folder, sizeof fixture.config.folder, "%s/store",
             folder);
    disk_build(crash, folder);
    if (ingest_state_open(&fixture.config, &fixture.state, &fixture.error)) {
        snprintf(text, sizeof text, "%s", fixture.error.text);
        return text;
    }
    bool fresh = is_fresh(&fixture);
    state_fixture_close(&fixture);
    if (fresh ? promised > 0 : commit_of(&fixture, promised) < 0)
        return "the state is no commit's that may be there";
    return !go_on || goes_on(&fixture) ? NULL
                                       : "going on ends with another state";
}

static struct disk_crash crash_of(uint64_t seed, unsigned long i)
{
    return (struct disk_crash){
        .at = (unsigned)base_random_below(base_random_u64(seed, 2, i, 0),
                                          disk_operations() + 1),
        .loss = (enum disk_loss)(i % DISK_LOSSES),
        .seed = base_random_u64(seed, 3, i, 0)};
}

static void every_power_loss_leaves_a_commit(void **unused)
{
    unsigned long counted = 0;
    (void)unused;
    for (uint64_t seed = first_seed; counted < states; seed++) {
        record_run(seed);
        for (unsigned long i = 0; i < STATES_A_RUN && counted < states;
             i++, counted++) {
            struct disk_crash crash = crash_of(seed, i);
            const char *wrong = check(&crash, i % GO_ON == 0);
            if (wrong)
                fail_msg("seed %lu, state %lu: crash at %u of %u, loss %d: %s",
                         (unsigned long)seed, i, crash.at, disk_operations(),
                         crash.loss, wrong);
        }
        print_message("seed %lu: %u operations, %u commits\n",
                      (unsigned long)seed, disk_operations(), run.commits);
        assert_true(run.commits > 50);
        assert_true(disk_operations() > 4 * run.commits);
        state_fixture_fini(&run.fixture);
    }
    print_message("%lu states\n", counted);
}

/* The same check must fail where syncs do nothing. A damaged tree can also
 * crash LMDB, so it is tried in a process of its own. */
static void without_syncs_it_is_noticed(void **unused)
{
    int status;
    (void)unused;
    record_run(first_seed);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(2);
        for (unsigned long i = 0; i < STATES; i++) {
            struct disk_crash crash = crash_of(first_seed, i);
            crash.loss = DISK_KEEP_SOME;
            crash.no_sync = true;
            if (check(&crash, false))
                _exit(1);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 1);
    state_fixture_fini(&run.fixture);
    disk_forget();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_syncs_it_is_noticed),
        cmocka_unit_test(every_power_loss_leaves_a_commit),
    };
    if (argc > 1)
        states = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        first_seed = strtoul(argv[2], NULL, 10);
    /* The disk is made up; what lies under it need not be one. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
