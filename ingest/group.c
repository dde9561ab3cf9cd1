/* SPDX-License-Identifier: Apache-2.0 */
/* Membership; see group.h. All that is assigned is answered with an assignment
 * of nothing: librdkafka then is a member with nothing to fetch, and what was
 * assigned is kept here. The mutex guards what other threads look at. */
#include "ingest/group.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    NUMBERS_MAX = INGEST_PARTITIONS_MAX / INGEST_TOPICS,
    AGAIN_MS = 5000, /* a fenced member joins again, and says what is wrong */
};

struct ingest_group {
    const struct ingest_config *config;
    int event_fd;
    int64_t now_ms, again_ms, said_ms;
    bool left_behind;
    pthread_mutex_t mutex; /* guards what follows, for reading elsewhere */
    rd_kafka_t *handle;    /* NULL: joins again at again_ms */
    enum ingest_group_phase phase;
    uint64_t assignments, losses;
    bool owned[NUMBERS_MAX];
    char error[200];
};

/* ---- what the coordinator says ------------------------------------------ */

static void enter(struct ingest_group *group, enum ingest_group_phase phase)
{
    pthread_mutex_lock(&group->mutex);
    group->phase = phase;
    if (phase != INGEST_GROUP_MEMBER)
        memset(group->owned, 0, sizeof group->owned);
    pthread_mutex_unlock(&group->mutex);
}

static void note(struct ingest_group *group, const char *text)
{
    pthread_mutex_lock(&group->mutex);
    bool same = strncmp(group->error, text, sizeof group->error - 1) == 0;
    snprintf(group->error, sizeof group->error, "%.199s", text);
    pthread_mutex_unlock(&group->mutex);
    if (same && group->now_ms < group->said_ms + AGAIN_MS)
        return;
    group->said_ms = group->now_ms;
    base_log(BASE_LOG_WARN, "event=group_trouble text=\"%s\"", text);
}

/* Number of a partition of ours, or -1; *topic says of which. */
static int number_of(const struct ingest_group *group,
                     const rd_kafka_topic_partition_t *one, unsigned *topic)
{
    if (one->partition < 0 || one->partition >= NUMBERS_MAX)
        return -1;
    for (*topic = 0; *topic < INGEST_TOPICS; ++*topic)
        if (strcmp(one->topic, group->config->topics[*topic].name) == 0)
            return one->partition;
    return -1;
}

static void take(struct ingest_group *group,
                 const rd_kafka_topic_partition_list_t *list)
{
    uint8_t topics[NUMBERS_MAX] = {0};
    unsigned topic, owned = 0, halves = 0;
    for (int i = 0; i < list->cnt; i++) {
        int number = number_of(group, &list->elems[i], &topic);
        if (number >= 0)
            topics[number] |= (uint8_t)(1u << topic);
    }
    pthread_mutex_lock(&group->mutex);
    for (unsigned i = 0; i < NUMBERS_MAX; i++) {
        group->owned[i] = topics[i] == (1u << INGEST_TOPICS) - 1;
        owned += group->owned[i];
        halves += topics[i] && !group->owned[i];
    }
    uint64_t assignment = ++group->assignments;
    group->phase = INGEST_GROUP_MEMBER;
    group->error[0] = '\0';
    pthread_mutex_unlock(&group->mutex);
    base_log(BASE_LOG_INFO, "event=group_assigned assignment=%llu numbers=%u",
             (unsigned long long)assignment, owned);
    if (halves)
        note(group, "partitions of one topic are assigned here without those "
                    "of the other; all members must be interestd, with both "
                    "topics; these are not read");
}

static void assign_nothing(rd_kafka_t *handle)
{
    rd_kafka_topic_partition_list_t *none =
        rd_kafka_topic_partition_list_new(0);
    rd_kafka_assign(handle, none);
    rd_kafka_topic_partition_list_destroy(none);
}

static void on_revoked(struct ingest_group *group, rd_kafka_t *handle)
{
    bool lost = rd_kafka_assignment_lost(handle);
    enter(group, INGEST_GROUP_REVOKING);
    if (!lost) {
        base_log(BASE_LOG_INFO, "event=group_revoked");
        return;
    }
    pthread_mutex_lock(&group->mutex);
    group->losses++;
    pthread_mutex_unlock(&group->mutex);
    base_log(BASE_LOG_WARN, "event=group_lost text=\"the group took its "
             "partitions away unasked; it joins again\"");
}

/* A handle that takes its leave has nothing more to say. */
static bool is_current(struct ingest_group *group, const rd_kafka_t *handle)
{
    pthread_mutex_lock(&group->mutex);
    bool current = group->handle == handle;
    pthread_mutex_unlock(&group->mutex);
    return current;
}

static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *self)
{
    struct ingest_group *group = self;
    bool current = is_current(group, handle);
    if (current && code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        assign_nothing(handle);
        take(group, list);
    } else if (current && code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        on_revoked(group, handle);
    } else {
        rd_kafka_assign(handle, NULL);
    }
}

static void on_error(rd_kafka_t *handle, int code, const char *text,
                     void *self)
{
    struct ingest_group *group = self;
    (void)code;
    if (is_current(group, handle))
        note(group, text);
}

/* ---- joining and leaving ------------------------------------------------ */

static enum base_status join(struct ingest_group *group,
                             struct base_error *error)
{
    static const uint64_t one = 1;
    const struct ingest_kafka_callbacks callbacks = {
        .self = group, .error = on_error, .rebalance = on_rebalance};
    rd_kafka_t *handle = NULL;
    if (ingest_kafka_new(group->config, INGEST_KAFKA_MEMBER, 0, &callbacks,
                         &handle, error))
        return error->status;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(handle);
    rd_kafka_queue_io_event_enable(queue, group->event_fd, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new(INGEST_TOPICS);
    for (int i = 0; i < INGEST_TOPICS; i++)
        rd_kafka_topic_partition_list_add(topics,
                                          group->config->topics[i].name,
                                          RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(handle, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (code) {
        ingest_kafka_free(handle);
        return base_fail(error, BASE_CONFIG, "kafka: group: %s",
                         rd_kafka_err2str(code));
    }
    pthread_mutex_lock(&group->mutex);
    group->handle = handle;
    pthread_mutex_unlock(&group->mutex);
    return BASE_OK;
}

static void leave(struct ingest_group *group)
{
    pthread_mutex_lock(&group->mutex);
    rd_kafka_t *handle = group->handle;
    group->handle = NULL;
    pthread_mutex_unlock(&group->mutex);
    if (!handle)
        return;
    if (group->phase == INGEST_GROUP_REVOKING)
        rd_kafka_assign(handle, NULL);
    group->left_behind |= !ingest_kafka_leave(handle);
    enter(group, INGEST_GROUP_JOINING);
}

enum base_status ingest_group_check(const struct ingest_config *config,
                                    struct base_error *error)
{
    if (config->assignment != INGEST_ASSIGN_GROUP || !config->decisions[0])
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "kafka.assignment: group cannot work together with "
                     "ingest.decisions: given decisions are of a run that had "
                     "its own partitions at every point; take assignment: "
                     "all, or read anew without decisions");
}

enum base_status ingest_group_new(const struct ingest_config *config,
                                  int event_fd, struct ingest_group **group,
                                  struct base_error *error)
{
    struct ingest_group *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "group: no memory");
    made->config = config;
    made->event_fd = event_fd;
    pthread_mutex_init(&made->mutex, NULL);
    enum base_status status = join(made, error);
    if (status)
        ingest_group_free(made);
    else
        *group = made;
    return status;
}

void ingest_group_free(struct ingest_group *group)
{
    if (!group)
        return;
    leave(group);
    if (group->left_behind)
        return; /* a handle that may call back yet still has it */
    pthread_mutex_destroy(&group->mutex);
    free(group);
}

/* ---- rounds ------------------------------------------------------------- */

/* A member that was fenced is none any more; its handle is of no use now. */
static void begin_anew(struct ingest_group *group, const char *why)
{
    note(group, why);
    base_log(BASE_LOG_ERROR, "event=group_fenced again_ms=%d hint=\"has "
             "another process this one's group.instance.id?\" text=\"%s\"",
             AGAIN_MS, why);
    pthread_mutex_lock(&group->mutex);
    group->losses++;
    pthread_mutex_unlock(&group->mutex);
    leave(group);
    group->again_ms = group->now_ms + AGAIN_MS;
}

enum ingest_group_phase ingest_group_poll(struct ingest_group *group,
                                          int64_t now_ms)
{
    struct base_error error;
    rd_kafka_message_t *message;
    group->now_ms = now_ms;
    if (!group->handle && now_ms >= group->again_ms) {
        group->again_ms = now_ms + AGAIN_MS;
        if (join(group, &error))
            note(group, error.text);
    }
    while (group->handle &&
           (message = rd_kafka_consumer_poll(group->handle, 0))) {
        if (message->err)
            note(group, rd_kafka_message_errstr(message));
        rd_kafka_message_destroy(message);
    }
    char why[200];
    if (group->handle && rd_kafka_fatal_error(group->handle, why, sizeof why))
        begin_anew(group, why);
    return group->phase;
}

uint64_t ingest_group_assignment(const struct ingest_group *group)
{
    return group->assignments;
}

bool ingest_group_owns(const struct ingest_group *group, unsigned number)
{
    return number < NUMBERS_MAX && group->owned[number];
}

void ingest_group_release(struct ingest_group *group)
{
    enter(group, INGEST_GROUP_JOINING);
    rd_kafka_assign(group->handle, NULL);
    base_log(BASE_LOG_INFO, "event=group_released");
}

/* ---- any thread --------------------------------------------------------- */

void ingest_group_commit(struct ingest_group *group,
                         const struct ingest_position *positions,
                         unsigned count)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    pthread_mutex_lock(&group->mutex);
    for (unsigned i = 0; i < count; i++)
        if (positions[i].next >= 0 &&
            ingest_group_owns(group, (unsigned)positions[i].partition))
            rd_kafka_topic_partition_list_add(
                list, group->config->topics[positions[i].topic].name,
                positions[i].partition)
                ->offset = positions[i].next;
    if (list->cnt > 0 && group->handle &&
        rd_kafka_commit(group->handle, list, 1))
        base_log(BASE_LOG_DEBUG, "event=telemetry_commit_refused");
    pthread_mutex_unlock(&group->mutex);
    rd_kafka_topic_partition_list_destroy(list);
}

void ingest_group_get_status(struct ingest_group *group,
                             struct ingest_group_status *status)
{
    static const char *const words[] = {[INGEST_GROUP_JOINING] = "joining",
                                        [INGEST_GROUP_REVOKING] = "revoking",
                                        [INGEST_GROUP_MEMBER] = "member"};
    pthread_mutex_lock(&group->mutex);
    snprintf(status->state, sizeof status->state, "%s", words[group->phase]);
    memcpy(status->error, group->error, sizeof status->error);
    status->assignments = group->assignments;
    status->losses = group->losses;
    status->numbers = 0;
    for (unsigned i = 0; i < NUMBERS_MAX; i++)
        status->numbers += group->owned[i];
    pthread_mutex_unlock(&group->mutex);
}
