/* SPDX-License-Identifier: Apache-2.0 */
/* Samples a second of the whole training step: look-up, prediction, forward,
 * backward, Adam, metrics; on synthetic batches. The stream's own work is
 * measured apart and not counted. Prints a table, then one JSON object on the
 * last line. Options: --help. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "learner/learner.h"
#include "learner/settings.h"
#include "stream.h"

struct options {
    struct stream_config stream;
    uint64_t samples, warm_up;
    unsigned threads;
    enum learner_kind kind;
    unsigned attention;     /* enum learner_attention */
    const char *activation; /* NULL: the kind's own */
    unsigned checkpoint_seconds;
};

static const char help[] =
    "bench_learner [--samples N] [--warm-up N] [--threads N] [--batch N]\n"
    "  [--lengths constant|geometric|uniform] [--mean T] [--max T]\n"
    "  [--group N] [--users N] [--goods N] [--cates N]\n"
    "  [--kind din|lr|base|wide_deep|pnn|deepfm|gru_att|dien]\n"
    "  [--attention unit|outer|inner] [--activation dice|prelu]\n"
    "  [--checkpoint-seconds N]\n";

static enum stream_lengths lengths_of(const char *name)
{
    if (strcmp(name, "constant") == 0)
        return STREAM_CONSTANT;
    return strcmp(name, "uniform") == 0 ? STREAM_UNIFORM : STREAM_GEOMETRIC;
}

static enum learner_kind kind_of(const char *name)
{
    unsigned kind = 0;
    while (kind < LEARNER_KINDS && strcmp(name, learner_kind_words[kind]) != 0)
        kind++;
    return (enum learner_kind)kind; /* LEARNER_KINDS is refused later */
}

static int parse(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"samples", 1, NULL, 's'}, {"warm-up", 1, NULL, 'w'},
        {"threads", 1, NULL, 't'}, {"batch", 1, NULL, 'b'},
        {"lengths", 1, NULL, 'l'}, {"mean", 1, NULL, 'm'},
        {"max", 1, NULL, 'x'},     {"group", 1, NULL, 'g'},
        {"users", 1, NULL, 'u'},   {"goods", 1, NULL, 'i'},
        {"cates", 1, NULL, 'c'},   {"activation", 1, NULL, 'a'},
        {"kind", 1, NULL, 'd'},    {"attention", 1, NULL, 'q'},
        {"checkpoint-seconds", 1, NULL, 'k'}, {NULL, 0, NULL, 0},
    };
    struct stream_config *stream = &options->stream;
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        unsigned long long n = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (option) {
        case 's': options->samples = n; break;
        case 'w': options->warm_up = n; break;
        case 't': options->threads = (unsigned)n; break;
        case 'b': stream->batch_size = (uint32_t)n; break;
        case 'l': stream->lengths = lengths_of(optarg); break;
        case 'm': stream->history_mean = (uint32_t)n; break;
        case 'x': stream->history_max = (uint32_t)n; break;
        case 'g': stream->group_max = (uint32_t)n; break;
        case 'u': stream->users = n; break;
        case 'i': stream->goods = n; break;
        case 'c': stream->cates = n; break;
        case 'a': options->activation = optarg; break;
        case 'q':
            options->attention = strcmp(optarg, "outer") == 0
                                     ? LEARNER_ATTENTION_OUTER
                                 : strcmp(optarg, "inner") == 0
                                     ? LEARNER_ATTENTION_INNER
                                     : LEARNER_ATTENTION_UNIT;
            break;
        case 'd': options->kind = kind_of(optarg); break;
        case 'k': options->checkpoint_seconds = (unsigned)n; break;
        default: fputs(help, stderr); return 64;
        }
    }
    return 0;
}

static void configure(const struct options *options, const char *folder,
                      struct stream *stream,
                      struct learner_trainer_config *config)
{
    memset(config, 0, sizeof *config);
    stream_schema(&config->schema);
    learner_model_config_profile(&config->model, LEARNER_STREAMING,
                                 options->kind);
    config->model.batch_size = options->stream.batch_size;
    if (options->kind == LEARNER_DEEPFM)
        config->model.dimension = 18; /* one for all tables */
    config->model.attention = (enum learner_attention)options->attention;
    if (options->activation)
        config->model.activation = strcmp(options->activation, "prelu")
                                       ? LEARNER_DICE : LEARNER_PRELU;
    config->threads = (uint16_t)options->threads;
    config->window_ms = 3600000;
    config->window_samples = 50000;
    config->checkpoint_seconds = options->checkpoint_seconds;
    config->checkpoints_kept = 2;
    config->source = stream_source(stream);
    snprintf(config->folder, sizeof config->folder, "%s", folder);
}

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void wait_trained(struct learner_trainer *trainer, uint64_t position)
{
    while (learner_trainer_position(trainer) < position)
        usleep(2000);
}

static void report(const struct options *options,
                   const struct learner_status *before,
                   const struct learner_status *after, double wall, double cpu)
{
    double samples = (double)(after->samples - before->samples);
    double busy = after->busy_seconds - before->busy_seconds;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-22s %s\n", "kind", learner_kind_words[options->kind]);
    printf("%-22s %s, %s, batch %u, threads %u\n", "kernels",
           learner_kernels(), learner_arithmetic(),
           options->stream.batch_size, options->threads);
    printf("%-22s mean %u, at most %u, groups of 1 to %u\n", "history",
           options->stream.history_mean, options->stream.history_max,
           options->stream.group_max);
    printf("%-22s %.0f\n", "samples", samples);
    printf("%-22s %.0f\n", "samples/s in steps", samples / busy);
    printf("%-22s %.0f\n", "samples/s wall", samples / wall);
    printf("%-22s %.0f\n", "samples/s of a CPU", samples / cpu);
    printf("%-22s %.3f\n", "ms a batch",
           busy * 1e3 / samples * options->stream.batch_size);
    printf("%-22s %llu goods, %.1f MB\n", "rows",
           (unsigned long long)after->rows[1],
           (double)after->table_bytes * 1e-6);
    printf("%-22s auc %.4f log loss %.4f\n", "last window",
           after->last_samples.auc, after->last_samples.log_loss);
    printf("{\"samples\":%.0f,\"samples_per_s\":%.1f,"
           "\"samples_per_s_wall\":%.1f,\"samples_per_cpu_s\":%.1f,"
           "\"ms_per_batch\":%.4f,\"threads\":%u,\"kernels\":\"%s\","
           "\"history_mean\":%u,\"batch\":%u,\"table_bytes\":%llu,"
           "\"checkpoints\":%llu,\"cut_waits\":%llu,\"max_rss_kb\":%ld}\n",
           samples, samples / busy, samples / wall, samples / cpu,
           busy * 1e3 / samples * options->stream.batch_size,
           options->threads, learner_kernels(), options->stream.history_mean,
           options->stream.batch_size,
           (unsigned long long)after->table_bytes,
           (unsigned long long)after->checkpoints,
           (unsigned long long)after->cut_waits, usage.ru_maxrss);
}

static enum base_status run(const struct options *options, const char *folder,
                            struct base_error *error)
{
    struct learner_trainer_config config;
    struct learner_trainer *trainer = NULL;
    struct learner_status before, after;
    uint64_t batch = options->stream.batch_size;
    struct stream *stream = stream_new(&options->stream);
    configure(options, folder, stream, &config);
    enum base_status status = learner_trainer_open(&config, &trainer, error);
    if (status)
        goto cleanup;
    uint64_t warm = options->warm_up / batch * batch;
    uint64_t end = warm + options->samples / batch * batch;
    stream_set_limit(stream, warm);
    status = learner_trainer_start(trainer, error);
    if (status)
        goto cleanup;
    wait_trained(trainer, warm);
    learner_trainer_status(trainer, &before);
    double wall = seconds_of(CLOCK_MONOTONIC);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    stream_set_limit(stream, end);
    wait_trained(trainer, end);
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    learner_trainer_status(trainer, &after);
    status = learner_trainer_stop(trainer, false, error);
    report(options, &before, &after, wall, cpu);
cleanup:
    learner_trainer_free(trainer);
    stream_free(stream);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {
        .stream = {.seed = 1, .batch_size = 128, .group_max = 4,
                   .lengths = STREAM_GEOMETRIC, .history_mean = 15,
                   .history_max = 100, .users = 100000, .goods = 50000,
                   .cates = 500, .interests = 16},
        .samples = 100000,
        .warm_up = 10000,
        .threads = 1,
        .kind = LEARNER_DIN,
    };
    struct base_error error;
    int wrong = parse(argc, argv, &options);
    if (wrong)
        return wrong;
    const char *base = getenv("TMPDIR");
    char folder[512];
    snprintf(folder, sizeof folder, "%s/bench_learner.XXXXXX",
             base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        perror(folder);
        return 73;
    }
    enum base_status status = run(&options, folder, &error);
    if (status)
        fprintf(stderr, "bench_learner: %s\n", error.text);
    if (base_file_remove(folder, NULL))
        fprintf(stderr, "bench_learner: %s is left\n", folder);
    return base_status_exit(status);
}
