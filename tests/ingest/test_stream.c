/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration that a state was made with: what may change and is
 * recorded, what is refused by name, and how its fields are shown. */
#include "state_cases.h"

static void numbers_may_change_and_are_recorded(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    fixture->config.window_ms = 50;
    fixture->config.history_max = 2;
    state_fixture_open(fixture);
    state_fixture_close(fixture);
    state_fixture_open(fixture); /* once only */
    state_fixture_close(fixture);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"kind\":\"configuration\""),
                     1);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"text\":\"window_ms: 100 -> 50, "
                                "history_max: 3 -> 2\""),
                     1);
}

static void what_stored_bytes_mean_may_not_change(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_config before = fixture->config;
    start(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    fixture->config.label_mode = INGEST_LABEL_FNW;
    expect_refusal(fixture, "label_mode was \"window\" and is now \"fnw\"");
    fixture->config = before;
    strcpy(fixture->config.schema.fields[2].name, "shop");
    expect_refusal(fixture, "field.2");
    fixture->config = before;
    strcpy(fixture->config.topics[1].mapping.user, "who");
    expect_refusal(fixture, "clicks.user was \"\" and is now \"who\"");
    fixture->config = before;
    fixture->config.schema.field_count = 3;
    expect_refusal(fixture, "field_count");
    fixture->config = before;
    state_fixture_open(fixture);
}

static void impossible_numbers_are_refused(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_config before = fixture->config;
    fixture->config.history_max = 0;
    expect_refusal(fixture, "history_max");
    fixture->config = before;
    fixture->config.window_ms = -1;
    expect_refusal(fixture, "window_ms");
    fixture->config = before;
    fixture->config.pending_max = 0;
    expect_refusal(fixture, "pending_max");
    fixture->config = before;
    fixture->config.batch_size = 0;
    expect_refusal(fixture, "batches of 0");
}

/* The run of a multi-hot field, and what derived numbers are made with, are
 * part of what stored ids mean. */
static void runs_and_transforms_may_not_change(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_transform *transform = &fixture->config.transforms[0];
    fixture->config.schema.fields[1].more = 1;
    fixture->config.schema.fields[2].continues = true;
    transform->kind = INGEST_TRANSFORM_BUCKET;
    transform->bound_count = INGEST_BOUNDS_MAX;
    for (unsigned i = 0; i < INGEST_BOUNDS_MAX; i++)
        transform->bounds[i] = -1e15 / 3 + i / 7.0;
    struct ingest_config before = fixture->config;
    start(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    transform->bounds[INGEST_BOUNDS_MAX - 1] += 1;
    expect_refusal(fixture, "impressions.field0 was \"..");
    fixture->config = before;
    transform->bound_count--;
    expect_refusal(fixture, "impressions.field0 was \"..");
    fixture->config = before;
    transform->kind = INGEST_TRANSFORM_WEEKDAY;
    transform->bound_count = 0;
    expect_refusal(fixture, "is now \" weekday\"");
    fixture->config = before;
    fixture->config.schema.fields[1].more = 0;
    fixture->config.schema.fields[2].continues = false;
    expect_refusal(fixture, "field.1 was \"field1 group 1 table field1 values "
                            "2\"");
    fixture->config = before;
    state_fixture_open(fixture);
}

static void names_of_groups_may_change(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    static const char *const names[] = {"place", "city", "context"};
    for (int i = 0; i < 3; i++) {
        strcpy(fixture->config.groups[3], names[i]);
        state_fixture_open(fixture);
        state_fixture_close(fixture);
    }
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"text\":\"label.field3: place -> city\""),
                     1);
    assert_int_equal(lines_with(fixture, INGEST_INSPECT_DECISIONS,
                                "\"text\":\"label.field3: city -> \""),
                     1);
}

static void fields_are_printed(void **state)
{
    struct state_fixture *fixture = *state;
    struct ingest_config *config = &fixture->config;
    config->schema.fields[1].more = 1;
    config->schema.fields[2].continues = true;
    config->schema.fields[2].table = 1;
    strcpy(config->groups[3], "place");
    strcpy(config->topics[0].mapping.fields[0], "user.age");
    strcpy(config->topics[0].mapping.fields[3], "city");
    config->transforms[0] = (struct ingest_transform){
        INGEST_TRANSFORM_BUCKET, 2, {18, 25.5}};
    start(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    char *text = state_fixture_dump(fixture, INGEST_INSPECT_FIELDS);
    assert_string_equal(
        text,
        "{\"field\":0,\"name\":\"field0\",\"group\":\"profile\",\"table\":"
        "\"field0\",\"path\":\"user.age\",\"transform\":\"bucket 18 25.5\"}\n"
        "{\"field\":1,\"name\":\"field1\",\"group\":\"item\",\"table\":"
        "\"field1\",\"path\":\"\",\"values\":2}\n"
        "{\"field\":2,\"name\":\"field2\",\"group\":\"item\",\"table\":"
        "\"field1\",\"path\":\"\",\"continues\":true}\n"
        "{\"field\":3,\"name\":\"field3\",\"group\":\"place\",\"table\":"
        "\"field3\",\"path\":\"city\"}\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(numbers_may_change_and_are_recorded),
        TEST(what_stored_bytes_mean_may_not_change),
        TEST(impossible_numbers_are_refused),
        TEST(runs_and_transforms_may_not_change),
        TEST(names_of_groups_may_change),
        TEST(fields_are_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
