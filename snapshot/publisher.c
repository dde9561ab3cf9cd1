/* SPDX-License-Identifier: Apache-2.0 */
/* Publishes versions into a model folder; see snapshot.h.
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
#include <math.h>
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

struct snapshot_publisher {
    struct snapshot_config config;
    int folder; /* descriptor, locked */
    uint64_t epoch;
    struct snapshot_current current; /* version 0: none */
    struct snapshot_judged judged;   /* current was, ... */
    uint64_t config_hash;            /* ... of this model */
};

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

static bool entry_version(const char *name, struct snapshot_current *entry)
{
    *entry = (struct snapshot_current){0};
    return snapshot_folder_scan(name, &entry->epoch, &entry->version);
}

static bool left_over(const struct snapshot_publisher *publisher,
                      const char *name)
{
    struct snapshot_current entry;
    if (strncmp(name, ".tmp-", 5) == 0 || strcmp(name, "CURRENT.tmp") == 0)
        return true;
    return entry_version(name, &entry) &&
           snapshot_current_compare(&entry, &publisher->current) > 0;
}

/* True where at least versions_kept versions are newer. */
static bool outdated(const struct snapshot_publisher *publisher,
                     const char *name)
{
    struct snapshot_current entry, other;
    unsigned newer = 0;
    if (!entry_version(name, &entry) ||
        snapshot_current_compare(&entry, &publisher->current) >= 0)
        return false;
    DIR *folder = opendir(publisher->config.folder);
    for (struct dirent *at; folder && (at = readdir(folder));)
        newer += entry_version(at->d_name, &other) &&
                 snapshot_current_compare(&other, &entry) > 0;
    if (folder)
        closedir(folder);
    return newer >= publisher->config.versions_kept;
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
        .config_hash = manifest->config_hash,
    };
    memcpy(announcement->model_name, manifest->model_name,
           sizeof announcement->model_name);
    memcpy(announcement->folder_name, current->name,
           sizeof announcement->folder_name);
    snapshot_hash_print(current->hash, announcement->manifest_hash);
    return BASE_OK;
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
        publisher->judged = version.manifest.judged;
        publisher->config_hash = version.manifest.config_hash;
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
    *out = NULL;
    if (!error)
        error = &ignored; /* statuses below pass through base_wrap */
    struct snapshot_publisher *publisher = calloc(1, sizeof *publisher);
    if (!publisher)
        return base_fail(error, BASE_SYSTEM, "publisher: no memory");
    publisher->config = *config;
    publisher->folder = -1;
    if (publisher->config.versions_kept < 2)
        publisher->config.versions_kept = 2; /* a reader may be opening one */
    enum base_status status = lock_folder(publisher, error);
    if (!status)
        status = read_current(publisher, current, error);
    if (!status)
        status = remove_entries(publisher, left_over, error);
    if (status) {
        snapshot_publisher_free(publisher);
        return base_wrap(error, "publisher");
    }
    publisher->epoch = larger(
        larger(stored_epoch, publisher->current.epoch) + 1,
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
    free(publisher);
}

uint64_t snapshot_publisher_epoch(const struct snapshot_publisher *publisher)
{
    return publisher->epoch;
}

/* ---- publish ------------------------------------------------------------- */

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
    /* Of the golden scores, which this process computes. */
    snprintf(manifest->arithmetic, sizeof manifest->arithmetic, "%s",
             learner_arithmetic());
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
    if (snapshot_current_compare(&publisher->current, &next) == 0) {
        publisher->judged = manifest->judged;
        publisher->config_hash = manifest->config_hash;
    }
    if (status) {
        if (remove_entry(publisher, aside, &ignored))
            base_log(BASE_LOG_WARN, "event=snapshot_leftover error=\"%s\"",
                     ignored.text);
        return base_wrap(error, "publish %s", next.name);
    }
    if (remove_entries(publisher, outdated, &ignored))
        base_log(BASE_LOG_WARN, "event=snapshot_not_removed error=\"%s\"",
                 ignored.text);
    return describe(publisher, manifest, announcement);
}

/* ---- from a checkpoint --------------------------------------------------- */

static enum base_status
checkpoint_rows(void *self, unsigned table,
                enum base_status (*each)(void *each_self, uint64_t key,
                                         const float *weights),
                void *each_self, struct base_error *error)
{
    return learner_checkpoint_rows(self, table, each, each_self, error);
}

static void describe_checkpoint(const struct learner_checkpoint_info *info,
                                struct snapshot_manifest *manifest)
{
    const struct learner_status *status = &info->status;
    manifest->position = info->position;
    manifest->journal_hash = (struct snapshot_hash){info->journal_hash[0],
                                                    info->journal_hash[1]};
    manifest->newest_event_ms = status->newest_event_ms;
    manifest->metrics_samples = status->last_samples;
    manifest->metrics_time = status->last_time;
    manifest->metrics_total = status->total;
}

/* sqrt(sum w^2) over the trained matrices; see struct snapshot_judged. */
static double dense_norm(const struct learner_model *model, const float *dense)
{
    double sum = 0;
    for (unsigned i = 0; i < learner_tensor_count(model); i++) {
        const struct learner_tensor *tensor = learner_tensor(model, i);
        const float *values = dense + tensor->offset;
        bool matrix = tensor->dimensions == 2;
        size_t count = tensor->shape[0];
        if (matrix)
            count *= tensor->shape[1];
        if (!snapshot_floats_finite(values, count))
            return (double)NAN;
        for (size_t k = 0; matrix && tensor->trained && k < count; k++)
            sum += (double)values[k] * (double)values[k];
    }
    return sqrt(sum);
}

static enum base_status judge(const struct snapshot_publisher *publisher,
                              const struct learner_checkpoint_info *info,
                              const struct snapshot_content *content,
                              struct snapshot_manifest *manifest,
                              struct base_error *error)
{
    const struct snapshot_gate *gate = &publisher->config.gate;
    bool same = publisher->current.version &&
                publisher->config_hash == manifest->config_hash;
    manifest->judged = (struct snapshot_judged){
        .samples = info->status.samples,
        .auc = info->status.last_samples.auc,
        .calibration = info->status.last_samples.calibration,
        .dense_norm = dense_norm(content->model, content->dense),
    };
    if (!gate->judge)
        return BASE_OK;
    return gate->judge(gate->self, same ? &publisher->judged : NULL,
                       &manifest->judged, error);
}

enum base_status snapshot_config_hash(const struct learner_schema *schema,
                                      const struct learner_model_config *model,
                                      uint64_t *hash, struct base_error *error)
{
    struct learner_model *shape;
    struct snapshot_manifest manifest;
    enum base_status status = learner_model_new(schema, model, &shape, error);
    if (status)
        return status;
    snapshot_manifest_describe(&manifest, shape);
    *hash = manifest.config_hash;
    learner_model_free(shape);
    return BASE_OK;
}

enum base_status snapshot_publish(struct snapshot_publisher *publisher,
                                  const char *checkpoint_path,
                                  const char *offsets_json,
                                  struct snapshot_announcement *announcement,
                                  struct base_error *error)
{
    struct learner_checkpoint *checkpoint = NULL;
    struct learner_model *model = NULL;
    struct snapshot_manifest manifest = {0};
    struct snapshot_content content = {.rows = checkpoint_rows};
    enum base_status status =
        learner_checkpoint_open(checkpoint_path, &checkpoint, error);
    if (status)
        return base_wrap(error, "publish %s", checkpoint_path);
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(checkpoint);
    status = learner_model_new(&info->schema, &info->model, &model, error);
    if (status)
        goto cleanup;
    describe_checkpoint(info, &manifest);
    snapshot_manifest_describe(&manifest, model);
    manifest.offsets_json = strdup(offsets_json ? offsets_json : "{}");
    if (publisher->config.stream_json)
        manifest.stream_json = strdup(publisher->config.stream_json);
    if (!manifest.offsets_json ||
        (publisher->config.stream_json && !manifest.stream_json)) {
        status = base_fail(error, BASE_SYSTEM, "publish: no memory");
        goto cleanup;
    }
    content.model = model;
    content.dense = learner_checkpoint_dense(checkpoint);
    content.self = checkpoint;
    status = judge(publisher, info, &content, &manifest, error);
    if (!status)
        status = snapshot_publisher_put(publisher, &content, &manifest,
                                        announcement, error);
cleanup:
    snapshot_manifest_fini(&manifest);
    learner_model_free(model);
    learner_checkpoint_free(checkpoint);
    return status;
}
