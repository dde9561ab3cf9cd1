/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind from checkpoint to ranker: published, opened, and scored by
 * libinterest with the very bits of learner_score() over the checkpoint's own
 * weights; histories of 0 and 1 and more, ids that no table has, places that
 * are absent, all places absent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "snapshot/interest.h"
#include "tests/snapshot/fixture.h"
#include "tests/snapshot/kinds.h"

enum { HISTORY_MAX = 30, CANDIDATES = 11, ROWS_MAX = 4096 };

/* ---- the checkpoint's rows ------------------------------------------------
 */

struct held {
    struct learner_checkpoint *checkpoint;
    struct learner_model *model;
    unsigned table; /* that is being read */
    uint64_t count[LEARNER_TABLES_MAX];
    uint64_t key[LEARNER_TABLES_MAX][ROWS_MAX];
    float *value[LEARNER_TABLES_MAX]; /* (ROWS_MAX, W) */
};

static enum base_status hold(void *self, uint64_t key, const float *weights)
{
    struct held *held = self;
    unsigned t = held->table;
    size_t width = learner_model_table(held->model, t)->dimension;
    assert_true(held->count[t] < ROWS_MAX);
    held->key[t][held->count[t]] = key;
    memcpy(held->value[t] + held->count[t]++ * width, weights,
           width * sizeof *weights);
    return BASE_OK;
}

static void find_row(const void *tables, unsigned table, uint64_t key,
                     float *values)
{
    const struct held *held = tables;
    size_t width = learner_model_table(held->model, table)->dimension;
    uint64_t row = 0;
    for (uint64_t i = 0; i < held->count[table]; i++)
        if (held->key[table][i] == key)
            row = i;
    memcpy(values, held->value[table] + row * width, width * sizeof *values);
}

static struct held *open_held(const char *path)
{
    struct held *held = calloc(1, sizeof *held);
    struct base_error error;
    assert_non_null(held);
    held->checkpoint = run_open_path(path);
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(held->checkpoint);
    if (learner_model_new(&info->schema, &info->model, &held->model, &error))
        fail_msg("%s", error.text);
    for (unsigned t = 0; t < learner_model_tables(held->model); t++) {
        size_t width = learner_model_table(held->model, t)->dimension;
        held->table = t;
        held->value[t] = calloc(ROWS_MAX * width, sizeof(float));
        if (learner_checkpoint_rows(held->checkpoint, t, hold, held, &error))
            fail_msg("%s", error.text);
    }
    return held;
}

static void free_held(struct held *held)
{
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++)
        free(held->value[t]);
    learner_model_free(held->model);
    learner_checkpoint_free(held->checkpoint);
    free(held);
}

/* ---- requests -------------------------------------------------------------
 */

struct request {
    uint64_t profile[LEARNER_FIELDS_MAX], context[LEARNER_FIELDS_MAX];
    uint64_t history[HISTORY_MAX * LEARNER_FIELDS_MAX];
    uint64_t items[CANDIDATES * LEARNER_FIELDS_MAX];
    uint32_t history_size;
};

struct draw {
    const struct held *held;
    uint64_t seed, count;
};

/* A key of the table, now and then one that it has not, or unknown. */
static uint64_t draw_id(struct draw *draw, const struct learner_field *field)
{
    uint64_t bits = base_random_u64(draw->seed, 3, 0, draw->count++);
    uint64_t rows = draw->held->count[field->table];
    if (bits % 9 == 0)
        return base_random_mix(bits);
    return draw->held->key[field->table][base_random_mix(bits) % rows];
}

/* `lines` lines of the group's fields. */
static void draw_ids(struct draw *draw, unsigned first, unsigned fields,
                     unsigned lines, uint64_t *ids)
{
    const struct learner_schema *schema =
        learner_model_schema(draw->held->model);
    for (unsigned i = 0; i < lines * fields; i++) {
        const struct learner_field *field = &schema->fields[first + i % fields];
        bool run = field->more || field->continues;
        uint64_t bits = base_random_u64(draw->seed, 4, 0, draw->count);
        ids[i] = draw_id(draw, field);
        if (run && bits % 3 == 0)
            ids[i] = INTEREST_ABSENT;
    }
}

static void draw_request(struct draw *draw, uint32_t history_size,
                         struct request *request)
{
    const struct learner_schema *schema =
        learner_model_schema(draw->held->model);
    unsigned item = schema->profile_count, f = schema->item_count;
    request->history_size = history_size;
    draw_ids(draw, 0, item, 1, request->profile);
    draw_ids(draw, item, f, history_size, request->history);
    draw_ids(draw, item, f, CANDIDATES, request->items);
    draw_ids(draw, item + f, schema->context_count, 1, request->context);
}

/* ---- scoring both ways ----------------------------------------------------
 */

static void score_held(const struct held *held, const struct request *request,
                       float *probability, float *attention)
{
    const struct learner_parameters parameters = {
        .dense = learner_checkpoint_dense(held->checkpoint),
        .tables = held,
        .row = find_row};
    const struct learner_request inner = {.profile = request->profile,
                                          .history = request->history,
                                          .history_size = request->history_size,
                                          .candidates = CANDIDATES,
                                          .items = request->items,
                                          .context = request->context};
    struct learner_scorer *scorer;
    struct base_error error;
    if (learner_scorer_new(held->model, HISTORY_MAX, CANDIDATES, &scorer,
                           &error) ||
        learner_score(scorer, &parameters, &inner, probability, attention,
                      &error))
        fail_msg("%s", error.text);
    learner_scorer_free(scorer);
}

static bool attends(enum learner_kind kind)
{
    return kind == LEARNER_DIN || kind == LEARNER_GRU_ATT ||
           kind == LEARNER_DIEN;
}

static void compare(const struct kind_case *one, struct interest_scorer *scorer,
                    const struct held *held, const struct request *request)
{
    float expected[CANDIDATES], got[CANDIDATES];
    float weights[CANDIDATES * HISTORY_MAX], seen[CANDIDATES * HISTORY_MAX];
    struct interest_error error;
    size_t pairs = (size_t)CANDIDATES * request->history_size;
    const struct interest_request asked = {.profile = request->profile,
                                           .context = request->context,
                                           .history = request->history,
                                           .history_size =
                                               request->history_size,
                                           .items = request->items,
                                           .candidates = CANDIDATES};
    score_held(held, request, expected, weights);
    memset(seen, 0x7f, sizeof seen);
    if (interest_score(scorer, &asked, got, seen, NULL, &error))
        fail_msg("%s: %s", one->name, error.text);
    for (unsigned i = 0; i < CANDIDATES; i++)
        if (memcmp(&got[i], &expected[i], sizeof got[i]) || !(got[i] > 0) ||
            !(got[i] < 1))
            fail_msg("%s, candidate %u: %.9g from the files, %.9g from the "
                     "checkpoint",
                     one->name, i, (double)got[i], (double)expected[i]);
    for (size_t i = 0; i < pairs; i++)
        if (attends(one->kind) ? memcmp(&seen[i], &weights[i], sizeof seen[i])
                               : seen[i] != 0)
            fail_msg("%s: attention %zu", one->name, i);
}

/* Scores must tell candidates apart, or nothing was compared. */
static void check_variety(const struct kind_case *one, const struct held *held)
{
    struct draw draw = {held, 77, 0};
    static struct request request;
    float probability[CANDIDATES];
    unsigned different = 0;
    draw_request(&draw, 12, &request);
    score_held(held, &request, probability, NULL);
    for (unsigned i = 1; i < CANDIDATES; i++)
        different += probability[i] != probability[0];
    if (different < CANDIDATES / 2)
        fail_msg("%s: %u of %d scores differ", one->name, different,
                 CANDIDATES - 1);
}

static void check_kind(const struct kind_case *one, const char *folder)
{
    static const uint32_t lengths[] = {0, 1, 2, 7, 20, HISTORY_MAX};
    static struct request request;
    struct run run;
    struct interest_model *model;
    struct interest_scorer *scorer;
    struct interest_error error;
    char path[1100];
    snprintf(path, sizeof path, "%s/%s", folder, one->name);
    kind_train(one, &run);
    kind_publish(&run, path);
    if (interest_open(path, &model, &error) ||
        interest_scorer_open(model, HISTORY_MAX, CANDIDATES, &scorer, &error))
        fail_msg("%s: %s", one->name, error.text);
    struct held *held = open_held(run.path);
    const struct learner_schema *own = learner_model_schema(held->model);
    assert_int_equal(interest_field_count(model, 0), own->profile_count);
    assert_int_equal(interest_field_count(model, 1), own->item_count);
    assert_int_equal(interest_field_count(model, 2), own->context_count);
    check_variety(one, held);
    for (unsigned i = 0; i < 2 * sizeof lengths / sizeof lengths[0]; i++) {
        struct draw draw = {held, i, 0};
        draw_request(&draw, lengths[i / 2], &request);
        compare(one, scorer, held, &request);
    }
    free_held(held);
    interest_scorer_close(scorer);
    interest_close(model);
    run_fini(&run);
}

static void test_kinds(void **state)
{
    for (unsigned i = 0; i < kind_case_count; i++)
        check_kind(&kind_cases[i], *state);
}

/* A multi-hot field's places, through libinterest. */
static void test_places(void **state)
{
    struct run run;
    struct interest_model *model;
    struct interest_error error;
    kind_train(&kind_cases[2], &run);
    kind_publish(&run, *state);
    if (interest_open(*state, &model, &error))
        fail_msg("%s", error.text);
    for (unsigned i = 0; i < interest_field_count(model, 1); i++) {
        const char *name = interest_field(model, 1, i);
        unsigned places = strcmp(name, "genres") == 0        ? 3
                          : strncmp(name, "genres.", 7) == 0 ? 0
                                                             : 1;
        assert_int_equal(interest_field_places(model, 1, i), places);
    }
    interest_close(model);
    run_fini(&run);
}

/* In batch statistics one candidate alone has p = 1/2 in Dice: its score
 * depends on its neighbours, and only there. */
static void test_batch_statistics(void **state)
{
    static struct request request;
    for (unsigned k = 0; k < kind_case_count; k++) {
        const struct kind_case *one = &kind_cases[k];
        bool batch = strcmp(one->name, "din-code") == 0;
        if (!batch && strcmp(one->name, "din") != 0)
            continue;
        struct run run;
        struct interest_model *model;
        struct interest_scorer *scorer;
        struct interest_error error;
        float all[CANDIDATES], alone[1];
        char path[1100];
        snprintf(path, sizeof path, "%s/%s", (char *)*state, one->name);
        kind_train(one, &run);
        kind_publish(&run, path);
        if (interest_open(path, &model, &error) ||
            interest_scorer_open(model, HISTORY_MAX, CANDIDATES, &scorer,
                                 &error))
            fail_msg("%s", error.text);
        struct held *held = open_held(run.path);
        struct draw draw = {held, 1, 0};
        draw_request(&draw, 5, &request);
        struct interest_request asked = {.profile = request.profile,
                                         .context = request.context,
                                         .history = request.history,
                                         .history_size = 5,
                                         .items = request.items,
                                         .candidates = CANDIDATES};
        assert_int_equal(
            interest_score(scorer, &asked, all, NULL, NULL, &error), 0);
        asked.candidates = 1;
        assert_int_equal(
            interest_score(scorer, &asked, alone, NULL, NULL, &error), 0);
        assert_int_equal(memcmp(alone, all, sizeof alone) != 0, batch);
        free_held(held);
        interest_scorer_close(scorer);
        interest_close(model);
        run_fini(&run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kinds, fixture_folder,
                                        fixture_remove),
        cmocka_unit_test_setup_teardown(test_places, fixture_folder,
                                        fixture_remove),
        cmocka_unit_test_setup_teardown(test_batch_statistics, fixture_folder,
                                        fixture_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
