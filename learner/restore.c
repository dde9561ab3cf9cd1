/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a trainer: parts, the newest checkpoint that verifies, or a fresh
 * start at config.begin. One thread, before the train thread exists.
 *
 * A damaged checkpoint is said, renamed to `damaged-*` (it no longer counts as
 * kept, and a retrained one can take its place) and the one before is used. A
 * frozen trainer leaves the folder as it is: another may be at work there.
 * What does not fit the configuration ends the open: weights of another
 * model are never taken, nor thrown away. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "learner/model.h"
#include "learner/settings.h"
#include "learner/trainer.h"

/* ---- does it fit? -------------------------------------------------------- */

/* The first switch that differs, "learner.batch_size is 64, it was 128"; false
 * where none does. */
static bool differs_in_model(const struct learner_model_config *had,
                             const struct learner_model_config *want,
                             char *text, size_t size)
{
    const struct base_settings *settings = &learner_model_switches;
    for (unsigned i = 0; i < settings->count; i++) {
        const struct base_setting *setting = &settings->table[i];
        char old[64], new[64];
        if (memcmp((const char *)had + setting->offset,
                   (const char *)want + setting->offset, setting->size) == 0)
            continue;
        base_settings_text(settings, i, had, old, sizeof old);
        base_settings_text(settings, i, want, new, sizeof new);
        snprintf(text, size, "learner.%s is %s, it was %s", setting->name, new,
                 old);
        return true;
    }
    snprintf(text, size, "learner.fields_off names other features");
    return had->fields_off != want->fields_off;
}

static bool differs_in_fields(const struct learner_schema *had,
                              const struct learner_schema *want, char *text,
                              size_t size)
{
    if (had->field_count != want->field_count) {
        snprintf(text, size, "the number of features is %u, it was %u",
                 want->field_count, had->field_count);
        return true;
    }
    for (unsigned i = 0; i < had->field_count; i++) {
        const struct learner_field *a = &had->fields[i];
        const struct learner_field *b = &want->fields[i];
        snprintf(text, size, "feature %u is '%s', it was '%s'", i + 1, b->name,
                 a->name);
        if (strcmp(a->name, b->name) != 0)
            return true;
        snprintf(text, size, "feature '%s' has another group, table, "
                 "dimension, or number of values", b->name);
        const struct learner_table_spec *old = &had->tables[a->table];
        const struct learner_table_spec *new = &want->tables[b->table];
        if (a->group != b->group || a->more != b->more ||
            a->continues != b->continues || strcmp(old->name, new->name) ||
            old->dimension != new->dimension)
            return true;
    }
    return false;
}

/* Whether the checkpoint's model differs from the configured one, in whatever
 * enters its weights (STATE g, "model"); the text names the first
 * difference. */
static bool differs(const struct learner_checkpoint_info *had,
                    const struct learner_trainer_config *want, char *text,
                    size_t size)
{
    if (differs_in_model(&had->model, &want->model, text, size) ||
        differs_in_fields(&had->schema, &want->schema, text, size))
        return true;
    snprintf(text, size, "the order of tables differs");
    return had->config_hash != learner_config_hash(&want->schema,
                                                   &want->model);
}

static enum base_status check_fit(const struct learner_trainer *trainer,
                                  const struct learner_checkpoint *checkpoint,
                                  const char *path, struct base_error *error)
{
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(checkpoint);
    if (strcmp(info->arithmetic, learner_arithmetic()) != 0)
        return base_fail(error, BASE_CONFIG,
                         "%s was trained with arithmetic %s, this machine "
                         "uses %s: run it where %s is available, or start "
                         "with a new state folder", path, info->arithmetic,
                         learner_arithmetic(), info->arithmetic);
    char difference[256];
    if (!differs(info, &trainer->config, difference, sizeof difference))
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "%s belongs to another model: %s; put the configuration "
                     "back, or start with a new state folder", path,
                     difference);
}

/* ---- load ---------------------------------------------------------------- */

/* Rows are copied as they are: they must be of this size. */
static bool rows_fit(const struct learner_trainer *trainer,
                     const struct learner_checkpoint_info *info)
{
    bool fit = info->table_count == learner_model_tables(trainer->model);
    for (unsigned t = 0; fit && t < info->table_count; t++) {
        const struct learner_table_spec *had = &info->tables[t];
        const struct learner_table_spec *spec =
            learner_model_table(trainer->model, t);
        fit = had->dimension == spec->dimension &&
              learner_row_stride((size_t)had->dimension +
                                 info->row_state[t]) ==
                  learner_table_stride(trainer->tables[t]);
    }
    return fit;
}

static enum base_status load_tables(struct learner_trainer *trainer,
                                    const struct learner_checkpoint *from,
                                    const char *path,
                                    struct base_error *error)
{
    if (!rows_fit(trainer, learner_checkpoint_get_info(from)))
        return base_fail(error, BASE_CORRUPT, "%s: rows are not the model's",
                         path);
    for (unsigned t = 0; t < learner_model_tables(trainer->model); t++) {
        learner_table_clear(trainer->tables[t]);
        uint32_t slots = learner_checkpoint_slots(from, t);
        for (uint32_t i = 0; i < slots; i++)
            if (learner_table_restore(trainer->tables[t],
                                      learner_checkpoint_slot(from, t, i),
                                      error))
                return base_wrap(error, "%s: table %s", path,
                                 learner_model_table(trainer->model, t)->name);
    }
    return BASE_OK;
}

/* What other threads read changes last, and at once. */
static enum base_status load(struct learner_trainer *trainer,
                             const struct learner_checkpoint *from,
                             const char *path, struct base_error *error)
{
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(from);
    enum base_status status = load_tables(trainer, from, path, error);
    if (status)
        return status;
    pthread_mutex_lock(&trainer->mutex);
    status = learner_trainer_load_parts(
        trainer, learner_checkpoint_get_parts(from), error);
    if (status) {
        pthread_mutex_unlock(&trainer->mutex);
        return base_wrap(error, "%s", path);
    }
    trainer->position = info->position;
    memcpy(trainer->journal_hash, info->journal_hash,
           sizeof trainer->journal_hash);
    trainer->shared.begin = info->status.begin;
    trainer->shared.position = info->position;
    trainer->shared.samples = info->status.samples;
    trainer->shared.batches = info->status.batches;
    trainer->shared.rejected = info->status.rejected;
    trainer->shared.forgets = info->status.forgets;
    trainer->shared.skipped = info->status.skipped;
    trainer->shared.skip_from = info->status.skip_from;
    trainer->shared.skip_to = info->status.skip_to;
    trainer->shared.newest_event_ms = info->status.newest_event_ms;
    trainer->shared.checkpoint_position = info->position;
    trainer->newest_position = info->position;
    trainer->has_newest = true;
    snprintf(trainer->newest_path, sizeof trainer->newest_path, "%s", path);
    pthread_mutex_unlock(&trainer->mutex);
    return BASE_OK;
}

static enum base_status follow(struct learner_trainer *trainer,
                               const struct learner_checkpoint *from,
                               const char *path, struct base_error *error)
{
    enum base_status status = learner_trainer_follow(
        trainer,
        &learner_checkpoint_get_parts(from)->part[LEARNER_CUT_CHANGES], error);
    return status ? base_wrap(error, "%s", path) : BASE_OK;
}

static enum base_status set_aside(const struct learner_trainer *trainer,
                                  const char *path, uint64_t position,
                                  struct base_error *error)
{
    char name[64], damaged[1200];
    snprintf(name, sizeof name, "damaged-%020llu",
             (unsigned long long)position);
    enum base_status status =
        base_file_join(damaged, sizeof damaged, trainer->config.folder, name,
                       error);
    if (!status)
        status = base_file_remove(damaged, error);
    if (!status && rename(path, damaged))
        status = base_fail(error, BASE_IO, "%s: cannot be renamed to %s", path,
                           name);
    if (!status)
        status = base_file_sync_folder(trainer->config.folder, error);
    return status;
}

/* BASE_AGAIN: it is damaged and, but for a frozen trainer, set aside now. */
static enum base_status try_load(struct learner_trainer *trainer,
                                 uint64_t position, struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], path[1200];
    struct learner_checkpoint *checkpoint = NULL;
    learner_checkpoint_name(name, position);
    enum base_status status = base_file_join(
        path, sizeof path, trainer->config.folder, name, error);
    if (!status)
        status = learner_checkpoint_open(path, &checkpoint, error);
    if (status == BASE_CORRUPT || status == BASE_NO_INPUT) {
        base_log(BASE_LOG_WARN, "event=checkpoint_damaged %sreason=\"%s\"",
                 trainer->label, error->text);
        status = trainer->config.frozen
                     ? BASE_OK
                     : set_aside(trainer, path, position, error);
        return status ? status : BASE_AGAIN;
    }
    if (!status)
        status = check_fit(trainer, checkpoint, path, error);
    if (!status)
        status = load(trainer, checkpoint, path, error);
    if (!status)
        status = follow(trainer, checkpoint, path, error);
    learner_checkpoint_free(checkpoint);
    return status;
}

enum base_status learner_trainer_load(struct learner_trainer *trainer,
                                      uint64_t position, bool *changed,
                                      struct base_error *error)
{
    char name[LEARNER_CHECKPOINT_NAME], path[1200];
    struct learner_checkpoint *checkpoint = NULL;
    learner_checkpoint_name(name, position);
    enum base_status status = base_file_join(
        path, sizeof path, trainer->config.folder, name, error);
    if (!status)
        status = learner_checkpoint_open(path, &checkpoint, error);
    if (!status)
        status = check_fit(trainer, checkpoint, path, error);
    *changed = !status;
    if (!status)
        status = load(trainer, checkpoint, path, error);
    learner_checkpoint_free(checkpoint);
    return status;
}

static enum base_status restore(struct learner_trainer *trainer,
                                struct base_error *error)
{
    enum { MOST = 256 };
    uint64_t positions[MOST];
    unsigned count;
    enum base_status status = BASE_OK;
    if (!trainer->config.frozen)
        status = base_file_make_folder(trainer->config.folder, error);
    if (!status && !trainer->config.frozen)
        status = learner_cut_clean(trainer->config.folder, error);
    if (!status)
        status = learner_checkpoint_list(trainer->config.folder, positions,
                                         MOST, &count, error);
    if (status)
        return status;
    for (unsigned i = count; i-- > 0;) {
        status = try_load(trainer, positions[i], error);
        if (status == BASE_AGAIN)
            continue;
        unsigned kept = trainer->config.checkpoints_kept;
        trainer->oldest_kept = positions[i + 1 > kept ? i + 1 - kept : 0];
        return status;
    }
    if (count)
        base_log(BASE_LOG_WARN, "event=checkpoints_lost %sdamaged=%u "
                 "reason=\"none verifies; training starts at position "
                 "%llu\"", trainer->label, count,
                 (unsigned long long)trainer->config.begin);
    trainer->position = trainer->config.begin;
    trainer->shared.begin = trainer->shared.position = trainer->position;
    return learner_trainer_follow(trainer, NULL, error);
}

/* ---- open and free ------------------------------------------------------- */

static enum base_status make_tables(struct learner_trainer *trainer,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    unsigned tables = learner_model_tables(trainer->model);
    for (unsigned t = 0; !status && t < tables; t++) {
        struct learner_table_config config;
        learner_table_configure(&config, trainer->model, t);
        status = learner_table_new(&trainer->tables[t], &config, error);
    }
    return status;
}

static enum base_status make_slab(struct learner_trainer *trainer,
                                  struct base_error *error)
{
    size_t n = learner_dense_size(trainer->model);
    size_t bytes = (4 * n * sizeof(float) + 63) & ~(size_t)63;
    trainer->dense = aligned_alloc(64, bytes);
    trainer->head = malloc(LEARNER_CHECKPOINT_HEAD_MAX);
    if (!trainer->dense || !trainer->head)
        return base_fail(error, BASE_SYSTEM, "no memory for %zu weights", n);
    memset(trainer->dense, 0, bytes);
    trainer->state[0] = trainer->dense + n;
    trainer->state[1] = trainer->state[0] + n;
    trainer->gradient = trainer->state[1] + n;
    learner_model_start(trainer->model, trainer->dense);
    return BASE_OK;
}

static enum base_status make_parts(struct learner_trainer *trainer,
                                   struct base_error *error)
{
    const struct learner_trainer_config *config = &trainer->config;
    enum base_status status = learner_model_new(
        &config->schema, &config->model, &trainer->model, error);
    if (!status)
        status = learner_step_new(trainer->model, config->threads,
                                  &trainer->step, error);
    if (!status)
        status = make_tables(trainer, error);
    if (!status)
        status = learner_gather_init(&trainer->gather, trainer->model,
                                     trainer->tables, error);
    if (!status && config->model.auxiliary != LEARNER_AUXILIARY_NONE)
        status = learner_negatives_new(trainer->model, &config->schema,
                                       &trainer->negatives, error);
    if (!status)
        status = learner_metrics_new(&trainer->metrics, config->window_ms,
                                     config->window_samples, error);
    if (!status)
        status = make_slab(trainer, error);
    if (status)
        return status;
    struct learner_cut_config cut = {
        .tables = trainer->tables,
        .table_count = learner_model_tables(trainer->model),
        .folder = config->folder,
        .kept = config->checkpoints_kept,
        .label = trainer->label,
    };
    learner_optimizer_init(&trainer->updater, &config->model);
    if (config->changed && !config->frozen)
        status = learner_delta_new(trainer->model, trainer->tables,
                                   &trainer->delta, error);
    if (status)
        return status;
    learner_trainer_connect(trainer, &cut);
    return learner_cut_new(&cut, &trainer->cut, error);
}

static void init_locks(struct learner_trainer *trainer)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&trainer->mutex, NULL);
    pthread_cond_init(&trainer->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

enum base_status
learner_trainer_open(const struct learner_trainer_config *config,
                     struct learner_trainer **trainer,
                     struct base_error *error)
{
    struct learner_trainer *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "trainer: no memory");
    made->config = *config;
    if (made->config.threads < 1)
        made->config.threads = 1;
    if (made->config.checkpoints_kept < 1)
        made->config.checkpoints_kept = 1;
    if (config->name[0])
        snprintf(made->label, sizeof made->label, "model=%s ", config->name);
    init_locks(made);
    enum base_status status = make_parts(made, error);
    if (!status)
        status = restore(made, error);
    if (!status && !config->frozen)
        status = learner_trainer_reserve(made, error);
    if (status) {
        base_wrap(error, "trainer");
        learner_trainer_free(made);
        return status;
    }
    learner_trainer_measure(made);
    *trainer = made;
    return BASE_OK;
}

void learner_trainer_free(struct learner_trainer *trainer)
{
    if (!trainer)
        return;
    (void)learner_trainer_stop(trainer, false, NULL);
    learner_cut_free(trainer->cut);
    learner_delta_free(trainer->delta);
    learner_gather_fini(&trainer->gather);
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++)
        learner_table_free(trainer->tables[t]);
    learner_negatives_free(trainer->negatives);
    learner_metrics_free(trainer->metrics);
    learner_step_free(trainer->step);
    learner_model_free(trainer->model);
    free(trainer->dense);
    free(trainer->head);
    free(trainer->probability);
    pthread_cond_destroy(&trainer->changed);
    pthread_mutex_destroy(&trainer->mutex);
    free(trainer);
}
