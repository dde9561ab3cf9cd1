/* SPDX-License-Identifier: Apache-2.0 */
/* See state_fixture.h. */
#include "state_fixture.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"

static void set_schema(struct learner_schema *schema)
{
    static const enum learner_group groups[] = {
        LEARNER_PROFILE, LEARNER_ITEM, LEARNER_ITEM, LEARNER_CONTEXT};
    schema->field_count = FIXTURE_FIELDS;
    schema->profile_count = FIXTURE_PROFILE;
    schema->item_count = FIXTURE_ITEMS;
    schema->context_count = 1;
    schema->table_count = FIXTURE_FIELDS;
    for (unsigned i = 0; i < FIXTURE_FIELDS; i++) {
        snprintf(schema->fields[i].name, LEARNER_NAME_MAX, "field%u", i);
        snprintf(schema->tables[i].name, LEARNER_NAME_MAX, "field%u", i);
        schema->fields[i].group = groups[i];
        schema->fields[i].table = (uint16_t)i;
        schema->tables[i].dimension = 4;
    }
}

void state_fixture_init(struct state_fixture *fixture)
{
    const char *base = getenv("TMPDIR");
    memset(fixture, 0, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "%s/interestd-XXXXXX",
             base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    struct ingest_config *config = &fixture->config;
    snprintf(config->folder, sizeof config->folder, "%s/store",
             fixture->folder);
    set_schema(&config->schema);
    config->label_mode = INGEST_LABEL_WINDOW;
    config->window_ms = 100;
    config->lateness_ms = 20;
    config->skew_ms = 5;
    config->history_max = 3;
    config->history_slack = 2;
    config->pending_max = 1000;
    config->negative_keep = 1;
    config->map_bytes = (uint64_t)1 << 30;
    config->journal_max_bytes = (uint64_t)1 << 26;
    config->dead_letter_max_bytes = 1 << 20;
    config->batch_size = 4;
}

void state_fixture_open(struct state_fixture *fixture)
{
    if (ingest_state_open(&fixture->config, &fixture->state, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

void state_fixture_close(struct state_fixture *fixture)
{
    ingest_state_free(fixture->state);
    fixture->state = NULL;
}

void state_fixture_fini(struct state_fixture *fixture)
{
    state_fixture_close(fixture);
    assert_int_equal(base_file_remove(fixture->folder, &fixture->error),
                     BASE_OK);
}

void state_fixture_begin(struct state_fixture *fixture)
{
    if (ingest_state_begin(fixture->state, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

void state_fixture_commit(struct state_fixture *fixture)
{
    if (ingest_state_commit(fixture->state, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

void state_fixture_start(struct state_fixture *fixture, unsigned partitions)
{
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++)
        for (unsigned i = 0; i < partitions; i++)
            if (ingest_state_start_partition(fixture->state, (uint8_t)topic,
                                             (int32_t)i, 0, &fixture->error))
                fail_msg("%s", fixture->error.text);
}

void state_fixture_apply(struct state_fixture *fixture,
                         const struct ingest_event *event)
{
    if (ingest_state_apply(fixture->state, event, &fixture->error))
        fail_msg("%s", fixture->error.text);
}

char *state_fixture_dump(struct state_fixture *fixture,
                         enum ingest_inspect what)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_null(fixture->state);
    if (ingest_inspect(fixture->config.folder, what, out, &fixture->error))
        fail_msg("%s", fixture->error.text);
    assert_int_equal(fclose(out), 0);
    return text;
}

uint64_t fixture_id(uint64_t number)
{
    uint64_t id = base_random_mix(number + 0x9e3779b97f4a7c15u);
    return id ? id : 1;
}

static void set_common(struct fixture_event *made, int64_t offset, int64_t ms,
                       uint64_t user)
{
    memset(made, 0, sizeof *made);
    made->event.offset = offset;
    made->event.kafka_ms = ms;
    made->event.event_ms = made->event.own_ms = made->event.apply_ms = ms;
    made->event.user = fixture_id(user);
    made->event.ids = made->ids;
}

void fixture_impression(struct fixture_event *made, int64_t offset, int64_t ms,
                        uint64_t user, uint64_t impression, uint64_t item)
{
    set_common(made, offset, ms, user);
    made->event.kind = INGEST_EVENT_IMPRESSION;
    made->event.topic = INGEST_IMPRESSIONS;
    made->event.event_id = made->event.impression = fixture_id(impression);
    made->ids[0] = fixture_id(1000 + user);
    for (unsigned i = 1; i < FIXTURE_FIELDS; i++)
        made->ids[i] = fixture_id(10000 * i + item);
}

void fixture_click(struct fixture_event *made, int64_t offset, int64_t ms,
                   uint64_t user, uint64_t impression, uint64_t click,
                   uint64_t item)
{
    set_common(made, offset, ms, user);
    made->event.kind = INGEST_EVENT_CLICK;
    made->event.topic = INGEST_CLICKS;
    made->event.event_id = fixture_id(1000000 + click);
    made->event.impression = impression ? fixture_id(impression) : 0;
    for (unsigned i = 0; i < FIXTURE_ITEMS; i++)
        made->ids[i] = fixture_id(10000 * (i + 1) + item);
}
