/* SPDX-License-Identifier: Apache-2.0 */
/* Served histories against those of samples: both ways to write a hash, the
 * kinds of mismatch, the newest versions, fields that the model leaves out, and
 * what is not compared. tests/e2e/skew.py does the same with a ranker. */
#include <inttypes.h>

#include "state_cases.h"

#include "ingest/skew.h"

static struct ingest_status status;

static uint64_t id_of_long(uint64_t hash)
{
    return learner_id_of_int(learner_table_seed(INGEST_SKEW_SEED),
                             (int64_t)hash);
}

static uint64_t id_of_text(uint64_t hash)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    return learner_id(learner_table_seed(INGEST_SKEW_SEED), text, 16);
}

/* The newest `count` of two behaviors of items 1 and 2, of `fields` fields. */
static uint64_t hash_of(uint32_t count, unsigned fields, bool turned)
{
    uint64_t ids[4];
    for (uint64_t k = 0; k < 2; k++)
        for (unsigned i = 0; i < fields; i++)
            ids[k * fields + i] =
                fixture_id(10000 * (i + 1) + (turned ? 2 - k : k + 1));
    return learner_history_hash(ids + (2 - count) * fields, count, fields);
}

static void serve(struct state_fixture *fixture, int64_t offset, uint64_t user,
                  uint64_t hash_id, int64_t length, int64_t version)
{
    struct fixture_event made;
    fixture_impression(&made, offset, 5000 + offset, user,
                       1000 + (uint64_t)offset, 7);
    made.event.served = (struct ingest_served){hash_id, length, version};
    state_fixture_apply(fixture, &made.event);
}

/* User 1 has behaviors of items 1 and 2. */
static void begin(struct state_fixture *fixture)
{
    start(fixture);
    click(fixture, 0, 1000, 1, 0, 1);
    click(fixture, 1, 1001, 1, 0, 2);
}

static const struct ingest_skew_status *skew_of(struct state_fixture *fixture)
{
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    return &status.skew;
}

static void both_forms(void **state)
{
    struct state_fixture *fixture = *state;
    begin(fixture);
    serve(fixture, 0, 1, id_of_long(hash_of(2, 2, false)), 2, 0);
    serve(fixture, 1, 1, id_of_text(hash_of(2, 2, false)), 2, 0);
    serve(fixture, 2, 9, id_of_long(0), 0, 0); /* no behaviors */
    serve(fixture, 3, 9, id_of_text(0), 0, 0);
    serve(fixture, 4, 1, 0, 2, 0); /* nothing said */
    const struct ingest_skew_status *skew = skew_of(fixture);
    assert_int_equal(skew->compared, 4);
    for (unsigned i = 0; i < INGEST_SKEW_KINDS; i++)
        assert_int_equal(skew->mismatched[i], 0);
    assert_int_equal(skew->version_count, 0);
}

static void kinds(void **state)
{
    struct state_fixture *fixture = *state;
    begin(fixture);
    serve(fixture, 0, 1, id_of_long(hash_of(1, 2, false)), 1, 4);
    serve(fixture, 1, 1, id_of_long(hash_of(2, 2, true)), 2, 4);
    serve(fixture, 2, 1, id_of_long(77), 3, 4);
    serve(fixture, 3, 1, id_of_long(hash_of(2, 2, false)), 2, 4);
    serve(fixture, 4, 9, id_of_long(hash_of(2, 2, false)), 2, 5);
    /* The right hash with a wrong length is none of ours. */
    serve(fixture, 5, 1, id_of_long(hash_of(2, 2, false)), -1, 5);
    const struct ingest_skew_status *skew = skew_of(fixture);
    assert_int_equal(skew->compared, 6);
    assert_int_equal(skew->mismatched[INGEST_SKEW_SHORTER], 2);
    assert_int_equal(skew->mismatched[INGEST_SKEW_LONGER], 2);
    assert_int_equal(skew->mismatched[INGEST_SKEW_CONTENT], 1);
    assert_int_equal(skew->version_count, 2);
    assert_int_equal(skew->versions[0].version, 5);
    assert_int_equal(skew->versions[0].compared, 2);
    assert_int_equal(skew->versions[0].mismatched, 2);
    assert_int_equal(skew->versions[1].version, 4);
    assert_int_equal(skew->versions[1].compared, 4);
    assert_int_equal(skew->versions[1].mismatched, 3);
}

static void newest_versions(void **state)
{
    struct state_fixture *fixture = *state;
    enum { N = INGEST_SKEW_VERSIONS };
    begin(fixture);
    for (int64_t i = 0; i < 3 * N; i++) /* odd ones first, then even ones */
        serve(fixture, i, 9, id_of_long(0), 0,
              i < N ? 2 * i + 1 : 2 * (i - N) + 2);
    serve(fixture, 3 * N, 9, id_of_long(0), 0, 4 * N);
    serve(fixture, 3 * N + 1, 9, id_of_long(0), 0, 1); /* an old one */
    const struct ingest_skew_status *skew = skew_of(fixture);
    assert_int_equal(skew->compared, 3 * N + 2);
    assert_int_equal(skew->version_count, N);
    assert_int_equal(skew->versions[0].version, 4 * N);
    assert_int_equal(skew->versions[0].compared, 2);
    for (unsigned i = 1; i < N; i++) {
        assert_int_equal(skew->versions[i].version, 4 * N - 2 * (int)i);
        assert_int_equal(skew->versions[i].compared, 1);
    }
}

/* The published model does not use the first item field. */
static void fields_left_out(void **state)
{
    struct state_fixture *fixture = *state;
    fixture->config.served_fields_off = UINT64_C(1) << FIXTURE_PROFILE;
    begin(fixture);
    const uint64_t ids[] = {fixture_id(20001), fixture_id(20002)};
    serve(fixture, 0, 1, id_of_long(learner_history_hash(ids, 2, 1)), 2, 0);
    serve(fixture, 1, 1, id_of_long(hash_of(2, 2, false)), 2, 0);
    const struct ingest_skew_status *skew = skew_of(fixture);
    assert_int_equal(skew->compared, 2);
    assert_int_equal(skew->mismatched[INGEST_SKEW_CONTENT], 1);
}

/* Late ones and duplicates have no sample. */
static void no_sample(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    begin(fixture);
    serve(fixture, 0, 1, id_of_long(77), 2, 0);
    fixture_impression(&made, 1, 5001, 1, 1000, 7); /* the same id again */
    made.event.served = (struct ingest_served){id_of_long(77), 2, 0};
    state_fixture_apply(fixture, &made.event);
    fixture_impression(&made, 2, 5002, 1, 1002, 7);
    made.event.event_ms = 5002 - fixture->config.lateness_ms - 1;
    made.event.served = (struct ingest_served){id_of_long(77), 2, 0};
    state_fixture_apply(fixture, &made.event);
    assert_int_equal(skew_of(fixture)->compared, 1);
    assert_int_equal(status.buckets[INGEST_DUPLICATE], 1);
    assert_int_equal(status.buckets[INGEST_LATE], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(newest_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fields_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_sample, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
