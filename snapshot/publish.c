/* SPDX-License-Identifier: Apache-2.0 */
/* Versions from what the learner writes: a checkpoint becomes a base, what
 * changed since the version before a delta; both are judged by the gate first.
 * See snapshot.h; the folder is publisher.c's. Role: publish. */
#include "snapshot/publisher.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum snapshot_dtype
snapshot_publisher_dtype(const struct snapshot_publisher *publisher)
{
    static const enum snapshot_dtype types[] = {
        [SNAPSHOT_ROW_F32] = SNAPSHOT_F32,
        [SNAPSHOT_ROW_F16] = SNAPSHOT_F16,
        [SNAPSHOT_ROW_I8] = SNAPSHOT_I8,
    };
    return types[publisher->config.row_type];
}

/* ---- what a version is made of -------------------------------------------- */

static void describe_state(const struct snapshot_publisher *publisher,
                           const struct learner_model *model,
                           const struct learner_status *status,
                           struct snapshot_manifest *manifest)
{
    manifest->row_dtype = snapshot_publisher_dtype(publisher);
    manifest->newest_event_ms = status->newest_event_ms;
    manifest->metrics_samples = status->last_samples;
    manifest->metrics_time = status->last_time;
    manifest->metrics_total = status->total;
    snapshot_manifest_describe(manifest, model);
}

/* What the daemon says of the stream and of offsets. */
static enum base_status take_texts(const struct snapshot_publisher *publisher,
                                   const char *offsets_json,
                                   struct snapshot_manifest *manifest,
                                   struct base_error *error)
{
    const char *stream = publisher->config.stream_json;
    manifest->offsets_json = strdup(offsets_json ? offsets_json : "{}");
    manifest->stream_json = strdup(stream ? stream : "{}");
    if (!manifest->offsets_json || !manifest->stream_json)
        return base_fail(error, BASE_SYSTEM, "publish: no memory");
    return BASE_OK;
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
                              const struct learner_status *status,
                              const struct snapshot_content *content,
                              struct snapshot_manifest *manifest,
                              struct base_error *error)
{
    const struct snapshot_gate *gate = &publisher->config.gate;
    bool same = publisher->current.version &&
                publisher->config_hash == manifest->config_hash;
    manifest->judged = (struct snapshot_judged){
        .samples = status->samples,
        .auc = status->last_samples.auc,
        .calibration = status->last_samples.calibration,
        .dense_norm = dense_norm(content->model, content->dense),
    };
    if (!gate->judge)
        return BASE_OK;
    return gate->judge(gate->self, same ? &publisher->judged : NULL,
                       &manifest->judged, error);
}

enum base_status
snapshot_training_hash(const struct learner_schema *schema,
                       const struct learner_model_config *model,
                       uint64_t *hash, struct base_error *error)
{
    struct learner_model *shape;
    struct snapshot_manifest manifest;
    enum base_status status = learner_model_new(schema, model, &shape, error);
    if (status)
        return status;
    snapshot_manifest_describe(&manifest, shape);
    *hash = learner_training_hash(&manifest.schema, &manifest.model);
    learner_model_free(shape);
    return BASE_OK;
}

/* ---- a base from a checkpoint --------------------------------------------- */

static enum base_status
checkpoint_rows(void *self, unsigned table,
                enum base_status (*each)(void *each_self, uint64_t key,
                                         const float *weights),
                void *each_self, struct base_error *error)
{
    return learner_checkpoint_rows(self, table, each, each_self, error);
}

/* A checkpoint, and the content that lies in it. */
struct source {
    struct learner_checkpoint *checkpoint; /* OWNS */
    struct learner_model *model;           /* OWNS */
    const struct learner_checkpoint_info *info;
    struct snapshot_content content;
};

static enum base_status open_source(const char *path, struct source *source,
                                    struct base_error *error)
{
    *source = (struct source){0};
    enum base_status status =
        learner_checkpoint_open(path, &source->checkpoint, error);
    if (status)
        return base_wrap(error, "publish %s", path);
    source->info = learner_checkpoint_get_info(source->checkpoint);
    status = learner_model_new(&source->info->schema, &source->info->model,
                               &source->model, error);
    if (status)
        return status;
    source->content = (struct snapshot_content){
        .model = source->model,
        .dense = learner_checkpoint_dense(source->checkpoint),
        .self = source->checkpoint,
        .rows = checkpoint_rows,
    };
    return BASE_OK;
}

static void close_source(struct source *source)
{
    learner_model_free(source->model);
    learner_checkpoint_free(source->checkpoint);
}

enum base_status snapshot_publish(struct snapshot_publisher *publisher,
                                  const char *checkpoint_path,
                                  const char *offsets_json,
                                  struct snapshot_announcement *announcement,
                                  struct base_error *error)
{
    struct source source;
    struct snapshot_manifest manifest = {0};
    enum base_status status = open_source(checkpoint_path, &source, error);
    if (status)
        goto cleanup;
    const struct learner_checkpoint_info *info = source.info;
    manifest.position = info->position;
    manifest.journal_hash =
        (struct snapshot_hash){info->journal_hash[0], info->journal_hash[1]};
    describe_state(publisher, source.model, &info->status, &manifest);
    status = take_texts(publisher, offsets_json, &manifest, error);
    if (!status)
        status = judge(publisher, &info->status, &source.content, &manifest,
                       error);
    if (!status)
        status = snapshot_publisher_put(publisher, &source.content, &manifest,
                                        announcement, error);
cleanup:
    snapshot_manifest_fini(&manifest);
    close_source(&source);
    return status;
}

/* The manifest of the version that was announced, from its folder. */
static enum base_status
read_announced(const struct snapshot_publisher *publisher,
               const struct snapshot_announcement *version,
               struct snapshot_manifest *manifest, struct snapshot_hash *hash,
               struct base_error *error)
{
    char path[2 * SNAPSHOT_FOLDER_NAME], text[SNAPSHOT_HASH_TEXT], *bytes;
    size_t size;
    snprintf(path, sizeof path, "%s/manifest.json", version->folder_name);
    enum base_status status =
        snapshot_file_read(publisher->folder, path, SNAPSHOT_MANIFEST_MAX,
                           &bytes, &size, error);
    if (status)
        return status;
    *hash = snapshot_hash_of(bytes, size);
    snapshot_hash_print(*hash, text);
    status = strcmp(text, version->manifest_hash) == 0
                 ? snapshot_manifest_read(bytes, size, manifest, error)
                 : base_fail(error, BASE_CORRUPT, "%s: another hash", path);
    free(bytes);
    return status;
}

enum base_status
snapshot_publish_beside(struct snapshot_publisher *publisher,
                        const char *checkpoint_path,
                        const struct snapshot_announcement *version,
                        struct base_error *error)
{
    struct source source;
    struct snapshot_hash hash;
    struct snapshot_manifest manifest = {0};
    enum base_status status = open_source(checkpoint_path, &source, error);
    if (!status)
        status = read_announced(publisher, version, &manifest, &hash, error);
    if (!status && (manifest.kind != SNAPSHOT_DELTA ||
                    manifest.position != source.info->position ||
                    manifest.journal_hash.low !=
                        source.info->journal_hash[0] ||
                    manifest.journal_hash.high !=
                        source.info->journal_hash[1]))
        status = base_fail(error, BASE_BROKEN,
                           "%s is not the state of delta %s", checkpoint_path,
                           version->folder_name);
    if (!status)
        status = snapshot_publisher_put_beside(publisher, &source.content,
                                               &manifest, hash, error);
    snapshot_manifest_fini(&manifest);
    close_source(&source);
    return status;
}

/* ---- a delta -------------------------------------------------------------- */

static enum base_status
delta_rows(void *self, unsigned table,
           enum base_status (*each)(void *each_self, uint64_t key,
                                    const float *weights),
           void *each_self, struct base_error *error)
{
    return learner_delta_rows(self, table, each, each_self, error);
}

bool snapshot_follows(const struct snapshot_publisher *publisher,
                      const struct learner_delta *delta)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct snapshot_manifest *manifest = calloc(1, sizeof *manifest);
    if (!manifest)
        return false;
    snapshot_manifest_describe(manifest, info->model);
    uint64_t training_hash =
        learner_training_hash(&manifest->schema, &manifest->model);
    free(manifest);
    return info->complete && publisher->current.version &&
           info->since == publisher->position &&
           info->since_hash[0] == publisher->journal_hash.low &&
           info->since_hash[1] == publisher->journal_hash.high &&
           publisher->training_hash == training_hash &&
           publisher->row_dtype == snapshot_publisher_dtype(publisher) &&
           strcmp(publisher->arithmetic, learner_arithmetic()) == 0;
}

uint64_t snapshot_publisher_position(const struct snapshot_publisher *publisher)
{
    return publisher->current.version ? publisher->position : 0;
}

enum base_status snapshot_judge(const struct snapshot_publisher *publisher,
                                const struct learner_delta *delta,
                                struct base_error *error)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    const struct snapshot_content content = {
        .model = info->model, .dense = learner_delta_dense(delta)};
    struct snapshot_manifest *manifest = calloc(1, sizeof *manifest);
    if (!manifest)
        return base_fail(error, BASE_SYSTEM, "publish: no memory");
    snapshot_manifest_describe(manifest, info->model);
    enum base_status status =
        judge(publisher, &info->status, &content, manifest, error);
    free(manifest);
    return status;
}

static void describe_delta(const struct snapshot_publisher *publisher,
                           const struct learner_delta_info *info,
                           struct snapshot_manifest *manifest)
{
    manifest->kind = SNAPSHOT_DELTA;
    manifest->position = info->position;
    manifest->journal_hash =
        (struct snapshot_hash){info->journal_hash[0], info->journal_hash[1]};
    manifest->cut_ms = info->cut_ms;
    describe_state(publisher, info->model, &info->status, manifest);
    memcpy(manifest->rows, info->rows, sizeof manifest->rows);
}

enum base_status
snapshot_publish_delta(struct snapshot_publisher *publisher,
                       struct learner_delta *delta, const char *offsets_json,
                       struct snapshot_announcement *announcement,
                       struct base_error *error)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct snapshot_manifest manifest = {0};
    struct snapshot_content content = {.model = info->model,
                                       .dense = learner_delta_dense(delta),
                                       .self = delta,
                                       .rows = delta_rows};
    if (!snapshot_follows(publisher, delta))
        return base_fail(error, BASE_BROKEN,
                         "the delta does not follow the current version");
    enum base_status status = learner_delta_sort(delta, error);
    if (status)
        return status;
    for (unsigned t = 0; t < learner_model_tables(info->model); t++)
        content.gone[t] =
            learner_delta_keys_gone(delta, t, &content.gone_count[t]);
    describe_delta(publisher, info, &manifest);
    status = take_texts(publisher, offsets_json, &manifest, error);
    if (!status)
        status = judge(publisher, &info->status, &content, &manifest, error);
    if (!status)
        status = snapshot_publisher_put(publisher, &content, &manifest,
                                        announcement, error);
    snapshot_manifest_fini(&manifest);
    return status;
}
