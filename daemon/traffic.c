/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated traffic on Kafka; see traffic.h. */
#include "daemon/traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

/* ---- Avro ---- */

/* Avro's long: zigzag, then 7 bits a byte, the lowest first. */
static uint8_t *put_long(uint8_t *at, int64_t value)
{
    uint64_t bits = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    while (bits > 0x7f) {
        *at++ = (uint8_t)(bits | 0x80);
        bits >>= 7;
    }
    *at++ = (uint8_t)bits;
    return at;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t length = strlen(text);
    at = put_long(at, (int64_t)length);
    memcpy(at, text, length);
    return at + length;
}

/* A letter and a number: "g17". */
static uint8_t *put_name(uint8_t *at, char letter, uint32_t number)
{
    char text[16];
    snprintf(text, sizeof text, "%c%u", letter, number);
    return put_text(at, text);
}

/* Branch 1 of ["null", ...]. */
static uint8_t *put_some(uint8_t *at)
{
    return put_long(at, 1);
}

static uint8_t *put_item(uint8_t *at, const struct simulation_impression *shown)
{
    at = put_name(at, 'g', shown->goods);
    at = put_name(at, 's', shown->shop);
    return put_name(at, 'c', shown->cate);
}

size_t traffic_encode_impression(uint8_t record[TRAFFIC_RECORD_MAX],
                                 const char *id, int64_t event_ms,
                                 const struct simulation_impression *shown)
{
    uint8_t *at = put_text(record, id);
    at = put_name(at, 'u', shown->user);
    at = put_long(at, event_ms);
    at = put_text(put_some(at), shown->gender ? "f" : "m");
    at = put_long(put_some(at), shown->age_level);
    at = put_item(at, shown);
    at = put_name(put_some(at), 'p', shown->pid);
    return (size_t)(at - record);
}

size_t traffic_encode_click(uint8_t record[TRAFFIC_RECORD_MAX], const char *id,
                            int64_t event_ms,
                            const struct simulation_impression *shown)
{
    uint8_t *at = put_text(put_some(record), id);
    at = put_name(at, 'u', shown->user);
    at = put_long(at, event_ms);
    at = put_item(at, shown);
    return (size_t)(at - record);
}

/* ---- waiting clicks: one list a millisecond ---- */

enum { WHEEL = 2048, CLICKS_MAX = 1 << 18, NONE = -1 };
_Static_assert(WHEEL > (int)SIMULATION_DELAY_MAX_MS,
               "a delay fits into the wheel");

struct click {
    struct simulation_impression shown;
    uint64_t number; /* of the impression */
    int next;
};

struct traffic {
    struct simulation *simulation;
    uint64_t seed;
    rd_kafka_t *kafka;
    rd_kafka_topic_t *topics[2];
    struct traffic_counts counts;
    int64_t clicks_ms; /* clicks up to here are sent */
    int slots[WHEEL];
    int free;
    size_t waiting;
    struct click *clicks; /* (CLICKS_MAX) */
};

static void init_wheel(struct traffic *traffic)
{
    for (int i = 0; i < WHEEL; i++)
        traffic->slots[i] = NONE;
    for (int i = 0; i < CLICKS_MAX; i++)
        traffic->clicks[i].next = i + 1 < CLICKS_MAX ? i + 1 : NONE;
    traffic->free = 0;
}

static enum base_status push_click(struct traffic *traffic, int64_t now_ms,
                                   const struct simulation_impression *shown,
                                   uint64_t number, struct base_error *error)
{
    int at = traffic->free;
    if (at == NONE)
        return base_fail(error, BASE_LIMIT, "more than %d clicks wait",
                         CLICKS_MAX);
    int *slot = &traffic->slots[(now_ms + shown->delay_ms) % WHEEL];
    traffic->free = traffic->clicks[at].next;
    traffic->clicks[at].shown = *shown;
    traffic->clicks[at].number = number;
    traffic->clicks[at].next = *slot;
    *slot = at;
    traffic->waiting++;
    return BASE_OK;
}

/* ---- Kafka ---- */

static void delivered(rd_kafka_t *kafka, const rd_kafka_message_t *message,
                      void *self)
{
    struct traffic *traffic = self;
    (void)kafka;
    if (message->err)
        traffic->counts.failed++;
}

static enum base_status set(rd_kafka_conf_t *conf, const char *name,
                            const char *value, struct base_error *error)
{
    char text[300];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) ==
        RD_KAFKA_CONF_OK)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG, "kafka.properties: %s: %s", name,
                     text);
}

/* Who to talk to and how; the rest of the file's properties is the
 * consumer's. */
static bool concerns_producer(const char *name)
{
    static const char *const prefixes[] = {
        "bootstrap.servers", "security.", "sasl.", "ssl.",
        "client.id",         "debug"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static enum base_status configure(rd_kafka_conf_t *conf,
                                  const struct ingest_config *config,
                                  struct base_error *error)
{
    enum base_status status = set(conf, "linger.ms", "5", error);
    if (status == BASE_OK) /* Java's choice: the same partition as others'. */
        status = set(conf, "partitioner", "murmur2_random", error);
    if (status == BASE_OK)
        status = set(conf, "enable.idempotence", "true", error);
    for (unsigned i = 0; i < config->property_count && status == BASE_OK; i++)
        if (concerns_producer(config->properties[i].name))
            status = set(conf, config->properties[i].name,
                         config->properties[i].value, error);
    return status;
}

static enum base_status connect_kafka(struct traffic *traffic,
                                      const struct ingest_config *config,
                                      struct base_error *error)
{
    char text[300];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    enum base_status status = configure(conf, config, error);
    if (status != BASE_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    rd_kafka_conf_set_opaque(conf, traffic);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    traffic->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!traffic->kafka) {
        rd_kafka_conf_destroy(conf);
        return base_fail(error, BASE_CONFIG, "producer: %s", text);
    }
    for (unsigned i = 0; i < 2; i++) {
        traffic->topics[i] =
            rd_kafka_topic_new(traffic->kafka, config->topics[i].name, NULL);
        if (!traffic->topics[i])
            return base_fail(error, BASE_CONFIG, "topic %s: %s",
                             config->topics[i].name,
                             rd_kafka_err2str(rd_kafka_last_error()));
    }
    return BASE_OK;
}

enum base_status traffic_open(const struct ingest_config *config,
                              struct simulation *simulation, uint64_t seed,
                              struct traffic **traffic,
                              struct base_error *error)
{
    struct traffic *made = calloc(1, sizeof *made);
    *traffic = NULL;
    if (made)
        made->clicks = calloc(CLICKS_MAX, sizeof *made->clicks);
    if (!made || !made->clicks) {
        free(made);
        return base_fail(error, BASE_SYSTEM, "traffic: no memory");
    }
    made->simulation = simulation;
    made->seed = seed;
    init_wheel(made);
    enum base_status status = connect_kafka(made, config, error);
    if (status != BASE_OK)
        traffic_close(made);
    else
        *traffic = made;
    return status;
}

/* A full queue waits for the broker, at most 30 s. */
static enum base_status produce(struct traffic *traffic, unsigned topic,
                                const struct simulation_impression *shown,
                                uint8_t *record, size_t size,
                                struct base_error *error)
{
    char key[16];
    int length = snprintf(key, sizeof key, "u%u", shown->user);
    for (int tries = 0; tries < 300; tries++) {
        if (rd_kafka_produce(traffic->topics[topic], RD_KAFKA_PARTITION_UA,
                             RD_KAFKA_MSG_F_COPY, record, size, key,
                             (size_t)length, NULL) == 0) {
            traffic->counts.events++;
            return BASE_OK;
        }
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            break;
        rd_kafka_poll(traffic->kafka, 100);
    }
    return base_fail(error, BASE_UNAVAILABLE, "produce to %s: %s",
                     rd_kafka_topic_name(traffic->topics[topic]),
                     rd_kafka_err2str(rd_kafka_last_error()));
}

/* Ids are unique across runs with other seeds. */
static void name_impression(const struct traffic *traffic, uint64_t number,
                            char id[48])
{
    snprintf(id, 48, "i%llx-%llu", (unsigned long long)traffic->seed,
             (unsigned long long)number);
}

enum base_status traffic_send_page(struct traffic *traffic, int64_t now_ms,
                                   double probabilities[SIMULATION_PAGE],
                                   struct base_error *error)
{
    struct simulation_impression page[SIMULATION_PAGE];
    /* The wheel must stand at now, or a click would come out too early. */
    enum base_status status = traffic_send_clicks(traffic, now_ms, error);
    simulation_page(traffic->simulation, now_ms, page);
    for (unsigned i = 0; i < SIMULATION_PAGE && status == BASE_OK; i++) {
        uint8_t record[TRAFFIC_RECORD_MAX];
        char id[48];
        uint64_t number = traffic->counts.impressions++;
        name_impression(traffic, number, id);
        size_t size = traffic_encode_impression(record, id, now_ms, &page[i]);
        probabilities[i] = page[i].probability;
        status = produce(traffic, 0, &page[i], record, size, error);
        if (status == BASE_OK && page[i].clicked)
            status = push_click(traffic, now_ms, &page[i], number, error);
    }
    return status;
}

static enum base_status send_slot(struct traffic *traffic, int64_t event_ms,
                                  struct base_error *error)
{
    int *slot = &traffic->slots[event_ms % WHEEL];
    enum base_status status = BASE_OK;
    while (*slot != NONE && status == BASE_OK) {
        uint8_t record[TRAFFIC_RECORD_MAX];
        char id[48];
        int at = *slot;
        struct click *click = &traffic->clicks[at];
        name_impression(traffic, click->number, id);
        size_t size = traffic_encode_click(record, id, event_ms, &click->shown);
        status = produce(traffic, 1, &click->shown, record, size, error);
        traffic->counts.clicks++;
        *slot = click->next;
        click->next = traffic->free;
        traffic->free = at;
        traffic->waiting--;
    }
    return status;
}

enum base_status traffic_send_clicks(struct traffic *traffic, int64_t now_ms,
                                     struct base_error *error)
{
    enum base_status status = BASE_OK;
    if (!traffic->clicks_ms)
        traffic->clicks_ms = now_ms;
    while (traffic->clicks_ms < now_ms && status == BASE_OK)
        status = send_slot(traffic, ++traffic->clicks_ms, error);
    rd_kafka_poll(traffic->kafka, 0);
    return status;
}

size_t traffic_waiting_clicks(const struct traffic *traffic)
{
    return traffic->waiting;
}

enum base_status traffic_flush(struct traffic *traffic, int timeout_ms,
                               struct base_error *error)
{
    rd_kafka_flush(traffic->kafka, timeout_ms);
    int left = rd_kafka_outq_len(traffic->kafka);
    if (left || traffic->counts.failed)
        return base_fail(error, BASE_UNAVAILABLE,
                         "%d events were not delivered in %d ms, %llu failed",
                         left, timeout_ms,
                         (unsigned long long)traffic->counts.failed);
    return BASE_OK;
}

struct traffic_counts traffic_get_counts(const struct traffic *traffic)
{
    return traffic->counts;
}

void traffic_close(struct traffic *traffic)
{
    if (!traffic)
        return;
    for (unsigned i = 0; i < 2; i++)
        if (traffic->topics[i])
            rd_kafka_topic_destroy(traffic->topics[i]);
    if (traffic->kafka) {
        rd_kafka_purge(traffic->kafka,
                       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(traffic->kafka);
    }
    free(traffic->clicks);
    free(traffic);
}
