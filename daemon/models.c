/* SPDX-License-Identifier: Apache-2.0 */
/* The main model and its shadows; see models.h. */
#include "daemon/models.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "learner/settings.h"

enum { MODELS_MAX = DAEMON_MODELS_MAX };

struct model {
    struct daemon_models *models;
    struct learner_trainer_config config;
    struct learner_trainer *trainer;  /* NULL: refused */
    struct ingest_follower *follower; /* NULL: the main model */
    struct learner_source source;     /* of the follower */
    struct learner_model *shape;      /* its tables */
    uint64_t begin;                   /* position where the model began */
    bool published;
    enum daemon_model_state state; /* under models->mutex, as reason */
    char reason[DAEMON_REASON_MAX];
};

struct daemon_models {
    struct ingest *ingest;
    struct daemon_models_hooks hooks;
    const struct daemon_config *config;
    unsigned count; /* the main model is the first */
    struct model model[MODELS_MAX];
    bool started;
    pthread_mutex_t mutex;
};

/* ---- hooks of the trainers ----------------------------------------------- */

/* The follower is made when the trainer says from where it reads. */
static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    const struct learner_source *source = &((struct model *)self)->source;
    return source->next(source->self, position, timeout_ms, batch, error);
}

static void checkpointed(void *self, const char *path, uint64_t position,
                         uint64_t oldest_kept_position, uint64_t request)
{
    const struct model *model = self;
    const struct daemon_models_hooks *hooks = &model->models->hooks;
    if (model->follower)
        ingest_follower_trim(model->follower, oldest_kept_position);
    else
        ingest_trim(model->models->ingest, oldest_kept_position);
    /* One that has trained nothing must not follow one that has. */
    if (model->published && position > model->begin)
        hooks->checkpointed(hooks->self, path, position, request);
}

static void changed(void *self, struct learner_delta *delta)
{
    const struct model *model = self;
    const struct daemon_models_hooks *hooks = &model->models->hooks;
    hooks->changed(hooks->self, delta);
}

static void set_state(struct model *model, enum daemon_model_state state,
                      const char *reason)
{
    pthread_mutex_lock(&model->models->mutex);
    model->state = state;
    snprintf(model->reason, sizeof model->reason, "%s", reason);
    pthread_mutex_unlock(&model->models->mutex);
}

/* A shadow's thread ended: it no longer holds the journal. */
static void shadow_failed(void *self, const struct base_error *error)
{
    struct model *model = self;
    bool detached = ingest_follower_detached(model->follower);
    ingest_follower_detach(model->follower);
    set_state(model, detached ? DAEMON_MODEL_DETACHED : DAEMON_MODEL_FAILED,
              error->text);
    base_log(detached ? BASE_LOG_WARN : BASE_LOG_ERROR,
             "event=%s model=%s published=%s error=\"%s\" hint=\"the main "
             "model goes on; a restart tries again\"",
             detached ? "shadow_ended" : "shadow_failed", model->config.name,
             model->published ? "true" : "false", error->text);
}

static void main_failed(void *self, const struct base_error *error)
{
    struct model *model = self;
    set_state(model, DAEMON_MODEL_FAILED, error->text);
    model->models->hooks.failed(model->models->hooks.self, error);
}

/* ---- open ---------------------------------------------------------------- */

/* Store and checkpoints must be of the same moment. */
static enum base_status check_position(const struct model *model,
                                       struct base_error *error)
{
    struct ingest_status *status = malloc(sizeof *status);
    uint64_t position = learner_trainer_position(model->trainer);
    const char *state = model->models->config->state;
    if (!status)
        return base_fail(error, BASE_SYSTEM, "no memory");
    ingest_get_status(model->models->ingest, status);
    uint64_t begin = status->journal_begin, end = status->journal_end;
    free(status);
    if (position > end)
        return base_fail(error, BASE_CORRUPT,
                         "state %s: the checkpoint of model %s is at journal "
                         "position %llu, the journal ends at %llu: store/ is "
                         "older than checkpoints/; restore both of one "
                         "moment, or remove both",
                         state, model->config.name,
                         (unsigned long long)position, (unsigned long long)end);
    if (position < begin && model == model->models->model)
        return base_fail(error, BASE_CORRUPT,
                         "state %s: the newest checkpoint is at journal "
                         "position %llu, the journal begins at %llu: a "
                         "checkpoint is missing; restore checkpoints/ and "
                         "store/ of one moment, or remove both",
                         state, (unsigned long long)position,
                         (unsigned long long)begin);
    return BASE_OK;
}

static enum base_status open_trainer(struct model *model,
                                     struct base_error *error)
{
    learner_trainer_free(model->trainer);
    model->trainer = NULL;
    model->config.hook_self = model;
    model->config.checkpointed = checkpointed;
    if (model->published) {
        const struct daemon_models_hooks *hooks = &model->models->hooks;
        model->config.changed = changed;
        model->config.has_version = hooks->has_version;
        model->config.version_position = hooks->version_position;
        model->config.version_samples = hooks->version_samples;
        memcpy(model->config.version_hash, hooks->version_hash,
               sizeof model->config.version_hash);
    }
    struct learner_status stands;
    enum base_status status =
        learner_trainer_open(&model->config, &model->trainer, error);
    if (status != BASE_OK)
        return status;
    learner_trainer_status(model->trainer, &stands);
    model->begin = stands.begin;
    return check_position(model, error);
}

static enum base_status open_main(struct model *model, struct base_error *error)
{
    model->config.source = ingest_source(model->models->ingest);
    model->config.failed = main_failed;
    return open_trainer(model, error);
}

/* Makes room for a shadow that starts again; the samples it missed cannot be
 * had any more. */
static enum base_status set_aside(const struct model *model,
                                  struct base_error *error)
{
    char old[1100];
    int size = snprintf(old, sizeof old, "%s.old", model->config.folder);
    if (size < 0 || (size_t)size >= sizeof old)
        return base_fail(error, BASE_LIMIT, "%s: the path is too long",
                         model->config.folder);
    enum base_status status = base_file_remove(old, error);
    if (status == BASE_OK && rename(model->config.folder, old))
        status = base_fail(error, BASE_SYSTEM, "%s: cannot be renamed",
                           model->config.folder);
    return status;
}

/* Its reader of the journal, from where the trainer stands. A checkpoint that
 * lies before the journal is put aside. */
static enum base_status follow(struct model *model, struct base_error *error)
{
    struct ingest *ingest = model->models->ingest;
    const char *name = model->config.name;
    uint64_t position = learner_trainer_position(model->trainer);
    enum base_status status =
        ingest_follower_new(ingest, name, position, &model->follower, error);
    if (status != BASE_DATA || position == model->config.begin)
        return status; /* a new model has nothing to put aside */
    base_log(BASE_LOG_WARN,
             "event=shadow_restarted model=%s checkpoint_position=%llu "
             "journal_begin=%llu hint=\"samples between them are gone; it "
             "starts fresh, its old checkpoints are in %s.old\"",
             name, (unsigned long long)position,
             (unsigned long long)model->config.begin, model->config.folder);
    learner_trainer_free(model->trainer);
    model->trainer = NULL;
    status = set_aside(model, error);
    if (status == BASE_OK)
        status = open_trainer(model, error);
    return status == BASE_OK
               ? ingest_follower_new(ingest, name,
                                     learner_trainer_position(model->trainer),
                                     &model->follower, error)
               : status;
}

static enum base_status try_shadow(struct model *model,
                                   struct base_error *error)
{
    enum base_status status = ingest_follower_begin(
        model->models->ingest, &model->config.begin, error);
    if (status == BASE_AGAIN)
        model->config.begin = 0; /* matters to a new model only */
    else if (status != BASE_OK)
        return status;
    model->config.source = (struct learner_source){model, next};
    model->config.failed = shadow_failed;
    status = open_trainer(model, error);
    if (status == BASE_OK)
        status = follow(model, error);
    if (status != BASE_OK)
        return status;
    struct learner_status stands;
    model->source = ingest_follower_source(model->follower);
    learner_trainer_status(model->trainer, &stands);
    base_log(BASE_LOG_INFO,
             "event=shadow model=%s kind=%s position=%llu skipped=\"positions "
             "below %llu\"",
             model->config.name, learner_kind_words[model->config.model.kind],
             (unsigned long long)stands.position,
             (unsigned long long)stands.begin);
    return BASE_OK;
}

static void open_shadow(struct model *model)
{
    struct base_error error;
    if (try_shadow(model, &error) == BASE_OK)
        return;
    base_log(BASE_LOG_ERROR,
             "event=shadow_refused model=%s error=\"%s\" hint=\"the main "
             "model goes on without it; with %s removed it starts fresh\"",
             model->config.name, error.text, model->config.folder);
    set_state(model, DAEMON_MODEL_REFUSED, error.text);
    ingest_follower_free(model->follower);
    model->follower = NULL;
    learner_trainer_free(model->trainer);
    model->trainer = NULL;
}

static enum base_status add(struct daemon_models *models,
                            const struct learner_trainer_config *config,
                            struct base_error *error)
{
    struct model *model = &models->model[models->count++];
    model->models = models;
    model->config = *config;
    model->published = strcmp(config->name, models->config->publish.model) == 0;
    return learner_model_new(&config->schema, &config->model, &model->shape,
                             error);
}

enum base_status daemon_models_open(const struct daemon_config *config,
                                    struct ingest *ingest,
                                    const struct daemon_models_hooks *hooks,
                                    struct daemon_models **out,
                                    struct base_error *error)
{
    struct daemon_models *models = calloc(1, sizeof *models);
    *out = NULL;
    if (!models)
        return base_fail(error, BASE_SYSTEM, "models: no memory");
    models->ingest = ingest;
    models->hooks = *hooks;
    models->config = config;
    pthread_mutex_init(&models->mutex, NULL);
    enum base_status status = add(models, &config->learner, error);
    for (unsigned i = 0; i < config->shadow_count && status == BASE_OK; i++)
        status = add(models, &config->shadows[i], error);
    if (status == BASE_OK)
        status = open_main(&models->model[0], error);
    for (unsigned i = 1; i < models->count && status == BASE_OK; i++)
        open_shadow(&models->model[i]);
    if (status != BASE_OK) {
        daemon_models_free(models);
        return status;
    }
    *out = models;
    return BASE_OK;
}

/* ---- start, stop --------------------------------------------------------- */

static enum base_status start_model(struct model *model,
                                    struct base_error *error)
{
    enum base_status status = learner_trainer_start(model->trainer, error);
    /* Named again: a kill may have come between it and its trim. */
    if (status == BASE_OK &&
        learner_trainer_position(model->trainer) > model->config.begin)
        learner_trainer_checkpoint(model->trainer);
    return status;
}

enum base_status daemon_models_start(struct daemon_models *models,
                                     struct base_error *error)
{
    struct base_error why;
    enum base_status status = start_model(&models->model[0], error);
    if (status != BASE_OK)
        return status;
    models->started = true;
    for (unsigned i = 1; i < models->count; i++) {
        struct model *model = &models->model[i];
        if (model->trainer && start_model(model, &why) != BASE_OK)
            shadow_failed(model, &why);
    }
    return BASE_OK;
}

struct learner_trainer *daemon_models_main(const struct daemon_models *models)
{
    return models->model[0].trainer;
}

struct learner_trainer *
daemon_models_published(const struct daemon_models *models)
{
    for (unsigned i = 0; i < models->count; i++)
        if (models->model[i].published)
            return models->model[i].trainer;
    return NULL;
}

void daemon_models_pause(struct daemon_models *models, bool paused)
{
    for (unsigned i = 0; i < models->count; i++)
        if (models->model[i].trainer)
            learner_trainer_pause(models->model[i].trainer, paused);
}

void daemon_models_checkpoint(struct daemon_models *models)
{
    for (unsigned i = 0; i < models->count; i++)
        if (models->model[i].trainer)
            learner_trainer_checkpoint(models->model[i].trainer);
}

static bool trains(struct model *model)
{
    pthread_mutex_lock(&model->models->mutex);
    bool training = model->state == DAEMON_MODEL_TRAINING;
    pthread_mutex_unlock(&model->models->mutex);
    return model->trainer && training;
}

/* A shadow's last checkpoint is its own affair. */
static void stop_shadow(struct model *model, bool checkpoint)
{
    struct base_error why;
    bool sound = checkpoint && trains(model);
    if (model->trainer &&
        learner_trainer_stop(model->trainer, sound, &why) != BASE_OK && sound)
        base_log(BASE_LOG_ERROR,
                 "event=shadow_stop_failed model=%s error=\"%s\"",
                 model->config.name, why.text);
}

enum base_status daemon_models_stop(struct daemon_models *models,
                                    bool checkpoint, struct base_error *error)
{
    if (!models->started)
        return BASE_OK;
    for (unsigned i = 1; i < models->count; i++) /* leaves the disk alone */
        if (models->model[i].trainer)
            learner_trainer_pause(models->model[i].trainer, true);
    enum base_status status =
        learner_trainer_stop(models->model[0].trainer, checkpoint, error);
    for (unsigned i = 1; i < models->count; i++)
        if (models->model[i].published)
            stop_shadow(&models->model[i], checkpoint);
    return status;
}

void daemon_models_stop_rest(struct daemon_models *models, bool checkpoint)
{
    for (unsigned i = 1; models->started && i < models->count; i++)
        if (!models->model[i].published)
            stop_shadow(&models->model[i], checkpoint);
    models->started = false;
}

void daemon_models_free(struct daemon_models *models)
{
    if (!models)
        return;
    for (unsigned i = 0; i < models->count; i++) {
        struct model *model = &models->model[i];
        learner_trainer_free(model->trainer);
        ingest_follower_free(model->follower);
        learner_model_free(model->shape);
    }
    pthread_mutex_destroy(&models->mutex);
    free(models);
}

/* ---- status -------------------------------------------------------------- */

double daemon_rela_impr(double auc, double base_auc)
{
    if (!isfinite(auc) || !isfinite(base_auc) || base_auc <= 0.5)
        return (double)NAN;
    return ((auc - 0.5) / (base_auc - 0.5) - 1) * 100;
}

static unsigned windows_of(struct model *model, struct learner_window *windows)
{
    return model->trainer ? learner_trainer_windows(model->trainer, windows,
                                                    LEARNER_WINDOWS_KEPT)
                          : 0;
}

static void fill_model(struct model *model, struct daemon_model_status *status)
{
    const struct learner_trainer_config *config = &model->config;
    *status = (struct daemon_model_status){.kind = config->model.kind,
                                           .shadow = model->config.failed ==
                                                     shadow_failed,
                                           .published = model->published};
    memcpy(status->name, config->name, sizeof status->name);
    pthread_mutex_lock(&model->models->mutex);
    status->state = model->state;
    memcpy(status->reason, model->reason, sizeof status->reason);
    pthread_mutex_unlock(&model->models->mutex);
    status->table_count = learner_model_tables(model->shape);
    for (unsigned i = 0; i < status->table_count; i++)
        memcpy(status->tables[i], learner_model_table(model->shape, i)->name,
               sizeof status->tables[i]);
    if (model->trainer)
        learner_trainer_status(model->trainer, &status->learner);
    /* Its thread sees it at its next batch. */
    if (model->follower && ingest_follower_detached(model->follower) &&
        status->state == DAEMON_MODEL_TRAINING) {
        status->state = DAEMON_MODEL_DETACHED;
        snprintf(status->reason, sizeof status->reason,
                 "detached at the journal's cap");
    }
    status->rela_impr = status->rela_impr_total = (double)NAN;
}

/* The newest event-time window that both have closed; -1: none. */
static int64_t common_window(const struct learner_window *a, unsigned m,
                             const struct learner_window *b, unsigned n,
                             double *auc, double *base_auc)
{
    while (m && n) {
        if (a[m - 1].begin_ms == b[n - 1].begin_ms) {
            *auc = a[m - 1].auc;
            *base_auc = b[n - 1].auc;
            return a[m - 1].begin_ms;
        }
        if (a[m - 1].begin_ms > b[n - 1].begin_ms)
            m--;
        else
            n--;
    }
    return -1;
}

/* Whether their totals are over the same samples, but for what one of them is
 * behind: of models that began at one position, while both train. */
static bool comparable(const struct daemon_model_status *a,
                       const struct daemon_model_status *b)
{
    return a->state == DAEMON_MODEL_TRAINING &&
           b->state == DAEMON_MODEL_TRAINING &&
           a->learner.begin == b->learner.begin;
}

/* Against the first model of kind base. */
static void compare(struct daemon_models *models, struct daemon_status *status)
{
    struct learner_window *windows =
        calloc(2 * LEARNER_WINDOWS_KEPT, sizeof *windows);
    unsigned base = 0;
    while (base < models->count && (status->models[base].kind != LEARNER_BASE ||
                                    !models->model[base].trainer))
        base++;
    if (base == models->count || !windows) {
        free(windows);
        return;
    }
    struct learner_window *other = windows + LEARNER_WINDOWS_KEPT;
    unsigned n = windows_of(&models->model[base], other);
    const struct learner_status *reference = &status->models[base].learner;
    for (unsigned i = 0; i < models->count; i++) {
        struct daemon_model_status *model = &status->models[i];
        double auc = (double)NAN, base_auc = (double)NAN;
        unsigned m = windows_of(&models->model[i], windows);
        memcpy(model->base, status->models[base].name, sizeof model->base);
        model->rela_impr_window_ms =
            common_window(windows, m, other, n, &auc, &base_auc);
        model->rela_impr = daemon_rela_impr(auc, base_auc);
        if (comparable(model, &status->models[base]))
            model->rela_impr_total = daemon_rela_impr(model->learner.total.auc,
                                                      reference->total.auc);
    }
    free(windows);
}

void daemon_models_status(struct daemon_models *models,
                          struct daemon_status *status)
{
    status->model_count = models->count;
    for (unsigned i = 0; i < models->count; i++)
        fill_model(&models->model[i], &status->models[i]);
    status->learner = status->models[0].learner;
    status->window_count = windows_of(&models->model[0], status->windows);
    compare(models, status);
}
