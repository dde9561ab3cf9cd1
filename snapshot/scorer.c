/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: scoring and explaining. A call pins one version (serving.h),
 * fits its scratch to it and lets the learner score. One thread a scorer; calls
 * take no lock and, after warm-up, allocate nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/serving.h"

struct interest_scorer {
    struct interest_scorer *next; /* under the model's lock */
    struct interest_model *model;
    _Atomic(struct interest_served *) pinned;
    const struct interest_shape *shape; /* that scratch was made for */
    struct learner_scorer *scratch;
    uint64_t *history; /* OWNS (history_max, item fields), less one behavior */
    float *left;       /* OWNS (candidates_max), its scores */
    uint32_t history_max, candidates_max;
};

/* Scratch for the shape of the version that is about to score. */
static int fit_scratch(struct interest_scorer *scorer,
                       const struct interest_shape *shape,
                       struct interest_error *error)
{
    struct base_error why;
    struct learner_scorer *scratch;
    if (scorer->shape == shape)
        return INTEREST_OK;
    if (learner_scorer_new(shape->model, scorer->history_max,
                           scorer->candidates_max, &scratch, &why))
        return interest_pass(error, &why);
    learner_scorer_free(scorer->scratch);
    scorer->scratch = scratch;
    scorer->shape = shape;
    return INTEREST_OK;
}

static void free_scorer(struct interest_scorer *scorer)
{
    learner_scorer_free(scorer->scratch);
    free(scorer->history);
    free(scorer->left);
    free(scorer);
}

int interest_scorer_open(const struct interest_model *model,
                         size_t history_max, size_t candidates_max,
                         struct interest_scorer **scorer,
                         struct interest_error *error)
{
    if (!model || !scorer)
        return interest_fail(error, INTEREST_ARGUMENT,
                             "model or scorer is NULL");
    *scorer = NULL;
    if (history_max > LEARNER_HISTORY_MAX || candidates_max == 0 ||
        candidates_max > 1 << 20)
        return interest_fail(error, INTEREST_LIMIT,
                             "history_max may be up to 1024, candidates_max "
                             "from 1 to 1048576");
    struct interest_scorer *made = calloc(1, sizeof *made);
    if (!made)
        return interest_fail(error, INTEREST_SYSTEM, "no memory");
    made->model = (struct interest_model *)model;
    made->history_max = history_max ? (uint32_t)history_max : 1;
    made->candidates_max = (uint32_t)candidates_max;
    made->history = calloc((size_t)made->history_max *
                               interest_field_count(model, 1),
                           sizeof *made->history);
    made->left = calloc(candidates_max, sizeof *made->left);
    int status = made->history && made->left
                     ? fit_scratch(made, atomic_load(&model->shape), error)
                     : interest_fail(error, INTEREST_SYSTEM, "no memory");
    if (status) {
        free_scorer(made);
        return status;
    }
    pthread_mutex_lock(&made->model->lock);
    made->next = made->model->scorers;
    made->model->scorers = made;
    pthread_mutex_unlock(&made->model->lock);
    *scorer = made;
    return INTEREST_OK;
}

void interest_scorer_close(struct interest_scorer *scorer)
{
    if (!scorer)
        return;
    pthread_mutex_lock(&scorer->model->lock);
    struct interest_scorer **at = &scorer->model->scorers;
    while (*at != scorer)
        at = &(*at)->next;
    *at = scorer->next;
    pthread_mutex_unlock(&scorer->model->lock);
    free_scorer(scorer);
}

/* ---- one version a call -------------------------------------------------- */

bool interest_is_pinned(const struct interest_model *model,
                        const struct interest_served *served)
{
    for (struct interest_scorer *at = model->scorers; at; at = at->next)
        if (atomic_load(&at->pinned) == served)
            return true;
    return false;
}

static struct interest_served *pin(struct interest_scorer *scorer)
{
    struct interest_served *served = atomic_load(&scorer->model->current);
    for (;;) {
        atomic_store(&scorer->pinned, served);
        struct interest_served *again = atomic_load(&scorer->model->current);
        if (again == served)
            return served;
        served = again;
    }
}

static void unpin(struct interest_scorer *scorer)
{
    atomic_store(&scorer->pinned, NULL);
}

/* ---- requests ------------------------------------------------------------ */

static int check(const struct interest_scorer *scorer,
                 const struct learner_schema *schema,
                 const struct interest_request *request,
                 struct interest_error *error)
{
    if (request->candidates > scorer->candidates_max ||
        request->history_size > scorer->history_max) {
        char text[160];
        snprintf(text, sizeof text,
                 "%zu candidates and %zu behaviors; the scorer was opened "
                 "for %u and %u",
                 request->candidates, request->history_size,
                 scorer->candidates_max, scorer->history_max);
        return interest_fail(error, INTEREST_LIMIT, text);
    }
    if ((schema->profile_count && !request->profile) ||
        (schema->context_count && !request->context) ||
        (request->history_size && !request->history) ||
        (request->candidates && !request->items))
        return interest_fail(error, INTEREST_ARGUMENT,
                             "profile, history, items or context is NULL, but "
                             "its count is not 0");
    return INTEREST_OK;
}

/* attention (n,size) from (n,used), in place: what was not used gets 0. */
static void spread(float *attention, size_t n, size_t used, size_t size)
{
    size_t skipped = size - used;
    for (size_t i = n; skipped && i-- > 0;) {
        memmove(attention + i * size + skipped, attention + i * used,
                used * sizeof *attention);
        memset(attention + i * size, 0, skipped * sizeof *attention);
    }
}

/* Only `keep` of the negatives was trained: the logit is ln keep too high
 * (He et al. 2014). */
static void calibrate(float *probability, size_t n, float keep)
{
    for (size_t i = 0; keep < 1 && i < n; i++) {
        float odds = probability[i] * keep;
        probability[i] = odds / (odds + (1 - probability[i]));
    }
}

/* Behaviors that count: the newest. */
static size_t used_of(size_t history_size, uint32_t history_max)
{
    return history_max && history_size > history_max ? history_max
                                                     : history_size;
}

/* ---- scoring ------------------------------------------------------------- */

static int score(struct interest_scorer *scorer,
                 const struct interest_served *served,
                 const struct interest_request *request, float *probability,
                 float *attention, struct interest_error *error)
{
    const struct learner_schema *schema =
        learner_model_schema(served->shape->model);
    int status = check(scorer, schema, request, error);
    if (!status)
        status = fit_scratch(scorer, served->shape, error);
    if (status || request->candidates == 0)
        return status;
    struct base_error why;
    struct learner_parameters parameters =
        snapshot_generation_parameters(&served->generation);
    size_t size = request->history_size;
    size_t used = used_of(size, served->info.history_max);
    struct learner_request inner = {
        .profile = request->profile,
        .history = used < size ? request->history +
                                     (size - used) * schema->item_count
                               : request->history,
        .history_size = (uint32_t)used,
        .candidates = (uint32_t)request->candidates,
        .items = request->items,
        .context = request->context,
    };
    if (attention) /* kinds without attention leave it alone */
        memset(attention, 0, request->candidates * used * sizeof *attention);
    if (learner_score(scorer->scratch, &parameters, &inner, probability,
                      attention, &why))
        return interest_pass(error, &why);
    calibrate(probability, request->candidates, served->negative_keep);
    if (attention)
        spread(attention, request->candidates, used, size);
    return INTEREST_OK;
}

int interest_score(struct interest_scorer *scorer,
                   const struct interest_request *request, float *probability,
                   float *attention, struct interest_version *version,
                   struct interest_error *error)
{
    if (!scorer || !request || (request->candidates && !probability))
        return interest_fail(error, INTEREST_ARGUMENT,
                             "scorer, request or probability is NULL");
    struct interest_served *served = pin(scorer);
    int status =
        score(scorer, served, request, probability, attention, error);
    if (version && !status)
        *version = served->info;
    unpin(scorer);
    return status;
}

/* ---- several users ------------------------------------------------------- */

static int blame(struct interest_error *error, size_t number, int status)
{
    char text[sizeof error->text];
    if (!error)
        return status;
    snprintf(text, sizeof text, "request %zu: %.900s", number, error->text);
    return interest_fail(error, (enum interest_status)status, text);
}

int interest_score_users(struct interest_scorer *scorer,
                         const struct interest_request *requests, size_t count,
                         float *probability, struct interest_version *version,
                         struct interest_error *error)
{
    int status = INTEREST_OK;
    if (!scorer || (count && (!requests || !probability)))
        return interest_fail(error, INTEREST_ARGUMENT,
                             "scorer, requests or probability is NULL");
    struct interest_served *served = pin(scorer);
    for (size_t i = 0; !status && i < count; i++) {
        status =
            score(scorer, served, &requests[i], probability, NULL, error);
        probability += requests[i].candidates;
        if (status)
            blame(error, i, status);
    }
    if (version && !status)
        *version = served->info;
    unpin(scorer);
    return status;
}

/* ---- explaining ---------------------------------------------------------- */

/* without (candidates, history_size), column `behavior`: the request that
 * never had that behavior. */
static int leave_out(struct interest_scorer *scorer,
                     const struct interest_served *served,
                     const struct interest_request *request, size_t behavior,
                     float *without, struct interest_error *error)
{
    size_t size = request->history_size;
    size_t fields =
        learner_model_schema(served->shape->model)->item_count;
    struct interest_request less = *request;
    memcpy(scorer->history, request->history,
           behavior * fields * sizeof *scorer->history);
    memcpy(scorer->history + behavior * fields,
           request->history + (behavior + 1) * fields,
           (size - behavior - 1) * fields * sizeof *scorer->history);
    less.history = scorer->history;
    less.history_size = size - 1;
    int status = score(scorer, served, &less, scorer->left, NULL, error);
    for (size_t i = 0; !status && i < request->candidates; i++)
        without[i * size + behavior] = scorer->left[i];
    return status;
}

int interest_explain(struct interest_scorer *scorer,
                     const struct interest_request *request,
                     float *probability, float *attention, float *without,
                     struct interest_version *version,
                     struct interest_error *error)
{
    if (!scorer || !request || (request->candidates && !probability) ||
        (request->candidates && request->history_size && !without))
        return interest_fail(error, INTEREST_ARGUMENT,
                             "scorer, request, probability or without is "
                             "NULL");
    struct interest_served *served = pin(scorer);
    int status =
        score(scorer, served, request, probability, attention, error);
    for (size_t t = 0;
         !status && request->candidates && t < request->history_size; t++)
        status = leave_out(scorer, served, request, t, without, error);
    if (version && !status)
        *version = served->info;
    unpin(scorer);
    return status;
}

uint64_t interest_history_hash(const struct interest_model *model,
                               const struct interest_request *request,
                               const struct interest_version *version,
                               size_t *length)
{
    size_t fields = interest_field_count(model, 1);
    size_t used = used_of(request->history_size, version->history_max);
    if (length)
        *length = used;
    return learner_history_hash(
        used ? request->history + (request->history_size - used) * fields
             : NULL,
        used, fields);
}
