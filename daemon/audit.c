/* SPDX-License-Identifier: Apache-2.0 */
/* See audit.h. A running daemon may write while this reads, so nothing is
 * damage that it can explain: the store is surveyed after the checkpoints and
 * the version were read, so that theirs are never the later places. */
#include "daemon/audit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "ingest/ingest.h"
#include "learner/learner.h"
#include "snapshot/interest.h"

enum { CHECKPOINTS_MAX = 128, PATH_SIZE = 1400 };

/* error NULL: all well. */
static void report(struct daemon_audit *audit, const char *name, uint64_t count,
                   const char *things, const struct base_error *error)
{
    const struct daemon_audit_part part = {name, count, things, error};
    audit->parts++;
    audit->damaged += error != NULL;
    audit->report(audit->self, &part);
}

/* ---- the store ----------------------------------------------------------- */

static ssize_t count_lines(void *self, const char *text, size_t size)
{
    uint64_t *lines = self;
    for (size_t i = 0; i < size; i++)
        *lines += text[i] == '\n';
    return (ssize_t)size;
}

static enum base_status check_view(struct daemon_audit *audit,
                                   const char *folder, enum ingest_inspect view,
                                   struct base_error *error)
{
    uint64_t lines = 0;
    struct base_error found;
    FILE *counter =
        fopencookie(&lines, "w", (cookie_io_functions_t){.write = count_lines});
    if (!counter)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status = ingest_inspect(folder, view, counter, &found);
    fclose(counter);
    if (status == BASE_NO_INPUT || status == BASE_SYSTEM) {
        *error = found;
        return status;
    }
    report(audit, ingest_inspect_name(view), lines, "lines",
           status ? &found : NULL);
    return BASE_OK;
}

static void check_survey(struct daemon_audit *audit, const char *folder,
                         struct ingest_survey *survey, bool *surveyed)
{
    struct base_error error;
    *surveyed = ingest_survey(folder, survey, &error) == BASE_OK;
    report(audit, "survey", *surveyed ? survey->decisions : 0, "decisions",
           *surveyed ? NULL : &error);
    if (*surveyed)
        report(audit, "readers", survey->reader_slots,
               survey->reader_lag_commits > 1 ? "open, one of them behind"
                                              : "open",
               NULL);
}

/* ---- checkpoints --------------------------------------------------------- */

struct checkpoints {
    char name[64];
    const char *folder;
    uint64_t good;
    bool damaged;
    struct base_error first;
    uint64_t newest, newest_hash[2]; /* 0: there is none */
};

static void note(struct checkpoints *found, const struct base_error *error)
{
    if (!found->damaged)
        found->first = *error;
    found->damaged = true;
}

static void read_checkpoint(struct checkpoints *found, uint64_t position)
{
    char path[PATH_SIZE], name[LEARNER_CHECKPOINT_NAME];
    struct learner_checkpoint *checkpoint = NULL;
    struct base_error error;
    learner_checkpoint_name(name, position);
    enum base_status status =
        base_file_join(path, sizeof path, found->folder, name, &error);
    if (!status)
        status = learner_checkpoint_open(path, &checkpoint, &error);
    if (!status) {
        const struct learner_checkpoint_info *info =
            learner_checkpoint_get_info(checkpoint);
        found->good++;
        found->newest = info->position;
        memcpy(found->newest_hash, info->journal_hash,
               sizeof found->newest_hash);
    } else if (access(path, F_OK) == 0) { /* else the daemon removed it */
        note(found, &error);
    }
    learner_checkpoint_free(checkpoint);
}

/* Those of one model; a folder that is not there holds none. */
static void read_checkpoints(struct checkpoints *found, const char *model,
                             const char *folder)
{
    uint64_t positions[CHECKPOINTS_MAX];
    unsigned count = 0;
    struct base_error error;
    *found = (struct checkpoints){.folder = folder};
    snprintf(found->name, sizeof found->name, "checkpoints%s%s",
             *model ? "/" : "", model);
    if (learner_checkpoint_list(folder, positions, CHECKPOINTS_MAX, &count,
                                &error))
        note(found, &error);
    for (unsigned i = 0; i < count; i++)
        read_checkpoint(found, positions[i]);
}

static bool is_there(const struct checkpoints *found)
{
    char path[PATH_SIZE], name[LEARNER_CHECKPOINT_NAME];
    learner_checkpoint_name(name, found->newest);
    snprintf(path, sizeof path, "%s/%s", found->folder, name);
    return access(path, F_OK) == 0;
}

/* The newest one stands at a batch end of the journal, with its hash. */
static void place_checkpoint(struct checkpoints *found, const char *folder,
                             const struct ingest_survey *survey, bool shadow)
{
    struct base_error error;
    uint64_t hash[2];
    if (found->newest == 0)
        return;
    if (found->newest > survey->batch_end) {
        (void)base_fail(&error, BASE_CORRUPT,
                        "the newest stands at position %llu, the store's "
                        "journal ends at %llu",
                        (unsigned long long)found->newest,
                        (unsigned long long)survey->batch_end);
        note(found, &error);
        return;
    }
    enum base_status status =
        ingest_survey_hash(folder, found->newest, hash, &error);
    /* A detached shadow's journal is not kept; of the main model the daemon
     * may have written two newer ones by now and trimmed behind them. */
    if (status == BASE_DATA && (shadow || !is_there(found)))
        return;
    if (status == BASE_CORRUPT)
        return; /* the journal's own damage is told of the samples */
    if (!status && memcmp(hash, found->newest_hash, sizeof hash) != 0)
        status = base_fail(&error, BASE_CORRUPT,
                           "the journal at position %llu is another one than "
                           "the newest was trained on",
                           (unsigned long long)found->newest);
    if (status)
        note(found, &error);
}

static void check_checkpoints(struct daemon_audit *audit,
                              struct checkpoints *found, const char *folder,
                              const struct ingest_survey *survey, bool shadow)
{
    if (survey)
        place_checkpoint(found, folder, survey, shadow);
    report(audit, found->name, found->good, "good",
           found->damaged ? &found->first : NULL);
}

/* ---- the model and the schemas ------------------------------------------- */

struct published {
    bool there;
    struct interest_version version;
    struct base_error error;
    bool damaged;
};

static void read_model(struct published *published, const char *folder)
{
    struct interest_model *model = NULL;
    struct interest_error error;
    int status = interest_open(folder, &model, &error);
    *published = (struct published){.there = status == INTEREST_OK};
    if (published->there) {
        interest_get_version(model, &published->version);
    } else if (status != INTEREST_NO_MODEL) {
        published->damaged = true;
        (void)base_fail(&published->error, BASE_CORRUPT, "%s", error.text);
    }
    interest_close(model);
}

static void check_model(struct daemon_audit *audit, const char *folder,
                        struct published *published,
                        const struct ingest_survey *survey)
{
    const struct interest_version *version = &published->version;
    if (published->there && survey && version->position > survey->batch_end) {
        published->damaged = true;
        (void)base_fail(&published->error, BASE_CORRUPT,
                        "version %llu stands at position %llu, the store's "
                        "journal ends at %llu",
                        (unsigned long long)version->version,
                        (unsigned long long)version->position,
                        (unsigned long long)survey->batch_end);
    }
    /* Its position must not be later than the store's, its epoch not earlier:
     * perhaps it is another one by now. */
    if (published->there && survey && !published->damaged &&
        survey->announced_epoch > version->epoch)
        read_model(published, folder);
    if (published->there && survey &&
        survey->announced_epoch > version->epoch) {
        published->damaged = true;
        (void)base_fail(&published->error, BASE_CORRUPT,
                        "epoch %llu was announced, CURRENT is of epoch %llu",
                        (unsigned long long)survey->announced_epoch,
                        (unsigned long long)version->epoch);
    }
    report(audit, "model", published->there, "published version",
           published->damaged ? &published->error : NULL);
}

static void check_schemas(struct daemon_audit *audit, const char *folder)
{
    struct base_error error, first;
    uint64_t good = 0;
    bool damaged = false;
    DIR *directory = opendir(folder);
    if (!directory && errno == ENOENT)
        return;
    if (!directory) {
        damaged = true;
        (void)base_fail_errno(&first, errno, "%s", folder);
    }
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        const char *end = strrchr(entry->d_name, '.');
        char path[PATH_SIZE];
        if (!end || strcmp(end, ".avsc") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (ingest_survey_schema(path, &error) == BASE_OK)
            good++;
        else if (!damaged)
            first = error, damaged = true;
    }
    if (directory)
        closedir(directory);
    report(audit, "schemas", good, "of the registry", damaged ? &first : NULL);
}

/* ---- all ----------------------------------------------------------------- */

enum base_status daemon_audit_run(struct daemon_audit *audit,
                                  const struct daemon_config *config,
                                  struct base_error *error)
{
    const char *store = config->ingest.folder;
    struct checkpoints *models = calloc(1 + DAEMON_SHADOWS_MAX, sizeof *models);
    struct published published;
    struct ingest_survey survey;
    bool surveyed;
    if (!models)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status = BASE_OK;
    for (int i = 0; !status && i < INGEST_INSPECT_COUNT; i++)
        status = check_view(audit, store, (enum ingest_inspect)i, error);
    if (status) {
        free(models);
        return status;
    }
    read_checkpoints(&models[0], "", config->learner.folder);
    for (unsigned i = 0; i < config->shadow_count; i++)
        read_checkpoints(&models[1 + i], config->shadows[i].name,
                         config->shadows[i].folder);
    read_model(&published, config->snapshot.folder);
    check_survey(audit, store, &survey, &surveyed);
    for (unsigned i = 0; i <= config->shadow_count; i++)
        check_checkpoints(audit, &models[i], store, surveyed ? &survey : NULL,
                          i > 0);
    check_model(audit, config->snapshot.folder, &published,
                surveyed ? &survey : NULL);
    check_schemas(audit, config->ingest.registry_folder);
    free(models);
    return audit->damaged
               ? base_fail(error, BASE_CORRUPT, "%u of %u parts are damaged",
                           audit->damaged, audit->parts)
               : BASE_OK;
}
