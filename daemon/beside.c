/* SPDX-License-Identifier: Apache-2.0 */
/* Bases beside deltas; see beside.h. */
#include "daemon/beside.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct daemon_beside {
    struct snapshot_publisher *publisher;
    pthread_t thread;
    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    bool started, ending;
    char path[1200];
    struct snapshot_announcement version;
    struct daemon_beside_status status;
};

/* False at the end, when what was handed over is written. */
static bool wait_for_work(struct daemon_beside *beside, char *path,
                          size_t size, struct snapshot_announcement *version)
{
    pthread_mutex_lock(&beside->mutex);
    while (!beside->ending && !beside->status.busy)
        pthread_cond_wait(&beside->changed, &beside->mutex);
    bool work = beside->status.busy;
    snprintf(path, size, "%s", beside->path);
    *version = beside->version;
    pthread_mutex_unlock(&beside->mutex);
    return work;
}

static void note(struct daemon_beside *beside, enum base_status status,
                 const struct base_error *error, int64_t took_us)
{
    if (status == BASE_OK)
        base_log(BASE_LOG_INFO, "event=base_written beside=%s took_us=%lld",
                 beside->version.folder_name, (long long)took_us);
    else
        base_log(BASE_LOG_WARN, "event=base_failed beside=%s error=\"%s\"",
                 beside->version.folder_name, error->text);
    pthread_mutex_lock(&beside->mutex);
    beside->status.busy = false;
    beside->status.written += status == BASE_OK;
    beside->status.failed += status != BASE_OK;
    beside->status.last_us = (uint64_t)took_us;
    if (status == BASE_OK)
        beside->status.version = beside->version.version;
    pthread_mutex_unlock(&beside->mutex);
}

static void *run_thread(void *self)
{
    struct daemon_beside *beside = self;
    struct snapshot_announcement version;
    char path[sizeof beside->path];
    while (wait_for_work(beside, path, sizeof path, &version)) {
        struct base_error error;
        int64_t begin_us = base_monotonic_us();
        enum base_status status = snapshot_publish_beside(
            beside->publisher, path, &version, &error);
        note(beside, status, &error, base_monotonic_us() - begin_us);
    }
    return NULL;
}

enum base_status daemon_beside_start(struct snapshot_publisher *publisher,
                                     struct daemon_beside **out,
                                     struct base_error *error)
{
    struct daemon_beside *beside = calloc(1, sizeof *beside);
    *out = NULL;
    if (!beside)
        return base_fail(error, BASE_SYSTEM, "publisher: no memory");
    beside->publisher = publisher;
    pthread_mutex_init(&beside->mutex, NULL);
    pthread_cond_init(&beside->changed, NULL);
    int failed = pthread_create(&beside->thread, NULL, run_thread, beside);
    beside->started = !failed;
    if (failed) {
        daemon_beside_free(beside);
        return base_fail_errno(error, failed, "publisher: thread of bases");
    }
    *out = beside;
    return BASE_OK;
}

void daemon_beside_free(struct daemon_beside *beside)
{
    if (!beside)
        return;
    pthread_mutex_lock(&beside->mutex);
    beside->ending = true;
    pthread_cond_signal(&beside->changed);
    pthread_mutex_unlock(&beside->mutex);
    if (beside->started)
        pthread_join(beside->thread, NULL);
    pthread_cond_destroy(&beside->changed);
    pthread_mutex_destroy(&beside->mutex);
    free(beside);
}

bool daemon_beside_write(struct daemon_beside *beside, const char *path,
                         const struct snapshot_announcement *version)
{
    pthread_mutex_lock(&beside->mutex);
    bool idle = !beside->status.busy;
    if (idle) {
        snprintf(beside->path, sizeof beside->path, "%s", path);
        beside->version = *version;
        beside->status.busy = true;
        pthread_cond_signal(&beside->changed);
    }
    pthread_mutex_unlock(&beside->mutex);
    return idle;
}

void daemon_beside_get(struct daemon_beside *beside,
                       struct daemon_beside_status *status)
{
    pthread_mutex_lock(&beside->mutex);
    *status = beside->status;
    pthread_mutex_unlock(&beside->mutex);
}
