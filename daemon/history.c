/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of the page's history and its file; see history.h. */
#include "daemon/history.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/file.h"
#include "base/log.h"

enum { FORMAT = 1, QUEUE = 64 };

_Static_assert(sizeof(struct daemon_history_record) == 512,
               "the file's format: a record is 512 bytes");

struct write {
    unsigned place;
    struct daemon_history_record record;
};

struct daemon_history {
    struct daemon_history_record *ring; /* OWNS (DAEMON_HISTORY_RECORDS) */
    unsigned next;                      /* place of the next record */
    int file; /* -1: in memory only; the thread's while it runs */
    bool started;
    pthread_t thread;

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    bool finishing;
    unsigned waiting;
    struct write queue[QUEUE]; /* oldest first */
};

static uint64_t check_of(const struct daemon_history_record *record)
{
    return XXH3_64bits_withSeed((const char *)record + sizeof record->check,
                                sizeof *record - sizeof record->check, FORMAT);
}

uint32_t daemon_history_name(const char *name)
{
    uint32_t hash = (uint32_t)XXH3_64bits(name, strlen(name));
    return hash ? hash : 1;
}

const struct daemon_history_record *
daemon_history_get(const struct daemon_history *history, unsigned back)
{
    return &history->ring[(history->next + DAEMON_HISTORY_RECORDS - 1 - back) %
                          DAEMON_HISTORY_RECORDS];
}

/* ---- the file ------------------------------------------------------------ */

/* Empties what is not sound; the newest says where the ring goes on. */
static void take_over(struct daemon_history *history)
{
    struct daemon_history_record *ring = history->ring;
    int64_t newest_ms = 0;
    for (unsigned i = 0; i < DAEMON_HISTORY_RECORDS; i++) {
        if (ring[i].check != check_of(&ring[i]) || ring[i].at_ms <= 0) {
            memset(&ring[i], 0, sizeof ring[i]);
        } else if (ring[i].at_ms >= newest_ms) {
            newest_ms = ring[i].at_ms;
            history->next = (i + 1) % DAEMON_HISTORY_RECORDS;
        }
    }
}

static void read_file(struct daemon_history *history)
{
    size_t size = DAEMON_HISTORY_RECORDS * sizeof *history->ring, used = 0;
    ssize_t got = 1;
    while (used < size && got > 0) {
        got = pread(history->file, (char *)history->ring + used, size - used,
                    (off_t)used);
        used += got > 0 ? (size_t)got : 0;
    }
    take_over(history);
}

static void give_up(struct daemon_history *history, const char *what)
{
    base_log(BASE_LOG_WARN,
             "event=history_not_kept error=\"%s: %s\" "
             "hint=\"the page's history will not survive a restart\"",
             what, strerror(errno));
    if (history->file >= 0)
        close(history->file);
    history->file = -1;
}

/* ---- the thread ---------------------------------------------------------- */

/* False at the end. */
static bool take(struct daemon_history *history, struct write *write)
{
    pthread_mutex_lock(&history->mutex);
    while (!history->waiting && !history->finishing)
        pthread_cond_wait(&history->changed, &history->mutex);
    bool got = history->waiting > 0;
    if (got) {
        *write = history->queue[0];
        history->waiting--;
        memmove(history->queue, history->queue + 1,
                history->waiting * sizeof history->queue[0]);
    }
    pthread_mutex_unlock(&history->mutex);
    return got;
}

static void *write_records(void *self)
{
    struct daemon_history *history = self;
    struct write write;
    while (take(history, &write)) {
        size_t size = sizeof write.record;
        if (history->file >= 0 &&
            pwrite(history->file, &write.record, size,
                   (off_t)(write.place * size)) != (ssize_t)size)
            give_up(history, "history.ring");
    }
    return NULL;
}

/* Where the disk is that slow, records are lost to the file. */
static void hand_over(struct daemon_history *history, unsigned place)
{
    pthread_mutex_lock(&history->mutex);
    if (history->waiting < QUEUE)
        history->queue[history->waiting++] =
            (struct write){place, history->ring[place]};
    pthread_cond_signal(&history->changed);
    pthread_mutex_unlock(&history->mutex);
}

/* ---- one record ---------------------------------------------------------- */

static void fill_model(struct daemon_history_model *to,
                       const struct daemon_model_status *from)
{
    const struct learner_window *window = &from->learner.last_samples;
    *to = (struct daemon_history_model){
        .name = daemon_history_name(from->name),
        .auc = (float)window->auc,
        .user_auc = (float)window->user_auc,
        .log_loss = (float)window->log_loss,
        .calibration = (float)window->calibration,
        .rela_impr = from->base[0] ? (float)from->rela_impr : NAN};
}

void daemon_history_add(struct daemon_history *history,
                        const struct daemon_status *status)
{
    unsigned place = history->next;
    struct daemon_history_record *record = &history->ring[place];
    int64_t published_ms = status->publish.newest_event_ms;
    memset(record, 0, sizeof *record);
    record->at_ms = status->now_ms;
    record->events = status->ingest.events;
    record->position = status->learner.position;
    record->lag_records = status->ingest.lag_records;
    record->published_age_ms =
        published_ms > 0 ? status->now_ms - published_ms : -1;
    for (unsigned i = 0; i < DAEMON_FRESH_BUCKETS; i++)
        record->fresh[i] = (uint32_t)status->publish.recent.fresh[i];
    for (unsigned i = 0; i < status->model_count; i++)
        fill_model(&record->model[i], &status->models[i]);
    record->check = check_of(record);
    history->next = (place + 1) % DAEMON_HISTORY_RECORDS;
    if (history->started)
        hand_over(history, place);
}

/* ---- open, close --------------------------------------------------------- */

/* All of it is allotted now: a disk that fills up later takes nothing back. */
static void open_file(struct daemon_history *history, const char *folder)
{
    char path[1100];
    struct base_error error;
    off_t size = (off_t)(DAEMON_HISTORY_RECORDS * sizeof *history->ring);
    if (base_file_join(path, sizeof path, folder, "history.ring", &error))
        return;
    history->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (history->file < 0) {
        give_up(history, path);
        return;
    }
    read_file(history);
    errno = posix_fallocate(history->file, 0, size);
    if (errno)
        give_up(history, path);
}

struct daemon_history *daemon_history_open(const char *folder)
{
    struct daemon_history *history = calloc(1, sizeof *history);
    if (history)
        history->ring = calloc(DAEMON_HISTORY_RECORDS, sizeof *history->ring);
    if (!history || !history->ring) {
        free(history);
        return NULL;
    }
    history->file = -1;
    pthread_mutex_init(&history->mutex, NULL);
    pthread_cond_init(&history->changed, NULL);
    open_file(history, folder);
    if (history->file >= 0)
        history->started =
            !pthread_create(&history->thread, NULL, write_records, history);
    return history;
}

void daemon_history_close(struct daemon_history *history)
{
    if (!history)
        return;
    if (history->started) {
        pthread_mutex_lock(&history->mutex);
        history->finishing = true;
        pthread_cond_signal(&history->changed);
        pthread_mutex_unlock(&history->mutex);
        pthread_join(history->thread, NULL);
    }
    if (history->file >= 0)
        close(history->file);
    pthread_cond_destroy(&history->changed);
    pthread_mutex_destroy(&history->mutex);
    free(history->ring);
    free(history);
}
