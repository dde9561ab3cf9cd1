/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring: one user, N candidates; one group of N samples for din.c, so the
 * user's part and the behaviors' part are made once and the bits are those of
 * learner_step_predict(). Scratch is made for the largest request up front.
 * One thread per scorer. */
#include <stdlib.h>
#include <string.h>

#include "learner/din.h"

struct learner_scorer {
    struct learner_din din;
    uint32_t history_max, candidates_max;
};

enum base_status learner_scorer_new(const struct learner_model *model,
                                    uint32_t history_max,
                                    uint32_t candidates_max,
                                    struct learner_scorer **scorer,
                                    struct base_error *error)
{
    *scorer = NULL;
    struct learner_scorer *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "scorer: no memory");
    made->history_max = history_max;
    made->candidates_max = candidates_max;
    const uint32_t group_begin[2] = {0, candidates_max};
    const uint32_t history_begin[2] = {0, history_max};
    enum base_status status =
        learner_din_init(&made->din, model, 1, false, error);
    if (!status)
        status = learner_din_begin(&made->din, 1, group_begin, history_begin,
                                   error);
    if (status) {
        learner_scorer_free(made);
        return base_wrap(error, "scorer for %u candidates, %u behaviors",
                         candidates_max, history_max);
    }
    *scorer = made;
    return BASE_OK;
}

void learner_scorer_free(struct learner_scorer *scorer)
{
    if (!scorer)
        return;
    learner_din_fini(&scorer->din);
    free(scorer);
}

static void put_row(const struct learner_model *model,
                    const struct learner_parameters *parameters,
                    unsigned field, uint64_t key, float *to)
{
    unsigned table = model->schema.fields[field].table;
    const float *row = parameters->row(parameters->tables, table, key);
    memcpy(to, row, model->schema.tables[table].dimension * sizeof *to);
}

/* Profile and context are looked up for the first candidate and copied. */
static void gather_shared(struct learner_din *din,
                          const struct learner_parameters *parameters,
                          const struct learner_request *request)
{
    const struct learner_schema *schema = &din->model->schema;
    unsigned context = schema->profile_count + schema->item_count;
    for (unsigned f = 0; f < schema->field_count; f++) {
        uint64_t key;
        if (f < schema->profile_count)
            key = request->profile[f];
        else if (f >= context)
            key = request->context[f - context];
        else
            continue;
        const float *first = learner_din_place(din, f, 0);
        put_row(din->model, parameters, f, key, learner_din_place(din, f, 0));
        size_t E = schema->tables[schema->fields[f].table].dimension;
        for (uint32_t i = 1; i < request->candidates; i++)
            memcpy(learner_din_place(din, f, i), first, E * sizeof *first);
    }
}

static void gather_items(struct learner_din *din,
                         const struct learner_parameters *parameters,
                         const struct learner_request *request,
                         const uint64_t *history, uint32_t behaviors)
{
    const struct learner_model *model = din->model;
    unsigned items = model->schema.item_count;
    for (unsigned f = 0; f < items; f++) {
        unsigned field = model->schema.profile_count + f;
        size_t offset = model->field_offset[field];
        for (size_t i = 0; i < request->candidates; i++)
            put_row(model, parameters, field, request->items[i * items + f],
                    din->q + i * model->ldD + offset);
        for (size_t t = 0; t < behaviors; t++)
            put_row(model, parameters, field, history[t * items + f],
                    din->k + t * model->ldD + offset);
    }
}

enum base_status learner_score(struct learner_scorer *scorer,
                               const struct learner_parameters *parameters,
                               const struct learner_request *request,
                               float *probability, float *attention,
                               struct base_error *error)
{
    struct learner_din *din = &scorer->din;
    if (request->candidates > scorer->candidates_max)
        return base_fail(error, BASE_LIMIT,
                         "score: %u candidates; at most %u are allowed",
                         request->candidates, scorer->candidates_max);
    if (request->candidates == 0)
        return BASE_OK;
    uint32_t behaviors = request->history_size, skipped = 0;
    if (behaviors > scorer->history_max) {
        skipped = behaviors - scorer->history_max;
        behaviors = scorer->history_max;
    }
    const uint32_t group_begin[2] = {0, request->candidates};
    const uint32_t history_begin[2] = {0, behaviors};
    enum base_status status =
        learner_din_begin(din, 1, group_begin, history_begin, error);
    if (status)
        return status;
    learner_pack_load(&din->pack, din->model, parameters->dense, false);
    gather_shared(din, parameters, request);
    gather_items(din, parameters, request,
                 request->history +
                     (size_t)skipped * din->model->schema.item_count,
                 behaviors);
    learner_din_forward_rows(din, 0);
    learner_din_predict_rows(din, 0);
    learner_din_probability(din, probability);
    if (attention)
        memcpy(attention, din->a,
               (size_t)request->candidates * behaviors * sizeof *attention);
    return BASE_OK;
}
