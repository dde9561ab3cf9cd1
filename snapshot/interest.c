/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: opening a model folder, looking for a newer version, swapping
 * it in, freeing the old ones; see serving.h for the rules. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/clock.h"
#include "snapshot/serving.h"

/* An announced version that does not appear is forgotten after so long. */
enum { ANNOUNCED_MS = 60000 };

/* ---- errors -------------------------------------------------------------- */

int interest_fail(struct interest_error *error, enum interest_status status,
                  const char *text)
{
    if (error) {
        error->status = status;
        snprintf(error->text, sizeof error->text, "%s", text);
    }
    return (int)status;
}

static enum interest_status status_of(enum base_status status)
{
    switch (status) {
    case BASE_OK: return INTEREST_OK;
    case BASE_CONFIG: return INTEREST_FORMAT;
    case BASE_LIMIT: return INTEREST_LIMIT;
    case BASE_CORRUPT:
    case BASE_NO_INPUT: /* a file that the manifest names */
    case BASE_DATA: return INTEREST_CORRUPT;
    default: return INTEREST_SYSTEM;
    }
}

int interest_pass(struct interest_error *error, const struct base_error *from)
{
    return interest_fail(error, status_of(from->status), from->text);
}

/* ---- swapping ------------------------------------------------------------ */

/* Frees old versions, oldest first, up to one that a scoring call is in. */
static void reclaim(struct interest_model *model)
{
    while (model->oldest != atomic_load(&model->current)) {
        struct interest_served *served = model->oldest;
        pthread_mutex_lock(&model->lock);
        bool pinned = interest_is_pinned(model, served);
        model->state.waiting -= !pinned;
        pthread_mutex_unlock(&model->lock);
        if (pinned)
            return;
        model->oldest = served->next;
        interest_served_free(served, served->next);
    }
}

static void swap(struct interest_model *model, struct interest_served *served)
{
    struct interest_served *old = atomic_load(&model->current);
    if (old)
        old->next = served;
    else
        model->oldest = served;
    pthread_mutex_lock(&model->lock);
    model->state.version = served->info;
    model->state.bytes = snapshot_generation_bytes(&served->generation);
    model->state.waiting += old != NULL;
    memcpy(model->model_name, served->model_name, sizeof model->model_name);
    pthread_mutex_unlock(&model->lock);
    atomic_store(&model->shape, served->shape);
    atomic_store(&model->current, served);
}

static void drain(int descriptor)
{
    char events[4096];
    while (descriptor >= 0 && read(descriptor, events, sizeof events) > 0)
        continue;
}

/* ---- looking for a version ----------------------------------------------- */

/* Whether `named` is to be loaded; an error where it is older, or the same
 * version with another hash. */
static enum base_status judge(const struct interest_served *served,
                              const struct snapshot_current *named,
                              bool *newer, struct base_error *error)
{
    int order =
        served ? snapshot_current_compare(named, &served->current) : 1;
    *newer = order > 0;
    if (order < 0)
        return base_fail(error, BASE_CORRUPT,
                         "CURRENT names %s, older than the served %s; ignored",
                         named->name, served->current.name);
    if (order == 0 && !snapshot_current_equal(named, &served->current))
        return base_fail(error, BASE_CORRUPT,
                         "CURRENT names %s with another manifest hash than "
                         "the served one; ignored",
                         named->name);
    return BASE_OK;
}

/* The announced version, where it is newer than both others. On a shared file
 * system it may be there before CURRENT is seen to move. */
static bool take_announced(struct interest_model *model,
                           const struct snapshot_current *named,
                           struct snapshot_current *announced)
{
    const struct interest_served *served = atomic_load(&model->current);
    pthread_mutex_lock(&model->lock);
    struct snapshot_current *known = &model->announced;
    bool newer = snapshot_current_compare(known, named) > 0 &&
                 (!served ||
                  snapshot_current_compare(known, &served->current) > 0);
    if (newer && base_wall_ms() - model->state.announced_ms > ANNOUNCED_MS) {
        newer = false;
        model->state.lost_announcements++;
    }
    if (!newer)
        *known = (struct snapshot_current){0};
    *announced = *known;
    pthread_mutex_unlock(&model->lock);
    return newer;
}

static enum base_status load(struct interest_model *model,
                             const struct snapshot_current *target,
                             bool *changed, struct base_error *error)
{
    struct interest_served *served;
    enum base_status status =
        interest_served_load(model, target, &served, error);
    if (status)
        return status;
    swap(model, served);
    *changed = true;
    return BASE_OK;
}

static enum base_status look(struct interest_model *model, bool *changed,
                             struct base_error *error)
{
    struct snapshot_current named, announced;
    struct base_error why;
    bool newer = false;
    enum base_status status =
        snapshot_current_read(model->folder, &named, error);
    if (status)
        named = (struct snapshot_current){0};
    bool tried = take_announced(model, &named, &announced);
    if (tried && load(model, &announced, changed, &why) == BASE_OK)
        return BASE_OK;
    if (!status)
        status = judge(atomic_load(&model->current), &named, &newer, error);
    if (!status && newer)
        status = load(model, &named, changed, error);
    if (status || newer || !tried)
        return status;
    if (why.status == BASE_NO_INPUT)
        return base_fail(error, BASE_AGAIN, "%s is announced, but not there "
                         "yet", announced.name);
    *error = why;
    return why.status;
}

static void note(struct interest_model *model, int status, const char *text)
{
    struct interest_state *state = &model->state;
    pthread_mutex_lock(&model->lock);
    state->errors += status != INTEREST_OK;
    state->errors_in_row = status ? state->errors_in_row + 1 : 0;
    if (status) {
        state->error.status = (enum interest_status)status;
        snprintf(state->error.text, sizeof state->error.text, "%s", text);
        state->error_ms = base_wall_ms();
    }
    pthread_mutex_unlock(&model->lock);
}

int interest_refresh(struct interest_model *model, int *changed,
                     struct interest_error *error)
{
    struct base_error why = {0};
    bool moved = false;
    if (changed)
        *changed = 0;
    if (!model)
        return interest_fail(error, INTEREST_ARGUMENT, "model is NULL");
    pthread_mutex_lock(&model->refreshing);
    drain(model->descriptor);
    reclaim(model);
    bool first = !atomic_load(&model->current);
    enum base_status status = look(model, &moved, &why);
    reclaim(model);
    pthread_mutex_unlock(&model->refreshing);
    if (changed)
        *changed = moved;
    int result = INTEREST_OK;
    if (status == BASE_AGAIN || (status == BASE_NO_INPUT && first))
        result = interest_fail(error, INTEREST_NO_MODEL, why.text);
    else if (status)
        result = interest_pass(error, &why);
    if (status != BASE_AGAIN)
        note(model, result, why.text);
    return result;
}

/* ---- announcements ------------------------------------------------------- */

int interest_announce(struct interest_model *model, const void *bytes,
                      size_t size, struct interest_error *error)
{
    struct snapshot_current named;
    struct base_error why;
    char name[SNAPSHOT_MODEL_NAME];
    bool newer = false;
    if (!model || (size && !bytes))
        return interest_fail(error, INTEREST_ARGUMENT,
                             "model or bytes is NULL");
    if (interest_announcement_read(bytes, size, name, &named, &why))
        return interest_fail(error, INTEREST_ARGUMENT, why.text);
    pthread_mutex_lock(&model->lock);
    bool ours = strcmp(name, model->model_name) == 0;
    if (ours) {
        newer = snapshot_current_compare(&named, &model->announced) > 0 &&
                (named.epoch > model->state.version.epoch ||
                 (named.epoch == model->state.version.epoch &&
                  named.version > model->state.version.version));
        if (newer)
            model->announced = named;
        model->state.announcements++;
        model->state.announced_ms = base_wall_ms();
    }
    pthread_mutex_unlock(&model->lock);
    if (newer)
        interest_thread_wake(model);
    return INTEREST_OK;
}

/* ---- open and close ------------------------------------------------------ */

static int watch(const char *folder)
{
    int descriptor = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (descriptor < 0)
        return -1;
    if (inotify_add_watch(descriptor, folder, IN_MOVED_TO | IN_ONLYDIR) < 0) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

int interest_open(const char *folder, struct interest_model **model,
                  struct interest_error *error)
{
    if (!folder || !model || strlen(folder) >= PATH_MAX)
        return interest_fail(error, INTEREST_ARGUMENT,
                             "folder or model is NULL, or the name is too "
                             "long");
    *model = NULL;
    struct interest_model *made = calloc(1, sizeof *made);
    if (!made)
        return interest_fail(error, INTEREST_SYSTEM, "no memory");
    strcpy(made->folder, folder);
    pthread_mutex_init(&made->refreshing, NULL);
    pthread_mutex_init(&made->lock, NULL);
    /* Before the first look, so that no move of CURRENT goes unseen. */
    made->descriptor = watch(folder);
    int status = interest_refresh(made, NULL, error);
    if (status) {
        interest_close(made);
        return status;
    }
    *model = made;
    return INTEREST_OK;
}

void interest_close(struct interest_model *model)
{
    if (!model)
        return;
    interest_thread_stop(model);
    while (model->oldest) {
        struct interest_served *served = model->oldest;
        model->oldest = served->next;
        interest_served_free(served, served->next);
    }
    interest_shapes_free(model->shapes);
    if (model->descriptor >= 0)
        close(model->descriptor);
    pthread_mutex_destroy(&model->refreshing);
    pthread_mutex_destroy(&model->lock);
    free(model);
}

int interest_descriptor(const struct interest_model *model)
{
    return model->descriptor;
}

/* ---- what is served ------------------------------------------------------ */

void interest_get_state(const struct interest_model *model,
                        struct interest_state *state)
{
    struct interest_model *locked = (struct interest_model *)model;
    pthread_mutex_lock(&locked->lock);
    *state = locked->state;
    pthread_mutex_unlock(&locked->lock);
}

void interest_get_version(const struct interest_model *model,
                          struct interest_version *version)
{
    struct interest_model *locked = (struct interest_model *)model;
    pthread_mutex_lock(&locked->lock);
    *version = locked->state.version;
    pthread_mutex_unlock(&locked->lock);
}
