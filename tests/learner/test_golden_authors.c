/* SPDX-License-Identifier: Apache-2.0 */
/* The nine models of mouna99/dien as their authors' code computes them
 * (values made by running it in float64): profile `reference`, padded as
 * there. Outputs, attention, losses, every gradient, and three steps of Adam
 * that moves every row. The files lie outside the repository; where they are
 * absent the tests say so and are skipped.
 *
 * Also what MODEL's section 1.8 says of a fresh model: the number of its
 * parameters and its first losses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "learner/optimizer.h"
#include "tests/learner/golden.h"

#define FOLDER "../shared/golden/"
/* B: samples of the first two batches. */
enum { B = 8, T_MAX = 100, TABLES = 3, E = 18, STEPS = 3 };

/* Of a tensor's maximum: gradients; losses; after steps. */
static const double GRADIENT = 2e-5, LOSS = 2e-6, AFTER = 2e-4;

static const struct theirs {
    const char *name;
    enum learner_kind kind;
    enum learner_evolution evolution;
    bool auxiliary, attention;
} models[] = {
    {"din", LEARNER_DIN, LEARNER_AUGRU_CODE, false, true},
    {"dien", LEARNER_DIEN, LEARNER_AUGRU_CODE, true, true},
    {"augru_no_aux", LEARNER_DIEN, LEARNER_AUGRU_CODE, false, true},
    {"agru", LEARNER_DIEN, LEARNER_AGRU, false, true},
    {"aigru", LEARNER_DIEN, LEARNER_AIGRU, false, true},
    {"gru_att", LEARNER_GRU_ATT, LEARNER_AUGRU_CODE, false, true},
    {"dnn", LEARNER_BASE, LEARNER_AUGRU_CODE, false, false},
    {"pnn", LEARNER_PNN, LEARNER_AUGRU_CODE, false, false},
    {"wide_deep", LEARNER_WIDE_DEEP, LEARNER_AUGRU_CODE, false, false},
};
enum { MODELS = sizeof models / sizeof models[0] };

static const char *const table_names[TABLES] = {"uid", "mid", "cat"};

/* uid is a profile field, mid and cat are the item's. */
static struct learner_model *make_model(const struct theirs *theirs,
                                        uint32_t batch_size, uint64_t seed)
{
    struct learner_schema schema = {
        .field_count = 3, .profile_count = 1, .item_count = 2,
        .table_count = TABLES,
        .fields = {{"uid", LEARNER_PROFILE, 0, 0, false},
                   {"mid", LEARNER_ITEM, 1, 0, false},
                   {"cat", LEARNER_ITEM, 2, 0, false}},
        .tables = {{"uid", E}, {"mid", E}, {"cat", E}}};
    struct learner_model_config config;
    struct learner_model *model;
    struct base_error error;
    learner_model_config_profile(&config, LEARNER_REFERENCE, theirs->kind);
    config.evolution = theirs->evolution;
    config.auxiliary = theirs->auxiliary ? LEARNER_AUXILIARY_NETWORK
                                         : LEARNER_AUXILIARY_NONE;
    config.batch_size = batch_size;
    config.seed = seed;
    /* 0.001 for two batches of 8, then half of it */
    config.rate_decay = 0.5f;
    config.rate_decay_samples = 2 * B;
    if (theirs->kind == LEARNER_WIDE_DEEP)
        config.probability_epsilon = 0;
    if (learner_model_new(&schema, &config, &model, &error)) {
        fprintf(stderr, "%s: %s\n", theirs->name, error.text);
        abort();
    }
    return model;
}

/* ---- names --------------------------------------------------------------- */

static bool has(const struct safetensors *file, const char *name)
{
    char key[128];
    snprintf(key, sizeof key, "\"w.%s\":{", name);
    return strstr(file->header, key) != NULL;
}

/* `from` to `to` with # replaced by the number and kernel for weight. */
static void spell(char *to, const char *from, const char *rest, int number)
{
    size_t at = 0;
    for (; *from; from++)
        if (*from == '#')
            to[at++] = (char)('0' + number);
        else
            to[at++] = *from;
    strcpy(to + at, strcmp(rest, "weight") == 0 ? "kernel" : rest);
}

/* Their name of our tensor: the first of these lines that the file has. */
static void name_of(const struct safetensors *file, const char *ours,
                    char theirs[64])
{
    static const char *const names[][2] = {
        {"bn.", "bn1/"}, {"query.alpha", "prelu_"}, {"query.", "f11_1/"},
        {"attention.#.", "f#_attnull/"}, {"attention.#.", "f#_att1_1/"},
        {"gru1.gates.", "gru1/gru_cell/gates/"},
        {"gru1.candidate.", "gru1/gru_cell/candidate/"},
        {"gru2.gates.", "gru2/gates/"},
        {"gru2.gates.", "gru2/gru_cell/gates/"},
        {"gru2.candidate.", "gru2/candidate/"},
        {"gru2.candidate.", "gru2/gru_cell/candidate/"},
        {"auxiliary.bn.", "bn1gru/"}, {"auxiliary.#.", "f#gru/"},
        {"mlp.#.alpha", "dice_#/alphadice_#"},
        {"mlp.#.alpha", "prelu#/prelu_prelu#"},
        {"mlp.#.alpha", "p#/prelu_p#"}, {"mlp.#.", "f#/"},
        {"wide.", "f_fm/"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int number = 0; number < 3; number++) {
            char prefix[32];
            spell(prefix, names[i][0], "", number);
            if (strncmp(ours, prefix, strlen(prefix)) != 0)
                continue;
            spell(theirs, names[i][1], ours + strlen(prefix), number + 1);
            if (has(file, theirs))
                return;
        }
    fprintf(stderr, "%s: the authors have no such tensor\n", ours);
    abort();
}

/* ---- a batch ------------------------------------------------------------- */

/* One group a user, padding cut off. */
struct world {
    const struct theirs *theirs;
    struct safetensors file;
    struct learner_model *model;
    struct learner_step *step;
    float *dense, *ddense, *rows[TABLES], *drows[TABLES];
    uint32_t row_count[TABLES];
    uint32_t group_begin[129], history_begin[129], index[128 * 3];
    uint32_t history_index[128 * T_MAX * 2], negative_index[128 * T_MAX * 2];
    uint32_t padding[2];
    uint8_t label[128], kind[128];
    struct learner_batch batch;
    struct learner_step_input input;
    struct learner_step_output output;
};

static void point(struct world *w, uint32_t samples, uint32_t padded_to)
{
    w->batch = (struct learner_batch){
        .end = samples, .samples = samples, .groups = samples,
        .label = w->label, .kind = w->kind, .group_begin = w->group_begin,
        .history_begin = w->history_begin};
    bool auxiliary = learner_model_get_config(w->model)->auxiliary;
    w->input = (struct learner_step_input){
        .batch = &w->batch, .index = w->index,
        .history_index = w->history_index,
        .negative_index = auxiliary ? w->negative_index : NULL,
        .rows = (const float *const *)w->rows, .row_count = w->row_count,
        .dense = w->dense, .padded_to = padded_to,
        .padding_index = w->padding};
    w->output = (struct learner_step_output){
        .dense = w->dense, .ddense = w->ddense, .drows = w->drows};
}

static double *get(const struct world *w, unsigned number, const char *name,
                   size_t count)
{
    char key[64];
    double *values;
    snprintf(key, sizeof key, "batch%u.%s", number, name);
    assert_int_equal(safetensors_get(&w->file, key, &values), count);
    return values;
}

/* Their ids in row i, behavior t, of which `of` follow each other. */
struct cells {
    double *mid, *cat;
    size_t of;
};

static void put(uint32_t *to, const struct cells *cells, size_t cell)
{
    to[0] = (uint32_t)cells->mid[cell * cells->of];
    to[1] = (uint32_t)cells->cat[cell * cells->of];
}

/* The loss is a mean over the batch, and not all are as large. */
static void take_model(struct world *w, uint32_t samples)
{
    struct base_error error;
    if (w->model &&
        learner_model_get_config(w->model)->batch_size == samples)
        return;
    learner_step_free(w->step);
    learner_model_free(w->model);
    w->model = make_model(w->theirs, samples, 1);
    assert_int_equal(learner_step_new(w->model, 2, &w->step, &error), 0);
}

static void load_batch(struct world *w, unsigned number)
{
    char key[32];
    snprintf(key, sizeof key, "batch%u.uid", number);
    size_t samples = safetensors_get(&w->file, key, NULL);
    snprintf(key, sizeof key, "batch%u.mh", number);
    size_t T = safetensors_get(&w->file, key, NULL) / samples;
    double *y = get(w, number, "y", 2 * samples);
    double *size = get(w, number, "sl", samples);
    double *uid = get(w, number, "uid", samples);
    struct cells target = {get(w, number, "mid", samples),
                           get(w, number, "cat", samples), 1};
    struct cells history = {get(w, number, "mh", samples * T),
                            get(w, number, "ch", samples * T), 1};
    struct cells negative = {get(w, number, "nm", 5 * samples * T),
                             get(w, number, "nc", 5 * samples * T), 5};
    uint32_t n = 0;
    for (uint32_t i = 0; i < samples; i++) {
        w->label[i] = y[2 * i] == 1;
        w->index[3 * i] = (uint32_t)uid[i];
        put(w->index + 3 * i + 1, &target, i);
        w->group_begin[i + 1] = i + 1;
        for (size_t t = 0; t < (size_t)size[i]; t++, n++) {
            put(w->history_index + 2 * n, &history, i * T + t);
            put(w->negative_index + 2 * n, &negative, i * T + t);
        }
        w->history_begin[i + 1] = n;
    }
    void *const memory[] = {y, size, uid, target.mid, target.cat, history.mid,
                            history.cat, negative.mid, negative.cat};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++)
        free(memory[i]);
    take_model(w, (uint32_t)samples);
    point(w, (uint32_t)samples, (uint32_t)T);
}

/* ---- weights and gradients under their names ----------------------------- */

/* TITLE.(their name) as our tensor has it: AGRU's gates are the first half of
 * theirs, whose other half does nothing. */
static double *their_values(const struct world *w, const char *title,
                            const struct learner_tensor *tensor)
{
    char name[64], key[96];
    double *values;
    name_of(&w->file, tensor->name, name);
    snprintf(key, sizeof key, "%s.%s", title, name);
    size_t count = safetensors_get(&w->file, key, &values);
    size_t size = golden_size(tensor);
    if (count == size)
        return values;
    assert_int_equal(count, 2 * size);
    size_t columns = tensor->dimensions == 2 ? tensor->shape[1] : size;
    for (size_t i = 0; i < size / columns; i++)
        for (size_t j = 0; j < columns; j++) {
            if (strcmp(title, "g") == 0)
                assert_true(values[2 * i * columns + columns + j] == 0);
            values[i * columns + j] = values[2 * i * columns + j];
        }
    return values;
}

static bool agrees(const char *name, const float *values, const double *right,
                   size_t count, double tolerance)
{
    double top = 0, worst = 0;
    for (size_t i = 0; i < count; i++) {
        double away = fabs((double)values[i] - right[i]);
        top = fmax(top, fabs(right[i]));
        worst = away <= worst ? worst : away;
    }
    if (worst <= tolerance * top)
        return true;
    fprintf(stderr, "%s: off by %.2g of the maximum %.3g\n", name,
            worst / top, top);
    return false;
}

static bool check_tensors(const struct world *w, const char *title,
                          const float *dense, float *const *rows,
                          double tolerance)
{
    bool right = true;
    for (unsigned i = 0; i < learner_tensor_count(w->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(w->model, i);
        if (!tensor->trained || golden_noise(w->model, tensor->name))
            continue;
        double *values = their_values(w, title, tensor);
        right &= agrees(tensor->name, dense + tensor->offset, values,
                        golden_size(tensor), tolerance);
        free(values);
    }
    for (unsigned t = 0; t < TABLES; t++) {
        char name[64];
        snprintf(name, sizeof name, "%s_embedding_var", table_names[t]);
        right &= golden_agrees(&w->file, title, name, rows[t],
                               (size_t)w->row_count[t] * E, tolerance);
    }
    return right;
}

static bool open_world(struct world **made, const struct theirs *theirs)
{
    char path[128];
    snprintf(path, sizeof path, FOLDER "%s.safetensors", theirs->name);
    if (access(path, R_OK) != 0) {
        printf("skipped: no %s\n", path);
        return false;
    }
    struct world *w = *made = calloc(1, sizeof *w);
    assert_non_null(w);
    w->theirs = theirs;
    safetensors_open(&w->file, path);
    take_model(w, B);
    w->dense = golden_memory(learner_dense_size(w->model));
    w->ddense = golden_memory(learner_dense_size(w->model));
    learner_model_start(w->model, w->dense);
    for (unsigned i = 0; i < learner_tensor_count(w->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(w->model, i);
        if (!tensor->trained)
            continue;
        double *values = their_values(w, "w", tensor);
        for (size_t j = 0; j < golden_size(tensor); j++)
            w->dense[tensor->offset + j] = (float)values[j];
        free(values);
    }
    for (unsigned t = 0; t < TABLES; t++) {
        char key[64];
        double *values;
        snprintf(key, sizeof key, "w.%s_embedding_var", table_names[t]);
        size_t count = safetensors_get(&w->file, key, &values);
        w->row_count[t] = (uint32_t)(count / E);
        w->rows[t] = golden_memory(count);
        w->drows[t] = golden_memory(count);
        for (size_t i = 0; i < count; i++)
            w->rows[t][i] = (float)values[i];
        free(values);
    }
    load_batch(w, 0);
    return true;
}

static void close_world(struct world *w)
{
    learner_step_free(w->step);
    for (unsigned t = 0; t < TABLES; t++) {
        free(w->rows[t]);
        free(w->drows[t]);
    }
    free(w->dense);
    free(w->ddense);
    learner_model_free(w->model);
    if (w->file.bytes)
        safetensors_close(&w->file);
    free(w);
}

/* ---- outputs, losses, gradients ------------------------------------------ */

static bool near(const struct world *w, const char *name, double value,
                 double tolerance)
{
    double *right;
    assert_int_equal(safetensors_get(&w->file, name, &right), 1);
    bool same = fabs(value - *right) <= tolerance * fabs(*right);
    if (!same)
        fprintf(stderr, "%s: %.9g, theirs %.9g\n", name, value, *right);
    free(right);
    return same;
}

static void train(struct world *w)
{
    struct base_error error;
    assert_int_equal(
        learner_step_train(w->step, &w->input, &w->output, &error), 0);
    assert_true(w->output.finite);
}

static void gives_their_gradients(void **state)
{
    const struct theirs *theirs = *state;
    struct world *w;
    struct base_error error;
    float p[B];
    double *y, right_p[B];
    if (!open_world(&w, theirs))
        skip();
    assert_int_equal(learner_step_predict(w->step, &w->input, p, &error), 0);
    assert_int_equal(safetensors_get(&w->file, "y", &y), 2 * B);
    for (unsigned i = 0; i < B; i++)
        right_p[i] = y[2 * i];
    bool right = agrees("y", p, right_p, B, GRADIENT);
    train(w);
    right &= near(w, "loss", w->output.loss, LOSS);
    if (theirs->auxiliary)
        right &= near(w, "aux", w->output.auxiliary, LOSS);
    right &= check_tensors(w, "g", w->ddense, w->drows, GRADIENT);
    free(y);
    close_world(w);
    assert_true(right);
}

/* ---- attention ----------------------------------------------------------- */

static void find_row(const void *self, unsigned table, uint64_t key,
                     float *row)
{
    const struct world *w = self;
    memcpy(row, w->rows[table] + key * E, E * sizeof *row);
}

static void gives_their_attention(void **state)
{
    const struct theirs *theirs = *state;
    struct world *w;
    struct base_error error;
    struct learner_scorer *scorer;
    double *alphas;
    bool right = true;
    if (!open_world(&w, theirs))
        skip();
    uint32_t T = w->input.padded_to;
    assert_int_equal(safetensors_get(&w->file, "alphas", &alphas), B * T);
    assert_int_equal(learner_scorer_new(w->model, T, 1, &scorer, &error), 0);
    struct learner_parameters parameters = {
        .dense = w->dense, .tables = w, .row = find_row};
    for (unsigned i = 0; i < B; i++) {
        uint32_t begin = w->history_begin[i];
        uint32_t size = w->history_begin[i + 1] - begin;
        uint64_t history[2 * T_MAX], uid = w->index[3 * i];
        uint64_t item[2] = {w->index[3 * i + 1], w->index[3 * i + 2]};
        float p, attention[T_MAX] = {0};
        for (uint32_t j = 0; j < 2 * size; j++)
            history[j] = w->history_index[2 * begin + j];
        struct learner_request request = {
            .profile = &uid, .history = history, .history_size = size,
            .candidates = 1, .items = item};
        assert_int_equal(learner_score(scorer, &parameters, &request, &p,
                                       attention, &error), 0);
        right &= agrees("alphas", attention, alphas + (size_t)i * T, size,
                        GRADIENT);
    }
    free(alphas);
    learner_scorer_free(scorer);
    close_world(w);
    assert_true(right);
}

/* ---- three steps --------------------------------------------------------- */

/* Rows with their optimizer state behind them; dense states. */
struct adam {
    struct learner_updater updater;
    float *states[LEARNER_DENSE_STATES];
    float *values[TABLES]; /* (rows, 3 E) */
};

static void update(struct world *w, struct adam *adam, unsigned number)
{
    learner_optimizer_seek(&adam->updater, (uint64_t)B * number);
    learner_optimizer_dense(&adam->updater, w->dense, adam->states, w->ddense,
                            learner_dense_size(w->model), number + 1);
    for (unsigned t = 0; t < TABLES; t++)
        for (size_t row = 0; row < w->row_count[t]; row++) {
            float *values = adam->values[t] + row * 3 * E;
            const float *g = w->drows[t] + row * E;
            bool touched = false;
            for (unsigned j = 0; j < E; j++)
                touched |= g[j] != 0;
            memcpy(values, w->rows[t] + row * E, E * sizeof *values);
            if (touched)
                learner_optimizer_row(&adam->updater, values, g, E,
                                      number + 1);
            else
                learner_optimizer_rest(&adam->updater, values, E, number + 1);
            memcpy(w->rows[t] + row * E, values, E * sizeof *values);
        }
}

static void takes_their_steps(void **state)
{
    struct world *w;
    if (!open_world(&w, *state))
        skip();
    struct adam *adam = calloc(1, sizeof *adam);
    assert_non_null(adam);
    learner_optimizer_init(&adam->updater, learner_model_get_config(w->model));
    for (unsigned i = 0; i < LEARNER_DENSE_STATES; i++)
        adam->states[i] = golden_memory(learner_dense_size(w->model));
    for (unsigned t = 0; t < TABLES; t++)
        adam->values[t] = golden_memory((size_t)w->row_count[t] * 3 * E);
    bool right = true;
    for (unsigned i = 0; i < STEPS; i++) {
        char name[16];
        snprintf(name, sizeof name, "step%u.loss", i);
        load_batch(w, i);
        train(w);
        right &= near(w, name, w->output.loss, i == 0 ? LOSS : AFTER);
        update(w, adam, i);
    }
    right &= check_tensors(w, "after3", w->dense, w->rows, AFTER);
    for (unsigned i = 0; i < LEARNER_DENSE_STATES; i++)
        free(adam->states[i]);
    for (unsigned t = 0; t < TABLES; t++)
        free(adam->values[t]);
    free(adam);
    close_world(w);
    assert_true(right);
}

/* ---- a fresh model ------------------------------------------------------- */

static void has_as_many_parameters(void **state)
{
    (void)state;
    struct learner_model *model = make_model(&models[1], 128, 1);
    assert_int_equal(learner_dense_trained(model), 94059);
    learner_model_free(model);
}

/* Rows as if of vocabularies as large as Books', of which 128 are used. */
static void fill_fresh(struct world *w, uint64_t seed)
{
    static const float vocabulary[TABLES] = {543060, 367983, 1601};
    learner_model_start(w->model, w->dense);
    for (unsigned t = 0; t < TABLES; t++) {
        w->row_count[t] = 128;
        w->rows[t] = golden_memory(128 * E);
        w->drows[t] = golden_memory(128 * E);
        for (size_t i = 0; i < 128 * E; i++) {
            float u = base_random_unit(base_random_u64(seed, 10 + t, i, 0));
            w->rows[t][i] = (2 * u - 1) * sqrtf(6 / (vocabulary[t] + E));
        }
    }
    for (uint32_t i = 0; i < 128; i++) {
        w->label[i] = i % 2;
        w->group_begin[i + 1] = i + 1;
        w->history_begin[i + 1] = w->history_begin[i] + 1 + i % 20;
    }
    for (unsigned i = 0; i < 128 * 3; i++)
        w->index[i] = base_random_u64(seed, 20, i, 0) % 128;
    for (unsigned i = 0; i < 2 * w->history_begin[128]; i++) {
        w->history_index[i] = base_random_u64(seed, 21, i, 0) % 128;
        w->negative_index[i] = base_random_u64(seed, 22, i, 0) % 128;
    }
    point(w, 128, 20);
}

static void starts_with_their_losses(void **state)
{
    const struct theirs *theirs = *state;
    bool wide = theirs->kind == LEARNER_WIDE_DEEP;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct world *w = calloc(1, sizeof *w);
        struct base_error error;
        assert_non_null(w);
        w->model = make_model(theirs, 128, seed);
        w->dense = golden_memory(learner_dense_size(w->model));
        w->ddense = golden_memory(learner_dense_size(w->model));
        fill_fresh(w, seed);
        assert_int_equal(learner_step_new(w->model, 1, &w->step, &error), 0);
        train(w);
        double auxiliary = w->output.auxiliary;
        double click = w->output.loss - auxiliary;
        /* half of ln 2, and what random weights add */
        assert_true(click > 0.340 && click < (wide ? 0.43 : 0.36));
        /* per valid cell ln(2 + 2 cosh d), d the difference of two logits
         * that start the same in all cells */
        double cells = (double)(w->history_begin[128] - 128) / (128 * 19);
        if (theirs->auxiliary)
            assert_true(auxiliary / cells > 1.386 && auxiliary / cells < 3);
        close_world(w);
    }
}

/* An argument chooses tests, as "dien: *". */
int main(int count, char **arguments)
{
    static const CMUnitTestFunction functions[] = {
        gives_their_gradients, gives_their_attention, takes_their_steps,
        starts_with_their_losses};
    static const char *const titles[] = {"gradients", "attention", "steps",
                                         "first losses"};
    static char names[4 * MODELS][64];
    struct CMUnitTest tests[4 * MODELS + 1] = {
        cmocka_unit_test(has_as_many_parameters)};
    size_t made = 1;
    for (unsigned i = 0; i < 4 * MODELS; i++) {
        const struct theirs *theirs = &models[i / 4];
        if (functions[i % 4] == gives_their_attention && !theirs->attention)
            continue;
        snprintf(names[i], sizeof names[i], "%s: %s", theirs->name,
                 titles[i % 4]);
        tests[made].name = names[i];
        tests[made].test_func = functions[i % 4];
        tests[made++].initial_state = (void *)(uintptr_t)theirs;
    }
    if (count > 1)
        cmocka_set_test_filter(arguments[1]);
    return _cmocka_run_group_tests("authors", tests, made, NULL, NULL);
}
