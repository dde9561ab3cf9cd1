/* SPDX-License-Identifier: Apache-2.0 */
/* Floods: one user with far too many events, impressions, clicks and ids
 * beyond their caps. What is kept stays below the caps, what goes is counted,
 * no offset is lost, and the memory of the process does not grow with the
 * stream. An argument multiplies the floods (1: short; 20: a million events of
 * one user). Each flood runs in a process of its own, so that its peak of
 * resident memory (VmHWM) is its own. */
#include <sys/wait.h>
#include <unistd.h>

#include "state_cases.h"

enum { COMMIT = 5000 };

static unsigned scale = 1;
static struct ingest_status status;

static long peak_kb(void)
{
    long kb = 0;
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &kb) == 1)
            break;
    if (file)
        fclose(file);
    return kb;
}

/* Applies; commits every COMMIT events and where the state asks for it. */
static void apply(struct state_fixture *fixture,
                  const struct ingest_event *event, int64_t number)
{
    enum base_status code;
    while ((code = ingest_state_apply(fixture->state, event,
                                      &fixture->error)) == BASE_AGAIN) {
        state_fixture_commit(fixture);
        state_fixture_begin(fixture);
        if (ingest_state_trim(fixture->state,
                              ingest_state_batch_end(fixture->state),
                              &fixture->error))
            fail_msg("%s", fixture->error.text);
    }
    if (code)
        fail_msg("%s", fixture->error.text);
    if (number % COMMIT == COMMIT - 1) {
        state_fixture_commit(fixture);
        state_fixture_begin(fixture);
        if (ingest_state_trim(fixture->state,
                              ingest_state_batch_end(fixture->state),
                              &fixture->error))
            fail_msg("%s", fixture->error.text);
    }
}

static int64_t sum(void)
{
    int64_t all = 0;
    for (int i = 0; i < INGEST_BUCKET_COUNT; i++)
        all += (int64_t)status.buckets[i];
    return all;
}

/* Grows by less than `kb` from the first quarter of `flood` to its end. */
static void flood(struct state_fixture *fixture, int64_t events, long kb,
                  void (*make)(struct fixture_event *made, int64_t number))
{
    struct fixture_event made;
    long early = 0;
    for (int64_t i = 0; i < events; i++) {
        make(&made, i);
        apply(fixture, &made.event, i);
        if (i == events / 4)
            early = peak_kb();
    }
    state_fixture_commit(fixture);
    long grown = peak_kb() - early;
    get_status(fixture, &status);
    assert_int_equal(status.events, events);
    assert_int_equal(status.unaccounted, 0);
    assert_int_equal(sum(), events);
    print_message("%lld events, VmHWM %ld KiB, %ld of it behind the first "
                  "quarter; file %llu KiB\n",
                  (long long)events, peak_kb(), grown,
                  (unsigned long long)status.map_used_bytes >> 10);
    if (grown >= kb)
        fail_msg("memory grew by %ld KiB", grown);
}

/* Impressions and clicks of user 1, a millisecond apart. */
static void make_hot(struct fixture_event *made, int64_t number)
{
    int64_t ms = 1000 + number;
    if (number % 4 == 3)
        fixture_click(made, number / 4, ms, 1, (uint64_t)number,
                      (uint64_t)number, (uint64_t)number % 50);
    else
        fixture_impression(made, number - number / 4, ms, 1,
                           (uint64_t)number + 1, (uint64_t)number % 50);
}

static void a_hot_user(struct state_fixture *fixture)
{
    flood(fixture, 50000 * (int64_t)scale, 8192, make_hot);
    assert_int_equal(status.users, 1);
    assert_true(status.buckets[INGEST_NEGATIVE] > 0);
    assert_true(status.buckets[INGEST_POSITIVE] > 0);
    assert_true(status.ids < 2 * COMMIT);
}

/* Event time moves on slowly: no window closes. */
static void make_open(struct fixture_event *made, int64_t number)
{
    fixture_impression(made, number, 1000 + number / 100,
                       (uint64_t)number % 100, (uint64_t)number + 1, 1);
}

static void many_impressions(struct state_fixture *fixture)
{
    fixture->config.pending_max = 1000;
    fixture->config.map_start_bytes = 1 << 20; /* the map grows under it */
    fixture->config.remembered_max = 4000;
    fixture->config.lateness_ms = 1 << 30;
    reopen(fixture);
    int64_t events = 40000 * (int64_t)scale;
    flood(fixture, events, 8192, make_open);
    assert_true(status.map_bytes > 1 << 20);
    assert_int_equal(status.buckets[INGEST_WAITING], 1000);
    assert_int_equal(status.buckets[INGEST_EVICTED], events - 1000);
    assert_int_equal(status.evicted, events - 1000);
    assert_in_range(status.ids, 4000, 4000 + 2 * 512);
    assert_true(status.ids_forgotten >=
                (uint64_t)events - 4000 - 2 * 512);
}

/* Clicks whose impression never comes. */
static void make_waiting(struct fixture_event *made, int64_t number)
{
    fixture_click(made, number, 1000 + number / 100, (uint64_t)number % 100,
                  1000000 + (uint64_t)number, (uint64_t)number,
                  (uint64_t)number % 50);
}

static void many_clicks(struct state_fixture *fixture)
{
    fixture->config.waiting_clicks_max = 700;
    fixture->config.remembered_max = 4000;
    fixture->config.lateness_ms = 1 << 30;
    reopen(fixture);
    int64_t events = 40000 * (int64_t)scale;
    flood(fixture, events, 8192, make_waiting);
    assert_int_equal(status.waiting_clicks, 700);
    assert_int_equal(status.buckets[INGEST_WAITING], 700);
    assert_int_equal(status.evicted_clicks, events - 700);
    assert_in_range(status.ids, 4000, 4000 + 2 * 512);
    /* The newest are known as duplicates, the oldest no more. */
    struct fixture_event made;
    make_waiting(&made, events - 1);
    made.event.offset = events;
    state_fixture_begin(fixture);
    apply(fixture, &made.event, 0);
    make_waiting(&made, 0);
    made.event.offset = events + 1;
    apply(fixture, &made.event, 0);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_DUPLICATE], 1);
    assert_int_equal(status.evicted_clicks, events - 699);
}

static void in_a_process(void **state, void (*test)(struct state_fixture *))
{
    struct state_fixture *fixture = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        start(fixture);
        state_fixture_commit(fixture);
        state_fixture_begin(fixture);
        test(fixture);
        fflush(stdout);
        _exit(0); /* a failed assertion has ended it otherwise */
    }
    int code;
    assert_int_equal(waitpid(child, &code, 0), child);
    assert_int_equal(code, 0);
}

static void hot_user(void **state)
{
    in_a_process(state, a_hot_user);
}

static void impressions(void **state)
{
    in_a_process(state, many_impressions);
}

static void clicks(void **state)
{
    in_a_process(state, many_clicks);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        scale = (unsigned)strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {TEST(hot_user), TEST(impressions),
                                       TEST(clicks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
