/* SPDX-License-Identifier: Apache-2.0 */
/* Features of every kind from a record to an event's ids: the user's id, a
 * bucket, a multi-hot run among the item's fields, numbers of a time; in
 * impressions and, the item's alone, in clicks; and what is cut is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "ingest/decoder.h"
#include "learner/learner.h"
#include "wire.h"

enum { FIELDS = 9, PROFILE = 2, ITEMS = 5, CONTEXT = 2 };

static char folder[] = "/tmp/interestd-features-XXXXXX";
static struct ingest_config config;
static const int64_t now_ms = 1508198400000; /* a Tuesday, 00:00 UTC */

static const char schema[] =
    "{\"type\": \"record\", \"name\": \"E\", \"fields\": ["
    "{\"name\": \"id\", \"type\": \"string\"},"
    "{\"name\": \"user\", \"type\": \"long\"},"
    "{\"name\": \"time\", \"type\": \"long\"},"
    "{\"name\": \"age\", \"type\": [\"null\", \"double\"]},"
    "{\"name\": \"goods\", \"type\": \"string\"},"
    "{\"name\": \"genres\", \"type\": [\"null\", {\"type\": \"array\","
    " \"items\": \"string\"}]},"
    "{\"name\": \"shop\", \"type\": \"string\"}]}";

static const struct {
    const char *name, *path;
    enum learner_group group;
    uint16_t table;
} fields[FIELDS] = {
    {"user", "user", LEARNER_PROFILE, 0},
    {"age", "age", LEARNER_PROFILE, 1},
    {"goods", "goods", LEARNER_ITEM, 2},
    {"genres", "genres", LEARNER_ITEM, 3},
    {"genres.2", "genres", LEARNER_ITEM, 3},
    {"genres.3", "genres", LEARNER_ITEM, 3},
    {"shop", "shop", LEARNER_ITEM, 4},
    {"hour", "time", LEARNER_CONTEXT, 5},
    {"weekday", "time", LEARNER_CONTEXT, 6},
};

static void fill_mapping(struct ingest_topic_config *topic, bool clicks)
{
    struct ingest_mapping *mapping = &topic->mapping;
    strcpy(topic->name, clicks ? "clicks" : "impressions");
    snprintf(topic->schema, sizeof topic->schema, "%s/e.avsc", folder);
    strcpy(clicks ? mapping->impression : mapping->event_id, "id");
    strcpy(mapping->user, "user");
    strcpy(mapping->time, "time");
    for (unsigned i = 0; i < FIELDS; i++)
        if (!clicks || fields[i].group == LEARNER_ITEM)
            strcpy(mapping->fields[i], fields[i].path);
}

static int set_up(void **state)
{
    (void)state;
    char path[128];
    struct learner_schema *made = &config.schema;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/e.avsc", folder);
    FILE *out = fopen(path, "w");
    if (!out || fputs(schema, out) < 0 || fclose(out))
        return -1;
    made->field_count = FIELDS;
    made->profile_count = PROFILE;
    made->item_count = ITEMS;
    made->context_count = CONTEXT;
    for (unsigned i = 0; i < FIELDS; i++) {
        strcpy(made->fields[i].name, fields[i].name);
        made->fields[i].group = fields[i].group;
        made->fields[i].table = fields[i].table;
        if (!strchr(fields[i].name, '.'))
            strcpy(made->tables[fields[i].table].name, fields[i].name);
        made->fields[i].continues = strchr(fields[i].name, '.') != NULL;
    }
    made->table_count = 7;
    made->fields[3].more = 2;
    config.transforms[1] = (struct ingest_transform){
        INGEST_TRANSFORM_BUCKET, 3, {18, 25, 35}};
    config.transforms[7].kind = INGEST_TRANSFORM_HOUR;
    config.transforms[8].kind = INGEST_TRANSFORM_WEEKDAY;
    config.event_max = 65536;
    fill_mapping(&config.topics[0], false);
    fill_mapping(&config.topics[1], true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return base_file_remove(folder, NULL);
}

/* age below 0: null; genres NULL: null, else words apart by blanks. */
static struct wire record(double age, const char *genres)
{
    struct wire wire = {0};
    wire_string(&wire, "i");
    wire_long(&wire, 42);
    wire_long(&wire, now_ms + 3600000);
    wire_long(&wire, age >= 0);
    if (age >= 0)
        wire_bytes(&wire, &age, sizeof age);
    wire_string(&wire, "g");
    wire_long(&wire, genres != NULL);
    for (const char *at = genres; at && *at;) {
        size_t length = strcspn(at, " ");
        wire_long(&wire, 1);
        wire_long(&wire, (int64_t)length);
        wire_bytes(&wire, at, length);
        at += length + (at[length] == ' ');
    }
    if (genres)
        wire_long(&wire, 0);
    wire_string(&wire, "s");
    return wire;
}

static uint64_t text_id(const char *table, const char *text)
{
    return learner_id(learner_table_seed(table), text, strlen(text));
}

static uint64_t number_id(const char *table, int64_t number)
{
    return learner_id_of_int(learner_table_seed(table), number);
}

static struct ingest_event read_event(struct ingest_decoder *decoder,
                                      const struct wire *wire, uint64_t *ids)
{
    struct ingest_event event = {.kafka_ms = -1};
    ingest_decoder_read(decoder, wire->bytes, wire->size, &event, ids);
    assert_int_not_equal(event.kind, INGEST_EVENT_DEAD);
    return event;
}

static struct ingest_decoder *decoder_of(enum ingest_topic topic)
{
    struct ingest_decoder *decoder = NULL;
    struct base_error error = {.text = ""};
    if (ingest_decoder_new(&config, topic, NULL, &decoder, &error))
        fail_msg("%s", error.text);
    return decoder;
}

static void test_impression(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    struct wire wire = record(25, "War Drama");
    uint64_t ids[FIELDS];
    assert_int_equal(ingest_decoder_ids(decoder), FIELDS);
    struct ingest_event event = read_event(decoder, &wire, ids);
    assert_int_equal(event.user, number_id("user", 42));
    const uint64_t expected[FIELDS] = {
        number_id("user", 42),     number_id("age", 2),
        text_id("goods", "g"),     text_id("genres", "War"),
        text_id("genres", "Drama"), LEARNER_ABSENT,
        text_id("shop", "s"),      number_id("hour", 1),
        number_id("weekday", 1)};
    assert_memory_equal(ids, expected, sizeof expected);
    wire = record(-1, NULL);
    read_event(decoder, &wire, ids);
    assert_int_equal(ids[1], 0);
    for (int i = 3; i < 6; i++)
        assert_true(ids[i] == LEARNER_ABSENT);
    assert_int_equal(ids[6], text_id("shop", "s"));
    ingest_decoder_free(decoder);
}

/* A click has the item's fields; its identity is made of all their places. */
static void test_click(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_CLICKS);
    struct wire wire = record(25, "War");
    uint64_t ids[FIELDS];
    assert_int_equal(ingest_decoder_ids(decoder), ITEMS);
    struct ingest_event event = read_event(decoder, &wire, ids);
    const uint64_t expected[ITEMS] = {text_id("goods", "g"),
                                      text_id("genres", "War"),
                                      LEARNER_ABSENT, LEARNER_ABSENT,
                                      text_id("shop", "s")};
    assert_memory_equal(ids, expected, sizeof expected);
    uint8_t said[8 * (ITEMS + 3)], *at = said;
    at = base_put_u64(at, text_id("event", "i"));
    at = base_put_u64(at, number_id("user", 42));
    for (int i = 0; i < ITEMS; i++)
        at = base_put_u64(at, expected[i]);
    base_put_i64(at, now_ms + 3600000);
    assert_int_equal(event.event_id,
                     learner_id(learner_table_seed("click"), said,
                                sizeof said));
    ingest_decoder_free(decoder);
}

static void test_what_is_cut_is_counted(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    uint64_t ids[FIELDS];
    static const char *const genres[] = {"a b c", "a b c d", "a b c d e f",
                                         "", "a"};
    static const uint64_t cut[] = {0, 1, 4, 4, 4};
    for (int i = 0; i < 5; i++) {
        struct wire wire = record(3, genres[i]);
        read_event(decoder, &wire, ids);
        assert_int_equal(ingest_decoder_cut(decoder), cut[i]);
    }
    assert_int_equal(ids[3], text_id("genres", "a"));
    /* A record that is not taken counts nothing. */
    struct wire broken = record(3, "a b c d e f");
    struct ingest_event event = {.kafka_ms = -1};
    ingest_decoder_read(decoder, broken.bytes, broken.size - 1, &event, ids);
    assert_int_equal(event.kind, INGEST_EVENT_DEAD);
    free((void *)event.payload);
    assert_int_equal(ingest_decoder_cut(decoder), 4);
    ingest_decoder_free(decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_impression),
        cmocka_unit_test(test_click),
        cmocka_unit_test(test_what_is_cut_is_counted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
