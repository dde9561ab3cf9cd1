/* SPDX-License-Identifier: Apache-2.0 */
/* The model folder of a publisher; see snapshot.h.
 *
 *  1. A version's files are written into .tmp-<name>, synced, renamed to
 *     <name>, the model folder synced; only then CURRENT is replaced.
 *  2. So after a crash CURRENT names a complete version; what is newer than it
 *     or still called .tmp-* was never visible and is removed at open.
 *  3. (epoch, version) only grows; a number is never used twice for different
 *     content, since a new process takes a higher epoch.
 *  4. A lock on the folder keeps a second publisher out.
 *  5. What the gate refuses leaves no trace here.
 * Role: publish. Does not announce; measures for the gate, which is its
 * owner's, and sees to it that weights are finite. */
#include "snapshot/publisher.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "snapshot/version.h"

/* ---- old and unfinished versions ----------------------------------------- */

static enum base_status remove_entry(const struct snapshot_publisher *publisher,
                                     const char *name,
                                     struct base_error *error)
{
    char path[PATH_MAX];
    enum base_status status = base_file_join(
        path, sizeof path, publisher->config.folder, name, error);
    if (!status)
        status = base_file_remove(path, error);
    return status;
}

/* Of a version, or a base beside one. */
static bool any_version(const char *name, struct snapshot_current *entry)
{
    *entry = (struct snapshot_current){0};
    return snapshot_folder_scan(name, &entry->epoch, &entry->version) ||
           snapshot_beside_scan(name, &entry->epoch, &entry->version);
}

static bool left_over(const struct snapshot_publisher *publisher,
                      const char *name)
{
    struct snapshot_current entry;
    if (strncmp(name, ".tmp-", 5) == 0 || strcmp(name, "CURRENT.tmp") == 0)
        return true;
    return publisher->current.version && any_version(name, &entry) &&
           snapshot_current_compare(&entry, &publisher->current) > 0;
}

/* Without CURRENT nothing says which versions were ever published: they stay
 * until newer ones push them out, and this process's come after them. */
static enum base_status highest_epoch(const struct snapshot_publisher *publisher,
                                      uint64_t *highest,
                                      struct base_error *error)
{
    struct snapshot_current entry;
    DIR *folder = opendir(publisher->config.folder);
    if (!folder)
        return base_fail_errno(error, errno, "%s", publisher->config.folder);
    *highest = 0;
    for (struct dirent *at; (at = readdir(folder));)
        if (any_version(at->d_name, &entry) && entry.epoch > *highest)
            *highest = entry.epoch;
    closedir(folder);
    return BASE_OK;
}

/* Removes the entries that `chosen` says. */
static enum base_status
remove_entries(const struct snapshot_publisher *publisher,
               bool (*chosen)(const struct snapshot_publisher *publisher,
                              const char *name),
               struct base_error *error)
{
    enum base_status status = BASE_OK;
    DIR *folder = opendir(publisher->config.folder);
    if (!folder)
        return base_fail_errno(error, errno, "%s", publisher->config.folder);
    for (struct dirent *at; !status && (at = readdir(folder));)
        if (chosen(publisher, at->d_name))
            status = remove_entry(publisher, at->d_name, error);
    closedir(folder);
    return status;
}

/* ---- open ---------------------------------------------------------------- */

static enum base_status lock_folder(struct snapshot_publisher *publisher,
                                    struct base_error *error)
{
    const char *path = publisher->config.folder;
    enum base_status status = base_file_make_folder(path, error);
    if (status)
        return status;
    publisher->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (publisher->folder < 0)
        return base_fail_errno(error, errno, "%s", path);
    if (flock(publisher->folder, LOCK_EX | LOCK_NB) == 0)
        return BASE_OK;
    if (errno == EWOULDBLOCK)
        return base_fail(error, BASE_EXISTS,
                         "%s: another process publishes into this folder; "
                         "stop it or choose another model_folder",
                         path);
    return base_fail_errno(error, errno, "%s: lock", path);
}

/* What CURRENT names, for an announcement that may have been missed. */
static enum base_status describe(const struct snapshot_publisher *publisher,
                                 const struct snapshot_manifest *manifest,
                                 struct snapshot_announcement *announcement)
{
    const struct snapshot_current *current = &publisher->current;
    *announcement = (struct snapshot_announcement){
        .epoch = current->epoch,
        .version = current->version,
        .position = manifest->position,
        .newest_event_ms = manifest->newest_event_ms,
        .created_ms = manifest->created_ms,
        .training_hash =
            learner_training_hash(&manifest->schema, &manifest->model),
        .journal_hash = {manifest->journal_hash.low,
                         manifest->journal_hash.high},
        .samples = manifest->judged.samples,
        .delta = manifest->kind == SNAPSHOT_DELTA,
        .rollback_epoch = manifest->rollback_epoch,
        .rollback_version = manifest->rollback_version,
    };
    for (unsigned i = 0; i < manifest->file_count; i++)
        announcement->bytes += manifest->files[i].size;
    memcpy(announcement->model_name, manifest->model_name,
           sizeof announcement->model_name);
    memcpy(announcement->folder_name, current->name,
           sizeof announcement->folder_name);
    snapshot_hash_print(current->hash, announcement->manifest_hash);
    return BASE_OK;
}

static void remember(struct snapshot_publisher *publisher,
                     const struct snapshot_manifest *manifest)
{
    publisher->judged = manifest->judged;
    publisher->config_hash = manifest->config_hash;
    publisher->training_hash =
        learner_training_hash(&manifest->schema, &manifest->model);
    publisher->position = manifest->position;
    publisher->journal_hash = manifest->journal_hash;
    publisher->row_dtype = manifest->row_dtype;
    memcpy(publisher->arithmetic, manifest->arithmetic,
           sizeof publisher->arithmetic);
}

static enum base_status read_current(struct snapshot_publisher *publisher,
                                     struct snapshot_announcement *announcement,
                                     struct base_error *error)
{
    struct snapshot_version version;
    struct snapshot_current *current = &publisher->current;
    *announcement = (struct snapshot_announcement){0};
    enum base_status status =
        snapshot_current_read(publisher->config.folder, current, error);
    if (status == BASE_NO_INPUT) {
        *current = (struct snapshot_current){0};
        return BASE_OK;
    }
    if (status)
        return base_wrap(error, "remove CURRENT to start a new chain");
    status = snapshot_version_begin(publisher->config.folder, current,
                                    &version, error);
    if (!status) {
        remember(publisher, &version.manifest);
        status = describe(publisher, &version.manifest, announcement);
    }
    snapshot_version_fini(&version);
    return status ? base_wrap(error, "%s: remove CURRENT to start a new chain",
                              publisher->config.folder)
                  : BASE_OK;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

enum base_status snapshot_publisher_open(const struct snapshot_config *config,
                                         uint64_t stored_epoch,
                                         struct snapshot_publisher **out,
                                         struct snapshot_announcement *current,
                                         struct base_error *error)
{
    struct base_error ignored;
    uint64_t highest = 0;
    *out = NULL;
    if (!error)
        error = &ignored; /* statuses below pass through base_wrap */
    struct snapshot_publisher *publisher = calloc(1, sizeof *publisher);
    if (!publisher)
        return base_fail(error, BASE_SYSTEM, "publisher: no memory");
    publisher->config = *config;
    publisher->folder = -1;
    pthread_mutex_init(&publisher->removal, NULL);
    if (publisher->config.versions_kept < 2)
        publisher->config.versions_kept = 2; /* a reader may be opening one */
    if (publisher->config.bases_kept < 1)
        publisher->config.bases_kept = 1;
    enum base_status status = lock_folder(publisher, error);
    if (!status)
        status = read_current(publisher, current, error);
    if (!status)
        status = remove_entries(publisher, left_over, error);
    if (!status)
        status = highest_epoch(publisher, &highest, error);
    if (status) {
        snapshot_publisher_free(publisher);
        return base_wrap(error, "publisher");
    }
    publisher->epoch = larger(larger(stored_epoch, highest) + 1,
                              (uint64_t)(base_wall_ms() / 1000));
    *out = publisher;
    return BASE_OK;
}

void snapshot_publisher_free(struct snapshot_publisher *publisher)
{
    if (!publisher)
        return;
    if (publisher->folder >= 0)
        close(publisher->folder); /* gives the lock back */
    pthread_mutex_destroy(&publisher->removal);
    free(publisher);
}

uint64_t snapshot_publisher_epoch(const struct snapshot_publisher *publisher)
{
    return publisher->epoch;
}

/* ---- publish ------------------------------------------------------------- */

/* Of the golden scores, which this process computes. */
static void set_arithmetic(struct snapshot_manifest *manifest)
{
    snprintf(manifest->arithmetic, sizeof manifest->arithmetic, "%s",
             learner_arithmetic());
}

static void identify(const struct snapshot_publisher *publisher,
                     struct snapshot_manifest *manifest)
{
    const struct snapshot_current *parent = &publisher->current;
    manifest->epoch = publisher->epoch;
    manifest->version = parent->version + 1;
    manifest->parent_epoch = parent->epoch;
    manifest->parent_version = parent->version;
    manifest->parent_hash = parent->hash;
    manifest->created_ms = base_wall_ms();
    set_arithmetic(manifest);
    memcpy(manifest->model_name, publisher->config.model_name,
           sizeof manifest->model_name);
}

static enum base_status write_aside(const struct snapshot_publisher *publisher,
                                    const struct snapshot_content *content,
                                    const char *name,
                                    struct snapshot_manifest *manifest,
                                    struct snapshot_hash *hash,
                                    struct base_error *error)
{
    enum base_status status = remove_entry(publisher, name, error);
    if (status)
        return status;
    if (mkdirat(publisher->folder, name, 0750))
        return base_fail_errno(error, errno, "%s: make folder", name);
    int folder = openat(publisher->folder, name,
                        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return base_fail_errno(error, errno, "%s", name);
    status = snapshot_writer_write(folder, content,
                                   publisher->config.golden_requests, manifest,
                                   hash, error);
    close(folder);
    return status;
}

/* Whether CURRENT names `next`, or cannot be asked and so might. */
static bool may_be_current(const struct snapshot_publisher *publisher,
                           const struct snapshot_current *next)
{
    struct snapshot_current now;
    struct base_error error; /* not NULL: base_wrap passes its status on */
    enum base_status status =
        snapshot_current_read(publisher->config.folder, &now, &error);
    if (status)
        return status != BASE_NO_INPUT;
    return snapshot_current_compare(&now, next) == 0;
}

/* Renames and moves CURRENT. When the last step fails after CURRENT has moved
 * (its folder could not be synced) readers may have the new version already:
 * it stays, its number is not used again, and the error is still returned. */
static enum base_status commit(struct snapshot_publisher *publisher,
                               const char *aside,
                               const struct snapshot_current *next,
                               struct base_error *error)
{
    /* Of this number can only be what an earlier failure left. */
    enum base_status status = remove_entry(publisher, next->name, error);
    if (status)
        return status;
    if (renameat(publisher->folder, aside, publisher->folder, next->name))
        return base_fail_errno(error, errno, "%s: rename", aside);
    if (fsync(publisher->folder))
        status = base_fail_errno(error, errno, "fsync of the model folder");
    if (!status)
        status = snapshot_current_write(publisher->config.folder, next, error);
    if (!status || may_be_current(publisher, next))
        publisher->current = *next;
    else if (remove_entry(publisher, next->name, NULL))
        base_log(BASE_LOG_WARN, "event=snapshot_leftover name=%s",
                 next->name);
    return status;
}

enum base_status
snapshot_publisher_put(struct snapshot_publisher *publisher,
                       const struct snapshot_content *content,
                       struct snapshot_manifest *manifest,
                       struct snapshot_announcement *announcement,
                       struct base_error *error)
{
    struct snapshot_current next = {0};
    char aside[SNAPSHOT_FOLDER_NAME + 8];
    struct base_error ignored;
    identify(publisher, manifest);
    next.epoch = manifest->epoch;
    next.version = manifest->version;
    snapshot_folder_print(next.epoch, next.version, next.name);
    snprintf(aside, sizeof aside, ".tmp-%s", next.name);
    enum base_status status = write_aside(publisher, content, aside, manifest,
                                          &next.hash, error);
    if (!status)
        status = commit(publisher, aside, &next, error);
    if (snapshot_current_compare(&publisher->current, &next) == 0)
        remember(publisher, manifest);
    if (status) {
        if (remove_entry(publisher, aside, &ignored))
            base_log(BASE_LOG_WARN, "event=snapshot_leftover error=\"%s\"",
                     ignored.text);
        return base_wrap(error, "publish %s", next.name);
    }
    if (manifest->kind == SNAPSHOT_BASE)
        snapshot_publisher_retain(publisher);
    return describe(publisher, manifest, announcement);
}

/* ---- a base beside a delta ------------------------------------------------ */

/* What a delta's manifest says of the version stays; what of its files, goes.
 * counts: the rows that the base must have. */
static void turn_to_base(struct snapshot_manifest *manifest,
                         struct snapshot_hash delta)
{
    snapshot_manifest_empty(manifest);
    manifest->is_beside = true;
    manifest->beside = delta;
    set_arithmetic(manifest);
}

static enum base_status put_in_place(const struct snapshot_publisher *publisher,
                                     const char *aside, const char *name,
                                     struct base_error *error)
{
    enum base_status status = remove_entry(publisher, name, error);
    if (status)
        return status;
    if (renameat(publisher->folder, aside, publisher->folder, name))
        return base_fail_errno(error, errno, "%s: rename", aside);
    if (fsync(publisher->folder))
        return base_fail_errno(error, errno, "fsync of the model folder");
    return BASE_OK;
}

enum base_status
snapshot_publisher_put_beside(struct snapshot_publisher *publisher,
                              const struct snapshot_content *content,
                              struct snapshot_manifest *manifest,
                              struct snapshot_hash delta,
                              struct base_error *error)
{
    char name[SNAPSHOT_FOLDER_NAME], aside[SNAPSHOT_FOLDER_NAME + 8];
    uint64_t rows[LEARNER_TABLES_MAX];
    struct snapshot_hash hash;
    struct base_error ignored;
    memcpy(rows, manifest->rows, sizeof rows);
    snapshot_beside_print(manifest->epoch, manifest->version, name);
    snprintf(aside, sizeof aside, ".tmp-%s", name);
    turn_to_base(manifest, delta);
    enum base_status status =
        write_aside(publisher, content, aside, manifest, &hash, error);
    for (unsigned i = 0; !status && i < manifest->table_count; i++)
        if (manifest->rows[i] != rows[i])
            status = base_fail(error, BASE_BROKEN,
                               "table %s: %llu rows; the version has %llu",
                               manifest->tables[i].name,
                               (unsigned long long)manifest->rows[i],
                               (unsigned long long)rows[i]);
    if (!status)
        status = put_in_place(publisher, aside, name, error);
    if (status && remove_entry(publisher, aside, &ignored))
        base_log(BASE_LOG_WARN, "event=snapshot_leftover error=\"%s\"",
                 ignored.text);
    if (status)
        return base_wrap(error, "base beside %s", name + 1);
    snapshot_publisher_retain(publisher);
    return BASE_OK;
}
