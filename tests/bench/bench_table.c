/* SPDX-License-Identifier: Apache-2.0 */
/* Growth of one embedding table: the longest single call of
 * learner_table_create() in CPU time of its thread, and bytes a row at the
 * worst moment, both as the table counts them and as the system does, against
 * parameters + optimizer state + key + count. Sizes and optimizers with few
 * rows, then E 18, Adam, 20 million rows.
 *
 * Where cores are shared, what others take is now and then counted as CPU time
 * of a call. The table does the same in every run, so each job runs several
 * times and a call's time is the least of them; the longest of any run is
 * printed too. Each run is a process of its own. Prints a table, then one
 * JSON object on the last line. Options: --help. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/random.h"
#include "learner/optimizer.h"
#include "learner/table.h"

struct job {
    unsigned dimension;
    enum learner_optimizer optimizer;
    uint64_t rows, from; /* the worst moment is looked for from here on */
};

struct result {
    int failed;
    double stall_ms;      /* longest create(), least of the runs */
    uint64_t stall_at;    /* rows then */
    double once_ms;       /* longest create() of any run */
    double bytes, real;   /* a row, at the worst moment */
    double end_bytes;     /* a row, at the end */
    double content;       /* a row: parameters, state, key, count */
    double create_ns, find_ns, miss_ns; /* CPU time of one, at full size */
};

static const char help[] =
    "bench_table [--rows N] [--dimension E] [--optimizer adam|adagrad|\n"
    "  row_adagrad|ftrl|sgd] [--other-rows N (0: no other sizes)]\n"
    "  [--runs N]\n";

/* CPU milliseconds of each call, the least so far; shared by the runs. */
static float *calls;
static unsigned runs = 3;

static const char *const names[] = {"adam", "adagrad", "row_adagrad", "ftrl",
                                    "sgd"};

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Bytes of this process that have memory, `calls` and the program's text
 * apart; 0 where the system does not say. */
static double resident(void)
{
    unsigned long long size, pages, shared;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu %llu", &size, &pages, &shared) != 3)
        pages = shared = 0;
    fclose(file);
    return (double)(pages - shared) * (double)sysconf(_SC_PAGESIZE);
}

static uint64_t key_of(uint64_t i)
{
    return base_random_mix(i + 1);
}

static void look(const struct learner_table *table, double before,
                 struct result *result)
{
    double rows = (double)learner_table_rows(table);
    double bytes = (double)learner_table_bytes(table) / rows;
    double real = (resident() - before) / rows;
    result->bytes = bytes > result->bytes ? bytes : result->bytes;
    result->real = real > result->real ? real : result->real;
    result->end_bytes = bytes;
}

static int grow(struct learner_table *table, const struct job *job,
                struct result *result)
{
    struct base_error error;
    double before = resident(), first = cpu_seconds(), last = first;
    for (uint64_t i = 0; i < job->rows; i++) {
        uint32_t slot;
        if (learner_table_create(table, key_of(i), &slot, &error)) {
            fprintf(stderr, "%s\n", error.text);
            return 1;
        }
        double now = cpu_seconds();
        float ms = (float)((now - last) * 1e3);
        if ((double)ms > result->once_ms)
            result->once_ms = (double)ms;
        calls[i] = ms < calls[i] ? ms : calls[i];
        if (i >= job->from && i % 8192 == 0) {
            look(table, before, result);
            now = cpu_seconds();
        }
        last = now;
    }
    look(table, before, result);
    result->create_ns = (last - first) * 1e9 / (double)job->rows;
    return 0;
}

/* CPU nanoseconds of a look-up of a random key: i >= job->rows has no row. */
static double find(const struct learner_table *table, const struct job *job,
                   uint64_t from)
{
    enum { TIMES = 2000000 };
    double begin = cpu_seconds();
    uint32_t sum = 0;
    for (uint32_t i = 0; i < TIMES; i++)
        sum += learner_table_find(
            table, key_of(from + base_random_u64(1, 2, 3, i) % job->rows));
    double seconds = cpu_seconds() - begin;
    return sum == 1 ? 0 : seconds * 1e9 / TIMES;
}

static void measure(const struct job *job, struct result *result)
{
    struct learner_model_config config;
    struct learner_table *table = NULL;
    struct base_error error;
    learner_model_config_default(&config);
    config.optimizer = job->optimizer;
    struct learner_table_config rows = {
        .width = job->dimension, .embedding = job->dimension,
        .state = (unsigned)learner_optimizer_row_state(&config,
                                                       job->dimension),
        .seed = 1, .purpose = 2, .row_limit = 0.05f};
    memset(result, 0, sizeof *result);
    result->content = 4.0 * (rows.width + rows.state) + 8 + 4;
    result->failed = learner_table_new(&table, &rows, &error) != BASE_OK ||
                     grow(table, job, result);
    if (!result->failed) {
        result->find_ns = find(table, job, 0);
        result->miss_ns = find(table, job, job->rows);
    }
    learner_table_free(table);
}

/* In a child, so that each begins with fresh memory. */
static int run_once(const struct job *job, struct result *result)
{
    int ends[2];
    if (pipe(ends))
        return 1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        measure(job, result);
        _exit(write(ends[1], result, sizeof *result) != sizeof *result);
    }
    close(ends[1]);
    ssize_t got = child > 0 ? read(ends[0], result, sizeof *result) : 0;
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    return got != sizeof *result || result->failed;
}

/* The worst of the runs, but for the time of calls. */
static int run(const struct job *job, struct result *result)
{
    memset(result, 0, sizeof *result);
    for (uint64_t i = 0; i < job->rows; i++)
        calls[i] = 1e9f;
    for (unsigned k = 0; k < runs; k++) {
        struct result one;
        if (run_once(job, &one))
            return 1;
        one.once_ms = one.once_ms > result->once_ms ? one.once_ms
                                                    : result->once_ms;
        one.real = one.real > result->real ? one.real : result->real;
        *result = one;
    }
    for (uint64_t i = 0; i < job->rows; i++)
        if ((double)calls[i] > result->stall_ms) {
            result->stall_ms = (double)calls[i];
            result->stall_at = i;
        }
    printf("E %-3u %-11s %9llu rows: %6.1f bytes a row (%5.3f), really "
           "%6.1f (%5.3f), at the end %6.1f; of %5.0f; stall %6.3f ms at "
           "%llu (in one run %.3f); create %3.0f ns, find %3.0f, miss %3.0f\n",
           job->dimension, names[job->optimizer],
           (unsigned long long)job->rows, result->bytes,
           result->bytes / result->content, result->real,
           result->real / result->content, result->end_bytes, result->content,
           result->stall_ms, (unsigned long long)result->stall_at,
           result->once_ms, result->create_ns, result->find_ns,
           result->miss_ns);
    return 0;
}

static int others(uint64_t rows)
{
    static const struct job jobs[] = {
        {4, LEARNER_ADAM, 0, 0},         {8, LEARNER_ADAM, 0, 0},
        {36, LEARNER_ADAM, 0, 0},        {128, LEARNER_ADAM, 0, 0},
        {18, LEARNER_ADAGRAD, 0, 0},     {18, LEARNER_ROW_ADAGRAD, 0, 0},
        {18, LEARNER_SGD, 0, 0},         {1, LEARNER_FTRL, 0, 0},
    };
    for (size_t i = 0; rows && i < sizeof jobs / sizeof jobs[0]; i++) {
        struct result result;
        struct job job = jobs[i];
        job.rows = rows;
        job.from = rows / 4;
        if (run(&job, &result))
            return 1;
    }
    return 0;
}

static int parse(int argc, char **argv, struct job *job, uint64_t *rows)
{
    static const struct option options[] = {
        {"rows", 1, NULL, 'r'}, {"dimension", 1, NULL, 'd'},
        {"optimizer", 1, NULL, 'o'}, {"other-rows", 1, NULL, 'n'},
        {"runs", 1, NULL, 'u'},
        {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long long n = optarg ? strtoull(optarg, NULL, 10) : 0;
        if (option == 'r' && n) {
            job->rows = n;
        } else if (option == 'd' && n) {
            job->dimension = (unsigned)n;
        } else if (option == 'u' && n) {
            runs = (unsigned)n;
        } else if (option == 'n') {
            *rows = n;
        } else if (option == 'o') {
            for (int i = LEARNER_ADAM; i <= LEARNER_SGD; i++)
                if (strcmp(names[i], optarg) == 0)
                    job->optimizer = (enum learner_optimizer)i;
        } else {
            fputs(help, stderr);
            return 64;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct job job = {18, LEARNER_ADAM, 20000000, 1000000};
    struct result result;
    uint64_t other_rows = 2000000;
    int wrong = parse(argc, argv, &job, &other_rows);
    if (wrong)
        return wrong;
    job.from = job.from < job.rows ? job.from : job.rows / 4;
    uint64_t most = job.rows > other_rows ? job.rows : other_rows;
    calls = mmap(NULL, most * sizeof *calls, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (calls == MAP_FAILED) {
        perror("bench_table: mmap");
        return 1;
    }
    if (others(other_rows) || run(&job, &result)) {
        fputs("bench_table: failed\n", stderr);
        return 1;
    }
    printf("{\"dimension\":%u,\"optimizer\":\"%s\",\"rows\":%llu,"
           "\"stall_ms\":%.4f,\"stall_ms_of_one_run\":%.4f,\"runs\":%u,"
           "\"bytes_per_row_worst\":%.2f,"
           "\"resident_bytes_per_row_worst\":%.2f,\"content_bytes\":%.0f,"
           "\"ratio_worst\":%.4f,\"resident_ratio_worst\":%.4f,"
           "\"create_ns\":%.1f,\"find_ns\":%.1f,\"miss_ns\":%.1f}\n",
           job.dimension, names[job.optimizer], (unsigned long long)job.rows,
           result.stall_ms, result.once_ms, runs, result.bytes, result.real,
           result.content,
           result.bytes / result.content, result.real / result.content,
           result.create_ns, result.find_ns, result.miss_ns);
    return 0;
}
