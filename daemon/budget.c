/* SPDX-License-Identifier: Apache-2.0 */
/* See budget.h. */
#include "daemon/budget.h"

#include <errno.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/log.h"
#include "ingest/ingest.h"
#include "learner/learner.h"

enum {
    OPEN_FILES = 16,
    CHECKPOINTS = 3,   /* two are kept while the next is written */
    WAITING_HEAD = 57, /* of a waiting event, beside its ids */
};

static uint64_t total; /* nftw has no context; one thread at a time */

static int add_size(const char *path, const struct stat *info, int type,
                    struct FTW *place)
{
    (void)path, (void)place;
    if (type == FTW_F)
        total += (uint64_t)info->st_blocks * 512;
    return 0;
}

static uint64_t size_of(const char *folder)
{
    total = 0;
    (void)nftw(folder, add_size, OPEN_FILES, FTW_PHYS);
    return total;
}

/* Three of the newest one's size. */
static uint64_t checkpoints_of(const struct learner_trainer_config *model)
{
    char path[1200], name[LEARNER_CHECKPOINT_NAME];
    uint64_t position;
    unsigned count = 0;
    if (learner_checkpoint_list(model->folder, &position, 1, &count, NULL) ||
        count == 0)
        return 0;
    learner_checkpoint_name(name, position);
    return base_file_join(path, sizeof path, model->folder, name, NULL)
               ? 0
               : CHECKPOINTS * size_of(path);
}

static void sum_up(const struct daemon_config *config,
                   struct daemon_budget *budget, bool one_disk)
{
    const struct ingest_config *ingest = &config->ingest;
    struct ingest_survey survey;
    if (ingest_survey(ingest->folder, &survey, NULL) == BASE_OK)
        budget->sequences = survey.sequences_bytes;
    budget->waiting = ingest->pending_max *
                      (WAITING_HEAD + 8 * (uint64_t)ingest->schema.field_count);
    budget->journal = ingest->journal_max_bytes;
    budget->dead_letters = ingest->dead_letter_max_bytes;
    budget->reserve = ingest->disk_reserve_bytes;
    uint64_t store = budget->sequences + budget->waiting + budget->journal +
                     budget->dead_letters;
    if (store > ingest->map_bytes)
        store = ingest->map_bytes; /* never larger than its cap */
    budget->checkpoints = checkpoints_of(&config->learner);
    for (unsigned i = 0; i < config->shadow_count; i++)
        budget->checkpoints += checkpoints_of(&config->shadows[i]);
    /* As many as are kept, of the size that those which are there have. */
    budget->versions = one_disk ? size_of(config->snapshot.folder) : 0;
    budget->needed =
        store + budget->checkpoints + budget->versions + budget->reserve;
}

/* Whether the model folder lies on the state's disk; one that is not made yet
 * has nothing that counts. */
static bool is_one_disk(const struct daemon_config *config)
{
    struct stat state, model;
    return !stat(config->state, &state) &&
           !stat(config->snapshot.folder, &model) &&
           state.st_dev == model.st_dev;
}

enum base_status daemon_budget_check(const struct daemon_config *config,
                                     struct daemon_budget *budget,
                                     struct base_error *error)
{
    struct statvfs disk;
    bool one_disk = is_one_disk(config);
    *budget = (struct daemon_budget){0};
    if (statvfs(config->state, &disk))
        return base_fail_errno(error, errno, "%s", config->state);
    sum_up(config, budget, one_disk);
    budget->room = (uint64_t)disk.f_bavail * disk.f_frsize +
                   size_of(config->state) + budget->versions;
    base_log(
        BASE_LOG_INFO, "event=disk_budget needed_bytes=%llu room_bytes=%llu",
        (unsigned long long)budget->needed, (unsigned long long)budget->room);
    if (!config->disk_check || budget->needed <= budget->room)
        return BASE_OK;
#define MIB(bytes) ((unsigned long long)((bytes) >> 20))
    return base_fail(
        error, BASE_CONFIG,
        "the disk of %s has room for %llu MiB, the configuration allows %llu "
        "MiB: sequences %llu, waiting events %llu, journal %llu, dead letters "
        "%llu (together at most ingest.map_mb %llu), checkpoints %llu, "
        "versions %llu, reserve %llu; lower ingest.pending_max, "
        "journal_max_mb or map_mb, or set ingest.disk_check false",
        config->state, MIB(budget->room), MIB(budget->needed),
        MIB(budget->sequences), MIB(budget->waiting), MIB(budget->journal),
        MIB(budget->dead_letters), MIB(config->ingest.map_bytes),
        MIB(budget->checkpoints), MIB(budget->versions), MIB(budget->reserve));
#undef MIB
}
