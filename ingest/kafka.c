/* SPDX-License-Identifier: Apache-2.0 */
/* Handles and properties; see kafka.h. */
#include "ingest/kafka.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

/* A property that a promise depends on. */
struct fixed {
    const char *name, *value;
    unsigned roles; /* bits */
    const char *why;
};

enum {
    SOURCE = 1u << INGEST_KAFKA_SOURCE,
    HELPER = 1u << INGEST_KAFKA_HELPER,
    PRODUCER = 1u << INGEST_KAFKA_PRODUCER,
    MEMBER = 1u << INGEST_KAFKA_MEMBER,
    READERS = SOURCE | HELPER,
    PREFETCH_KB = 65536, /* of all partitions together */
    PREFETCH_LEAST_KB = 1024,
    FREE_SECONDS = 3,
};

static const struct fixed fixed[] = {
    {"enable.auto.commit", "false", READERS | MEMBER,
     "offsets live in the state"},
    {"enable.auto.offset.store", "false", READERS | MEMBER,
     "offsets live in the state"},
    {"auto.offset.reset", "error", READERS | MEMBER,
     "a lost range must not be skipped"},
    {"check.crcs", "true", READERS, "damaged batches must not be read"},
    {"isolation.level", "read_committed", SOURCE,
     "aborted records must not be trained"},
    {"isolation.level", "read_uncommitted", HELPER, NULL},
    {"enable.partition.eof", "true", READERS,
     "the merge must know a partition's end"},
    {"allow.auto.create.topics", "false", READERS | MEMBER,
     "a wrong name must not make a topic"},
    {"partition.assignment.strategy", "range", MEMBER,
     "partitions of one number of both topics must go to one member"},
    {"enable.idempotence", "true", PRODUCER,
     "announcements must not repeat or overtake"},
    {"acks", "all", PRODUCER, "an announcement must not be lost"},
};

/* Ours unless the user says otherwise. */
static const struct fixed preferred[] = {
    {"client.id", "interestd", READERS | PRODUCER | MEMBER, NULL},
    {"group.id", "interestd", READERS | MEMBER, NULL},
    {"fetch.wait.max.ms", "100", READERS, NULL},
    {"topic.metadata.refresh.interval.ms", "30000", READERS | MEMBER, NULL},
    /* How long a handle's end waits for offsets on their way to a broker that
     * is frozen, or to a coordinator that is not there. */
    {"socket.timeout.ms", "10000", READERS | MEMBER, NULL},
    {"session.timeout.ms", "3000", READERS, NULL},
    /* A member that was killed keeps its partitions for so long. */
    {"session.timeout.ms", "10000", MEMBER, NULL},
    {"heartbeat.interval.ms", "1000", READERS | MEMBER, NULL},
    {"log.connection.close", "false", READERS | PRODUCER | MEMBER, NULL},
    {"socket.keepalive.enable", "true", READERS | PRODUCER | MEMBER, NULL},
    {"queued.min.messages", "1", HELPER, NULL},
    {"queued.max.messages.kbytes", "1024", HELPER, NULL},
    /* It reads single records; a larger one is fetched all the same. */
    {"fetch.message.max.bytes", "65536", HELPER, NULL},
    {"fetch.error.backoff.ms", "50", HELPER, NULL},
    {"reconnect.backoff.max.ms", "2000", READERS | PRODUCER | MEMBER, NULL},
    {"linger.ms", "0", PRODUCER, NULL},
    {"message.timeout.ms", "30000", PRODUCER, NULL},
};

static const char *user_value(const struct ingest_config *config,
                              const char *name)
{
    for (unsigned i = 0; i < config->property_count; i++)
        if (strcmp(config->properties[i].name, name) == 0)
            return config->properties[i].value;
    return NULL;
}

enum base_status ingest_kafka_check(const struct ingest_config *config,
                                    struct base_error *error)
{
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        const char *value = user_value(config, fixed[i].name);
        if (fixed[i].roles == MEMBER &&
            config->assignment != INGEST_ASSIGN_GROUP)
            continue;
        if (value && fixed[i].why && strcmp(value, fixed[i].value) != 0)
            return base_fail(error, BASE_CONFIG,
                             "kafka.properties: %s is fixed to %s here: %s",
                             fixed[i].name, fixed[i].value, fixed[i].why);
    }
    const char *queued = user_value(config, "queued.max.messages.kbytes");
    if (queued && atol(queued) < PREFETCH_LEAST_KB)
        return base_fail(error, BASE_CONFIG,
                         "kafka.properties: queued.max.messages.kbytes counts "
                         "a partition here and must be at least %d",
                         PREFETCH_LEAST_KB);
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (unsigned i = 0; i < config->property_count; i++)
        if (rd_kafka_conf_set(conf, config->properties[i].name,
                              config->properties[i].value, text,
                              sizeof text) != RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return base_fail(error, BASE_CONFIG, "kafka.properties: %s: %s",
                             config->properties[i].name, text);
        }
    rd_kafka_conf_destroy(conf);
    return BASE_OK;
}

void ingest_kafka_log(const rd_kafka_t *handle, int level,
                      const char *facility, const char *text)
{
    (void)handle;
    base_log(level <= 3 ? BASE_LOG_WARN : BASE_LOG_DEBUG,
             "event=kafka facility=%s text=\"%s\"", facility, text);
}

static bool put(rd_kafka_conf_t *conf, const char *name, const char *value,
                struct base_error *error)
{
    char text[512];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) ==
        RD_KAFKA_CONF_OK)
        return true;
    base_fail(error, BASE_CONFIG, "kafka.properties: %s: %s", name, text);
    return false;
}

/* A producer does not want to hear of what only readers know, and the other
 * way round: librdkafka warns of each. */
static bool concerns(const char *name, enum ingest_kafka_role role)
{
    static const char *const readers[] = {"fetch.", "group.", "queued.max",
                                          "queued.min", "max.poll", "session.",
                                          "receive.message", "heartbeat.",
                                          "partition.assignment"};
    static const char *const producers[] = {"queue.buffering", "batch.",
                                            "linger.", "compression",
                                            "message.timeout"};
    bool reader = role != INGEST_KAFKA_PRODUCER;
    const char *const *others = reader ? producers : readers;
    size_t count = reader ? sizeof producers / sizeof producers[0]
                          : sizeof readers / sizeof readers[0];
    for (size_t i = 0; i < count; i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0)
            return false;
    return true;
}

/* Only its lines about topics tell that a partition was gone for a moment. */
static bool put_debug(rd_kafka_conf_t *conf, const char *wanted,
                      struct base_error *error)
{
    char text[300];
    snprintf(text, sizeof text, "%s%stopic", wanted ? wanted : "",
             wanted && wanted[0] ? "," : "");
    return put(conf, "debug", text, error);
}

static bool put_all(rd_kafka_conf_t *conf, const struct ingest_config *config,
                    enum ingest_kafka_role role, unsigned partitions,
                    struct base_error *error)
{
    bool fine = true;
    for (size_t i = 0; fine && i < sizeof preferred / sizeof preferred[0]; i++)
        if (preferred[i].roles & 1u << role)
            fine = put(conf, preferred[i].name, preferred[i].value, error);
    if (role == INGEST_KAFKA_SOURCE) {
        unsigned kb = PREFETCH_KB / (partitions ? partitions : 1);
        char text[16];
        snprintf(text, sizeof text, "%u",
                 kb < PREFETCH_LEAST_KB ? PREFETCH_LEAST_KB : kb);
        fine = fine && put(conf, "queued.max.messages.kbytes", text, error);
    }
    for (unsigned i = 0; fine && i < config->property_count; i++)
        if (concerns(config->properties[i].name, role))
            fine = put(conf, config->properties[i].name,
                       config->properties[i].value, error);
    for (size_t i = 0; fine && i < sizeof fixed / sizeof fixed[0]; i++)
        if (fixed[i].roles & 1u << role)
            fine = put(conf, fixed[i].name, fixed[i].value, error);
    return fine && (role != INGEST_KAFKA_SOURCE ||
                    put_debug(conf, user_value(config, "debug"), error));
}

enum base_status
ingest_kafka_new(const struct ingest_config *config,
                 enum ingest_kafka_role role, unsigned partitions,
                 const struct ingest_kafka_callbacks *callbacks,
                 rd_kafka_t **handle, struct base_error *error)
{
    char text[512];
    if (ingest_kafka_check(config, error))
        return error->status;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (!put_all(conf, config, role, partitions, error)) {
        rd_kafka_conf_destroy(conf);
        return error->status;
    }
    rd_kafka_conf_set_log_cb(conf, callbacks->log ? callbacks->log
                                                  : ingest_kafka_log);
    rd_kafka_conf_set_opaque(conf, callbacks->self);
    if (callbacks->error)
        rd_kafka_conf_set_error_cb(conf, callbacks->error);
    if (callbacks->rebalance)
        rd_kafka_conf_set_rebalance_cb(conf, callbacks->rebalance);
    if (callbacks->delivered)
        rd_kafka_conf_set_dr_msg_cb(conf, callbacks->delivered);
    bool producer = role == INGEST_KAFKA_PRODUCER;
    *handle = rd_kafka_new(producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER,
                           conf, text, sizeof text);
    if (!*handle) {
        rd_kafka_conf_destroy(conf);
        return base_fail(error, BASE_CONFIG, "kafka: %s", text);
    }
    if (!producer)
        rd_kafka_poll_set_consumer(*handle);
    return BASE_OK;
}

static void *destroy(void *handle)
{
    /* Nobody to say good-bye to: there is no group membership. */
    rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

static void *leave(void *handle)
{
    rd_kafka_consumer_close(handle);
    return destroy(handle);
}

/* Whether it has ended within FREE_SECONDS. */
static bool end(rd_kafka_t *handle, void *(*how)(void *))
{
    pthread_t thread;
    struct timespec until;
    rd_kafka_set_log_level(handle, 0); /* who listens may be gone soon */
    if (pthread_create(&thread, NULL, how, handle)) {
        how(handle);
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FREE_SECONDS;
    if (pthread_timedjoin_np(thread, NULL, &until) == 0)
        return true;
    base_log(BASE_LOG_WARN, "event=kafka_handle_left_behind");
    pthread_detach(thread);
    return false;
}

void ingest_kafka_free(rd_kafka_t *handle)
{
    if (handle)
        (void)end(handle, destroy);
}

bool ingest_kafka_leave(rd_kafka_t *handle)
{
    return end(handle, leave);
}

enum base_status
ingest_kafka_offsets(rd_kafka_t *handle, const struct ingest_config *config,
                     const struct ingest_position *positions,
                     const unsigned *slots, unsigned count, int64_t timestamp,
                     int timeout_ms, int64_t *offsets,
                     struct base_error *error)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    for (unsigned i = 0; i < count; i++) {
        const struct ingest_position *at = &positions[slots[i]];
        rd_kafka_topic_partition_list_add(list, config->topics[at->topic].name,
                                          at->partition)
            ->offset = timestamp;
    }
    rd_kafka_resp_err_t code =
        rd_kafka_offsets_for_times(handle, list, timeout_ms);
    /* The answer's order is not promised to be the question's. */
    for (unsigned i = 0; !code && i < count; i++) {
        const struct ingest_position *at = &positions[slots[i]];
        const rd_kafka_topic_partition_t *found =
            rd_kafka_topic_partition_list_find(
                list, config->topics[at->topic].name, at->partition);
        offsets[i] =
            found && !found->err && found->offset >= 0 ? found->offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    if (code)
        return base_fail(error, BASE_UNAVAILABLE, "kafka: offsets: %s",
                         rd_kafka_err2str(code));
    return BASE_OK;
}
