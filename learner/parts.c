/* SPDX-License-Identifier: Apache-2.0 */
/* The trainer's state as parts of a checkpoint (checkpoint.h), but for rows:
 * one table of what is saved, and loaded again. A part whose size is 0 is not
 * in the file. Train thread, or before it exists. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/role.h"
#include "learner/trainer.h"

/* ---- the dense part ------------------------------------------------------ */

static size_t dense_size(const struct learner_trainer *trainer)
{
    return 16 + 12 * learner_dense_size(trainer->model);
}

/* Weights and the optimizer's state are one slab. */
static void dense_save(const struct learner_trainer *trainer, void *bytes)
{
    size_t n = learner_dense_size(trainer->model);
    uint8_t *at = base_put_u64(bytes, trainer->dense_step);
    at = base_put_u64(at, n);
    memcpy(at, trainer->dense, 3 * n * sizeof(float));
}

static enum base_status dense_load(struct learner_trainer *trainer,
                                   const void *bytes, size_t size,
                                   struct base_error *error)
{
    if (size != dense_size(trainer))
        return base_fail(error, BASE_CORRUPT, "%zu bytes of dense values, "
                         "not %zu", size, dense_size(trainer));
    trainer->dense_step = base_get_u64(bytes);
    memcpy(trainer->dense, (const uint8_t *)bytes + 16, size - 16);
    return BASE_OK;
}

/* ---- the others ---------------------------------------------------------- */

static size_t metrics_size(const struct learner_trainer *trainer)
{
    return learner_metrics_size(trainer->metrics);
}

static void metrics_save(const struct learner_trainer *trainer, void *bytes)
{
    learner_metrics_save(trainer->metrics, bytes);
}

static enum base_status metrics_load(struct learner_trainer *trainer,
                                     const void *bytes, size_t size,
                                     struct base_error *error)
{
    return learner_metrics_load(trainer->metrics, bytes, size, error);
}

static size_t negatives_size(const struct learner_trainer *trainer)
{
    return trainer->negatives ? learner_negatives_size(trainer->negatives)
                              : 0;
}

static void negatives_save(const struct learner_trainer *trainer, void *bytes)
{
    learner_negatives_save(trainer->negatives, bytes);
}

static enum base_status negatives_load(struct learner_trainer *trainer,
                                       const void *bytes, size_t size,
                                       struct base_error *error)
{
    return learner_negatives_load(trainer->negatives, bytes, size, error);
}

static size_t admission_size(const struct learner_trainer *trainer)
{
    return learner_admission_size(trainer->gather.admission);
}

static void admission_save(const struct learner_trainer *trainer, void *bytes)
{
    learner_admission_save(trainer->gather.admission, bytes);
}

static enum base_status admission_load(struct learner_trainer *trainer,
                                       const void *bytes, size_t size,
                                       struct base_error *error)
{
    return learner_admission_load(trainer->gather.admission, bytes, size,
                                  error);
}

static size_t eviction_size(const struct learner_trainer *trainer)
{
    return learner_eviction_size(&trainer->gather.eviction);
}

static void eviction_save(const struct learner_trainer *trainer, void *bytes)
{
    learner_eviction_save(&trainer->gather.eviction, bytes);
}

static enum base_status eviction_load(struct learner_trainer *trainer,
                                      const void *bytes, size_t size,
                                      struct base_error *error)
{
    return learner_eviction_load(&trainer->gather.eviction, bytes, size,
                                 error);
}

static size_t changes_size(const struct learner_trainer *trainer)
{
    return trainer->delta ? learner_delta_size(trainer->delta) : 0;
}

static void changes_save(const struct learner_trainer *trainer, void *bytes)
{
    learner_delta_save(trainer->delta, bytes);
}

/* ---- the table ----------------------------------------------------------- */

struct part {
    enum learner_cut_type type;
    const char *name;
    size_t (*size)(const struct learner_trainer *trainer);
    void (*save)(const struct learner_trainer *trainer, void *bytes);
    /* NULL: needs the rows; learner_trainer_follow() takes it. */
    enum base_status (*load)(struct learner_trainer *trainer,
                             const void *bytes, size_t size,
                             struct base_error *error);
};

static const struct part table[] = {
    {LEARNER_CUT_DENSE, "weights", dense_size, dense_save, dense_load},
    {LEARNER_CUT_METRICS, "metrics", metrics_size, metrics_save,
     metrics_load},
    {LEARNER_CUT_NEGATIVES, "negatives", negatives_size, negatives_save,
     negatives_load},
    {LEARNER_CUT_ADMISSION, "admission", admission_size, admission_save,
     admission_load},
    {LEARNER_CUT_EVICTION, "eviction", eviction_size, eviction_save,
     eviction_load},
    {LEARNER_CUT_CHANGES, "changes", changes_size, changes_save, NULL},
};
enum { PARTS = sizeof table / sizeof table[0] };

BASE_ON(train)
static size_t put_head(struct learner_trainer *trainer)
{
    static const struct learner_checkpoint_info nothing;
    struct learner_checkpoint_info *info = &trainer->info;
    *info = nothing;
    info->position = trainer->position;
    memcpy(info->journal_hash, trainer->journal_hash,
           sizeof info->journal_hash);
    info->config_hash = learner_config_hash(&trainer->config.schema,
                                            &trainer->config.model);
    snprintf(info->arithmetic, sizeof info->arithmetic, "%s",
             learner_arithmetic());
    info->schema = trainer->config.schema;
    info->model = trainer->config.model;
    learner_trainer_status(trainer, &info->status);
    info->table_count = learner_model_tables(trainer->model);
    for (unsigned t = 0; t < info->table_count; t++) {
        info->tables[t] = *learner_model_table(trainer->model, t);
        info->row_state[t] = (uint16_t)learner_optimizer_row_state(
            &info->model, info->tables[t].dimension);
        info->rows[t] = info->status.rows[t];
    }
    return learner_checkpoint_encode(info, trainer->head);
}

/* What grows is taken at its largest, but for predictions that wait. Each part
 * is read once, so that pages that were never touched do not cost the first
 * checkpoint ten milliseconds. */
enum base_status learner_trainer_reserve(struct learner_trainer *trainer,
                                         struct base_error *error)
{
    size_t sum = LEARNER_CHECKPOINT_HEAD_MAX;
    for (unsigned i = 0; i < PARTS; i++) {
        size_t size = table[i].size(trainer);
        void *copy = malloc(size + 1);
        if (!copy)
            return base_fail(error, BASE_SYSTEM, "%s: no memory for %zu bytes",
                             table[i].name, size);
        if (size)
            table[i].save(trainer, copy);
        free(copy);
        sum += size;
    }
    if (trainer->negatives)
        sum += learner_negatives_size_max(trainer->negatives);
    return learner_cut_reserve(trainer->cut, sum, error);
}

enum base_status learner_trainer_save(struct learner_trainer *trainer,
                                      uint64_t request,
                                      struct base_error *error)
{
    struct learner_cut *cut = trainer->cut;
    size_t head = put_head(trainer), size[PARTS], sum = head;
    for (unsigned i = 0; i < PARTS; i++)
        sum += size[i] = table[i].size(trainer);
    enum base_status status =
        learner_cut_begin(cut, trainer->position, request, sum, error);
    if (status)
        return status;
    memcpy(learner_cut_part(cut, LEARNER_CUT_HEAD, head), trainer->head, head);
    for (unsigned i = 0; i < PARTS; i++)
        if (size[i])
            table[i].save(trainer,
                          learner_cut_part(cut, table[i].type, size[i]));
    return BASE_OK;
}

enum base_status
learner_trainer_load_parts(struct learner_trainer *trainer,
                           const struct learner_checkpoint_parts *parts,
                           struct base_error *error)
{
    for (unsigned i = 0; i < PARTS; i++) {
        const struct part *part = &table[i];
        const struct learner_checkpoint_part *from = &parts->part[part->type];
        bool used = part->size(trainer) != 0;
        if (!part->load)
            continue;
        if (used != (from->bytes != NULL))
            return base_fail(error, BASE_CORRUPT, "%s: %s", part->name,
                             used ? "missing" : "not of this model");
        if (used && part->load(trainer, from->bytes, from->size, error))
            return base_wrap(error, "%s", part->name);
    }
    return BASE_OK;
}
