/* SPDX-License-Identifier: Apache-2.0 */
/* Every model against its golden file (tests/golden/models): the first batch
 * through the step's two doors and the scorer, then 20 training steps through
 * the tables, the gather and the optimizer as the trainer takes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/cut.h"
#include "learner/gather.h"
#include "tests/learner/golden.h"

/* Of a tensor's maximum: gradients; losses; after steps. */
static const double GRADIENT = 2e-5, LOSS = 2e-6, STEPS = 2e-4;
enum { THREADS = 2 };

static const char *row_name(const struct golden_case *c, unsigned table)
{
    return learner_model_table(c->model, table)->name;
}

/* ---- the first batch ----------------------------------------------------- */

static bool check_prediction(struct golden_case *c, struct learner_step *step)
{
    struct base_error error;
    float *p = golden_memory(c->batch.samples);
    assert_int_equal(learner_step_predict(step, &c->input, p, &error), 0);
    bool right = golden_agrees(&c->file, "p", NULL, p, c->batch.samples,
                               GRADIENT);
    free(p);
    return right;
}

/* The loss and the auxiliary loss, the latter 0 where there is none. */
static bool check_loss(const struct golden_case *c, const char *what,
                       const double *right, double tolerance)
{
    double loss = c->output.loss, auxiliary = c->output.auxiliary;
    bool same = fabs(loss - right[0]) <= tolerance * fabs(right[0]) &&
                fabs(auxiliary - right[1]) <= tolerance * fabs(right[1]);
    if (!same)
        fprintf(stderr, "%s: loss %.9g and %.9g, golden %.9g and %.9g\n",
                what, loss, auxiliary, right[0], right[1]);
    return same;
}

static bool check_gradients(struct golden_case *c)
{
    bool right = true;
    bool moving = !learner_model_get_config(c->model)->dice_batch;
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        size_t size = golden_size(tensor);
        if (!tensor->trained && moving)
            right &= golden_agrees(&c->file, "moved", tensor->name,
                                   c->dense + tensor->offset, size, GRADIENT);
        else if (tensor->trained && !golden_noise(c->model, tensor->name))
            right &= golden_agrees(&c->file, "g", tensor->name,
                                   c->ddense + tensor->offset, size,
                                   GRADIENT);
    }
    for (unsigned t = 0; t < c->tables; t++)
        right &= golden_agrees(&c->file, "drows", row_name(c, t), c->drows[t],
                               golden_rows_size(c, t), GRADIENT);
    return right;
}

static bool check_training(struct golden_case *c, struct learner_step *step)
{
    struct base_error error;
    double *losses;
    assert_int_equal(learner_step_train(step, &c->input, &c->output, &error),
                     0);
    assert_true(c->output.finite);
    safetensors_get(&c->file, "loss", &losses);
    bool right = check_loss(c, "first batch", losses, LOSS);
    free(losses);
    return check_gradients(c) && right;
}

static void gives_what_pytorch_gives(void **state)
{
    struct golden_case c;
    struct learner_step *step;
    struct base_error error;
    golden_open(&c, *state);
    assert_int_equal(learner_step_new(c.model, THREADS, &step, &error), 0);
    bool right = check_prediction(&c, step);
    right &= check_training(&c, step);
    learner_step_free(step);
    golden_close(&c);
    assert_true(right);
}

/* ---- the scorer ---------------------------------------------------------- */

/* The row of a key, as a ranker's tables would find it. */
static void find_row(const void *self, unsigned table, uint64_t key,
                     float *values)
{
    const struct golden_case *c = self;
    uint32_t rows = c->row_count[table], goods = golden_goods(c), row = 0;
    size_t width = learner_model_table(c->model, table)->dimension;
    if (strcmp(row_name(c, table), LEARNER_CROSS_TABLE) != 0)
        row = golden_row(key, rows);
    else
        for (uint32_t i = 1; i < goods; i++)
            for (uint32_t k = 1; k < goods; k++)
                if (learner_cross_id(golden_key(k), golden_key(i)) == key)
                    row = k * goods + i;
    memcpy(values, c->rows[table] + row * width, width * sizeof *values);
}

/* Columns [begin, end) of the model's fields from a line of the stream that
 * begins with its column `first`. */
static void own_ids(const struct golden_case *c, uint64_t *to,
                    const uint64_t *line, unsigned first, unsigned begin,
                    unsigned end)
{
    for (unsigned f = begin; f < end; f++)
        to[f - begin] = line[learner_model_column(c->model, f) - first];
}

/* One sample as a request with one candidate; the attention goes to
 * `attention`, the probability is returned. */
static float score(const struct golden_case *c, struct learner_scorer *scorer,
                   uint32_t group, uint32_t sample, float *attention)
{
    const struct learner_schema *own = learner_model_schema(c->model);
    unsigned P = own->profile_count, f = own->item_count;
    uint64_t profile[LEARNER_FIELDS_MAX], item[LEARNER_FIELDS_MAX];
    uint64_t context[LEARNER_FIELDS_MAX];
    const uint64_t *ids = c->ids + (size_t)sample * c->schema.field_count;
    uint32_t begin = c->history_begin[group];
    uint32_t size = c->history_begin[group + 1] - begin;
    uint64_t *history = calloc((size_t)size * f + 1, sizeof *history);
    own_ids(c, profile, ids, 0, 0, P);
    own_ids(c, item, ids, 0, P, P + f);
    own_ids(c, context, ids, 0, P + f, own->field_count);
    for (uint32_t t = 0; t < size; t++)
        own_ids(c, history + (size_t)t * f,
                c->history + (size_t)(begin + t) * c->schema.item_count,
                c->schema.profile_count, P, P + f);
    struct learner_request request = {
        .profile = profile, .history = history, .history_size = size,
        .candidates = 1, .items = item, .context = context};
    struct learner_parameters parameters = {
        .dense = c->dense, .tables = c, .row = find_row};
    struct base_error error;
    float probability;
    assert_int_equal(learner_score(scorer, &parameters, &request, &probability,
                                   attention, &error), 0);
    free(history);
    return probability;
}

static void scores_what_pytorch_gives(void **state)
{
    struct golden_case c;
    struct learner_scorer *scorer;
    struct base_error error;
    golden_open(&c, *state);
    assert_int_equal(learner_scorer_new(c.model, 16, 1, &scorer, &error), 0);
    const struct learner_model_config *config =
        learner_model_get_config(c.model);
    bool attentive = config->kind == LEARNER_DIN ||
                     config->kind == LEARNER_GRU_ATT ||
                     config->kind == LEARNER_DIEN;
    /* a sample's score knows no padding and no batch mates */
    bool alone = c.padded_to == 0 && !config->dice_batch;
    float *p = golden_memory(c.batch.samples);
    float *attention = golden_memory((size_t)c.batch.samples * 16 + 16);
    size_t pairs = 0;
    for (uint32_t g = 0; g < c.batch.groups; g++)
        for (uint32_t i = c.group_begin[g]; i < c.group_begin[g + 1]; i++) {
            p[i] = score(&c, scorer, g, i,
                         attentive ? attention + pairs : NULL);
            pairs += c.history_begin[g + 1] - c.history_begin[g];
        }
    bool right = !alone || golden_agrees(&c.file, "p", NULL, p,
                                         c.batch.samples, GRADIENT);
    if (attentive)
        right &= golden_agrees(&c.file, "attention", NULL, attention, pairs,
                               GRADIENT);
    free(p);
    free(attention);
    learner_scorer_free(scorer);
    golden_close(&c);
    assert_true(right);
}

/* ---- 20 steps ------------------------------------------------------------ */

/* What a trainer has around the step. */
struct run {
    struct golden_case c;
    struct learner_step *step;
    struct learner_table *tables[LEARNER_TABLES_MAX];
    struct learner_gather gather;
    struct learner_updater *updater;
    struct learner_cut *cut; /* never begun: nothing to save */
    float *states[LEARNER_DENSE_STATES];
};

static uint64_t key_of(const struct run *run, unsigned table, uint32_t row)
{
    uint32_t goods = golden_goods(&run->c);
    if (strcmp(row_name(&run->c, table), LEARNER_CROSS_TABLE) != 0)
        return golden_key(row);
    return learner_cross_id(golden_key(row / goods), golden_key(row % goods));
}

static bool is_row(const struct run *run, unsigned table, uint32_t row)
{
    uint32_t goods = golden_goods(&run->c);
    return row == 0 ||
           strcmp(row_name(&run->c, table), LEARNER_CROSS_TABLE) != 0 ||
           (row / goods > 0 && row % goods > 0);
}

static float *values_of(const struct run *run, unsigned table, uint32_t row)
{
    uint32_t slot = learner_table_find(run->tables[table],
                                       row ? key_of(run, table, row) : 0);
    return learner_table_row(run->tables[table], slot)->values;
}

static void fill_table(struct run *run, unsigned table)
{
    const struct golden_case *c = &run->c;
    struct learner_table_config config;
    struct base_error error;
    uint32_t slot;
    size_t width = learner_model_table(c->model, table)->dimension;
    learner_table_configure(&config, c->model, table);
    assert_int_equal(learner_table_new(&run->tables[table], &config, &error),
                     0);
    for (uint32_t row = 0; row < c->row_count[table]; row++) {
        if (!is_row(run, table, row))
            continue;
        if (row > 0)
            assert_int_equal(
                learner_table_create(run->tables[table],
                                     key_of(run, table, row), &slot, &error),
                0);
        memcpy(values_of(run, table, row), c->rows[table] + row * width,
               width * sizeof(float));
    }
}

static void start(struct run *run, const char *name)
{
    struct base_error error;
    memset(run, 0, sizeof *run);
    struct golden_case *c = &run->c;
    golden_open(c, name);
    const struct learner_model_config *config =
        learner_model_get_config(c->model);
    for (unsigned t = 0; t < c->tables; t++)
        fill_table(run, t);
    struct learner_cut_config cut = {.tables = run->tables,
                                     .table_count = c->tables,
                                     .folder = "golden", .kept = 1,
                                     .slice_bytes = 4096};
    run->updater = calloc(1, sizeof *run->updater);
    assert_non_null(run->updater);
    learner_optimizer_init(run->updater, config);
    for (unsigned i = 0; i < learner_optimizer_dense_states(config); i++)
        run->states[i] = golden_memory(learner_dense_size(c->model));
    assert_int_equal(learner_cut_new(&cut, &run->cut, &error), 0);
    assert_int_equal(learner_gather_init(&run->gather, c->model, run->tables,
                                         &error), 0);
    assert_int_equal(learner_step_new(c->model, THREADS, &run->step, &error),
                     0);
}

static void finish(struct run *run)
{
    learner_step_free(run->step);
    learner_gather_fini(&run->gather);
    learner_cut_free(run->cut);
    for (unsigned t = 0; t < run->c.tables; t++)
        learner_table_free(run->tables[t]);
    for (unsigned i = 0; i < LEARNER_DENSE_STATES; i++)
        free(run->states[i]);
    free(run->updater);
    golden_close(&run->c);
}

static void update_dense(struct run *run, unsigned number)
{
    struct golden_case *c = &run->c;
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        float *states[LEARNER_DENSE_STATES];
        for (unsigned s = 0; s < LEARNER_DENSE_STATES; s++)
            states[s] = run->states[s] ? run->states[s] + tensor->offset
                                       : NULL;
        if (tensor->trained)
            learner_optimizer_dense(run->updater, c->dense + tensor->offset,
                                    states, c->ddense + tensor->offset,
                                    golden_size(tensor), number + 1);
    }
}

static struct learner_step_input input_of(const struct golden_case *c,
                                          const struct learner_gather *gather)
{
    struct learner_step_input input = c->input;
    input.index = gather->index;
    input.history_index = gather->history_index;
    input.negative_index = gather->negative_index;
    input.cross_index = gather->cross_index;
    input.rows = gather->rows;
    input.row_count = gather->row_count;
    input.fresh = gather->fresh;
    return input;
}

/* As the trainer does: predicted first, with what a ranker would see. */
static void train(struct run *run, unsigned number)
{
    struct golden_case *c = &run->c;
    struct learner_gather *gather = &run->gather;
    struct base_error error;
    float *probability = malloc(c->batch.samples * sizeof *probability);
    golden_load(c, number, false);
    assert_non_null(probability);
    assert_int_equal(learner_gather_find(gather, &c->batch, &error), 0);
    struct learner_step_input input = input_of(c, gather);
    assert_int_equal(learner_step_predict(run->step, &input, probability,
                                          &error), 0);
    assert_int_equal(learner_gather_train(gather, &c->batch, c->negatives,
                                          &error), 0);
    input = input_of(c, gather);
    free(probability);
    c->output.drows = gather->drows;
    assert_int_equal(learner_step_train(run->step, &input, &c->output, &error),
                     0);
    assert_true(c->output.finite);
    learner_optimizer_seek(run->updater, c->batch.first);
    learner_gather_apply(gather, run->updater, run->cut, NULL, number + 1,
                         (int64_t)number);
    update_dense(run, number);
}

static bool check_after(struct run *run)
{
    struct golden_case *c = &run->c;
    bool right = true;
    bool moving = !learner_model_get_config(c->model)->dice_batch;
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        if ((tensor->trained || moving) &&
            !golden_noise(c->model, tensor->name))
            right &= golden_agrees(&c->file, "after", tensor->name,
                                   c->dense + tensor->offset,
                                   golden_size(tensor), STEPS);
    }
    for (unsigned t = 0; t < c->tables; t++) {
        size_t width = learner_model_table(c->model, t)->dimension;
        for (uint32_t row = 0; row < c->row_count[t]; row++)
            if (is_row(run, t, row))
                memcpy(c->rows[t] + row * width, values_of(run, t, row),
                       width * sizeof(float));
        right &= golden_agrees(&c->file, "after.rows", row_name(c, t),
                               c->rows[t], golden_rows_size(c, t), STEPS);
    }
    return right;
}

static void trains_as_pytorch_does(void **state)
{
    struct run run;
    double *curve;
    bool right = true;
    start(&run, *state);
    assert_int_equal(safetensors_get(&run.c.file, "curve", &curve),
                     2 * GOLDEN_STEPS);
    for (unsigned i = 0; i < GOLDEN_STEPS && right; i++) {
        char what[16];
        train(&run, i);
        snprintf(what, sizeof what, "step %u", i);
        right = check_loss(&run.c, what, curve + 2 * (size_t)i,
                           i == 0 ? LOSS : STEPS);
    }
    right &= check_after(&run);
    free(curve);
    finish(&run);
    assert_true(right);
}

/* ---- all of them --------------------------------------------------------- */

/* A file that no line of the table names would never be read. */
static void every_file_has_its_line(void **state)
{
    (void)state;
    unsigned files = 0;
    DIR *folder = opendir("tests/golden/models");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));)
        files += strstr(entry->d_name, ".safetensors") &&
                 strncmp(entry->d_name, "stream.", 7) != 0;
    closedir(folder);
    assert_int_equal(files, GOLDEN_CASES);
}

/* An argument chooses tests, as "dien*". */
int main(int count, char **arguments)
{
    static const CMUnitTestFunction functions[] = {
        gives_what_pytorch_gives, scores_what_pytorch_gives,
        trains_as_pytorch_does};
    static const char *const titles[] = {"first batch", "scores", "20 steps"};
    static char names[3 * GOLDEN_CASES][64];
    struct CMUnitTest tests[3 * GOLDEN_CASES + 1] = {
        cmocka_unit_test(every_file_has_its_line)};
    for (unsigned i = 0; i < 3 * GOLDEN_CASES; i++) {
        const char *name = golden_lines[i / 3].name;
        snprintf(names[i], sizeof names[i], "%s: %s", name, titles[i % 3]);
        tests[i + 1].name = names[i];
        tests[i + 1].test_func = functions[i % 3];
        tests[i + 1].initial_state = (void *)(uintptr_t)name;
    }
    if (count > 1)
        cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests_name("golden models", tests, NULL, NULL);
}
