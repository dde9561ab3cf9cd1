/* SPDX-License-Identifier: Apache-2.0 */
/* What publishing costs the trainer: a DIN on a synthetic journal whose goods
 * table holds `rows` rows, trained as fast as it goes for `seconds` without and
 * for `seconds` with a delta every `delta-ms`, written as versions by another
 * thread, and checkpoints with bases beside deltas meanwhile. Prints the
 * histogram of pauses and the samples a second of both, then one JSON object
 * on the last line. */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "learner/trainer.h"
#include "snapshot/snapshot.h"
#include "stream.h"

struct bench {
    uint64_t rows;
    unsigned seconds, delta_ms, base_every;
    char folder[256];
    struct stream *stream;
    struct learner_trainer *trainer;
    struct snapshot_publisher *publisher;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct learner_delta *delta;
    char path[1200];
    uint64_t position;
    bool ending, publishing;
    unsigned deltas, bases;
    uint64_t rows_changed;
    double write_seconds;
};

static const char help[] =
    "bench_publish [--rows N] [--seconds N] [--delta-ms N]\n";

static void must(enum base_status status, const struct base_error *error)
{
    if (!status)
        return;
    fprintf(stderr, "bench_publish: %s\n", error->text);
    exit(1);
}

/* ---- hooks ---------------------------------------------------------------- */

static void changed(void *self, struct learner_delta *delta)
{
    struct bench *bench = self;
    pthread_mutex_lock(&bench->mutex);
    bench->delta = delta;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

static void checkpointed(void *self, const char *path, uint64_t position,
                         uint64_t oldest_kept, uint64_t request)
{
    struct bench *bench = self;
    (void)oldest_kept, (void)request;
    pthread_mutex_lock(&bench->mutex);
    snprintf(bench->path, sizeof bench->path, "%s", path);
    bench->position = position;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

/* The newest version; a base waits for its checkpoint. */
static bool publish(struct bench *bench, struct learner_delta *delta)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct snapshot_announcement made;
    struct base_error error;
    char path[sizeof bench->path];
    int64_t begin_us = base_monotonic_us();
    if (snapshot_follows(bench->publisher, delta)) {
        must(snapshot_publish_delta(bench->publisher, delta, NULL, &made,
                                    &error),
             &error);
        bench->deltas++;
        bench->write_seconds += (double)(base_monotonic_us() - begin_us) * 1e-6;
        return true;
    }
    if (!info->checkpoint)
        return false;
    pthread_mutex_lock(&bench->mutex);
    while (bench->position != info->position)
        pthread_cond_wait(&bench->changed, &bench->mutex);
    memcpy(path, bench->path, sizeof path);
    pthread_mutex_unlock(&bench->mutex);
    must(snapshot_publish(bench->publisher, path, NULL, &made, &error),
         &error);
    bench->bases++;
    return true;
}

static void *publish_thread(void *self)
{
    struct bench *bench = self;
    for (;;) {
        pthread_mutex_lock(&bench->mutex);
        while (!bench->delta && !bench->ending)
            pthread_cond_wait(&bench->changed, &bench->mutex);
        struct learner_delta *delta = bench->delta;
        bench->delta = NULL;
        pthread_mutex_unlock(&bench->mutex);
        if (!delta)
            return NULL;
        bool made = publish(bench, delta);
        learner_trainer_settle(bench->trainer, made);
        learner_trainer_delta(bench->trainer,
                              base_monotonic_ms() + (made ? bench->delta_ms
                                                          : 0),
                              !made || bench->deltas % bench->base_every ==
                                           bench->base_every - 1);
    }
}

/* ---- runs ----------------------------------------------------------------- */

static void open_all(struct bench *bench)
{
    const struct stream_config stream = {
        .seed = 5, .batch_size = 128, .group_max = 4,
        .lengths = STREAM_GEOMETRIC, .history_mean = 15, .history_max = 50,
        .users = 1000000, .goods = bench->rows, .cates = 1000,
        .interests = 16,
    };
    struct learner_trainer_config config = {
        .threads = 1, .window_ms = 60000, .window_samples = 10000,
        .checkpoints_kept = 2, .hook_self = bench, .changed = changed,
        .checkpointed = checkpointed};
    struct snapshot_config snapshot = {.model_name = "bench",
                                       .versions_kept = 5,
                                       .golden_requests = 4};
    struct snapshot_announcement current;
    struct base_error error;
    bench->stream = stream_new(&stream);
    stream_set_limit(bench->stream, UINT64_MAX / 256 * 128);
    config.source = stream_source(bench->stream);
    stream_schema(&config.schema);
    learner_model_config_default(&config.model);
    snprintf(config.folder, sizeof config.folder, "%s/checkpoints",
             bench->folder);
    snprintf(snapshot.folder, sizeof snapshot.folder, "%s/model",
             bench->folder);
    must(learner_trainer_open(&config, &bench->trainer, &error), &error);
    must(snapshot_publisher_open(&snapshot, 0, &bench->publisher, &current,
                                 &error),
         &error);
}

/* The rows that training has made before. */
static void fill(struct bench *bench)
{
    struct base_error error;
    unsigned widest = 0;
    uint32_t slot;
    for (unsigned t = 0; t < learner_model_tables(bench->trainer->model); t++)
        if (learner_table_width(bench->trainer->tables[t]) >
            learner_table_width(bench->trainer->tables[widest]))
            widest = t;
    for (uint64_t i = 1; i <= bench->rows; i++)
        must(learner_table_create(bench->trainer->tables[widest],
                                  base_random_mix(i), &slot, &error),
             &error);
}

struct measured {
    double samples_per_second;
    struct learner_status before, after;
    double seconds;
};

static void measure(struct bench *bench, struct measured *measured)
{
    int64_t begin_us = base_monotonic_us();
    learner_trainer_status(bench->trainer, &measured->before);
    sleep(bench->seconds);
    learner_trainer_status(bench->trainer, &measured->after);
    measured->seconds = (double)(base_monotonic_us() - begin_us) * 1e-6;
    measured->samples_per_second =
        (double)(measured->after.samples - measured->before.samples) /
        measured->seconds;
}

/* The bound below which a share of the pauses stays; the last bucket's is
 * infinite. */
static double bound_of(const struct measured *measured, double share,
                       uint64_t *count)
{
    uint64_t sum = 0, all = 0;
    const uint64_t *from = measured->before.pauses.count;
    const uint64_t *to = measured->after.pauses.count;
    for (unsigned i = 0; i < LEARNER_PAUSE_BUCKETS; i++)
        all += to[i] - from[i];
    *count = all;
    for (unsigned i = 0; i < LEARNER_PAUSE_BUCKETS - 1; i++) {
        sum += to[i] - from[i];
        if ((double)sum >= share * (double)all)
            return learner_pause_bounds[i];
    }
    return 1e9;
}

static void print(const struct bench *bench, const struct measured *without,
                  const struct measured *with)
{
    uint64_t count;
    double p99 = bound_of(with, 0.99, &count);
    double paused =
        with->after.pauses.seconds - with->before.pauses.seconds;
    uint64_t rows = with->after.delta_rows - with->before.delta_rows;
    uint64_t deltas = with->after.deltas - with->before.deltas;
    for (unsigned i = 0; i < LEARNER_PAUSE_BUCKETS; i++)
        printf("pauses up to %8.5f s: %llu\n",
               i + 1 < LEARNER_PAUSE_BUCKETS ? learner_pause_bounds[i] : 1e9,
               (unsigned long long)(with->after.pauses.count[i] -
                                    with->before.pauses.count[i]));
    printf("{\"rows\":%llu,\"delta_ms\":%u,\"deltas\":%llu,"
           "\"rows_per_delta\":%.0f,\"pauses\":%llu,\"pause_p99_le_s\":%g,"
           "\"pause_share\":%.5f,\"samples_per_s_without\":%.0f,"
           "\"samples_per_s_with\":%.0f,\"write_s_per_delta\":%.4f,"
           "\"delta_bytes\":%llu,\"checkpoints\":%llu}\n",
           (unsigned long long)bench->rows, bench->delta_ms,
           (unsigned long long)deltas,
           deltas ? (double)rows / (double)deltas : 0.0,
           (unsigned long long)count, p99, paused / with->seconds,
           without->samples_per_second, with->samples_per_second,
           bench->deltas ? bench->write_seconds / bench->deltas : 0.0,
           (unsigned long long)with->after.delta_bytes,
           (unsigned long long)(with->after.checkpoints -
                                with->before.checkpoints));
}

static void run(struct bench *bench)
{
    struct base_error error;
    struct measured without, with;
    pthread_t thread;
    must(learner_trainer_start(bench->trainer, &error), &error);
    sleep(1);
    measure(bench, &without);
    pthread_create(&thread, NULL, publish_thread, bench);
    learner_trainer_delta(bench->trainer, 0, true);
    for (bool based = false; !based; usleep(10000)) {
        pthread_mutex_lock(&bench->mutex);
        based = snapshot_publisher_position(bench->publisher) != 0;
        pthread_mutex_unlock(&bench->mutex);
    }
    measure(bench, &with);
    pthread_mutex_lock(&bench->mutex);
    bench->ending = true;
    pthread_cond_signal(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
    pthread_join(thread, NULL);
    must(learner_trainer_stop(bench->trainer, false, &error), &error);
    print(bench, &without, &with);
}

static void parse(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"rows", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"delta-ms", required_argument, NULL, 'd'},
        {NULL, 0, NULL, 0}};
    for (int at; (at = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (at == 'r')
            bench->rows = strtoull(optarg, NULL, 10);
        else if (at == 's')
            bench->seconds = (unsigned)strtoul(optarg, NULL, 10);
        else if (at == 'd')
            bench->delta_ms = (unsigned)strtoul(optarg, NULL, 10);
        else {
            fputs(help, stderr);
            exit(64);
        }
    }
}

int main(int argc, char **argv)
{
    struct base_error error;
    struct bench bench = {
        .rows = 5000000, .seconds = 20, .delta_ms = 500, .base_every = 20};
    const char *base = getenv("TMPDIR");
    parse(&bench, argc, argv);
    base_log_set_level(BASE_LOG_WARN);
    snprintf(bench.folder, sizeof bench.folder, "%s/bench-publish-XXXXXX",
             base ? base : "/tmp");
    if (!mkdtemp(bench.folder))
        return 1;
    pthread_mutex_init(&bench.mutex, NULL);
    pthread_cond_init(&bench.changed, NULL);
    open_all(&bench);
    fill(&bench);
    run(&bench);
    snapshot_publisher_free(bench.publisher);
    learner_trainer_free(bench.trainer);
    stream_free(bench.stream);
    must(base_file_remove(bench.folder, &error), &error);
    return 0;
}
