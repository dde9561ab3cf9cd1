/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd verify VERSION`: trains the journal from the newest kept checkpoint
 * before the version once more, in a private folder, and says whether all
 * tensors come out with the version's bits. Beside a running daemon or without
 * one; the state is only read. Where checkpoint or journal are gone: exit
 * status 69, "no longer verifiable". */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/copy.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "ingest/ingest.h"
#include "learner/learner.h"
#include "snapshot/snapshot.h"

enum { CHECKPOINTS_MAX = 256, POLL_MS = 50, SHOW_MS = 500, PATH = 1400 };

struct verify {
    struct learner_trainer_config model;
    const struct daemon_config *config;
    struct snapshot_listed version;
    struct ingest_reading *reading;
    char folder[PATH]; /* private; "": not made */
    uint64_t from;     /* the checkpoint */
    _Atomic bool failed;
    struct base_error why; /* of the trainer, read after failed */
    int64_t begun_ms, shown_ms;
};

static enum base_status gone(struct base_error *error, const char *what)
{
    return base_fail(error, BASE_UNAVAILABLE, "no longer verifiable: %s", what);
}

/* ---- the trainer's side --------------------------------------------------- */

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct verify *verify = self;
    if (position >= verify->version.position) {
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        return BASE_AGAIN;
    }
    return ingest_reading_next(verify->reading, position, timeout_ms, batch,
                               error);
}

static void failed(void *self, const struct base_error *error)
{
    struct verify *verify = self;
    verify->why = *error;
    atomic_store(&verify->failed, true);
}

/* ---- from where ----------------------------------------------------------- */

/* What a rollback skipped between the two is not trained again: then only the
 * checkpoint at its end will do. */
static enum base_status skips(const struct verify *verify, uint64_t position,
                              uint64_t *skip_to, struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], path[PATH];
    struct learner_checkpoint *checkpoint;
    learner_checkpoint_name(name, position);
    enum base_status status =
        base_file_join(path, sizeof path, verify->model.folder, name, error);
    if (!status)
        status = learner_checkpoint_open(path, &checkpoint, error);
    if (status)
        return status;
    const struct learner_status *had =
        &learner_checkpoint_get_info(checkpoint)->status;
    *skip_to = had->skip_to;
    if (*skip_to == position && had->samples != verify->version.judged.samples)
        status = gone(error, "a rollback skipped what led to it");
    learner_checkpoint_free(checkpoint);
    return status;
}

static enum base_status choose(struct verify *verify, struct base_error *error)
{
    uint64_t positions[CHECKPOINTS_MAX], skip_to = 0;
    unsigned count, i;
    uint64_t end = verify->version.position;
    enum base_status status = learner_checkpoint_list(
        verify->model.folder, positions, CHECKPOINTS_MAX, &count, error);
    if (status)
        return status;
    for (i = count; i > 0 && positions[i - 1] > end; i--)
        ;
    if (i == 0)
        return gone(error, "no checkpoint at or before the version is kept "
                           "(learner.checkpoints_kept)");
    verify->from = positions[i - 1];
    if (verify->from < end || i < 2)
        return BASE_OK;
    status = skips(verify, end, &skip_to, error);
    if (!status && skip_to <= positions[i - 2])
        verify->from = positions[i - 2];
    return status;
}

/* Its folder is copied: the daemon may remove it meanwhile. */
static enum base_status take(struct verify *verify, struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], from[PATH], to[PATH + 64];
    struct base_copy copy = {.files = 0};
    const char *top = getenv("TMPDIR");
    snprintf(verify->folder, sizeof verify->folder, "%.1000s/interestd-verify-"
             "XXXXXX", top && top[0] ? top : "/tmp");
    if (!mkdtemp(verify->folder)) {
        verify->folder[0] = '\0';
        return base_fail(error, BASE_EXISTS, "no folder can be made in %s",
                         top && top[0] ? top : "/tmp");
    }
    learner_checkpoint_name(name, verify->from);
    snprintf(to, sizeof to, "%s/%s", verify->folder, name);
    enum base_status status =
        base_file_join(from, sizeof from, verify->model.folder, name, error);
    if (!status)
        status = base_copy_folder(&copy, from, to, NULL, error);
    return status == BASE_NO_INPUT
               ? gone(error, "the checkpoint went while it was copied")
               : status;
}

/* ---- training ------------------------------------------------------------- */

static void show(struct verify *verify, uint64_t position)
{
    int64_t now_ms = base_monotonic_ms();
    if (!isatty(STDERR_FILENO) || now_ms < verify->shown_ms + SHOW_MS)
        return;
    double seconds = (double)(now_ms - verify->begun_ms) * 1e-3;
    double rate = (double)(position - verify->from) / (seconds + 1e-3);
    verify->shown_ms = now_ms;
    fprintf(stderr, "\rposition %llu of %llu, %.0f samples/s, %.0f s left   ",
            (unsigned long long)position,
            (unsigned long long)verify->version.position, rate,
            rate > 0 ? (double)(verify->version.position - position) / rate
                     : 0.0);
}

static enum base_status wait_trained(struct verify *verify,
                                     struct learner_trainer *trainer,
                                     struct base_error *error)
{
    uint64_t position = learner_trainer_position(trainer);
    verify->begun_ms = base_monotonic_ms();
    while (position < verify->version.position &&
           !atomic_load(&verify->failed)) {
        show(verify, position);
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        position = learner_trainer_position(trainer);
    }
    if (verify->shown_ms)
        fprintf(stderr, "\n");
    if (!atomic_load(&verify->failed))
        return BASE_OK;
    *error = verify->why;
    return error->status == BASE_DATA
               ? gone(error, "the journal does not reach back to the "
                             "checkpoint")
               : error->status;
}

static enum base_status train(struct verify *verify, struct base_error *error)
{
    struct learner_trainer_config config = verify->model;
    struct learner_trainer *trainer = NULL;
    struct base_error ignored;
    snprintf(config.folder, sizeof config.folder, "%.1023s", verify->folder);
    config.checkpoint_seconds = 0;
    config.checkpoint_bytes = 0;
    config.checkpoints_kept = 2;
    config.source = (struct learner_source){verify, next};
    config.hook_self = verify;
    config.failed = failed;
    config.checkpointed = NULL;
    config.changed = NULL;
    config.predicted = NULL;
    config.has_version = false;
    enum base_status status = learner_trainer_open(&config, &trainer, error);
    if (!status && learner_trainer_position(trainer) != verify->from)
        status = base_fail(error, BASE_CORRUPT,
                           "the checkpoint at %llu does not verify",
                           (unsigned long long)verify->from);
    if (!status)
        status = learner_trainer_start(trainer, error);
    if (!status) {
        status = wait_trained(verify, trainer, error);
        enum base_status stopped = learner_trainer_stop(
            trainer, !status, status ? &ignored : error);
        status = status ? status : stopped;
    }
    learner_trainer_free(trainer);
    return status;
}

/* ---- the command ---------------------------------------------------------- */

static void print(const struct verify *verify,
                  const struct snapshot_difference *difference, bool json)
{
    const struct snapshot_listed *version = &verify->version;
    if (json)
        printf("{\"name\": \"%s\", \"position\": %llu, \"checkpoint\": %llu, "
               "\"equal\": %s, \"tensors\": %llu, \"rows\": %llu, "
               "\"different\": %llu, \"first\": \"%s\", \"key\": \"%016llx\"}\n",
               version->name, (unsigned long long)version->position,
               (unsigned long long)verify->from,
               difference->count ? "false" : "true",
               (unsigned long long)difference->tensors,
               (unsigned long long)difference->rows,
               (unsigned long long)difference->count, difference->tensor,
               (unsigned long long)difference->key);
    else if (!difference->count)
        printf("%s: equal, bit for bit: %llu dense tensors and %llu rows, "
               "trained from the checkpoint at %llu to %llu\n", version->name,
               (unsigned long long)difference->tensors,
               (unsigned long long)difference->rows,
               (unsigned long long)verify->from,
               (unsigned long long)version->position);
}

static enum base_status compare(const struct verify *verify, bool json,
                                struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], path[PATH + 64];
    struct snapshot_difference difference;
    const struct snapshot_listed *version = &verify->version;
    learner_checkpoint_name(name, version->position);
    snprintf(path, sizeof path, "%s/%s", verify->folder, name);
    enum base_status status = snapshot_compare(
        verify->config->snapshot.folder, version->epoch, version->version,
        path, &difference, error);
    if (status)
        return status;
    print(verify, &difference, json);
    return difference.count
               ? base_fail(error, BASE_DATA,
                           "%s is not what the journal gives: %llu tensors "
                           "and rows differ, first %s, key %016llx",
                           version->name, (unsigned long long)difference.count,
                           difference.tensor,
                           (unsigned long long)difference.key)
               : BASE_OK;
}

static enum base_status run(struct verify *verify, const char *name, bool json,
                            struct base_error *error)
{
    const struct daemon_config *config = verify->config;
    struct base_error ignored;
    uint64_t hash;
    verify->model = config->learner;
    for (unsigned i = 0; i < config->shadow_count; i++)
        if (strcmp(config->shadows[i].name, config->publish.model) == 0)
            verify->model = config->shadows[i];
    enum base_status status = snapshot_find(config->snapshot.folder, name,
                                            &verify->version, error);
    if (!status)
        status = snapshot_training_hash(&verify->model.schema,
                                        &verify->model.model, &hash, error);
    if (!status && hash != verify->version.training_hash)
        status = gone(error, "the version is of another model than the one "
                             "configured");
    if (!status)
        status = choose(verify, error);
    if (!status)
        status = ingest_reading_open(config->ingest.folder, &verify->reading,
                                     error);
    if (!status)
        status = take(verify, error);
    if (!status)
        status = train(verify, error);
    if (!status)
        status = compare(verify, json, error);
    ingest_reading_free(verify->reading);
    if (verify->folder[0] && base_file_remove(verify->folder, &ignored))
        base_log(BASE_LOG_WARN, "event=leftover error=\"%s\"", ignored.text);
    return status;
}

int daemon_verify_main(int argc, char **argv)
{
    const char *path = NULL, *name[1] = {NULL};
    struct option_list sets = {0};
    bool json = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true,
         "the daemon's file, which names state and model folder"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"json", OPTION_FLAG, &json, NULL, false, "the answer as JSON"},
    };
    const struct options options = {
        .usage = "interestd verify VERSION --config FILE [--set KEY=VALUE]... "
                 "[--json]",
        .about = "Trains the journal from the newest kept checkpoint before a "
                 "version once more\nand compares all tensors bit for bit. "
                 "Exit status 0: equal; 65: not; 69: no\nlonger verifiable, "
                 "checkpoint or journal are gone.",
        .table = table,
        .count = sizeof table / sizeof table[0],
        .positional_max = 1,
        .positional = name};
    struct base_error error;
    struct daemon_config *config = calloc(1, sizeof *config);
    struct verify *verify = calloc(1, sizeof *verify);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (!status && !name[0])
        status = base_fail(&error, BASE_USAGE,
                           "name a version; interestd versions lists them");
    if (!status && (!config || !verify))
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = daemon_config_load_with(path, sets.values, sets.count, config,
                                         &error);
    if (!status) {
        base_log_set_level(BASE_LOG_WARN);
        verify->config = config;
        status = run(verify, name[0], json, &error);
    }
    free(verify);
    free(config);
    return options_exit("verify", status, &error);
}
