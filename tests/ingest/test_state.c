/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine case by case: rules by hand, and what it does when it is
 * full, used wrongly or used by another. */
#include "ingest/join.h"
#include "state_cases.h"

/* ---- rules --------------------------------------------------------------- */

static void a_window_closes_after_its_edge(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1); /* closes at 1000 + 20 + 100 */
    click(fixture, 0, 1050, 1, 1, 1);
    show(fixture, 1, 1120, 1, 2, 2); /* 1120 is not above the close */
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.journal_end, 0);
    assert_int_equal(status.buckets[INGEST_JOINED_CLICK], 1);
    assert_int_equal(status.buckets[INGEST_WAITING], 2);
    state_fixture_begin(fixture);
    show(fixture, 2, 1121, 1, 3, 3);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.journal_end, 1);
    assert_int_equal(status.buckets[INGEST_POSITIVE], 1);
    assert_int_equal(status.events, 4);
    assert_int_equal(status.unaccounted, 0);
    assert_int_equal(status.pending, 2);
}

static void an_impression_never_sees_its_own_click(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    /* The click's clock is behind: 998 is within the skew. */
    click(fixture, 0, 998, 1, 1, 1);
    show(fixture, 0, 1000, 1, 1, 1);
    show(fixture, 1, 2000, 1, 2, 2);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SAMPLES,
                                "\"label\":1,\"kind\":\"window\""),
                     1);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_SAMPLES, "\"history\":[]"), 1);
    /* The behavior has the impression's time, 1000. */
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_SEQUENCES, "[[1000,0,"), 1);
}

static void fnw_trains_at_once_and_finishes_later(void **state)
{
    struct state_fixture *fixture = *state;
    fixture->config.label_mode = INGEST_LABEL_FNW;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    click(fixture, 0, 1010, 1, 1, 1);
    click(fixture, 1, 1011, 1, 1, 1);
    show(fixture, 1, 2000, 2, 2, 2);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    char *samples = state_fixture_dump(fixture, INGEST_INSPECT_SAMPLES);
    assert_non_null(strstr(samples, "\"label\":0,\"kind\":\"fnw_negative\""));
    assert_non_null(strstr(samples, "\"label\":1,\"kind\":\"fnw_positive\""));
    assert_non_null(strstr(samples, "{\"final\":0,\"label\":1}\n"));
    free(samples);
    char *ledger = state_fixture_dump(fixture, INGEST_INSPECT_LEDGER);
    assert_non_null(strstr(
        ledger, "{\"totals\":{\"positive\":1,\"negative\":2,"
                "\"joined_click\":1}}"));
    free(ledger);
}

static void extreme_times_do_not_wrap(void **state)
{
    struct state_fixture *fixture = *state;
    static const int64_t times[] = {INT64_MAX, 1, INT64_MAX - 1, 2, 1000};
    struct fixture_event made;
    start(fixture);
    for (int64_t i = 0; i < 5; i++) {
        fixture_impression(&made, i, times[i], 1, (uint64_t)i + 1, 1);
        made.event.own_ms = made.event.apply_ms = 1000;
        state_fixture_apply(fixture, &made.event);
        fixture_click(&made, i, times[i], 1, (uint64_t)i + 1, (uint64_t)i, 1);
        made.event.own_ms = made.event.apply_ms = 1000;
        state_fixture_apply(fixture, &made.event);
    }
    show(fixture, 5, INT64_MAX, 2, 99, 1);
    state_fixture_commit(fixture);
    reopen(fixture);
}

static void users_in_two_partitions_are_counted_once(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    struct fixture_event made;
    start(fixture);
    click(fixture, 0, 1000, 1, 0, 1);
    for (int64_t i = 0; i < 3; i++) {
        fixture_impression(&made, i, 1001 + i, 1, (uint64_t)i + 1, 1);
        made.event.partition = 1;
        state_fixture_apply(fixture, &made.event);
    }
    state_fixture_commit(fixture);
    reopen(fixture);
    click(fixture, 1, 1010, 1, 0, 1);
    fixture_click(&made, 0, 1011, 1, 0, 77, 1);
    made.event.partition = 1;
    state_fixture_apply(fixture, &made.event);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.crossed_partitions, 1);
    assert_int_equal(status.users, 1);
}

static void a_stopped_partition_leaves_unlabelled(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    static struct ingest_status status;
    start(fixture);
    for (int64_t i = 0; i < 6; i++) {
        fixture_impression(&made, i / 2, 1000 + i, 1, (uint64_t)i + 1, 1);
        made.event.partition = (int32_t)(i % 2);
        state_fixture_apply(fixture, &made.event);
        fixture_click(&made, i / 2, 1000 + i, 1, 500 + (uint64_t)i,
                      (uint64_t)i, 1);
        made.event.partition = (int32_t)(i % 2);
        state_fixture_apply(fixture, &made.event);
    }
    assert_int_equal(ingest_state_stop_partition(fixture->state, 1,
                                                 "truncated \"log\"",
                                                 &fixture->error),
                     BASE_OK);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_UNLABELLED], 3);
    assert_int_equal(status.buckets[INGEST_ORGANIC], 3);
    assert_int_equal(status.buckets[INGEST_WAITING], 6);
    reopen(fixture); /* what has left stays away */
    show(fixture, 3, 9000, 1, 99, 1);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_NEGATIVE], 3);
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"kind\":\"stopped\""),
                     2);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"text\":\"truncated \\\"log\\\"\""),
                     2);
}

/* Its negatives are trained already; what their labels would have become is
 * not known, so none is said to be final, and a click finds nobody. */
static void a_stopped_partition_in_fnw_has_no_final_labels(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fixture->config.label_mode = INGEST_LABEL_FNW;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    show(fixture, 1, 1001, 1, 2, 1);
    click(fixture, 0, 1002, 1, 1, 1);
    assert_int_equal(ingest_state_stop_partition(fixture->state, 0, "a fault",
                                                 &fixture->error),
                     BASE_OK);
    click(fixture, 1, 1003, 1, 2, 1);
    show(fixture, 2, 9000, 2, 3, 1);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.buckets[INGEST_NEGATIVE], 3);
    assert_int_equal(status.buckets[INGEST_POSITIVE], 1);
    assert_int_equal(status.buckets[INGEST_ORGANIC], 1);
    assert_int_equal(status.buckets[INGEST_UNLABELLED], 0);
    assert_int_equal(status.unaccounted, 0);
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_SAMPLES, "\"final\""),
                     0);
}

static void decisions_are_kept(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    static struct ingest_status status;
    start(fixture);
    static const uint8_t kinds[] = {0, 1, 2, 3, INGEST_AHEAD,
                                    INGEST_AHEAD | INGEST_FLOORED};
    for (uint8_t i = 0; i < sizeof kinds; i++) {
        uint8_t kind = kinds[i];
        fixture_click(&made, i, 1000 + i, 1, 0, i, 1);
        made.event.decisions = kind;
        made.event.apply_ms = 2000 + i;
        state_fixture_apply(fixture, &made.event);
    }
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.decisions, 5);
    assert_int_equal(status.floored_records, 3);
    assert_int_equal(status.clamped_records, 2);
    state_fixture_close(fixture);
    char *text = state_fixture_dump(fixture, INGEST_INSPECT_DECISIONS);
    assert_string_equal(
        text,
        "{\"topic\":\"clicks\",\"partition\":0,\"offset\":1,"
        "\"kind\":\"floored\",\"own_ms\":1001,\"apply_ms\":2001}\n"
        "{\"topic\":\"clicks\",\"partition\":0,\"offset\":2,"
        "\"kind\":\"clamped\",\"own_ms\":1002,\"apply_ms\":2002}\n"
        "{\"topic\":\"clicks\",\"partition\":0,\"offset\":3,"
        "\"kind\":\"floored+clamped\",\"own_ms\":1003,\"apply_ms\":2003}\n"
        "{\"topic\":\"clicks\",\"partition\":0,\"offset\":4,"
        "\"kind\":\"ahead\",\"own_ms\":1004,\"apply_ms\":2004}\n"
        "{\"topic\":\"clicks\",\"partition\":0,\"offset\":5,"
        "\"kind\":\"floored+ahead\",\"own_ms\":1005,\"apply_ms\":2005}\n");
    free(text);
}

/* ---- dead letters -------------------------------------------------------- */

static void put_dead(struct state_fixture *fixture, int64_t offset,
                     const void *payload, uint32_t size)
{
    struct ingest_event event = {.kind = INGEST_EVENT_DEAD,
                                 .topic = INGEST_CLICKS,
                                 .reason = INGEST_REASON_TRUNCATED,
                                 .offset = offset,
                                 .kafka_ms = -1,
                                 .payload = payload,
                                 .payload_size = size};
    state_fixture_apply(fixture, &event);
}

static void dead_letters_are_kept_up_to_a_cap(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    static uint8_t payload[3000];
    fixture->config.dead_letter_max_bytes = 1000;
    start(fixture);
    for (int64_t i = 0; i < 20; i++)
        put_dead(fixture, i, "\x01\xff" "abc", 5); /* 45 bytes each */
    put_dead(fixture, 20, NULL, 0);                /* 40, a tombstone */
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.dead_letters_dropped, 0);
    reopen(fixture);
    put_dead(fixture, 21, "xyz", 3);
    put_dead(fixture, 22, "xyz", 3);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.reasons[INGEST_REASON_TRUNCATED], 23);
    assert_int_equal(status.buckets[INGEST_DEAD_LETTER], 23);
    assert_int_equal(status.dead_letters_dropped, 1);
    state_fixture_close(fixture);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS, "\"offset\":0,"), 0);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS,
                   "\"offset\":1,\"kafka_ms\":-1,\"size\":5,"
                   "\"bytes\":\"01ff616263\"}"),
        1);
    /* One larger than the cap pushes all out and is cut. */
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    put_dead(fixture, 23, payload, sizeof payload);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS, "\"reason\""), 1);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_DEAD_LETTERS, "\"size\":3000,"),
        1);
}

static void without_a_cap_none_is_kept(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    fixture->config.dead_letter_max_bytes = 0;
    start(fixture);
    put_dead(fixture, 0, "abc", 3);
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.dead_letters_dropped, 1);
    assert_int_equal(status.buckets[INGEST_DEAD_LETTER], 1);
}

/* ---- outbox, epoch, cluster ---------------------------------------------- */

static void outbox_hands_out_the_oldest_unsent(void **state)
{
    struct state_fixture *fixture = *state;
    struct base_error *error = &fixture->error;
    uint64_t epoch, version;
    size_t size;
    void *row;
    start(fixture);
    assert_int_equal(ingest_state_outbox_next(fixture->state, &epoch, &version,
                                              &row, &size, error),
                     BASE_AGAIN);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(ingest_state_outbox_put(fixture->state, 7, i, "row",
                                                 3, error),
                         BASE_OK);
    assert_int_equal(ingest_state_set_epoch(fixture->state, 7, error), 0);
    assert_int_equal(ingest_state_set_cluster(fixture->state, "c-1", error),
                     0);
    state_fixture_commit(fixture);
    reopen(fixture);
    assert_int_equal(ingest_state_epoch(fixture->state), 7);
    assert_string_equal(ingest_state_cluster(fixture->state), "c-1");
    for (uint64_t i = 1; i <= 99; i++) {
        assert_int_equal(ingest_state_outbox_next(fixture->state, &epoch,
                                                  &version, &row, &size,
                                                  error),
                         BASE_OK);
        assert_int_equal(epoch, 7);
        assert_int_equal(version, i);
        assert_int_equal(size, 3);
        assert_memory_equal(row, "row", 3);
        free(row);
        assert_int_equal(
            ingest_state_outbox_sent(fixture->state, epoch, version, error),
            BASE_OK);
    }
    state_fixture_commit(fixture);
    /* Old marks go, the unsent row stays; asked without a transaction too. What
     * only waits is not announced: it goes out in its turn. */
    assert_false(ingest_state_outbox_announced(fixture->state, 7, 1));
    assert_true(ingest_state_outbox_announced(fixture->state, 7, 99));
    assert_false(ingest_state_outbox_announced(fixture->state, 7, 100));
    assert_false(ingest_state_outbox_announced(fixture->state, 8, 100));
}

/* ---- misuse -------------------------------------------------------------- */

static void what_cannot_be_is_refused_for_good(void **state)
{
    struct state_fixture *fixture = *state;
    struct base_error *error = &fixture->error;
    struct fixture_event made;
    fixture_impression(&made, 5, 1000, 1, 1, 1);
    start(fixture);
    state_fixture_apply(fixture, &made.event);
    state_fixture_commit(fixture);
    assert_int_equal(ingest_state_apply(fixture->state, &made.event, error),
                     BASE_BROKEN); /* nothing is begun */
    state_fixture_begin(fixture);
    assert_int_equal(ingest_state_start_partition(fixture->state, 0, 1, 0,
                                                  error),
                     BASE_BROKEN);
    assert_int_equal(ingest_state_apply(fixture->state, &made.event, error),
                     BASE_BROKEN);
    assert_non_null(strstr(error->text, "offset 5 was applied before"));
    made.event.offset = 6;
    assert_int_equal(ingest_state_apply(fixture->state, &made.event, error),
                     BASE_BROKEN);
    assert_int_equal(ingest_state_commit(fixture->state, error), BASE_BROKEN);
    reopen(fixture);
    made.event.partition = 9;
    assert_int_equal(ingest_state_apply(fixture->state, &made.event, error),
                     BASE_BROKEN);
    assert_non_null(strstr(error->text, "never started"));
}

static void an_unbalanced_ledger_does_not_commit(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    show(fixture, 3, 1000, 1, 1, 1);
    fixture->state->ledger.partitions[0].buckets[INGEST_CONTROL]--;
    assert_int_equal(ingest_state_commit(fixture->state, &fixture->error),
                     BASE_BROKEN);
    assert_non_null(strstr(fixture->error.text, "are in no bucket"));
    state_fixture_close(fixture);
    state_fixture_open(fixture);
    unsigned count;
    ingest_state_positions(fixture->state, &count);
    assert_int_equal(count, 0);
}

static void a_second_state_is_refused(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_state *second = NULL;
    start(fixture);
    assert_int_equal(
        ingest_state_open(&fixture->config, &second, &fixture->error),
        BASE_UNAVAILABLE);
    assert_non_null(strstr(fixture->error.text, "is in use by process"));
    assert_null(second);
}

/* ---- back-pressure ------------------------------------------------------- */

/* A long stream; with a small cap it is told to wait, trims and goes on.
 * Returns how often. */
static unsigned run_capped(struct state_fixture *fixture, uint64_t cap,
                           struct ingest_totals *totals)
{
    struct fixture_event made;
    unsigned waits = 0;
    fixture->config.journal_max_bytes = cap;
    fixture->config.pending_max = 100000;
    fixture->config.history_max = 60;
    fixture->config.batch_size = 16;
    start(fixture);
    for (int64_t i = 0; i < 20000; i++) {
        /* Now and then time jumps, so that a record closes very many. */
        int64_t ms = 1000 + i / 20 + i / 1500 * 500;
        if (i % 3)
            fixture_impression(&made, i, ms, (uint64_t)i % 40,
                               (uint64_t)i + 1, (uint64_t)i);
        else
            fixture_click(&made, i, ms, (uint64_t)i % 40,
                          i % 6 ? (uint64_t)i : 0, (uint64_t)i, 1);
        enum base_status status;
        while ((status = ingest_state_apply(fixture->state, &made.event,
                                            &fixture->error)) == BASE_AGAIN) {
            assert_true(fixture->error.retriable);
            assert_true(fixture->state->journal.mark.bytes <= cap);
            state_fixture_commit(fixture);
            reopen(fixture); /* a restart while it waits changes nothing */
            assert_int_equal(
                ingest_state_trim(fixture->state, UINT64_MAX,
                                  &fixture->error),
                BASE_OK);
            assert_true(++waits < 1000);
        }
        if (status)
            fail_msg("%s", fixture->error.text);
    }
    state_fixture_commit(fixture);
    *totals = fixture->state->totals;
    state_fixture_close(fixture);
    return waits;
}

static void waiting_for_the_trainer_changes_no_byte(void **state)
{
    struct state_fixture *fixture = *state;
    struct state_fixture other;
    struct ingest_totals free_run, capped;
    assert_int_equal(run_capped(fixture, 1 << 26, &free_run), 0);
    state_fixture_init(&other);
    assert_true(run_capped(&other, 400000, &capped) > 3);
    assert_int_equal(free_run.journal.position, capped.journal.position);
    assert_int_equal(free_run.journal.chain.low, capped.journal.chain.low);
    assert_int_equal(free_run.journal.chain.high, capped.journal.chain.high);
    assert_int_equal(free_run.events, capped.events);
    char *one = state_fixture_dump(fixture, INGEST_INSPECT_LEDGER);
    char *two = state_fixture_dump(&other, INGEST_INSPECT_LEDGER);
    assert_string_equal(one, two);
    free(one);
    free(two);
    state_fixture_fini(&other);
}

static void a_half_fired_clock_is_the_last_key(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    struct ingest_event last;
    fixture->config.journal_max_bytes = 290000;
    fixture->config.pending_max = 100000;
    start(fixture);
    for (int64_t i = 0; i < 5000; i++)
        show(fixture, i, 1000, (uint64_t)i, (uint64_t)i + 1, 1);
    fixture_impression(&made, 5000, 9000, 1, 9999, 1);
    assert_int_equal(ingest_state_apply(fixture->state, &made.event,
                                        &fixture->error),
                     BASE_AGAIN);
    state_fixture_commit(fixture);
    reopen(fixture);
    ingest_state_last(fixture->state, &last);
    assert_int_equal(last.apply_ms, 9000);
    assert_true(ingest_event_order(&last, &made.event) < 0);
}

static void a_quiet_night_ends_in_several_transactions(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    enum { COUNT = INGEST_FIRE_MAX + 5000 };
    unsigned waits = 0;
    fixture->config.pending_max = COUNT;
    start(fixture);
    for (int64_t i = 0; i < COUNT; i++)
        show(fixture, i, 1000, (uint64_t)i % 100, (uint64_t)i + 1, 1);
    fixture_impression(&made, COUNT, 90000, 1, COUNT + 1, 1);
    enum base_status status;
    while ((status = ingest_state_apply(fixture->state, &made.event,
                                        &fixture->error)) == BASE_AGAIN) {
        assert_true(++waits < 3);
        state_fixture_commit(fixture);
        state_fixture_begin(fixture);
    }
    assert_int_equal(status, BASE_OK);
    assert_int_equal(waits, 1);
    assert_int_equal(fixture->state->journal.mark.position, COUNT);
    state_fixture_commit(fixture);
}

/* ---- batches ------------------------------------------------------------- */

static void a_timed_end_closes_the_open_batch(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_journal *journal;
    struct learner_batch batch;
    int64_t oldest_ms;
    fixture->config.label_mode = INGEST_LABEL_FNW;
    start(fixture);
    assert_int_equal(ingest_state_open_samples(fixture->state, &oldest_ms),
                     0);
    assert_int_equal(oldest_ms, 0);
    show(fixture, 0, 1000, 1, 1, 1);
    show(fixture, 1, 1001, 1, 2, 1);
    assert_int_equal(ingest_state_open_samples(fixture->state, &oldest_ms),
                     2);
    assert_true(oldest_ms > 0);
    assert_int_equal(ingest_state_end_batch(fixture->state, &fixture->error),
                     BASE_OK);
    assert_int_equal(ingest_journal_new(fixture->state, &journal,
                                        &fixture->error),
                     BASE_OK);
    assert_int_equal(ingest_journal_next(journal, 0, 0, &batch,
                                         &fixture->error),
                     BASE_AGAIN); /* not committed yet */
    state_fixture_commit(fixture);
    assert_int_equal(ingest_journal_next(journal, 0, 0, &batch,
                                         &fixture->error),
                     BASE_OK);
    assert_int_equal(batch.samples, 2);
    assert_int_equal(batch.kind[1], LEARNER_FNW_NEGATIVE);
    ingest_journal_free(journal);
}

static void meta_and_names_are_printed(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    assert_int_equal(ingest_state_set_cluster(fixture->state, "a\"b",
                                              &fixture->error),
                     BASE_OK);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    char *text = state_fixture_dump(fixture, INGEST_INSPECT_META);
    assert_string_equal(
        text, "{\"format\":1,\"events\":1,\"commits\":1,\"next_position\":0,"
              "\"batch_end\":0,\"journal_begin\":0,"
              "\"chain\":\"00000000000000000000000000000000\","
              "\"cluster\":\"a\\\"b\",\"epoch\":0}\n");
    free(text);
    assert_int_equal(ingest_inspect_named("dead-letters"),
                     INGEST_INSPECT_DEAD_LETTERS);
    assert_int_equal(ingest_inspect_named("nothing"), INGEST_INSPECT_COUNT);
}

static void inspecting_nothing_says_so(void **state)
{
    struct state_fixture *fixture = *state;
    assert_int_equal(ingest_inspect(fixture->config.folder,
                                    INGEST_INSPECT_LEDGER, stdout,
                                    &fixture->error),
                     BASE_NO_INPUT);
}

/* Decisions go with their records; those of operators stay. */
static void decisions_go_with_their_records(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_position begins[] = {
        {.topic = INGEST_CLICKS, .partition = 0, .next = 900},
        {.topic = INGEST_IMPRESSIONS, .partition = 0, .next = 1200}};
    uint64_t at = 0, gone, all = 0;
    unsigned steps = 0;
    start(fixture);
    for (int64_t i = 0; i < 2000; i++) {
        struct fixture_event made;
        fixture_impression(&made, i, 1000, (uint64_t)i % 7, (uint64_t)i + 1,
                           1);
        made.event.decisions = INGEST_FLOORED;
        state_fixture_apply(fixture, &made.event);
        if (i == 600)
            assert_int_equal(ingest_state_stop_partition(fixture->state, 1,
                                                         "test",
                                                         &fixture->error),
                             BASE_OK);
    }
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    for (; at != UINT64_MAX; steps++) {
        assert_int_equal(ingest_state_trim_decisions(fixture->state, begins, 2,
                                                     &at, &gone,
                                                     &fixture->error),
                         BASE_OK);
        all += gone;
    }
    state_fixture_commit(fixture);
    assert_int_equal(all, 1200);
    assert_true(steps > 1);
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS, "floored"),
                     800);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS, "stopped"),
                     2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_window_closes_after_its_edge),
        TEST(an_impression_never_sees_its_own_click),
        TEST(fnw_trains_at_once_and_finishes_later),
        TEST(extreme_times_do_not_wrap),
        TEST(users_in_two_partitions_are_counted_once),
        TEST(a_stopped_partition_leaves_unlabelled),
        TEST(a_stopped_partition_in_fnw_has_no_final_labels),
        TEST(decisions_are_kept),
        TEST(dead_letters_are_kept_up_to_a_cap),
        TEST(without_a_cap_none_is_kept),
        TEST(outbox_hands_out_the_oldest_unsent),
        TEST(what_cannot_be_is_refused_for_good),
        TEST(an_unbalanced_ledger_does_not_commit),
        TEST(a_second_state_is_refused),
        TEST(waiting_for_the_trainer_changes_no_byte),
        TEST(a_half_fired_clock_is_the_last_key),
        TEST(a_quiet_night_ends_in_several_transactions),
        TEST(a_timed_end_closes_the_open_batch),
        TEST(meta_and_names_are_printed),
        TEST(decisions_go_with_their_records),
        TEST(inspecting_nothing_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
