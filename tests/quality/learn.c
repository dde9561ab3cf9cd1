/* SPDX-License-Identifier: Apache-2.0 */
/* One model over all samples of a data set, each predicted before it is
 * trained, by the daemon's own trainer and configuration:
 *   quality_learn --config FILE --columns FOLDER --folder FOLDER
 *                 --output FILE [--set K=V]...
 *                 [--borders P,P,.. --frozen FILE]
 *   quality_learn --config FILE --describe
 * OUTPUT gets p(click) of every position as float, not a number where a batch
 * was rejected. With --borders (positions, ascending) training stops at each
 * of them with a checkpoint, from which a second trainer, frozen, predicts up
 * to the next border into FROZEN; then training goes on from that checkpoint.
 * --describe prints the model's configuration hash and size, and the stream's
 * fields.
 *
 * Standard output: the position, a line a second; at the end one JSON object.
 * The main thread watches; the trainer has its own. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "columns.h"
#include "daemon/config.h"
#include "daemon/options.h"

enum { BORDERS_MAX = 64, WATCH_NS = 5000000, SAY_MS = 1000 };

struct learn {
    struct daemon_config config;
    struct columns *columns;
    uint64_t borders[BORDERS_MAX];
    unsigned border_count;
    float *trained, *frozen; /* (S) predictions; OWNS */
    float *into;             /* where they go now; train thread, main
                                thread only while none runs */
    atomic_bool failed;
    int64_t said_ms;
    struct learner_status status;
    double seconds, frozen_seconds; /* in steps, of all trainers */
};

/* Train thread. */
static void predicted(void *self, const struct learner_batch *batch,
                      const float *probability)
{
    struct learn *learn = self;
    memcpy(learn->into + batch->first, probability,
           batch->samples * sizeof *probability);
}

/* Train thread: its stop says what was wrong. */
static void failed(void *self, const struct base_error *error)
{
    (void)error;
    atomic_store(&((struct learn *)self)->failed, true);
}

static void watch(struct learn *learn, struct learner_trainer *trainer,
                  uint64_t end)
{
    const struct timespec pause = {.tv_nsec = WATCH_NS};
    uint64_t position;
    while ((position = learner_trainer_position(trainer)) < end &&
           !atomic_load(&learn->failed)) {
        int64_t now_ms = base_monotonic_ms();
        if (now_ms >= learn->said_ms + SAY_MS) {
            learn->said_ms = now_ms;
            printf("%llu\n", (unsigned long long)position);
            fflush(stdout);
        }
        nanosleep(&pause, NULL);
    }
}

/* From the newest checkpoint, or the beginning, to `end`. */
static enum base_status run_to(struct learn *learn, uint64_t end, bool frozen,
                               struct base_error *error)
{
    struct learner_trainer_config *config = &learn->config.learner;
    struct learner_trainer *trainer = NULL;
    bool more = end < columns_samples(learn->columns);
    columns_set_limit(learn->columns, end);
    learn->into = frozen ? learn->frozen : learn->trained;
    config->frozen = frozen;
    enum base_status status = learner_trainer_open(config, &trainer, error);
    if (!status)
        status = learner_trainer_start(trainer, error);
    if (!status) {
        watch(learn, trainer, end);
        status = learner_trainer_stop(trainer, more && !frozen, error);
    }
    if (!status) {
        struct learner_status now;
        learner_trainer_status(trainer, &now);
        if (frozen) {
            learn->frozen_seconds += now.busy_seconds;
        } else {
            learn->seconds += now.busy_seconds;
            learn->status = now;
        }
    }
    learner_trainer_free(trainer);
    return status;
}

static enum base_status run_all(struct learn *learn, struct base_error *error)
{
    uint64_t samples = columns_samples(learn->columns);
    enum base_status status = BASE_OK;
    for (unsigned i = 0; !status && i <= learn->border_count; i++) {
        uint64_t end = i < learn->border_count ? learn->borders[i] : samples;
        if (i > 0)
            status = run_to(learn, end, true, error);
        if (!status)
            status = run_to(learn, end, false, error);
    }
    return status;
}

/* ---- preparation and results ---------------------------------------------- */

static enum base_status read_borders(struct learn *learn, const char *text,
                                     struct base_error *error)
{
    uint64_t before = 0;
    while (text && *text) {
        char *end;
        uint64_t border = columns_border(learn->columns,
                                         strtoull(text, &end, 10));
        if (end == text || (*end && *end != ',') || border <= before ||
            learn->border_count == BORDERS_MAX)
            return base_fail(error, BASE_USAGE,
                             "--borders: ascending positions behind the first "
                             "batch, %d at most, not \"%.60s\"", BORDERS_MAX,
                             text);
        before = learn->borders[learn->border_count++] = border;
        text = *end ? end + 1 : end;
    }
    return BASE_OK;
}

static enum base_status prepare(struct learn *learn, const char *folder,
                                struct base_error *error)
{
    struct learner_trainer_config *config = &learn->config.learner;
    uint64_t samples = columns_samples(learn->columns);
    learn->trained = malloc((samples + 1) * sizeof(float));
    learn->frozen = malloc((samples + 1) * sizeof(float));
    if (!learn->trained || !learn->frozen)
        return base_fail(error, BASE_SYSTEM, "no memory for %llu predictions",
                         (unsigned long long)samples);
    for (uint64_t i = 0; i < samples; i++)
        learn->trained[i] = learn->frozen[i] = NAN;
    snprintf(config->folder, sizeof config->folder, "%s", folder);
    config->checkpoint_seconds = 0;
    config->checkpoint_bytes = 0;
    config->checkpoints_kept = 1;
    config->source = columns_source(learn->columns);
    config->hook_self = learn;
    config->predicted = predicted;
    config->checkpointed = NULL;
    config->failed = failed;
    return base_file_remove(folder, error);
}

static enum base_status put(const char *path, const float *values,
                            uint64_t samples, struct base_error *error)
{
    return base_file_replace(path, values, samples * sizeof *values, error);
}

static void print_result(const struct learn *learn)
{
    const struct learner_status *status = &learn->status;
    uint64_t rows = 0;
    for (unsigned i = 0; i < LEARNER_TABLES_MAX; i++)
        rows += status->rows[i];
    printf("{\"samples\":%llu,\"rejected\":%llu,\"batches\":%llu,"
           "\"seconds\":%.3f,\"frozen_seconds\":%.3f,\"table_bytes\":%llu,"
           "\"rows\":%llu,\"auc\":%.9g,\"log_loss\":%.9g}\n",
           (unsigned long long)status->samples,
           (unsigned long long)status->rejected,
           (unsigned long long)status->batches, learn->seconds,
           learn->frozen_seconds, (unsigned long long)status->table_bytes,
           (unsigned long long)rows, status->total.auc,
           status->total.log_loss);
}

static void print_schema(const struct learner_schema *schema)
{
    printf("\"fields\":[");
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        printf("%s{\"name\":\"%s\",\"group\":%d,\"table\":%u,"
               "\"continues\":%s}",
               i ? "," : "", field->name, (int)field->group, field->table,
               field->continues ? "true" : "false");
    }
    printf("],\"tables\":[");
    for (unsigned i = 0; i < schema->table_count; i++)
        printf("%s{\"name\":\"%s\",\"dimension\":%u}", i ? "," : "",
               schema->tables[i].name, schema->tables[i].dimension);
    printf("]");
}

static enum base_status describe(const struct learn *learn,
                                 struct base_error *error)
{
    const struct learner_trainer_config *config = &learn->config.learner;
    struct learner_model *model = NULL;
    enum base_status status =
        learner_model_new(&config->schema, &config->model, &model, error);
    if (status)
        return status;
    printf("{\"config_hash\":\"%016llx\",\"arithmetic\":\"%s\","
           "\"dense_trained\":%zu,",
           (unsigned long long)learner_config_hash(&config->schema,
                                                   &config->model),
           learner_arithmetic(), learner_dense_trained(model));
    print_schema(&config->schema);
    printf("}\n");
    learner_model_free(model);
    return BASE_OK;
}

struct arguments {
    const char *config, *columns, *output, *borders, *frozen, *folder;
    bool describe;
    struct option_list sets;
};

static enum base_status parse(struct arguments *arguments, int argc,
                              char **argv, struct base_error *error)
{
    const struct option table[] = {
        {"config", OPTION_TEXT, &arguments->config, "FILE", true,
         "configuration"},
        {"set", OPTION_LIST, &arguments->sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"describe", OPTION_FLAG, &arguments->describe, NULL, false,
         "print what the model is and end"},
        {"columns", OPTION_TEXT, &arguments->columns, "FOLDER", false,
         "samples, made by quality_fill"},
        {"output", OPTION_TEXT, &arguments->output, "FILE", false,
         "predictions"},
        {"folder", OPTION_TEXT, &arguments->folder, "FOLDER", false,
         "for checkpoints; emptied first"},
        {"borders", OPTION_TEXT, &arguments->borders, "P,P,..", false,
         "positions from which a frozen copy predicts too"},
        {"frozen", OPTION_TEXT, &arguments->frozen, "FILE", false,
         "the frozen copies' predictions"},
    };
    const struct options options = {
        .usage = "quality_learn --config FILE --columns FOLDER --folder FOLDER"
                 " --output FILE",
        .about = "Trains one model over columns of samples, predicting first.",
        .table = table,
        .count = sizeof table / sizeof table[0]};
    enum base_status status = options_parse(&options, argc, argv, error);
    if (!status && !arguments->describe &&
        (!arguments->columns || !arguments->output || !arguments->folder))
        status = base_fail(error, BASE_USAGE,
                           "--columns, --folder and --output are required");
    if (!status && !arguments->borders != !arguments->frozen)
        status = base_fail(error, BASE_USAGE,
                           "--borders and --frozen need each other");
    return status;
}

static enum base_status learn_all(struct learn *learn,
                                  const struct arguments *arguments,
                                  struct base_error *error)
{
    enum base_status status = columns_open(
        arguments->columns, &learn->config.learner.schema, &learn->columns,
        error);
    if (!status)
        status = read_borders(learn, arguments->borders, error);
    if (!status)
        status = prepare(learn, arguments->folder, error);
    if (!status)
        status = run_all(learn, error);
    uint64_t samples = status ? 0 : columns_samples(learn->columns);
    if (!status && arguments->frozen)
        status = put(arguments->frozen, learn->frozen, samples, error);
    if (!status)
        status = put(arguments->output, learn->trained, samples, error);
    if (!status)
        status = base_file_remove(arguments->folder, error);
    if (!status)
        print_result(learn);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct base_error error = {0};
    struct learn *learn = calloc(1, sizeof *learn);
    enum base_status status = parse(&arguments, argc, argv, &error);
    if (!status && !learn)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = daemon_config_load_with(arguments.config,
                                         arguments.sets.values,
                                         arguments.sets.count, &learn->config,
                                         &error);
    if (!status)
        base_log_set_level(BASE_LOG_WARN);
    if (!status)
        status = arguments.describe ? describe(learn, &error)
                                    : learn_all(learn, &arguments, &error);
    if (learn) {
        columns_close(learn->columns);
        free(learn->trained);
        free(learn->frozen);
    }
    free(learn);
    return options_exit("quality_learn", status, &error);
}
