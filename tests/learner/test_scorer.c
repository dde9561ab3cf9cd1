/* SPDX-License-Identifier: Apache-2.0 */
/* The scorer: the bits of learner_step_predict() whatever the number of
 * candidates, the newest behaviors of a long history, attention, limits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/learner/din_reference.h"

/* Key n of a table is row n of the case; unknown keys get row 0. */
static void row_of(const void *tables, unsigned table, uint64_t key,
                   float *row)
{
    const struct din_case *c = tables;
    size_t E = learner_model_schema(c->model)->tables[table].dimension;
    memcpy(row, c->rows[table] + (key < c->row_count[table] ? key * E : 0),
           E * sizeof *row);
}

struct question {
    uint64_t profile[8], context[8], *history, *items;
    struct learner_request request;
    struct learner_parameters parameters;
};

/* Group g of the case as one request: its first sample's profile and context
 * become every sample's. */
static void ask(struct question *q, struct din_case *c, uint32_t g)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    size_t F = schema->field_count, f = schema->item_count;
    uint32_t begin = c->group_begin[g], end = c->group_begin[g + 1];
    uint32_t old = c->history_begin[g], new = c->history_begin[g + 1];
    uint32_t *first = c->index + begin * F;
    memset(q, 0, sizeof *q);
    q->items = calloc((end - begin) * f + 1, sizeof *q->items);
    q->history = calloc((new - old) * f + 1, sizeof *q->history);
    for (size_t j = 0; j < schema->profile_count; j++)
        q->profile[j] = first[j];
    for (size_t j = 0; j < schema->context_count; j++)
        q->context[j] = first[schema->profile_count + f + j];
    for (size_t i = 0; i < end - begin; i++)
        for (size_t j = 0; j < F; j++) {
            size_t item = j - schema->profile_count;
            if (j >= schema->profile_count && item < f)
                q->items[i * f + item] = first[i * F + j];
            else
                first[i * F + j] = first[j];
        }
    for (size_t i = 0; i < (new - old) * f; i++)
        q->history[i] = c->history_index[old * f + i];
    q->request = (struct learner_request){
        .profile = q->profile, .history = q->history,
        .history_size = new - old, .candidates = end - begin,
        .items = q->items, .context = q->context};
    q->parameters = (struct learner_parameters){
        .dense = c->dense, .tables = c, .row = row_of};
}

static void question_free(struct question *q)
{
    free(q->items);
    free(q->history);
}

static struct learner_scorer *scorer_new(const struct din_case *c,
                                         uint32_t history, uint32_t candidates)
{
    struct learner_scorer *scorer;
    assert_int_equal(learner_scorer_new(c->model, history, candidates, &scorer,
                                        NULL), 0);
    return scorer;
}

static void scores_as_the_step_predicts(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        struct din_case_spec spec = n & 1 ? din_case_default()
                                          : din_case_small();
        spec.softmax = n & 2;
        spec.group_max = 33;
        spec.groups = 12;
        struct din_case c;
        din_case_init(&c, &spec);
        struct learner_scorer *scorer = scorer_new(&c, 200, 64);
        struct question q[12];
        for (uint32_t g = 0; g < 12; g++)
            ask(&q[g], &c, g);
        din_case_predict(&c, 2);
        for (uint32_t g = 0; g < 12; g++) {
            float p[64];
            assert_int_equal(learner_score(scorer, &q[g].parameters,
                                           &q[g].request, p, NULL, NULL), 0);
            assert_memory_equal(p, c.probability + c.group_begin[g],
                                q[g].request.candidates * sizeof *p);
            question_free(&q[g]);
        }
        learner_scorer_free(scorer);
        din_case_fini(&c);
    }
}

static void the_number_of_candidates_does_not_matter(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_default();
    spec.groups = 1, spec.group_max = 64, spec.seed = 6;
    struct din_case c;
    struct question q;
    float all[64], one;
    din_case_init(&c, &spec);
    ask(&q, &c, 0);
    struct learner_scorer *scorer = scorer_new(&c, 200, 64);
    uint32_t count = q.request.candidates;
    assert_true(count > 8);
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, all,
                                   NULL, NULL), 0);
    q.request.candidates = 1;
    for (uint32_t i = 0; i < count; i++) {
        q.request.items = q.items + (size_t)i * spec.item;
        assert_int_equal(learner_score(scorer, &q.parameters, &q.request, &one,
                                       NULL, NULL), 0);
        assert_memory_equal(&one, &all[i], sizeof one);
    }
    question_free(&q);
    learner_scorer_free(scorer);
    din_case_fini(&c);
}

static void attention_is_the_activation_unit(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    spec.groups = 1, spec.group_max = 40, spec.history_max = 30;
    spec.seed = 3;
    struct din_case c;
    struct din_reference r;
    struct question q;
    float p[40], attention[40 * 30];
    din_case_init(&c, &spec);
    ask(&q, &c, 0);
    din_reference_init(&r, &c);
    din_reference_forward(&r, true);
    struct learner_scorer *scorer = scorer_new(&c, 30, 40);
    assert_true(q.request.history_size > 1 && q.request.candidates > 1);
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, p,
                                   attention, NULL), 0);
    for (size_t i = 0; i < q.request.candidates; i++)
        assert_true(fabs(p[i] - r.p[i]) < 1e-6);
    for (size_t i = 0;
         i < (size_t)q.request.candidates * q.request.history_size; i++)
        assert_true(fabs(attention[i] - r.attention[i]) < 1e-6);
    question_free(&q);
    din_reference_fini(&r);
    learner_scorer_free(scorer);
    din_case_fini(&c);
}

/* A history longer than the scorer's keeps its newest behaviors. */
static void uses_the_newest_behaviors(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    spec.groups = 1, spec.history_max = 40, spec.seed = 9;
    struct din_case c;
    struct question q;
    float full[3], cut[3];
    din_case_init(&c, &spec);
    ask(&q, &c, 0);
    assert_true(q.request.history_size > 10);
    struct learner_scorer *scorer = scorer_new(&c, 10, 3);
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, full,
                                   NULL, NULL), 0);
    q.request.history += (size_t)(q.request.history_size - 10) * spec.item;
    q.request.history_size = 10;
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, cut,
                                   NULL, NULL), 0);
    assert_memory_equal(full, cut, q.request.candidates * sizeof *full);
    q.request.history_size = 9; /* and the tenth does matter */
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, cut,
                                   NULL, NULL), 0);
    assert_true(full[0] != cut[0]);
    question_free(&q);
    learner_scorer_free(scorer);
    din_case_fini(&c);
}

static void keeps_its_limits(void **state)
{
    (void)state;
    struct din_case_spec spec = din_case_small();
    struct din_case c;
    struct question q;
    struct base_error error;
    float p[4] = {-1, -1, -1, -1};
    din_case_init(&c, &spec);
    ask(&q, &c, 0);
    struct learner_scorer *scorer = scorer_new(&c, 10, 3);
    q.request.candidates = 4;
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, p, NULL,
                                   &error), BASE_LIMIT);
    assert_non_null(strstr(error.text, "4 candidates"));
    q.request.candidates = 0;
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, p, NULL,
                                   &error), BASE_OK);
    assert_true(p[0] == -1);
    q.request.candidates = 1;
    q.request.history_size = 0;
    q.request.history = NULL;
    assert_int_equal(learner_score(scorer, &q.parameters, &q.request, p, NULL,
                                   &error), BASE_OK);
    assert_true(p[0] > 0 && p[0] < 1 && p[1] == -1);
    question_free(&q);
    learner_scorer_free(scorer);
    learner_scorer_free(NULL);
    din_case_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_as_the_step_predicts),
        cmocka_unit_test(the_number_of_candidates_does_not_matter),
        cmocka_unit_test(attention_is_the_activation_unit),
        cmocka_unit_test(uses_the_newest_behaviors),
        cmocka_unit_test(keeps_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
