/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd inspect`: what a state folder holds, as JSON. Reads only; a
 * running daemon is not disturbed. The store's views are ingest/ingest.h's;
 * a checkpoint is told here. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/ingest.h"
#include "learner/learner.h"
#include "learner/settings.h"

static void print_number(const char *name, double value)
{
    if (isfinite(value))
        printf(",\"%s\":%.17g", name, value);
    else
        printf(",\"%s\":null", name);
}

static void print_window(const char *name, const struct learner_window *window)
{
    printf(",\"%s\":{\"begin_ms\":%" PRId64 ",\"samples\":%" PRIu64
           ",\"positives\":%" PRIu64 ",\"users\":%" PRIu64,
           name, window->begin_ms, window->samples, window->positives,
           window->users);
    print_number("auc", window->auc);
    print_number("user_auc", window->user_auc);
    print_number("log_loss", window->log_loss);
    print_number("calibration", window->calibration);
    printf("}");
}

static void print_checkpoint(const char *path,
                             const struct learner_checkpoint_info *info)
{
    printf("{\"path\":\"%s\",\"kind\":\"%s\",\"begin\":%" PRIu64 "",
           path, learner_kind_words[info->model.kind], info->status.begin);
    printf(",\"position\":%" PRIu64 ",\"digest\":\"%016" PRIx64
           "%016" PRIx64 "\",\"journal_hash\":\"%016" PRIx64 "%016" PRIx64
           "\",\"config_hash\":\"%016" PRIx64 "\",\"arithmetic\":\"%s\"",
           info->position, info->digest[1], info->digest[0],
           info->journal_hash[1], info->journal_hash[0], info->config_hash,
           info->arithmetic);
    printf(",\"samples\":%" PRIu64 ",\"batches\":%" PRIu64
           ",\"rejected\":%" PRIu64 ",\"newest_event_ms\":%" PRId64
           ",\"rows\":{",
           info->status.samples, info->status.batches, info->status.rejected,
           info->status.newest_event_ms);
    for (unsigned i = 0; i < info->table_count; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "", info->tables[i].name,
               info->rows[i]);
    printf("}");
    print_window("last_samples", &info->status.last_samples);
    print_window("last_time", &info->status.last_time);
    print_window("total", &info->status.total);
    printf("}\n");
}

static enum base_status inspect_path(const char *path, struct base_error *error)
{
    struct learner_checkpoint *checkpoint = NULL;
    enum base_status status = learner_checkpoint_open(path, &checkpoint, error);
    if (status == BASE_OK)
        print_checkpoint(path, learner_checkpoint_get_info(checkpoint));
    learner_checkpoint_free(checkpoint);
    return status;
}

static enum base_status inspect_newest(const char *folder,
                                       struct base_error *error)
{
    char path[1400], name[LEARNER_CHECKPOINT_NAME];
    uint64_t position;
    unsigned count;
    enum base_status status =
        learner_checkpoint_list(folder, &position, 1, &count, error);
    if (status == BASE_OK && count == 0)
        return base_fail(error, BASE_NO_INPUT, "%s holds no checkpoint",
                         folder);
    if (status != BASE_OK)
        return status;
    learner_checkpoint_name(name, position);
    status = base_file_join(path, sizeof path, folder, name, error);
    return status == BASE_OK ? inspect_path(path, error) : status;
}

/* The newest one of the model of that name; NULL: the main model. */
static enum base_status inspect_model(const struct daemon_config *config,
                                      const char *name,
                                      struct base_error *error)
{
    if (!name || strcmp(name, config->learner.name) == 0)
        return inspect_newest(config->learner.folder, error);
    for (unsigned i = 0; i < config->shadow_count; i++)
        if (strcmp(name, config->shadows[i].name) == 0)
            return inspect_newest(config->shadows[i].folder, error);
    return base_fail(error, BASE_USAGE, "%s has no model \"%.80s\"",
                     config->file, name);
}

static enum base_status inspect(const char *what, const char *place,
                                const char *file, bool json,
                                const struct option_list *sets,
                                struct base_error *error)
{
    bool checkpoint = strcmp(what, "checkpoint") == 0;
    bool sequence = strcmp(what, "sequence") == 0;
    enum ingest_inspect view = ingest_inspect_named(what);
    if (checkpoint && place && !file)
        return inspect_path(place, error);
    if (!checkpoint && !sequence && view == INGEST_INSPECT_COUNT)
        return base_fail(error, BASE_USAGE,
                         "\"%.80s\" cannot be inspected; --help lists what "
                         "can",
                         what);
    if (sequence && !place)
        return base_fail(error, BASE_USAGE, "say whose sequence");
    if (place && !checkpoint && !sequence)
        return base_fail(error, BASE_USAGE,
                         "\"%.100s\" is not expected here; only checkpoint "
                         "takes a folder or a model, sequence a user",
                         place);
    if (!file)
        return base_fail(error, BASE_USAGE, "--config is required");
    struct daemon_config *config = malloc(sizeof *config);
    if (!config)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status =
        daemon_config_load_with(file, sets->values, sets->count, config, error);
    if (status == BASE_OK)
        status = checkpoint ? inspect_model(config, place, error)
                 : sequence ? ingest_inspect_sequence(config->ingest.folder,
                                                      place, json, stdout,
                                                      error)
                            : ingest_inspect(config->ingest.folder, view,
                                             stdout, error);
    free(config);
    return status;
}

int daemon_inspect_main(int argc, char **argv)
{
    const char *file = NULL, *words[2] = {NULL, NULL};
    struct option_list sets = {0};
    bool json = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", false,
         "the daemon's file, which names the state"},
        {"json", OPTION_FLAG, &json, NULL, false,
         "sequence: as JSON, as all others are"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
    };
    const struct options options = {
        .usage = "interestd inspect WHAT --config FILE\n"
                 "       interestd inspect sequence USER --config FILE "
                 "[--json]\n"
                 "       interestd inspect checkpoint MODEL --config FILE\n"
                 "       interestd inspect checkpoint DIR",
        .about = "Prints a part of the state as JSON lines. WHAT: ledger, "
                 "sequences, samples,\nwaiting, decisions, dead-letters, meta, "
                 "fields; or checkpoint (the newest of\nthe main model or of "
                 "MODEL, or the one in DIR). sequence: what one USER did, by "
                 "the id as producers\nwrite it or as its 16 hex digits; "
                 "exit status 67: not known.",
        .table = table,
        .count = sizeof table / sizeof table[0],
        .positional_max = 2,
        .positional = words,
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !words[0])
        status = base_fail(&error, BASE_USAGE,
                           "say what to inspect; --help lists it");
    if (status == BASE_OK)
        status = inspect(words[0], words[1], file, json, &sets, &error);
    return options_exit("inspect", status, &error);
}
