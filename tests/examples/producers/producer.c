/* SPDX-License-Identifier: Apache-2.0 */
/* A producer of impressions and clicks in C, with librdkafka and Avro C:
 *
 *     example_producer BROKERS SCHEMAS USER...
 *
 * Shows each user a page of five items and has the third clicked. SCHEMAS is
 * the folder of impression.avsc and click.avsc; schemas/producers.md says why
 * each setting is there. One thread. */
#include <avro.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 5, CLICKED = 2, FLUSH_MS = 60000, RECORD_MAX = 4096 };

static unsigned failures;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "producer: %s: %s\n", what, why);
    exit(1);
}

static avro_schema_t load(const char *folder, const char *name)
{
    char path[1024], text[16384];
    snprintf(path, sizeof path, "%s/%s.avsc", folder, name);
    FILE *file = fopen(path, "r");
    size_t size = file ? fread(text, 1, sizeof text, file) : 0;
    avro_schema_t schema;
    if (!size || avro_schema_from_json_length(text, size, &schema))
        fail(path, "cannot be read as a schema");
    fclose(file);
    return schema;
}

/* What was not delivered in the end was not sent: say so, here or by sending
 * it again with the same id. */
static void delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message,
                      void *self)
{
    (void)kafka, (void)self;
    if (message->err) {
        fprintf(stderr, "producer: %s\n", rd_kafka_err2str(message->err));
        failures++;
    }
}

static rd_kafka_t *connect_to(const char *brokers)
{
    const char *settings[][2] = {
        {"bootstrap.servers", brokers},
        {"enable.idempotence", "true"},    /* no doubles, no new order */
        {"acks", "all"},                   /* no loss */
        {"partitioner", "murmur2_random"}, /* a user's place, as Java's */
        {"linger.ms", "5"},
    };
    char error[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], error,
                              sizeof error) != RD_KAFKA_CONF_OK)
            fail(settings[i][0], error);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *kafka =
        rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (!kafka)
        fail("librdkafka", error);
    return kafka;
}

static avro_value_t field(avro_value_t *record, const char *name)
{
    avro_value_t value;
    if (avro_value_get_by_name(record, name, &value, NULL))
        fail(name, "the schema has no such field");
    return value;
}

/* A field that may be null: its second branch is the text. */
static void set_optional(avro_value_t *record, const char *name,
                         const char *text)
{
    avro_value_t value = field(record, name), branch;
    avro_value_set_branch(&value, text ? 1 : 0, &branch);
    if (text)
        avro_value_set_string(&branch, text);
    else
        avro_value_set_null(&branch);
}

static void set_text(avro_value_t *record, const char *name, const char *text)
{
    avro_value_t value = field(record, name);
    avro_value_set_string(&value, text);
}

/* The key is the user: all of a user's events are in one partition. */
static void send_record(rd_kafka_t *kafka, const char *topic, const char *user,
                        long long event_ms, avro_value_t *record)
{
    char bytes[RECORD_MAX] = {0};
    avro_writer_t writer = avro_writer_memory(bytes, sizeof bytes);
    if (avro_value_write(writer, record))
        fail(topic, avro_strerror());
    rd_kafka_resp_err_t code;
    while ((code = rd_kafka_producev(
                kafka, RD_KAFKA_V_TOPIC(topic),
                RD_KAFKA_V_KEY(user, strlen(user)),
                RD_KAFKA_V_VALUE(bytes, (size_t)avro_writer_tell(writer)),
                RD_KAFKA_V_TIMESTAMP(event_ms),
                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) ==
           RD_KAFKA_RESP_ERR__QUEUE_FULL)
        rd_kafka_poll(kafka, 100);
    if (code)
        fail(topic, rd_kafka_err2str(code));
    avro_writer_free(writer);
}

/* What both schemas have. */
static void set_event(avro_value_t *record, const char *user,
                      long long event_ms, int slot)
{
    char goods[16];
    snprintf(goods, sizeof goods, "goods%d", slot);
    set_text(record, "user_id", user);
    avro_value_t time = field(record, "event_ms");
    avro_value_set_long(&time, event_ms);
    set_text(record, "goods", goods);
    set_text(record, "shop", "shop1");
    set_text(record, "cate", "cate1");
}

/* The id is made when the page is: whoever sends it twice sends one event. */
static void show_page(rd_kafka_t *kafka, avro_value_t *impression,
                      avro_value_t *click, const char *user)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long long event_ms = now.tv_sec * 1000LL + now.tv_nsec / 1000000;
    for (int slot = 0; slot < PAGE; slot++) {
        char id[300], pid[16];
        snprintf(id, sizeof id, "c-%s-%lld-%d", user, event_ms, slot);
        snprintf(pid, sizeof pid, "p%d", slot);
        avro_value_reset(impression);
        set_event(impression, user, event_ms, slot);
        set_text(impression, "impression_id", id);
        set_optional(impression, "gender", NULL);
        set_optional(impression, "age_level", NULL);
        set_optional(impression, "pid", pid);
        send_record(kafka, "impressions", user, event_ms, impression);
        if (slot != CLICKED)
            continue;
        avro_value_reset(click);
        set_event(click, user, event_ms + 1, slot);
        set_optional(click, "impression_id", id);
        send_record(kafka, "clicks", user, event_ms + 1, click);
    }
}

int main(int argc, char **argv)
{
    if (argc < 4)
        fail("usage", "example_producer BROKERS SCHEMAS USER...");
    rd_kafka_t *kafka = connect_to(argv[1]);
    static const char *const names[] = {"impression", "click"};
    avro_schema_t schemas[2];
    avro_value_iface_t *classes[2];
    avro_value_t records[2];
    for (int i = 0; i < 2; i++) {
        schemas[i] = load(argv[2], names[i]);
        classes[i] = avro_generic_class_from_schema(schemas[i]);
        avro_generic_value_new(classes[i], &records[i]);
    }
    for (int i = 3; i < argc; i++)
        show_page(kafka, &records[0], &records[1], argv[i]);
    bool late = rd_kafka_flush(kafka, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < 2; i++) {
        avro_value_decref(&records[i]);
        avro_value_iface_decref(classes[i]);
        avro_schema_decref(schemas[i]);
    }
    rd_kafka_destroy(kafka);
    return late || failures ? 1 : 0;
}
