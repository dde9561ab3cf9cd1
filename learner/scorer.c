/* SPDX-License-Identifier: Apache-2.0 */
/* Scoring: one user, N candidates; one group of N samples for the network, so
 * the user's part and the behaviors' part are made once and the bits are those
 * of learner_step_predict(). Every id of the request is looked up once into
 * packed rows, as a batch has them. Scratch is made for the largest request up
 * front. One thread per scorer. */
#include <stdlib.h>
#include <string.h>

#include "learner/net.h"

struct learner_scorer {
    struct learner_net net;
    uint32_t history_max, candidates_max;
    float *slab;       /* of rows; OWNS */
    uint32_t *indices; /* OWNS */
    uint32_t *index, *history_index, *cross_index; /* (N,F) (T,f) (N,T) */
    float *rows[LEARNER_TABLES_MAX];
    uint32_t row_count[LEARNER_TABLES_MAX];
    uint32_t group_begin[2], history_begin[2];
    struct learner_batch batch;
    struct learner_step_input input;
};

/* Cells of the largest request that look into each table. */
static void count_rows(const struct learner_model *model, size_t candidates,
                       size_t behaviors, size_t count[LEARNER_TABLES_MAX])
{
    const struct learner_schema *schema = &model->schema;
    memset(count, 0, LEARNER_TABLES_MAX * sizeof *count);
    for (unsigned f = 0; f < schema->field_count; f++)
        count[schema->fields[f].table] +=
            schema->fields[f].group == LEARNER_ITEM ? candidates + behaviors
                                                    : 1;
    if (model->has_crosses)
        count[schema->table_count] = candidates * behaviors;
}

static enum base_status make_scratch(struct learner_scorer *scorer,
                                     struct base_error *error)
{
    const struct learner_model *model = scorer->net.model;
    const struct learner_schema *schema = &model->schema;
    size_t N = scorer->candidates_max, T = scorer->history_max;
    size_t count[LEARNER_TABLES_MAX];
    struct learner_slot slots[LEARNER_TABLES_MAX];
    count_rows(model, N, T, count);
    for (unsigned t = 0; t < model->table_count; t++)
        slots[t] = (struct learner_slot){
            &scorer->rows[t], count[t] * model->tables[t].dimension};
    size_t samples = N * schema->field_count;
    size_t behaviors = T * schema->item_count;
    size_t crosses = model->has_crosses ? N * T : 0;
    scorer->indices = malloc((samples + behaviors + crosses + 1) *
                             sizeof *scorer->indices);
    if (!scorer->indices)
        return base_fail(error, BASE_SYSTEM, "no memory for indices");
    scorer->index = scorer->indices;
    scorer->history_index = scorer->index + samples;
    scorer->cross_index = scorer->history_index + behaviors;
    return learner_slab_cut(&scorer->slab, slots, model->table_count, error);
}

static enum base_status begin(struct learner_scorer *scorer,
                              uint32_t candidates, uint32_t behaviors,
                              struct base_error *error)
{
    scorer->group_begin[1] = candidates;
    scorer->history_begin[1] = behaviors;
    scorer->batch = (struct learner_batch){
        .samples = candidates, .groups = 1,
        .group_begin = scorer->group_begin,
        .history_begin = scorer->history_begin};
    scorer->input = (struct learner_step_input){
        .batch = &scorer->batch, .index = scorer->index,
        .history_index = scorer->history_index,
        .cross_index = scorer->cross_index,
        .rows = (const float *const *)scorer->rows,
        .row_count = scorer->row_count};
    return learner_net_begin(&scorer->net, &scorer->input, error);
}

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
    enum base_status status =
        learner_net_init(&made->net, model, 1, false, error);
    if (!status)
        status = make_scratch(made, error);
    if (!status)
        status = begin(made, candidates_max, history_max, error);
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
    learner_net_fini(&scorer->net);
    free(scorer->slab);
    free(scorer->indices);
    free(scorer);
}

/* ---- look-ups ------------------------------------------------------------ */

static uint32_t look_up(struct learner_scorer *scorer,
                        const struct learner_parameters *parameters,
                        unsigned table, uint64_t key)
{
    size_t W = scorer->net.model->tables[table].dimension;
    uint32_t place = scorer->row_count[table]++;
    parameters->row(parameters->tables, table, key,
                    scorer->rows[table] + place * W);
    return place;
}

/* index (fields) of one run of fields from `first` on; a multi-hot field
 * without any id is unknown, id 0. */
static void look_up_fields(struct learner_scorer *scorer,
                           const struct learner_parameters *parameters,
                           unsigned first, unsigned fields,
                           const uint64_t *ids, uint32_t *index)
{
    const struct learner_field *field = scorer->net.model->schema.fields;
    for (unsigned f = 0; f < fields; f++) {
        const struct learner_field *own = &field[first + f];
        bool any = own->continues;
        for (unsigned i = 0; !own->continues && i <= own->more; i++)
            any |= ids[f + i] != LEARNER_ABSENT;
        uint64_t id = any ? ids[f] : 0;
        index[f] = id == LEARNER_ABSENT
                       ? LEARNER_NO_ROW
                       : look_up(scorer, parameters, own->table, id);
    }
}

/* Profile and context are looked up for the first candidate; the others point
 * at the same rows. */
static void look_up_samples(struct learner_scorer *scorer,
                            const struct learner_parameters *parameters,
                            const struct learner_request *request)
{
    const struct learner_schema *schema = &scorer->net.model->schema;
    unsigned P = schema->profile_count, f = schema->item_count;
    unsigned C = schema->context_count, F = schema->field_count;
    uint32_t *first = scorer->index;
    look_up_fields(scorer, parameters, 0, P, request->profile, first);
    look_up_fields(scorer, parameters, P + f, C, request->context,
                   first + P + f);
    for (size_t i = 0; i < request->candidates; i++) {
        uint32_t *index = scorer->index + i * F;
        if (i > 0) {
            memcpy(index, first, P * sizeof *index);
            memcpy(index + P + f, first + P + f, C * sizeof *index);
        }
        look_up_fields(scorer, parameters, P, f, request->items + i * f,
                       index + P);
    }
}

static void look_up_history(struct learner_scorer *scorer,
                            const struct learner_parameters *parameters,
                            const uint64_t *history, uint32_t behaviors)
{
    const struct learner_schema *schema = &scorer->net.model->schema;
    size_t f = schema->item_count;
    for (size_t t = 0; t < behaviors; t++)
        look_up_fields(scorer, parameters, schema->profile_count,
                       (unsigned)f, history + t * f,
                       scorer->history_index + t * f);
}

static void look_up_crosses(struct learner_scorer *scorer,
                            const struct learner_parameters *parameters,
                            const struct learner_request *request,
                            const uint64_t *history, uint32_t behaviors)
{
    const struct learner_schema *schema = &scorer->net.model->schema;
    size_t f = schema->item_count;
    uint32_t *index = scorer->cross_index;
    for (size_t i = 0; i < request->candidates; i++)
        for (size_t t = 0; t < behaviors; t++)
            *index++ = look_up(scorer, parameters, schema->table_count,
                               learner_cross_id(history[t * f],
                                                request->items[i * f]));
}

static void forward(struct learner_net *net)
{
    learner_net_forward_rows(net, 0);
    if (!learner_net_batch_statistics(net)) {
        learner_net_predict_rows(net, 0);
        return;
    }
    for (unsigned layer = 0; layer < 2; layer++)
        for (unsigned i = 0; i < learner_net_blocks(net, layer); i++)
            learner_net_forward_block(net, layer, i);
    learner_net_logits(net);
}

enum base_status learner_score(struct learner_scorer *scorer,
                               const struct learner_parameters *parameters,
                               const struct learner_request *request,
                               float *probability, float *attention,
                               struct base_error *error)
{
    struct learner_net *net = &scorer->net;
    const struct learner_model *model = net->model;
    if (request->candidates > scorer->candidates_max)
        return base_fail(error, BASE_LIMIT,
                         "score: %u candidates; at most %u are allowed",
                         request->candidates, scorer->candidates_max);
    if (request->candidates == 0)
        return BASE_OK;
    uint32_t behaviors = request->history_size;
    const uint64_t *history = request->history;
    if (behaviors > scorer->history_max) {
        history += (size_t)(behaviors - scorer->history_max) *
                   model->schema.item_count;
        behaviors = scorer->history_max;
    }
    memset(scorer->row_count, 0, sizeof scorer->row_count);
    enum base_status status =
        begin(scorer, request->candidates, behaviors, error);
    if (status)
        return status;
    learner_net_load(net, parameters->dense, false);
    look_up_samples(scorer, parameters, request);
    look_up_history(scorer, parameters, history, behaviors);
    if (model->has_crosses)
        look_up_crosses(scorer, parameters, request, history, behaviors);
    forward(net);
    learner_net_probability(net, probability);
    size_t pairs = (size_t)request->candidates * behaviors;
    if (attention && model->has_attention)
        memcpy(attention, net->a, pairs * sizeof *attention);
    else if (attention)
        memset(attention, 0, pairs * sizeof *attention);
    return BASE_OK;
}
