/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements; see announce.h. `flight` is what the producer has now: a
 * version, or a heartbeat of the last one. A version whose delivery failed is
 * sent again after RETRY_MS, a failed heartbeat is forgotten. */
#include "ingest/announce.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/kafka.h"

enum { RETRY_MS = 1000 };

enum flight { NOTHING, VERSION, HEARTBEAT };

struct ingest_announcer {
    const struct ingest_config *config;
    rd_kafka_t *producer;
    unsigned producers;
    int64_t heartbeat_ms, next_ms; /* next heartbeat or retry, monotonic */
    enum flight flight;
    bool unsent;    /* a version waits for its retry */
    bool delivered; /* a version's receipt came, not told yet */
    uint64_t epoch, version;
    uint8_t row[INGEST_ROW_MAX];
    size_t size; /* 0: nothing announced so far */
};

/* ---- encoding ----------------------------------------------------------- */

static uint8_t *put_long(uint8_t *at, int64_t value)
{
    uint64_t zigzag = ((uint64_t)value << 1) ^ (uint64_t)(value >> 63);
    for (; zigzag > 127; zigzag >>= 7)
        *at++ = (uint8_t)(zigzag | 128);
    *at++ = (uint8_t)zigzag;
    return at;
}

static uint8_t *put_string(uint8_t *at, const char *text, size_t room)
{
    size_t size = strnlen(text, room);
    at = put_long(at, (int64_t)size);
    memcpy(at, text, size);
    return at + size;
}

size_t ingest_announcement_encode(const struct ingest_announcement *from,
                                  uint8_t *row)
{
    uint8_t *at =
        put_string(row, from->model_name, sizeof from->model_name);
    at = put_long(at, (int64_t)from->epoch);
    at = put_long(at, (int64_t)from->version);
    at = put_string(at, from->folder_name, sizeof from->folder_name);
    at = put_string(at, from->manifest_hash, sizeof from->manifest_hash);
    at = put_long(at, (int64_t)from->position);
    at = put_long(at, from->newest_event_ms);
    at = put_long(at, from->created_ms);
    return (size_t)(at - row);
}

/* ---- producer ----------------------------------------------------------- */

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message,
                        void *self)
{
    (void)handle;
    struct ingest_announcer *announcer = self;
    bool version = announcer->flight == VERSION;
    announcer->flight = NOTHING;
    if (!message->err) {
        announcer->delivered = version;
        if (!announcer->unsent) /* one may wait for a heartbeat's end */
            announcer->next_ms = base_monotonic_ms() + announcer->heartbeat_ms;
        return;
    }
    announcer->unsent = announcer->unsent || version;
    announcer->next_ms = base_monotonic_ms() + RETRY_MS;
    base_log(BASE_LOG_WARN, "event=announcement_not_delivered text=\"%s\"",
             rd_kafka_err2str(message->err));
}

static void on_error(rd_kafka_t *handle, int code, const char *text,
                     void *self)
{
    (void)handle;
    (void)self;
    base_log(code == RD_KAFKA_RESP_ERR__FATAL ? BASE_LOG_ERROR
                                              : BASE_LOG_DEBUG,
             "event=announcer_error text=\"%s\"", text);
}

static enum base_status open_producer(struct ingest_announcer *announcer,
                                      struct base_error *error)
{
    const struct ingest_kafka_callbacks callbacks = {
        .self = announcer, .error = on_error, .delivered = on_delivery};
    if (ingest_kafka_new(announcer->config, INGEST_KAFKA_PRODUCER, 0,
                         &callbacks, &announcer->producer, error))
        return base_wrap(error, "announcements");
    announcer->producers++;
    return BASE_OK;
}

enum base_status ingest_announcer_new(const struct ingest_config *config,
                                      int64_t heartbeat_ms,
                                      struct ingest_announcer **announcer,
                                      struct base_error *error)
{
    struct ingest_announcer *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "announcements: no memory");
    made->config = config;
    made->heartbeat_ms = heartbeat_ms;
    if (open_producer(made, error)) {
        free(made);
        return error->status;
    }
    *announcer = made;
    return BASE_OK;
}

static void close_producer(struct ingest_announcer *announcer)
{
    if (!announcer->producer)
        return;
    rd_kafka_purge(announcer->producer,
                   RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    ingest_kafka_free(announcer->producer);
    announcer->producer = NULL;
}

void ingest_announcer_free(struct ingest_announcer *announcer)
{
    if (!announcer)
        return;
    close_producer(announcer);
    free(announcer);
}

static void produce(struct ingest_announcer *announcer, enum flight flight)
{
    const char *name = announcer->config->model_name;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        announcer->producer,
        RD_KAFKA_V_TOPIC(announcer->config->announcement_topic),
        RD_KAFKA_V_KEY(name, strlen(name)),
        RD_KAFKA_V_VALUE(announcer->row, announcer->size),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    if (!code) {
        announcer->flight = flight;
        announcer->unsent = false;
        return;
    }
    announcer->unsent = announcer->unsent || flight == VERSION;
    announcer->next_ms = base_monotonic_ms() + RETRY_MS;
    base_log(BASE_LOG_WARN, "event=announcement_refused text=\"%s\"",
             rd_kafka_err2str(code));
}

/* ---- boundary ----------------------------------------------------------- */

bool ingest_announcer_idle(const struct ingest_announcer *announcer)
{
    return announcer->flight != VERSION && !announcer->unsent &&
           !announcer->delivered;
}

void ingest_announcer_repeat(struct ingest_announcer *announcer,
                             const void *row, size_t size)
{
    if (announcer->flight == VERSION || announcer->unsent)
        return; /* that one is newer */
    memcpy(announcer->row, row, size);
    announcer->size = size;
}

void ingest_announcer_send(struct ingest_announcer *announcer, uint64_t epoch,
                           uint64_t version, const void *row, size_t size)
{
    BASE_ASSERT(ingest_announcer_idle(announcer) && size <= INGEST_ROW_MAX);
    memcpy(announcer->row, row, size);
    announcer->size = size;
    announcer->epoch = epoch;
    announcer->version = version;
    announcer->unsent = true;
    announcer->next_ms = 0;
}

/* After a fatal error a producer sends nothing more. */
static void replace_broken(struct ingest_announcer *announcer)
{
    char text[256];
    if (announcer->producer &&
        !rd_kafka_fatal_error(announcer->producer, text, sizeof text))
        return;
    close_producer(announcer);
    if (announcer->flight == VERSION)
        announcer->unsent = true;
    announcer->flight = NOTHING;
    struct base_error error;
    if (open_producer(announcer, &error))
        base_log(BASE_LOG_ERROR, "event=announcer_not_open text=\"%s\"",
                 error.text);
}

bool ingest_announcer_step(struct ingest_announcer *announcer,
                           uint64_t *epoch, uint64_t *version)
{
    if (announcer->producer)
        rd_kafka_poll(announcer->producer, 0);
    replace_broken(announcer);
    if (announcer->delivered) {
        announcer->delivered = false;
        *epoch = announcer->epoch;
        *version = announcer->version;
        return true;
    }
    if (announcer->producer && announcer->flight == NOTHING &&
        announcer->size > 0 && base_monotonic_ms() >= announcer->next_ms)
        produce(announcer, announcer->unsent ? VERSION : HEARTBEAT);
    return false;
}

unsigned ingest_announcer_producers(const struct ingest_announcer *announcer)
{
    return announcer->producers;
}

void *ingest_announcer_handle(struct ingest_announcer *announcer)
{
    return announcer->producer;
}
