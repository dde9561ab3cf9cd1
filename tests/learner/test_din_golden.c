/* SPDX-License-Identifier: Apache-2.0 */
/* DIN against golden values: the streaming profile, tuned and plain, against
 * PyTorch (tests/golden/make_din.py); the plain implementation with the
 * authors' quirks against the authors' own code. Everything by tensor name:
 * max |a - b| <= 2e-5 max |b| for the tuned code, losses to 2e-6. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learner/net.h"
#include "tests/learner/din_reference.h"
#include "tests/learner/safetensors.h"

#define TORCH "tests/golden/din_torch.safetensors"
#define AUTHORS "tests/golden/din_authors.safetensors"

/* The tensor's elements, size checked. The caller frees. */
static double *get(const struct safetensors *file, const char *prefix,
                   const char *name, size_t size)
{
    char key[128];
    double *values;
    snprintf(key, sizeof key, "%s%s", prefix, name);
    size_t found = safetensors_get(file, key, &values);
    if (found != size)
        fail_msg("%s: %zu elements, not %zu", key, found, size);
    return values;
}

static void assert_near(const char *name, const double *a, const double *b,
                        size_t size, double limit)
{
    double far = 0, top = 0;
    for (size_t i = 0; i < size; i++) {
        double d = fabs(a[i] - b[i]);
        if (!(d <= far))
            far = d;
        top = fabs(b[i]) > top ? fabs(b[i]) : top;
    }
    if (!(far <= limit * top))
        fail_msg("%s: off by %g, largest %g", name, far, top);
}

static double *widened(const float *from, size_t size)
{
    double *to = malloc((size + 1) * sizeof *to);
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
    return to;
}

/* Compares with the tensor "<prefix><name>". */
static void assert_golden(const struct safetensors *file, const char *prefix,
                          const char *name, const double *a, size_t size,
                          double limit)
{
    double *golden = get(file, prefix, name, size);
    assert_near(name, a, golden, size, limit);
    free(golden);
}

static void assert_golden_float(const struct safetensors *file,
                                const char *prefix, const char *name,
                                const float *a, size_t size, double limit)
{
    double *wide = widened(a, size);
    assert_golden(file, prefix, name, wide, size, limit);
    free(wide);
}

static size_t size_of(const struct learner_tensor *tensor)
{
    return (size_t)tensor->shape[0] * tensor->shape[1];
}

static void set_floats(float *to, const struct safetensors *file,
                       const char *prefix, const char *name, size_t size)
{
    double *from = get(file, prefix, name, size);
    for (size_t i = 0; i < size; i++)
        to[i] = (float)from[i];
    free(from);
}

static void set_counts(uint32_t *to, const struct safetensors *file,
                       const char *prefix, const char *name, size_t size)
{
    double *from = get(file, prefix, name, size);
    for (size_t i = 0; i < size; i++)
        to[i] = (uint32_t)from[i];
    free(from);
}

static void set_bytes(uint8_t *to, const struct safetensors *file,
                      const char *prefix, const char *name, size_t size)
{
    double *from = get(file, prefix, name, size);
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)from[i];
    free(from);
}

/* ---- PyTorch ------------------------------------------------------------- */

static void load_torch(struct din_case *c, const struct safetensors *file,
                       const char *prefix)
{
    double *spec = get(file, prefix, "spec", 12);
    struct din_case_spec made = {
        .profile = (uint16_t)spec[0], .item = (uint16_t)spec[1],
        .context = (uint16_t)spec[2], .dimension = (uint16_t)spec[3],
        .attention = {(uint16_t)spec[4], (uint16_t)spec[5]},
        .mlp = {(uint16_t)spec[6], (uint16_t)spec[7]},
        .activation = spec[8] != 0 ? LEARNER_DICE : LEARNER_PRELU,
        .softmax = spec[9] != 0, .shards = 3,
        .groups = (uint32_t)spec[10], .group_max = 1, .history_max = 1,
        .rows = (uint32_t)spec[11], .seed = 1};
    din_case_init(c, &made); /* for its model; the batch is replaced */
    struct learner_model *model = c->model;
    c->model = NULL;
    din_case_fini(c);
    memset(c, 0, sizeof *c);
    c->model = model;
    const struct learner_schema *schema = &model->schema;
    for (unsigned t = 0; t < schema->table_count; t++)
        c->row_count[t] = made.rows;
    char key[64];
    snprintf(key, sizeof key, "%slabel", prefix);
    uint32_t samples = (uint32_t)safetensors_get(file, key, NULL);
    snprintf(key, sizeof key, "%shistory_index", prefix);
    uint32_t cells = (uint32_t)safetensors_get(file, key, NULL);
    din_case_allocate(c, samples, made.groups, cells / made.item);
    set_counts(c->group_begin, file, prefix, "group_begin", made.groups + 1);
    set_counts(c->history_begin, file, prefix, "history_begin",
               made.groups + 1);
    set_counts(c->index, file, prefix, "index",
               (size_t)samples * schema->field_count);
    set_counts(c->history_index, file, prefix, "history_index", cells);
    set_bytes(c->label, file, prefix, "label", samples);
    set_bytes(c->kind, file, prefix, "kind", samples);
    for (unsigned i = 0; i < learner_tensor_count(model); i++) {
        const struct learner_tensor *tensor = learner_tensor(model, i);
        snprintf(key, sizeof key, "w.%s", tensor->name);
        set_floats(c->dense + tensor->offset, file, prefix, key,
                   size_of(tensor));
    }
    for (unsigned t = 0; t < schema->table_count; t++) {
        snprintf(key, sizeof key, "rows.%u", t);
        set_floats(c->rows[t], file, prefix, key,
                   (size_t)made.rows * schema->tables[t].dimension);
    }
    free(spec);
}

/* Softmax sees no shift, so this gradient is rounding noise around 0. */
static bool is_noise(const struct learner_model *model, unsigned i)
{
    return model->config.attention_softmax && (int)i == model->place[TENSOR_ATTENTION_2_BIAS];
}

static void check_plain(const struct din_case *c,
                        const struct safetensors *file, const char *prefix)
{
    struct din_reference r;
    char key[64];
    din_reference_init(&r, c);
    size_t pairs = 0;
    for (uint32_t g = 0; g < c->batch.groups; g++)
        pairs += (size_t)(c->group_begin[g + 1] - c->group_begin[g]) *
                 (c->history_begin[g + 1] - c->history_begin[g]);
    din_reference_forward(&r, true);
    assert_golden(file, prefix, "p", r.p, c->batch.samples, 1e-12);
    assert_golden(file, prefix, "attention", r.attention, pairs, 1e-12);
    din_reference_forward(&r, false);
    din_reference_backward(&r);
    assert_golden(file, prefix, "loss", &r.loss, 1, 1e-12);
    /* stored as float: 2^-24 relative */
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        snprintf(key, sizeof key, "g.%s", tensor->name);
        if (tensor->trained && !is_noise(c->model, i))
            assert_golden(file, prefix, key, r.ddense + tensor->offset,
                          size_of(tensor), 1e-7);
    }
    for (unsigned t = 0; t < c->model->schema.table_count; t++) {
        snprintf(key, sizeof key, "drows.%u", t);
        assert_golden(file, prefix, key, r.drows[t],
                      (size_t)c->row_count[t] *
                          c->model->schema.tables[t].dimension, 1e-7);
    }
    din_reference_fini(&r);
}

static void check_tuned(struct din_case *c, const struct safetensors *file,
                        const char *prefix)
{
    char key[64];
    din_case_predict(c, 1);
    assert_golden_float(file, prefix, "p", c->probability, c->batch.samples,
                        2e-6);
    din_case_train(c, 1);
    assert_true(c->output.finite);
    assert_golden(file, prefix, "loss", &c->output.loss, 1, 2e-6);
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        snprintf(key, sizeof key, "%s.%s", tensor->trained ? "g" : "after",
                 tensor->name);
        if (!is_noise(c->model, i))
            assert_golden_float(file, prefix, key,
                                (tensor->trained ? c->ddense : c->dense) +
                                    tensor->offset, size_of(tensor), 2e-5);
    }
    for (unsigned t = 0; t < c->model->schema.table_count; t++) {
        snprintf(key, sizeof key, "drows.%u", t);
        assert_golden_float(file, prefix, key, c->drows[t],
                            (size_t)c->row_count[t] *
                                c->model->schema.tables[t].dimension, 2e-5);
    }
}

static void agrees_with_pytorch(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "dice_none_window.", "dice_none_fnw.", "dice_softmax_window.",
        "dice_softmax_fnw.", "prelu_none_window.", "prelu_none_fnw.",
        "prelu_softmax_window.", "prelu_softmax_fnw."};
    struct safetensors file;
    safetensors_open(&file, TORCH);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct din_case c;
        load_torch(&c, &file, cases[i]);
        check_plain(&c, &file, cases[i]);
        check_tuned(&c, &file, cases[i]);
        din_case_fini(&c);
    }
    safetensors_close(&file);
}

/* ---- the authors' code --------------------------------------------------- */

/* Their names of our tensors, in the order of our table. */
static const char *const authors_names[] = {
    "bn1/gamma", "bn1/beta", "f1_attnull/kernel", "f1_attnull/bias",
    "f2_attnull/kernel", "f2_attnull/bias", "f3_attnull/kernel",
    "f3_attnull/bias", "f1/kernel", "f1/bias", "f2/kernel", "f2/bias",
    "f3/kernel", "f3/bias", "dice_1/alphadice_1", "dice_2/alphadice_2"};
static const char *const authors_tables[] = {
    "uid_embedding_var", "mid_embedding_var", "cat_embedding_var"};

enum { USERS = 30, GOODS = 90, CATEGORIES = 14, B = 8, T = 12 };

/* uid is a profile field, mid and cat are the item's. */
static struct learner_model *authors_model(void)
{
    struct learner_schema schema = {
        .field_count = 3, .profile_count = 1, .item_count = 2,
        .table_count = 3,
        .fields = {{"uid", LEARNER_PROFILE, 0}, {"mid", LEARNER_ITEM, 1},
                   {"cat", LEARNER_ITEM, 2}},
        .tables = {{"uid", 18}, {"mid", 18}, {"cat", 18}}};
    struct learner_model_config config;
    struct learner_model *model;
    learner_model_config_default(&config);
    config.attention_softmax = true;
    assert_int_equal(learner_model_new(&schema, &config, &model, NULL), 0);
    return model;
}

/* One group per user; the padding of a history is cut off. */
static void load_authors(struct din_case *c, const struct safetensors *file)
{
    memset(c, 0, sizeof *c);
    c->model = authors_model();
    c->row_count[0] = USERS, c->row_count[1] = GOODS;
    c->row_count[2] = CATEGORIES;
    din_case_allocate(c, B, B, B * T);
    double *sl = get(file, "batch0.", "sl", B), *y = get(file, "batch0.", "y",
                                                         2 * B);
    double *mh = get(file, "batch0.", "mh", B * T);
    double *ch = get(file, "batch0.", "ch", B * T);
    static const char *const ids[] = {"uid", "mid", "cat"};
    for (unsigned f = 0; f < 3; f++) {
        double *id = get(file, "batch0.", ids[f], B);
        for (unsigned i = 0; i < B; i++)
            c->index[3 * i + f] = (uint32_t)id[i];
        free(id);
    }
    uint32_t *at = c->history_index;
    for (unsigned i = 0; i < B; i++) {
        uint32_t size = (uint32_t)sl[i];
        c->label[i] = y[2 * i] == 1;
        c->group_begin[i + 1] = i + 1;
        c->history_begin[i + 1] = c->history_begin[i] + size;
        for (uint32_t t = 0; t < size; t++) {
            *at++ = (uint32_t)mh[i * T + t];
            *at++ = (uint32_t)ch[i * T + t];
        }
    }
    free(sl), free(y), free(mh), free(ch);
    for (unsigned i = 0; learner_tensor(c->model, i)->trained; i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        set_floats(c->dense + tensor->offset, file, "w.", authors_names[i],
                   size_of(tensor));
    }
    for (unsigned t = 0; t < 3; t++)
        set_floats(c->rows[t], file, "w.", authors_tables[t],
                   (size_t)c->row_count[t] * 18);
}

static void agrees_with_the_authors(void **state)
{
    (void)state;
    struct safetensors file;
    struct din_case c;
    struct din_reference r;
    safetensors_open(&file, AUTHORS);
    load_authors(&c, &file);
    din_reference_init(&r, &c);
    r.authors = true;
    r.padded = T;
    din_reference_forward(&r, false);
    din_reference_backward(&r);
    assert_golden(&file, "", "loss", &r.loss, 1, 1e-12);
    double *y = get(&file, "", "y", 2 * B);
    for (unsigned i = 0; i < B; i++)
        assert_true(fabs(r.p[i] + 1e-8 - y[2 * i]) <= 1e-12);
    free(y);
    double *alphas = get(&file, "", "alphas", B * T);
    for (unsigned i = 0; i < B; i++)
        assert_near("alphas", r.attention + c.history_begin[i],
                    alphas + (size_t)i * T,
                    c.history_begin[i + 1] - c.history_begin[i], 1e-12);
    free(alphas);
    /* stored as float: 2^-24 relative */
    for (unsigned i = 0; learner_tensor(c.model, i)->trained; i++) {
        const struct learner_tensor *tensor = learner_tensor(c.model, i);
        if (!is_noise(c.model, i))
            assert_golden(&file, "g.", authors_names[i],
                          r.ddense + tensor->offset, size_of(tensor), 1e-7);
    }
    for (unsigned t = 0; t < 3; t++)
        assert_golden(&file, "g.", authors_tables[t], r.drows[t],
                      (size_t)c.row_count[t] * 18, 1e-7);
    din_reference_fini(&r);
    din_case_fini(&c);
    safetensors_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_pytorch),
        cmocka_unit_test(agrees_with_the_authors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
