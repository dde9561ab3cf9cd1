/* SPDX-License-Identifier: Apache-2.0 */
/* See kafka_fixture.h. */
#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int fine, const char *what)
{
    if (fine)
        return;
    fprintf(stderr, "fixture: %s\n", what);
    abort();
}

static rd_kafka_t *producer(const char *brokers)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
    rd_kafka_conf_set(conf, "queue.buffering.max.messages", "10000000", NULL,
                      0);
    rd_kafka_conf_set(conf, "linger.ms", "20", NULL, 0);
    if (brokers)
        rd_kafka_conf_set(conf, "bootstrap.servers", brokers, NULL, 0);
    rd_kafka_t *handle =
        rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    check(handle != NULL, text);
    return handle;
}

void kafka_fixture_open(struct kafka_fixture *fixture, unsigned partitions)
{
    kafka_fixture_open_on(fixture, partitions, 1);
}

void kafka_fixture_open_on(struct kafka_fixture *fixture, unsigned partitions,
                           int brokers)
{
    fixture->partitions = partitions;
    fixture->handle = producer(NULL);
    fixture->cluster = rd_kafka_mock_cluster_new(fixture->handle, brokers);
    check(fixture->cluster != NULL, "mock cluster");
    rd_kafka_mock_topic_create(fixture->cluster, "impressions",
                               (int)partitions, 1);
    rd_kafka_mock_topic_create(fixture->cluster, "clicks", (int)partitions, 1);
    fixture->producer =
        producer(rd_kafka_mock_cluster_bootstraps(fixture->cluster));
}

void kafka_fixture_close(struct kafka_fixture *fixture)
{
    rd_kafka_destroy(fixture->producer);
    rd_kafka_mock_cluster_destroy(fixture->cluster);
    rd_kafka_destroy(fixture->handle);
}

void kafka_fixture_send(struct kafka_fixture *fixture, const char *topic,
                        int32_t partition, const void *value, size_t size,
                        int64_t kafka_ms)
{
    rd_kafka_resp_err_t code = rd_kafka_producev(
        fixture->producer, RD_KAFKA_V_TOPIC(topic),
        RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value, size),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_TIMESTAMP(kafka_ms), RD_KAFKA_V_END);
    check(!code, rd_kafka_err2str(code));
    rd_kafka_poll(fixture->producer, 0);
}

void kafka_fixture_flush(struct kafka_fixture *fixture)
{
    check(!rd_kafka_flush(fixture->producer, 60000), "flush");
}

void kafka_fixture_property(struct ingest_config *config, const char *name,
                            const char *value)
{
    struct ingest_property *property =
        &config->properties[config->property_count++];
    snprintf(property->name, sizeof property->name, "%s", name);
    snprintf(property->value, sizeof property->value, "%s", value);
}

static void set_fields(struct ingest_config *config)
{
    static const char *const names[] = {"goods", "shop", "cate", "pid"};
    struct learner_schema *schema = &config->schema;
    schema->field_count = schema->table_count = 4;
    schema->item_count = 3;
    schema->context_count = 1;
    for (int i = 0; i < 4; i++) {
        struct learner_field *field = &schema->fields[i];
        snprintf(field->name, sizeof field->name, "%s", names[i]);
        field->group = i < 3 ? LEARNER_ITEM : LEARNER_CONTEXT;
        field->table = (uint16_t)i;
        memcpy(schema->tables[i].name, field->name, sizeof field->name);
        schema->tables[i].dimension = 4;
        for (int topic = 0; topic < 2; topic++)
            snprintf(config->topics[topic].mapping.fields[i], INGEST_PATH_MAX,
                     "%s", names[i]);
    }
}

void kafka_fixture_config(const struct kafka_fixture *fixture,
                          struct ingest_config *config, const char *folder)
{
    memset(config, 0, sizeof *config);
    snprintf(config->folder, sizeof config->folder, "%s", folder);
    set_fields(config);
    static const char *const topics[] = {"impressions", "clicks"};
    for (int i = 0; i < 2; i++) {
        struct ingest_topic_config *topic = &config->topics[i];
        snprintf(topic->name, sizeof topic->name, "%s", topics[i]);
        snprintf(topic->schema, sizeof topic->schema, "schemas/%.*s.avsc",
                 (int)strlen(topics[i]) - 1, topics[i]);
        strcpy(topic->mapping.user, "user_id");
        strcpy(topic->mapping.time, "event_ms");
        strcpy(i == 0 ? topic->mapping.event_id : topic->mapping.impression,
               "impression_id");
    }
    strcpy(config->announcement_topic, "model-announcements");
    strcpy(config->model_name, "ctr");
    kafka_fixture_property(config, "bootstrap.servers",
                           rd_kafka_mock_cluster_bootstraps(fixture->cluster));
    kafka_fixture_property(config, "fetch.wait.max.ms", "10");
    config->event_max = 65536;
    config->window_ms = 2000;
    config->lateness_ms = 1000;
    config->skew_ms = 100;
    config->history_max = 20;
    config->history_slack = 64;
    config->pending_max = 1000000;
    config->negative_keep = 1;
    config->idle_ms = 100;
    config->commit_events = 20000;
    config->commit_ms = 50;
    config->map_bytes = 1ull << 30;
    config->journal_max_bytes = 256u << 20;
    config->journal_keep = true;
    config->dead_letter_max_bytes = 16 << 20;
    config->batch_size = 128;
}

/* ---- Avro --------------------------------------------------------------- */

static uint8_t *put_long(uint8_t *at, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; zigzag > 127; zigzag >>= 7)
        *at++ = (uint8_t)(zigzag | 128);
    *at++ = (uint8_t)zigzag;
    return at;
}

static uint8_t *put_string(uint8_t *at, const char *text)
{
    size_t size = strlen(text);
    at = put_long(at, (int64_t)size);
    memcpy(at, text, size);
    return at + size;
}

size_t kafka_fixture_impression(uint8_t *bytes, const char *id,
                                const char *user, int64_t event_ms,
                                const char *goods)
{
    uint8_t *at = put_string(bytes, id);
    at = put_string(at, user);
    at = put_long(at, event_ms);
    at = put_long(at, 0); /* gender null */
    at = put_long(at, 0); /* age_level null */
    at = put_string(at, goods);
    at = put_string(at, "shop");
    at = put_string(at, "cate");
    at = put_long(at, 1);
    at = put_string(at, "top");
    return (size_t)(at - bytes);
}

size_t kafka_fixture_click(uint8_t *bytes, const char *impression,
                           const char *user, int64_t event_ms,
                           const char *goods)
{
    uint8_t *at = put_long(bytes, impression != NULL);
    if (impression)
        at = put_string(at, impression);
    at = put_string(at, user);
    at = put_long(at, event_ms);
    at = put_string(at, goods);
    at = put_string(at, "shop");
    at = put_string(at, "cate");
    return (size_t)(at - bytes);
}
