/* SPDX-License-Identifier: Apache-2.0 */
/* Sending; see sender.h. Of each partition the delivered records wait in a
 * FIFO of (offset, size) until the group's committed offset has passed them;
 * `ahead` counts them and those under way. */
#include "daemon/sender.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ingest/ingest.h"

#include <librdkafka/rdkafka.h>

enum {
    OVERHEAD = 96, /* of a record in the mock's log, generous */
    ASK_MS = 20,   /* between questions for committed offsets */
    ANSWER_MS = 5000,
};

struct sent {
    int64_t offset;
    uint32_t bytes;
};

struct lane {
    struct sent *items; /* ring, power of two */
    size_t head, count, room;
    uint64_t ahead; /* bytes */
};

struct sender {
    const struct ingest_config *ingest;
    rd_kafka_t *producer, *group;
    const volatile sig_atomic_t *stopping;
    uint64_t window;
    int partitions[INGEST_TOPICS];
    struct lane *lanes[INGEST_TOPICS];
    struct sender_counts counts;
    int64_t asked_ms;
    char failure[200];
};

/* ---- deliveries --------------------------------------------------------- */

static bool lane_push(struct lane *lane, int64_t offset, uint32_t bytes)
{
    if (lane->count == lane->room) {
        size_t room = lane->room ? 2 * lane->room : 1024;
        struct sent *wider = malloc(room * sizeof *wider);
        if (!wider)
            return false;
        for (size_t i = 0; i < lane->count; i++)
            wider[i] = lane->items[(lane->head + i) & (lane->room - 1)];
        free(lane->items);
        lane->items = wider;
        lane->head = 0;
        lane->room = room;
    }
    lane->items[(lane->head + lane->count++) & (lane->room - 1)] =
        (struct sent){offset, bytes};
    return true;
}

static void lane_pass(struct lane *lane, int64_t committed)
{
    while (lane->count > 0 && lane->items[lane->head].offset < committed) {
        lane->ahead -= lane->items[lane->head].bytes;
        lane->head = (lane->head + 1) & (lane->room - 1);
        lane->count--;
    }
}

static uint32_t cost(const rd_kafka_message_t *message)
{
    return (uint32_t)(message->len + message->key_len + OVERHEAD);
}

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message,
                        void *self)
{
    (void)handle;
    struct sender *sender = self;
    unsigned topic = (unsigned)(uintptr_t)message->_private;
    struct lane *lane = &sender->lanes[topic][message->partition];
    if (message->err) {
        sender->counts.failed++;
        lane->ahead -= sender->window ? cost(message) : 0;
        snprintf(sender->failure, sizeof sender->failure, "%s",
                 rd_kafka_err2str(message->err));
        return;
    }
    sender->counts.delivered++;
    sender->counts.bytes += message->len;
    if (sender->window &&
        !lane_push(lane, message->offset, cost(message)))
        lane->ahead -= cost(message); /* no memory: not held against it */
}

/* ---- opening ------------------------------------------------------------ */

static bool belongs(const char *name, bool producer)
{
    static const char *const foreign[2][8] = {
        {"linger", "batch.", "queue.buffering", "compression", "acks",
         "enable.idem", "message.timeout", "request."},
        {"fetch.", "group.", "queued.", "session.", "max.poll", "auto.",
         "isolation.", "check.crcs"}};
    for (int i = 0; i < 8; i++)
        if (strncmp(name, foreign[producer][i], strlen(foreign[producer][i])) ==
            0)
            return false;
    return true;
}

static rd_kafka_conf_t *conf_of(const struct daemon_config *config,
                                bool producer, struct base_error *error)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    static const char *const own[][2] = {
        {"enable.idempotence", "true"}, {"acks", "all"}, {"linger.ms", "5"},
        {"queue.buffering.max.messages", "500000"},
        {"message.timeout.ms", "300000"}};
    rd_kafka_conf_set(conf, "client.id", "interestd-replay", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
    if (producer)
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            rd_kafka_conf_set(conf, own[i][0], own[i][1], NULL, 0);
    else
        rd_kafka_conf_set(conf, "group.id", config->kafka_group, NULL, 0);
    for (unsigned i = 0; i < config->ingest.property_count; i++) {
        const struct ingest_property *property = &config->ingest.properties[i];
        if (!belongs(property->name, producer))
            continue;
        if (rd_kafka_conf_set(conf, property->name, property->value, text,
                              sizeof text) == RD_KAFKA_CONF_OK)
            continue;
        rd_kafka_conf_destroy(conf);
        base_fail(error, BASE_CONFIG, "kafka.properties: %s: %s",
                  property->name, text);
        return NULL;
    }
    return conf;
}

static enum base_status open_handle(struct sender *sender,
                                    const struct daemon_config *config,
                                    bool producer, rd_kafka_t **handle,
                                    struct base_error *error)
{
    char text[512];
    rd_kafka_conf_t *conf = conf_of(config, producer, error);
    if (!conf)
        return error->status;
    rd_kafka_conf_set_opaque(conf, sender);
    if (producer)
        rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    *handle = rd_kafka_new(producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER,
                           conf, text, sizeof text);
    if (*handle)
        return BASE_OK;
    rd_kafka_conf_destroy(conf);
    return base_fail(error, BASE_CONFIG, "kafka: %s", text);
}

static enum base_status count_partitions(struct sender *sender, unsigned topic,
                                         struct base_error *error)
{
    const char *name = sender->ingest->topics[topic].name;
    rd_kafka_topic_t *handle =
        rd_kafka_topic_new(sender->producer, name, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        handle ? rd_kafka_metadata(sender->producer, 0, handle, &metadata,
                                   ANSWER_MS * 2)
               : rd_kafka_last_error();
    if (!code && metadata->topic_cnt == 1)
        code = metadata->topics[0].err;
    if (!code)
        sender->partitions[topic] = metadata->topics[0].partition_cnt;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    if (handle)
        rd_kafka_topic_destroy(handle);
    if (code || sender->partitions[topic] == 0)
        return base_fail(error, BASE_UNAVAILABLE, "kafka: topic %s: %s", name,
                         code ? rd_kafka_err2str(code) : "no partitions");
    sender->lanes[topic] = calloc((size_t)sender->partitions[topic],
                                  sizeof *sender->lanes[topic]);
    return sender->lanes[topic]
               ? BASE_OK
               : base_fail(error, BASE_SYSTEM, "sender: no memory");
}

enum base_status sender_open(const struct daemon_config *config,
                             uint64_t window_bytes,
                             const volatile sig_atomic_t *stopping,
                             struct sender **sender, struct base_error *error)
{
    struct sender *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "sender: no memory");
    made->ingest = &config->ingest;
    made->window = window_bytes;
    made->stopping = stopping;
    enum base_status status =
        open_handle(made, config, true, &made->producer, error);
    if (!status && window_bytes)
        status = open_handle(made, config, false, &made->group, error);
    for (unsigned i = 0; !status && i < INGEST_TOPICS; i++)
        status = count_partitions(made, i, error);
    if (status) {
        sender_close(made);
        return status;
    }
    *sender = made;
    return BASE_OK;
}

void sender_close(struct sender *sender)
{
    if (!sender)
        return;
    if (sender->producer)
        rd_kafka_destroy(sender->producer);
    if (sender->group)
        rd_kafka_destroy_flags(sender->group,
                               RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++) {
        for (int i = 0; sender->lanes[topic] && i < sender->partitions[topic];
             i++)
            free(sender->lanes[topic][i].items);
        free(sender->lanes[topic]);
    }
    free(sender);
}

/* ---- sending ------------------------------------------------------------ */

/* Lets go of what the group has committed by now. */
static void ask_committed(struct sender *sender)
{
    int64_t now = base_monotonic_ms();
    if (now < sender->asked_ms + ASK_MS)
        return;
    sender->asked_ms = now;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(16);
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++)
        for (int i = 0; i < sender->partitions[topic]; i++)
            rd_kafka_topic_partition_list_add(
                list, sender->ingest->topics[topic].name, i);
    if (!rd_kafka_committed(sender->group, list, ANSWER_MS))
        for (int k = 0; k < list->cnt; k++) {
            const rd_kafka_topic_partition_t *at = &list->elems[k];
            unsigned topic =
                strcmp(at->topic, sender->ingest->topics[0].name) != 0;
            if (!at->err && at->offset >= 0)
                lane_pass(&sender->lanes[topic][at->partition], at->offset);
        }
    rd_kafka_topic_partition_list_destroy(list);
}

static bool wait_for_window(struct sender *sender, const struct lane *lane,
                            uint64_t bytes)
{
    /* One record may always go, however large. */
    while (sender->window && lane->ahead > 0 &&
           lane->ahead + bytes > sender->window) {
        if (*sender->stopping)
            return false;
        rd_kafka_poll(sender->producer, 5);
        ask_committed(sender);
    }
    return true;
}

enum base_status sender_send(struct sender *sender,
                             const struct sender_record *record,
                             struct base_error *error)
{
    int32_t partition = rd_kafka_msg_partitioner_murmur2(
        NULL, record->key, record->key_size, sender->partitions[record->topic],
        NULL, NULL);
    struct lane *lane = &sender->lanes[record->topic][partition];
    uint64_t bytes = record->size + record->key_size + OVERHEAD;
    if (!wait_for_window(sender, lane, bytes))
        return base_fail(error, BASE_STOPPED, "asked to stop");
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_producev(
            sender->producer,
            RD_KAFKA_V_TOPIC(sender->ingest->topics[record->topic].name),
            RD_KAFKA_V_PARTITION(partition),
            RD_KAFKA_V_KEY(record->key, record->key_size),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)record->value, record->size),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_TIMESTAMP(record->kafka_ms),
            RD_KAFKA_V_OPAQUE((void *)(uintptr_t)record->topic),
            RD_KAFKA_V_END);
        if (!code)
            break;
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return base_fail(error, BASE_UNAVAILABLE, "kafka: %s",
                             rd_kafka_err2str(code));
        if (*sender->stopping)
            return base_fail(error, BASE_STOPPED, "asked to stop");
        rd_kafka_poll(sender->producer, 20);
    }
    lane->ahead += sender->window ? bytes : 0;
    sender->counts.sent++;
    rd_kafka_poll(sender->producer, 0);
    return BASE_OK;
}

enum base_status sender_flush(struct sender *sender, int timeout_ms,
                              struct base_error *error)
{
    rd_kafka_resp_err_t code = rd_kafka_flush(sender->producer, timeout_ms);
    if (code)
        return base_fail(error, BASE_UNAVAILABLE,
                         "kafka: %d records not acknowledged: %s",
                         rd_kafka_outq_len(sender->producer),
                         rd_kafka_err2str(code));
    if (sender->counts.failed)
        return base_fail(error, BASE_UNAVAILABLE,
                         "kafka: %llu records were refused: %s",
                         (unsigned long long)sender->counts.failed,
                         sender->failure);
    return BASE_OK;
}

struct sender_counts sender_get_counts(const struct sender *sender)
{
    return sender->counts;
}
