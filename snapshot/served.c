/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: loading of a version and all that it needs; see serving.h.
 * From the served version, where deltas lead to the new one: what they do not
 * touch is shared. Else from the newest base that is sound, the served version
 * staying in service meanwhile. Every delta on the way is verified: hashes,
 * tensors, values, number of rows, golden requests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "snapshot/golden.h"
#include "snapshot/serving.h"

/* ---- shapes -------------------------------------------------------------- */

/* Names, groups and tables (which ids depend on); not dimensions. */
static bool same_fields(const struct learner_schema *a,
                        const struct learner_schema *b)
{
    if (a->field_count != b->field_count)
        return false;
    for (unsigned i = 0; i < a->field_count; i++) {
        const struct learner_field *x = &a->fields[i], *y = &b->fields[i];
        if (strcmp(x->name, y->name) != 0 || x->group != y->group ||
            x->continues != y->continues ||
            strcmp(a->tables[x->table].name, b->tables[y->table].name) != 0)
            return false;
    }
    return true;
}

static bool same_transforms(const struct snapshot_transform *a,
                            const struct snapshot_transform *b)
{
    for (unsigned i = 0; i < LEARNER_FIELDS_MAX; i++) {
        if (a[i].kind != b[i].kind || a[i].bound_count != b[i].bound_count)
            return false;
        for (unsigned j = 0; j < a[i].bound_count; j++)
            if (a[i].bounds[j] < b[i].bounds[j] ||
                a[i].bounds[j] > b[i].bounds[j])
                return false;
    }
    return true;
}

static enum base_status make_shape(struct interest_model *model,
                                   const struct snapshot_manifest *manifest,
                                   const struct interest_shape **shape,
                                   struct base_error *error)
{
    struct interest_shape *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "no memory");
    enum base_status status = learner_model_new(
        &manifest->schema, &manifest->model, &made->model, error);
    if (status) {
        free(made);
        return status;
    }
    made->config_hash = manifest->config_hash;
    memcpy(made->transforms, manifest->transforms, sizeof made->transforms);
    made->next = model->shapes;
    model->shapes = made;
    *shape = made;
    return BASE_OK;
}

static enum base_status find_shape(struct interest_model *model,
                                   const struct snapshot_manifest *manifest,
                                   const struct interest_shape **shape,
                                   struct base_error *error)
{
    if (model->shapes &&
        (!same_fields(learner_model_schema(model->shapes->model),
                      &manifest->schema) ||
         !same_transforms(model->shapes->transforms, manifest->transforms)))
        return base_fail(error, BASE_CONFIG,
                         "its fields are not those of the served version; "
                         "close the model and open it again");
    for (struct interest_shape *at = model->shapes; at; at = at->next) {
        if (at->config_hash == manifest->config_hash) {
            *shape = at;
            return BASE_OK;
        }
    }
    return make_shape(model, manifest, shape, error);
}

void interest_shapes_free(struct interest_shape *shapes)
{
    while (shapes) {
        struct interest_shape *next = shapes->next;
        learner_model_free(shapes->model);
        free(shapes);
        shapes = next;
    }
}

/* ---- one version --------------------------------------------------------- */

static void fill_info(struct interest_served *served,
                      const struct snapshot_manifest *manifest)
{
    struct interest_version *info = &served->info;
    info->epoch = manifest->epoch;
    info->version = manifest->version;
    info->position = manifest->position;
    info->newest_event_ms = manifest->newest_event_ms;
    info->created_ms = manifest->created_ms;
    info->cut_ms = manifest->cut_ms;
    info->history_max = manifest->history_max;
    snprintf(info->name, sizeof info->name, "%s", served->current.name);
    served->negative_keep = (float)manifest->negative_keep;
    memcpy(served->model_name, manifest->model_name,
           sizeof served->model_name);
}

static enum base_status check_golden(const struct interest_served *served,
                                     const struct snapshot_manifest *manifest,
                                     struct base_error *error)
{
    const struct learner_parameters parameters =
        snapshot_generation_parameters(&served->generation);
    return snapshot_golden_check(manifest, served->shape->model, &parameters,
                                 error);
}

/* A delta of the chain; with `only_check` the state is its own already (a base
 * beside it) and is compared with what it says. */
static enum base_status take_delta(struct interest_model *model,
                                   const struct snapshot_current *link,
                                   const struct snapshot_generation *old,
                                   bool only_check,
                                   struct interest_served *served,
                                   struct base_error *error)
{
    struct snapshot_version version;
    const struct snapshot_manifest *manifest = &version.manifest;
    const struct interest_shape *shape = NULL;
    enum base_status status =
        snapshot_version_begin(model->folder, link, &version, error);
    if (status)
        return status;
    status = find_shape(model, manifest, &shape, error);
    if (!status && shape != served->shape)
        status = base_fail(error, BASE_CORRUPT,
                           "a delta of another model configuration");
    if (!status && !only_check)
        status = snapshot_generation_apply(version.folder, manifest,
                                           shape->model, old,
                                           &served->generation, error);
    if (!status)
        status = check_golden(served, manifest, error);
    if (!status)
        fill_info(served, manifest);
    if (status)
        base_wrap(error, "%s", version.name);
    snapshot_version_fini(&version);
    return status;
}

static enum base_status load_base(struct interest_model *model,
                                  const struct snapshot_chain *chain,
                                  struct interest_served *served,
                                  struct base_error *error)
{
    struct snapshot_version version;
    enum base_status status =
        chain->is_beside
            ? snapshot_version_beside(model->folder, &chain->base, &version,
                                      error)
            : snapshot_version_begin(model->folder, &chain->base, &version,
                                     error);
    if (status)
        return status;
    status = find_shape(model, &version.manifest, &served->shape, error);
    if (!status)
        status = snapshot_generation_load(version.folder, &version.manifest,
                                          served->shape->model,
                                          &served->generation, error);
    if (!status)
        status = check_golden(served, &version.manifest, error);
    if (!status)
        fill_info(served, &version.manifest);
    if (status)
        base_wrap(error, "%s", version.name);
    snapshot_version_fini(&version);
    if (!status && chain->is_beside)
        status = take_delta(model, &chain->base, NULL, true, served, error);
    return status;
}

/* ---- ways ---------------------------------------------------------------- */

static enum base_status take_deltas(struct interest_model *model,
                                    const struct snapshot_chain *chain,
                                    const struct snapshot_generation *old,
                                    struct interest_served *served,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    for (size_t i = 0; !status && i < chain->count; i++)
        status = take_delta(model, &chain->deltas[i], old, false, served,
                            error);
    return status;
}

static void count(struct interest_model *model, unsigned bases, size_t deltas)
{
    pthread_mutex_lock(&model->lock);
    model->state.resyncs += bases && model->state.bases;
    model->state.bases += bases;
    model->state.deltas += deltas;
    pthread_mutex_unlock(&model->lock);
}

static enum base_status follow(struct interest_model *model,
                               const struct interest_served *old,
                               struct interest_served *served,
                               struct base_error *error)
{
    struct snapshot_chain chain;
    enum base_status status = snapshot_chain_continue(
        model->folder, &old->current, &served->current, &chain, error);
    if (status)
        return status;
    served->follows = true;
    served->shape = old->shape;
    status = snapshot_generation_begin(&old->generation, &served->generation,
                                       error);
    if (!status)
        status = take_deltas(model, &chain, &old->generation, served, error);
    if (!status)
        count(model, 0, chain.count);
    else
        snapshot_generation_free(&served->generation, &old->generation);
    snapshot_chain_fini(&chain);
    return status;
}

static bool is_damage(enum base_status status)
{
    return status == BASE_CORRUPT || status == BASE_NO_INPUT ||
           status == BASE_DATA;
}

static enum base_status start_below(struct interest_model *model,
                                    uint64_t *below,
                                    struct interest_served *served,
                                    struct base_error *error)
{
    struct snapshot_chain chain;
    enum base_status status = snapshot_chain_start(
        model->folder, &served->current, *below, &chain, error);
    *below = 0;
    if (status)
        return status;
    status = load_base(model, &chain, served, error);
    if (status)
        *below = chain.base.version;
    else
        status = take_deltas(model, &chain, NULL, served, error);
    if (!status)
        count(model, 1, chain.count);
    else
        snapshot_generation_free(&served->generation, NULL);
    snapshot_chain_fini(&chain);
    return status;
}

/* An older base stands in for one that does not verify; the error is that of
 * the newest. */
static enum base_status start(struct interest_model *model,
                              struct interest_served *served,
                              struct base_error *error)
{
    struct base_error why;
    uint64_t below = UINT64_MAX;
    served->follows = false;
    enum base_status first = start_below(model, &below, served, error);
    enum base_status status = first;
    while (is_damage(status) && below)
        status = start_below(model, &below, served, &why);
    return status ? first : BASE_OK;
}

enum base_status interest_served_load(struct interest_model *model,
                                      const struct snapshot_current *target,
                                      struct interest_served **served,
                                      struct base_error *error)
{
    const struct interest_served *old = atomic_load(&model->current);
    struct interest_served *made = calloc(1, sizeof *made);
    *served = NULL;
    if (!made)
        return base_fail(error, BASE_SYSTEM, "no memory");
    made->current = *target;
    enum base_status status = BASE_AGAIN;
    if (old)
        status = follow(model, old, made, error);
    if (status == BASE_AGAIN || is_damage(status))
        status = start(model, made, error);
    if (status) {
        free(made);
        return status;
    }
    made->info.generation = (old ? old->info.generation : 0) + 1;
    made->info.served_ms = base_wall_ms();
    *served = made;
    return BASE_OK;
}

void interest_served_free(struct interest_served *served,
                          const struct interest_served *successor)
{
    if (!served)
        return;
    bool shares = successor && successor->follows;
    snapshot_generation_free(&served->generation,
                             shares ? &successor->generation : NULL);
    free(served);
}
