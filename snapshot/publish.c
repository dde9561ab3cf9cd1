/* SPDX-License-Identifier: Apache-2.0 */
/* Versions from what the learner writes: a checkpoint becomes a base, what
 * changed since the version before a delta; both are judged by the gate first.
 * See snapshot.h; the folder is publisher.c's. Role: publish. */
#include "snapshot/publisher.h"

#include <math.h>
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
    manifest.row_dtype = snapshot_publisher_dtype(publisher);
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
