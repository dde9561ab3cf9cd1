/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd backup`: a copy of all that a daemon needs to go on, taken while
 * it runs or while it does not:
 *
 *   DIR/state   store, checkpoints of every model, the registry's schemas
 *   DIR/model   the published versions and CURRENT
 *   DIR/backup.json   written last: where it is missing, the copy is not whole
 *
 * Order makes it consistent. The published version, then the checkpoints, then
 * the store: so neither stands behind the journal's end in the copy. That the
 * journal reaches back to the newest checkpoint, and that the version is of the
 * newest epoch, is looked at afterwards; where two newer checkpoints or another
 * epoch came meanwhile, all is copied once more. In the end the copy is audited
 * as fsck does it. Everything is synced. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/copy.h"
#include "base/file.h"
#include "daemon/audit.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "ingest/ingest.h"

enum { PATH_SIZE = 1024, TRIES = 5, PROGRESS_MS = 200 };

struct backup {
    const struct daemon_config *from;
    struct daemon_config to; /* the same with the copy's folders */
    const char *folder;
    bool compact, progress;
    int64_t told_ms;
    struct base_copy copy;
    struct base_error first; /* of the audit's damaged parts */
};

/* ---- progress ------------------------------------------------------------ */

static void tell(void *self, const struct base_copy *copy)
{
    struct backup *backup = self;
    int64_t now = base_monotonic_ms();
    if (!backup->progress || now < backup->told_ms + PROGRESS_MS)
        return;
    backup->told_ms = now;
    fprintf(stderr, "\rcopied %llu MiB in %llu files ",
            (unsigned long long)(copy->bytes >> 20),
            (unsigned long long)copy->files);
}

static void tell_step(struct backup *backup, const char *step)
{
    if (backup->progress)
        fprintf(stderr, "\r%-60s", step);
}

/* ---- folders ------------------------------------------------------------- */

/* `from` as it lies in the state's folder, below the copy's. */
static enum base_status move_folder(struct backup *backup, const char *from,
                                    char *to, size_t size,
                                    struct base_error *error)
{
    const char *state = backup->from->state;
    size_t length = strlen(state);
    BASE_ASSERT(strncmp(from, state, length) == 0);
    char below[PATH_SIZE];
    snprintf(below, sizeof below, "state%s", from + length);
    return base_file_join(to, size, backup->folder, below, error);
}

/* The configuration of a daemon that works on the copy. */
static enum base_status name_folders(struct backup *backup,
                                     struct base_error *error)
{
    const struct daemon_config *from = backup->from;
    struct daemon_config *to = &backup->to;
    *to = *from;
    enum base_status status = base_file_join(to->state, sizeof to->state,
                                             backup->folder, "state", error);
    if (!status)
        status = base_file_join(to->snapshot.folder, sizeof to->snapshot.folder,
                                backup->folder, "model", error);
    if (!status)
        status = move_folder(backup, from->ingest.folder, to->ingest.folder,
                             sizeof to->ingest.folder, error);
    if (!status)
        status = move_folder(backup, from->ingest.registry_folder,
                             to->ingest.registry_folder,
                             sizeof to->ingest.registry_folder, error);
    if (!status)
        status = move_folder(backup, from->learner.folder, to->learner.folder,
                             sizeof to->learner.folder, error);
    for (unsigned i = 0; !status && i < from->shadow_count; i++)
        status =
            move_folder(backup, from->shadows[i].folder, to->shadows[i].folder,
                        sizeof to->shadows[i].folder, error);
    return status;
}

/* Makes the folder where it is missing; one with anything in it is refused. */
static enum base_status take_folder(const char *folder,
                                    struct base_error *error)
{
    enum base_status status = base_file_make_folder(folder, error);
    if (status)
        return status;
    DIR *directory = opendir(folder);
    if (!directory)
        return base_fail_errno(error, errno, "%s", folder);
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = BASE_EXISTS;
    closedir(directory);
    return status ? base_fail(error, status,
                              "%s is not empty; a backup takes a folder of "
                              "its own",
                              folder)
                  : BASE_OK;
}

/* ---- pieces -------------------------------------------------------------- */

/* What is being written, or only locks, begins with a dot or is a lock. */
static bool is_whole(const char *name)
{
    return name[0] != '.' && strcmp(name, "lock") != 0;
}

static bool is_version(const char *name)
{
    return is_whole(name) && strcmp(name, "CURRENT") != 0;
}

/* A folder that is not there has nothing to copy. */
static enum base_status copy_if_there(struct backup *backup, const char *from,
                                      const char *to,
                                      bool (*take)(const char *name),
                                      struct base_error *error)
{
    if (access(from, F_OK))
        return errno == ENOENT ? BASE_OK
                               : base_fail_errno(error, errno, "%s", from);
    return base_copy_folder(&backup->copy, from, to, take, error);
}

/* CURRENT is read first: what it names then is kept for longer than a copy
 * takes, or the copy is made once more. */
static enum base_status copy_model(struct backup *backup,
                                   struct base_error *error)
{
    const char *from = backup->from->snapshot.folder;
    const char *to = backup->to.snapshot.folder;
    char path[PATH_SIZE], *current = NULL;
    size_t size = 0;
    enum base_status status =
        base_file_join(path, sizeof path, from, "CURRENT", error);
    if (!status && access(path, F_OK) == 0)
        status = base_file_read(path, 1 << 16, &current, &size, error);
    if (!status)
        status = base_file_make_folder(to, error);
    if (!status && current)
        status = copy_if_there(backup, from, to, is_version, error);
    if (!status && current)
        status = base_file_join(path, sizeof path, to, "CURRENT", error);
    if (!status && current)
        status = base_file_replace(path, current, size, error);
    free(current);
    return status;
}

static enum base_status copy_checkpoints(struct backup *backup,
                                         struct base_error *error)
{
    const struct daemon_config *from = backup->from;
    const struct daemon_config *to = &backup->to;
    enum base_status status = copy_if_there(
        backup, from->learner.folder, to->learner.folder, is_whole, error);
    for (unsigned i = 0; !status && i < from->shadow_count; i++)
        status = copy_if_there(backup, from->shadows[i].folder,
                               to->shadows[i].folder, is_whole, error);
    return status;
}

static enum base_status copy_store(struct backup *backup,
                                   struct base_error *error)
{
    tell_step(backup, "copying the store");
    enum base_status status =
        base_file_make_folder(backup->to.ingest.folder, error);
    if (!status)
        status =
            ingest_backup(backup->from->ingest.folder, backup->to.ingest.folder,
                          backup->compact, error);
    return status;
}

/* ---- all ----------------------------------------------------------------- */

static enum base_status copy_once(struct backup *backup,
                                  struct base_error *error)
{
    enum base_status status =
        copy_if_there(backup, backup->from->ingest.registry_folder,
                      backup->to.ingest.registry_folder, is_whole, error);
    if (!status)
        status = copy_model(backup, error);
    if (!status)
        status = copy_checkpoints(backup, error);
    return status ? status : copy_store(backup, error);
}

/* Whether the copied version is of the newest epoch that the copied store has
 * announced: a daemon that was restarted meanwhile may have begun another. */
static enum base_status check_epoch(const struct backup *backup, bool *reaches,
                                    struct base_error *error)
{
    char path[PATH_SIZE], *current = NULL;
    size_t size;
    unsigned long long epoch = 0;
    struct ingest_survey survey;
    enum base_status status =
        ingest_survey(backup->to.ingest.folder, &survey, error);
    if (status == BASE_NO_INPUT) /* nothing is in it: the audit says so */
        return BASE_OK;
    if (!status)
        status = base_file_join(path, sizeof path, backup->to.snapshot.folder,
                                "CURRENT", error);
    if (!status && access(path, F_OK) == 0) {
        status = base_file_read(path, 1 << 16, &current, &size, error);
        *reaches &= !status && sscanf(current, "v%llu-", &epoch) == 1 &&
                    epoch >= survey.announced_epoch;
    }
    free(current);
    return status;
}

/* Whether the copied journal reaches back to the newest copied checkpoint. */
static enum base_status check_reach(const struct backup *backup, bool *reaches,
                                    struct base_error *error)
{
    uint64_t position, hash[2];
    unsigned count;
    *reaches = true;
    enum base_status status = learner_checkpoint_list(
        backup->to.learner.folder, &position, 1, &count, error);
    if (status || count == 0)
        return status;
    status =
        ingest_survey_hash(backup->to.ingest.folder, position, hash, error);
    if (status != BASE_DATA)
        return status;
    *reaches = false;
    return BASE_OK;
}

static enum base_status empty_again(const struct backup *backup,
                                    struct base_error *error)
{
    enum base_status status = base_file_remove(backup->to.state, error);
    return status ? status
                  : base_file_remove(backup->to.snapshot.folder, error);
}

/* The daemon removes checkpoints and versions when it has newer ones; a copy
 * that met that is made anew. */
static enum base_status copy_all(struct backup *backup,
                                 struct base_error *error)
{
    for (int i = 0; i < TRIES; i++) {
        bool reaches = false;
        backup->copy.bytes = backup->copy.files = 0;
        enum base_status status = copy_once(backup, error);
        if (!status)
            status = check_reach(backup, &reaches, error);
        if (!status)
            status = check_epoch(backup, &reaches, error);
        if (status ? status != BASE_NO_INPUT : reaches)
            return status;
        if (access(backup->from->ingest.folder, F_OK))
            return base_fail(error, BASE_NO_INPUT, "there is no state in %s",
                             backup->from->state);
        if ((status = empty_again(backup, error)))
            return status;
    }
    return base_fail(error, BASE_AGAIN,
                     "the daemon replaced what was being copied %d times; "
                     "pause it, or copy to a faster disk",
                     TRIES);
}

static void keep_first(void *self, const struct daemon_audit_part *part)
{
    struct backup *backup = self;
    if (part->error && backup->first.text[0] == '\0')
        (void)base_fail(&backup->first, part->error->status, "%s: %s",
                        part->name, part->error->text);
}

static enum base_status verify(struct backup *backup, struct base_error *error)
{
    struct daemon_audit audit = {.report = keep_first, .self = backup};
    tell_step(backup, "verifying the copy");
    backup->first.text[0] = '\0';
    enum base_status status = daemon_audit_run(&audit, &backup->to, error);
    if (status == BASE_CORRUPT)
        status = base_fail(error, BASE_CORRUPT,
                           "the copy does not verify, so fsck the state: %s",
                           backup->first.text);
    return status;
}

/* The last file: what the copy holds. */
static enum base_status describe(struct backup *backup, char **text,
                                 struct base_error *error)
{
    struct ingest_survey survey;
    uint64_t position = 0;
    unsigned count = 0;
    char path[PATH_SIZE];
    enum base_status status =
        ingest_survey(backup->to.ingest.folder, &survey, error);
    if (!status)
        status = learner_checkpoint_list(backup->to.learner.folder, &position,
                                         1, &count, error);
    if (!status)
        status = base_file_join(path, sizeof path, backup->folder,
                                "backup.json", error);
    if (status)
        return status;
    json_t *object = json_pack(
        "{s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "created_ms",
        (json_int_t)base_wall_ms(), "events", (json_int_t)survey.events,
        "journal_begin", (json_int_t)survey.journal_begin, "batch_end",
        (json_int_t)survey.batch_end, "checkpoint",
        count ? (json_int_t)position : (json_int_t)-1, "files",
        (json_int_t)backup->copy.files, "compact", backup->compact);
    *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!*text)
        return base_fail(error, BASE_SYSTEM, "no memory");
    return base_file_replace(path, *text, strlen(*text), error);
}

static enum base_status back_up(struct backup *backup, bool json,
                                struct base_error *error)
{
    char *text = NULL;
    backup->copy.progress = tell;
    backup->copy.self = backup;
    backup->progress = isatty(STDERR_FILENO) == 1;
    enum base_status status = name_folders(backup, error);
    if (!status)
        status = take_folder(backup->folder, error);
    if (status)
        return status;
    if (!(status = copy_all(backup, error)) &&
        !(status = verify(backup, error)))
        status = describe(backup, &text, error);
    if (backup->progress)
        fputs("\n", stderr);
    if (!status && json)
        puts(text);
    else if (!status)
        printf("%s: whole and verified\n", backup->folder);
    free(text);
    return status ? base_wrap(error, "%s is not a whole backup; remove it",
                              backup->folder)
                  : BASE_OK;
}

int daemon_backup_main(int argc, char **argv)
{
    const char *file = NULL, *folder = NULL;
    struct option_list sets = {0};
    bool compact = false, json = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true,
         "the daemon's file, which names the folders"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"compact", OPTION_FLAG, &compact, NULL, false,
         "leave the store's free pages out: smaller, slower"},
        {"json", OPTION_FLAG, &json, NULL, false, "the answer as JSON"},
    };
    const struct options options = {
        .usage = "interestd backup --config FILE DIR",
        .about =
            "Copies state and published model into DIR, which is empty or "
            "made, and verifies\nthe copy. A daemon may be running. To go on "
            "from it: move DIR/state and DIR/model\nto where the "
            "configuration has them. DIR/backup.json is written last.",
        .table = table,
        .count = sizeof table / sizeof table[0],
        .positional_max = 1,
        .positional = &folder,
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !folder)
        status = base_fail(&error, BASE_USAGE, "say where to; --help tells");
    struct daemon_config *config = malloc(sizeof *config);
    struct backup *backup = calloc(1, sizeof *backup);
    if (status == BASE_OK && (!config || !backup))
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(file, sets.values, sets.count, config,
                                         &error);
    if (status == BASE_OK) {
        backup->from = config;
        backup->folder = folder;
        backup->compact = compact;
        status = back_up(backup, json, &error);
    }
    free(backup);
    free(config);
    return options_exit("backup", status, &error);
}
