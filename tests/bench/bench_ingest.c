/* SPDX-License-Identifier: Apache-2.0 */
/* The whole of ingest on Globo records from an embedded broker: consumer,
 * decoder, merge, join, sequences, journal, commits with full sync. Settings
 * are those of tests/adapters/globo.yaml; state goes below TMPDIR.
 *
 *   bench_ingest throughput FOLDER [RUNS] [EVENTS] [PARTITIONS]
 *     events/s from the start to the commit of the last, all produced before;
 *     the median of RUNS (5), with the broker's work in the same process
 *   bench_ingest latency FOLDER [RATE] [SECONDS] [PARTITIONS]
 *     pages of five impressions, and a click on each a second later, RATE
 *     (50,000) events/s in all, label_mode fnw: from the call that produces a
 *     click to the moment when a reader of the journal has its sample
 *
 * FOLDER is what tests/adapters/globo.py wrote. JSON on the last line. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/config.h"
#include "globo.h"

enum { RUNS_MAX = 99, CLICK_AFTER_MS = 1000, WARM_UP_MS = 3000,
       COOL_DOWN_MS = 2000 };

static const char *const topics[] = {"impressions", "clicks"};

static void die(const char *what)
{
    fprintf(stderr, "bench_ingest: %s\n", what);
    exit(1);
}

static void must(enum base_status status, const struct base_error *error)
{
    if (status)
        die(error->text);
}

static void failed(void *self, const struct base_error *error)
{
    (void)self;
    die(error->text);
}

static void nap_us(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

struct bench {
    struct globo_file files[2];
    struct kafka_fixture kafka;
    unsigned partitions;
    struct ingest *ingest;
    struct ingest_status status;
    char folder[200];
};

static void make_folder(struct bench *bench)
{
    const char *base = getenv("TMPDIR");
    snprintf(bench->folder, sizeof bench->folder, "%s/interestd-bench-XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(bench->folder))
        die("mkdtemp failed");
}

static void open_ingest(struct bench *bench, const char *label_mode)
{
    static struct daemon_config config;
    struct base_error error = {.text = ""};
    char state[300], models[300], brokers[300], mode[64];
    const char *overrides[] = {state, models, brokers, mode,
                               "kafka.properties.fetch.wait.max.ms=10"};
    snprintf(state, sizeof state, "state=%s/state", bench->folder);
    snprintf(models, sizeof models, "model_folder=%s/models", bench->folder);
    snprintf(brokers, sizeof brokers, "kafka.brokers=%s",
             rd_kafka_mock_cluster_bootstraps(bench->kafka.cluster));
    snprintf(mode, sizeof mode, "ingest.label_mode=%s", label_mode);
    must(daemon_config_load_with("tests/adapters/globo.yaml", overrides,
                                 sizeof overrides / sizeof *overrides, &config,
                                 &error), &error);
    config.ingest.journal_max_bytes = (uint64_t)8 << 30;
    must(base_file_make_folder(config.ingest.folder, &error), &error);
    must(ingest_open(&config.ingest, &bench->ingest, &error), &error);
}

static void close_ingest(struct bench *bench)
{
    struct base_error error = {.text = ""};
    must(ingest_stop(bench->ingest, &error), &error);
    ingest_free(bench->ingest);
    must(base_file_remove(bench->folder, &error), &error);
}

static double seconds_of_cpu(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- throughput --------------------------------------------------------- */

/* Both topics in the order of time. */
static void produce_all(struct bench *bench)
{
    size_t at[2] = {0};
    for (;;) {
        const struct globo_record *next = NULL;
        int topic = 0;
        for (int i = 0; i < 2; i++) {
            if (at[i] == bench->files[i].count)
                continue;
            const struct globo_record *one = &bench->files[i].records[at[i]];
            if (!next || one->event_ms < next->event_ms) {
                next = one;
                topic = i;
            }
        }
        if (!next)
            break;
        at[topic]++;
        globo_send(&bench->kafka, topics[topic], next, 0);
    }
    kafka_fixture_flush(&bench->kafka);
}

static double one_run(struct bench *bench, uint64_t events)
{
    struct base_error error = {.text = ""};
    make_folder(bench);
    open_ingest(bench, "window");
    double cpu = seconds_of_cpu();
    int64_t begun_us = base_monotonic_us();
    must(ingest_start(bench->ingest, failed, NULL, &error), &error);
    do {
        nap_us(2000);
        ingest_get_status(bench->ingest, &bench->status);
    } while (bench->status.events < events);
    double seconds = (double)(base_monotonic_us() - begun_us) / 1e6;
    printf("%llu events in %.2f s (%.2f s of CPU), %llu commits, longest "
           "%.0f ms, %llu samples\n",
           (unsigned long long)bench->status.events, seconds,
           seconds_of_cpu() - cpu, (unsigned long long)bench->status.commits,
           (double)bench->status.max_commit_us / 1e3,
           (unsigned long long)bench->status.journal_end);
    if (bench->status.unaccounted || bench->status.events != events)
        die("events are unaccounted for");
    close_ingest(bench);
    return (double)events / seconds;
}

static void throughput(struct bench *bench, unsigned runs)
{
    double rates[RUNS_MAX];
    uint64_t events = bench->files[0].count + bench->files[1].count;
    produce_all(bench);
    for (unsigned i = 0; i < runs; i++)
        rates[i] = one_run(bench, events);
    qsort(rates, runs, sizeof *rates, rising);
    printf("{\"bench\":\"ingest_throughput\",\"events\":%llu,\"runs\":%u,"
           "\"partitions\":%u,\"events_per_second\":%.0f,\"least\":%.0f,"
           "\"most\":%.0f}\n",
           (unsigned long long)events, runs, bench->partitions,
           rates[runs / 2], rates[0], rates[runs - 1]);
}

/* ---- latency ------------------------------------------------------------ */

struct reader {
    struct ingest *ingest;
    atomic_bool stop;
    const _Atomic int64_t *sent_us; /* by click */
    double *late_ms;                /* by click */
    size_t clicks;
    _Atomic size_t seen;
};

/* Clicks are applied in the order of their times, and sent in it: the k-th
 * positive of the journal is the k-th click's. */
static void take(struct reader *reader, const struct learner_batch *batch)
{
    int64_t now_us = base_monotonic_us();
    for (uint32_t i = 0; i < batch->samples; i++) {
        if (batch->kind[i] != LEARNER_FNW_POSITIVE)
            continue;
        if (reader->seen == reader->clicks)
            die("more positives than clicks");
        int64_t sent_us = atomic_load(&reader->sent_us[reader->seen]);
        reader->late_ms[reader->seen] = (double)(now_us - sent_us) / 1e3;
        reader->seen++;
    }
}

static void *read_journal(void *argument)
{
    struct reader *reader = argument;
    struct learner_source source = ingest_source(reader->ingest);
    struct learner_batch batch;
    struct base_error error;
    uint64_t position = 0;
    while (!atomic_load(&reader->stop) && reader->seen < reader->clicks) {
        enum base_status status =
            source.next(source.self, position, 100, &batch, &error);
        if (status == BASE_AGAIN)
            continue;
        must(status, &error);
        position = batch.end;
        take(reader, &batch);
        ingest_trim(reader->ingest, position);
    }
    return NULL;
}

static void send_at_rate(struct bench *bench, double rate, int64_t seconds,
                         _Atomic int64_t *sent_us, size_t *sent)
{
    double pages_per_us = rate / (GLOBO_SHOWN + 1) / 1e6;
    size_t shown = 0, clicked = 0;
    size_t pages = (size_t)(pages_per_us * 1e6 * (double)seconds);
    /* The load goes on until the last click is in. */
    size_t most = pages + (size_t)(pages_per_us * 1e3 *
                                   (CLICK_AFTER_MS + COOL_DOWN_MS));
    if (most * GLOBO_SHOWN > bench->files[0].count ||
        pages > bench->files[1].count)
        die("not enough records for so many seconds");
    int64_t begun_us = base_monotonic_us();
    while (shown < most * GLOBO_SHOWN) {
        int64_t now_us = base_monotonic_us() - begun_us;
        int64_t wall_ms = base_wall_ms();
        double due = (double)now_us * pages_per_us * GLOBO_SHOWN;
        double due_clicks =
            (double)(now_us - 1000 * CLICK_AFTER_MS) * pages_per_us;
        for (; shown < most * GLOBO_SHOWN && (double)shown < due; shown++)
            globo_send(&bench->kafka, topics[0],
                       &bench->files[0].records[shown], wall_ms);
        for (; clicked < pages && (double)clicked < due_clicks; clicked++) {
            atomic_store(&sent_us[clicked], base_monotonic_us());
            globo_send(&bench->kafka, topics[1],
                       &bench->files[1].records[clicked], wall_ms);
        }
        nap_us(1000);
    }
    *sent = pages;
}

static void report_latency(struct bench *bench, const struct reader *reader,
                           double rate, size_t warm_up, size_t clicks)
{
    size_t count = reader->seen > warm_up ? reader->seen - warm_up : 0;
    if (count == 0 || clicks != reader->seen)
        die("clicks have no positive sample");
    double *sorted = reader->late_ms + warm_up, most = 0;
    ingest_get_status(bench->ingest, &bench->status);
    qsort(sorted, count, sizeof *sorted, rising);
    most = sorted[count - 1];
    printf("longest commit %.0f ms, %llu floored\n",
           (double)bench->status.max_commit_us / 1e3,
           (unsigned long long)bench->status.floored_records);
    printf("{\"bench\":\"ingest_latency\",\"rate\":%.0f,\"partitions\":%u,"
           "\"clicks\":%zu,\"p50_ms\":%.1f,\"p90_ms\":%.1f,\"p99_ms\":%.1f,"
           "\"max_ms\":%.1f}\n",
           rate, bench->partitions, count, sorted[count / 2],
           sorted[count * 9 / 10], sorted[count * 99 / 100], most);
}

static void latency(struct bench *bench, double rate, int64_t seconds)
{
    struct base_error error = {.text = ""};
    size_t most = bench->files[1].count, clicks = 0;
    _Atomic int64_t *sent_us = calloc(most, sizeof *sent_us);
    double *late_ms = calloc(most, sizeof *late_ms);
    pthread_t thread;
    if (!sent_us || !late_ms)
        die("no memory");
    make_folder(bench);
    open_ingest(bench, "fnw");
    must(ingest_start(bench->ingest, failed, NULL, &error), &error);
    struct reader reader = {.ingest = bench->ingest, .sent_us = sent_us,
                            .late_ms = late_ms, .clicks = most};
    if (pthread_create(&thread, NULL, read_journal, &reader))
        die("no thread");
    send_at_rate(bench, rate, seconds, sent_us, &clicks);
    kafka_fixture_flush(&bench->kafka);
    ingest_trainer_idle(bench->ingest, true); /* the last batch ends by time */
    for (int i = 0; i < 5000 && atomic_load(&reader.seen) < clicks; i++)
        nap_us(1000);
    atomic_store(&reader.stop, true);
    pthread_join(thread, NULL);
    report_latency(bench, &reader, rate,
                   (size_t)(rate / (GLOBO_SHOWN + 1) * WARM_UP_MS / 1000),
                   clicks);
    close_ingest(bench);
    free(sent_us);
    free(late_ms);
}

static double number(int argc, char **argv, int i, double otherwise)
{
    return argc > i ? strtod(argv[i], NULL) : otherwise;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    if (argc < 3)
        die("throughput|latency FOLDER; see the top of bench_ingest.c");
    bool is_latency = strcmp(argv[1], "latency") == 0;
    bench.partitions = (unsigned)number(argc, argv, 5, is_latency ? 8 : 32);
    size_t most = is_latency ? SIZE_MAX
                             : (size_t)number(argc, argv, 4, 600000) / 6;
    globo_read(argv[2], topics[0],
               is_latency ? SIZE_MAX : most * GLOBO_SHOWN, &bench.files[0]);
    globo_read(argv[2], topics[1], most, &bench.files[1]);
    kafka_fixture_open(&bench.kafka, bench.partitions);
    if (is_latency)
        latency(&bench, number(argc, argv, 3, 50000),
                (int64_t)number(argc, argv, 4, 20));
    else
        throughput(&bench, (unsigned)number(argc, argv, 3, 5));
    kafka_fixture_close(&bench.kafka);
    globo_free(&bench.files[0]);
    globo_free(&bench.files[1]);
    return 0;
}
