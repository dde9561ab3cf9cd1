/* SPDX-License-Identifier: Apache-2.0 */
/* What every kind of model promises, through the step and the scorer: the
 * same bits on any number of threads and in both instruction sets; groups are
 * worth their samples one by one; slopes of the loss; scores are predictions;
 * defined results at every edge; names of what is not finite. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/learner/net_case.h"

/* check(case of the usual sizes) for every variant */
static void each(void (*check)(struct net_case *c, const char *name))
{
    for (unsigned i = 0; i < net_variant_count; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i]);
        struct net_case c;
        net_case_init(&c, &spec);
        check(&c, net_variants[i].name);
        net_case_fini(&c);
    }
}

/* FNV-1a over all that a prediction and a step of a case leave behind. */
static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return hash;
}

static uint64_t digest(struct net_case *c, unsigned threads)
{
    uint64_t hash = 14695981039346656037u;
    size_t size = learner_dense_size(c->model) * sizeof(float);
    float *before = malloc(size);
    memcpy(before, c->dense, size);
    net_case_predict(c, threads);
    net_case_train(c, threads);
    hash = add_bytes(hash, c->probability,
                     c->batch.samples * sizeof *c->probability);
    hash = add_bytes(hash, c->dense, size);
    hash = add_bytes(hash, c->ddense, size);
    hash = add_bytes(hash, &c->output.loss, sizeof c->output.loss);
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        hash = add_bytes(hash, c->drows[t],
                         net_case_table_size(c, t) * sizeof(float));
    memcpy(c->dense, before, size);
    free(before);
    return hash;
}

/* Nothing is left unwritten. */
static void check_numbers(struct net_case *c, const char *name)
{
    net_case_train(c, 1);
    for (size_t i = 0; i < learner_dense_size(c->model); i++)
        if (isnan(c->ddense[i]))
            fail_msg("%s: ddense[%zu]", name, i);
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        for (size_t i = 0; i < net_case_table_size(c, t); i++)
            if (isnan(c->drows[t][i]))
                fail_msg("%s: table %u, %zu", name, t, i);
}

static void gradients_are_overwritten(void **state)
{
    (void)state;
    each(check_numbers);
}

static void check_threads(struct net_case *c, const char *name)
{
    uint64_t one = digest(c, 1), two = digest(c, 2), four = digest(c, 4);
    if (one != two || one != four)
        fail_msg("%s: threads change the bits", name);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    each(check_threads);
}

static void train_with(struct learner_step *step, struct net_case *c)
{
    assert_int_equal(learner_step_train(step, &c->input, &c->output, NULL), 0);
}

/* Not a number in every row, so in every buffer that rows reach. */
static void spoil(struct net_case *c)
{
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        for (size_t i = 0; i < net_case_table_size(c, t); i++)
            c->rows[t][i] = NAN;
}

/* What a step did before, on larger batches, leaves no trace; nor does what
 * had to be rejected. */
static void the_past_does_not_change_a_bit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < net_variant_count; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i]);
        struct net_case past, now, fresh;
        struct learner_step *step;
        net_case_init(&now, &spec);
        net_case_init(&fresh, &spec);
        assert_int_equal(learner_step_new(now.model, 1, &step, NULL), 0);
        spec.groups = 14, spec.history_max = 9;
        for (spec.seed = 5; spec.seed < 9; spec.seed++) {
            net_case_init(&past, &spec);
            if (spec.seed == 8)
                spoil(&past);
            train_with(step, &past);
            assert_true(past.output.finite == (spec.seed != 8));
            net_case_fini(&past);
        }
        train_with(step, &now);
        net_case_train(&fresh, 1);
        assert_memory_equal(now.ddense, fresh.ddense,
                            learner_dense_size(now.model) * sizeof(float));
        for (unsigned t = 0; t < learner_model_tables(now.model); t++)
            if (memcmp(now.drows[t], fresh.drows[t],
                       net_case_table_size(&now, t) * sizeof(float)) != 0)
                fail_msg("%s: table %u differs", net_variants[i].name, t);
        assert_true(now.output.loss == fresh.output.loss);
        learner_step_free(step);
        net_case_fini(&now);
        net_case_fini(&fresh);
    }
}

/* ---- instruction sets --------------------------------------------------- */

static char program[4096]; /* this test's own path */

/* Whether a cell of the lines from `first` on points at `row` of `table`. */
static bool any_at(const struct net_case *c, const uint32_t *index,
                   unsigned field, unsigned fields, size_t lines,
                   uint32_t row)
{
    for (size_t i = 0; i < lines; i++)
        for (unsigned j = 0; j < fields; j++)
            if (index[i * fields + j] == row &&
                c->model->schema.fields[field + j].table == 0)
                return true;
    return false;
}

/* fresh (groups): 1 where a group reads the row of table 0; how many are. */
static unsigned mark(const struct net_case *c, uint32_t row, uint8_t *fresh)
{
    const struct learner_schema *schema = &c->model->schema;
    unsigned marked = 0;
    for (uint32_t g = 0; g < c->batch.groups; g++) {
        uint32_t sample = c->group_begin[g], behavior = c->history_begin[g];
        fresh[g] = any_at(c, c->index + sample * schema->field_count, 0,
                          schema->field_count,
                          c->group_begin[g + 1] - sample, row) ||
                   any_at(c, c->history_index + behavior * schema->item_count,
                          schema->profile_count, schema->item_count,
                          c->history_begin[g + 1] - behavior, row);
        marked += fresh[g];
    }
    return marked;
}

/* A row that training sees otherwise than the prediction before it did: only
 * the groups that read it are computed again. */
static void what_a_prediction_computed_is_kept(void **state)
{
    (void)state;
    unsigned some = 0;
    for (unsigned i = 0; i < net_variant_count; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i]);
        struct net_case now, whole;
        struct learner_step *step;
        uint8_t fresh[64];
        net_case_init(&now, &spec);
        net_case_init(&whole, &spec);
        size_t W = learner_model_table(now.model, 0)->dimension;
        for (uint32_t row = 1; row < 4; row++) {
            unsigned marked = mark(&now, row, fresh);
            some += marked > 0 && marked < now.batch.groups;
            assert_int_equal(learner_step_new(now.model, 2, &step, NULL), 0);
            for (size_t j = 0; j < W; j++)
                now.rows[0][row * W + j] += 1;
            assert_int_equal(learner_step_predict(step, &now.input,
                                                  now.probability, NULL), 0);
            memcpy(now.rows[0], whole.rows[0],
                   net_case_table_size(&now, 0) * sizeof(float));
            memcpy(now.dense, whole.dense,
                   learner_dense_size(now.model) * sizeof(float));
            now.input.fresh = fresh;
            train_with(step, &now);
            now.input.fresh = NULL;
            net_case_train(&whole, 1);
            assert_memory_equal(now.ddense, whole.ddense,
                                learner_dense_size(now.model) * sizeof(float));
            for (unsigned t = 0; t < learner_model_tables(now.model); t++)
                if (memcmp(now.drows[t], whole.drows[t],
                           net_case_table_size(&now, t) * sizeof(float)) != 0)
                    fail_msg("%s: table %u", net_variants[i].name, t);
            assert_true(now.output.loss == whole.output.loss);
            memcpy(whole.dense, now.dense,
                   learner_dense_size(now.model) * sizeof(float));
            learner_step_free(step);
        }
        net_case_fini(&now);
        net_case_fini(&whole);
    }
    assert_true(some > net_variant_count);
}

static void print_digest(struct net_case *c, const char *name)
{
    (void)name;
    printf("%llx\n", (unsigned long long)digest(c, 2));
}

/* The digests of another process that is forced to the named kernels. */
static void digests_under(const char *kernels, char text[8192])
{
    char command[4200];
    snprintf(command, sizeof command, "INTERESTD_KERNELS=%s '%s' digest",
             kernels, program);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t size = fread(text, 1, 8191, pipe);
    text[size] = 0;
    assert_true(size > net_variant_count);
    assert_int_equal(pclose(pipe), 0);
}

static void instruction_sets_give_the_same_bits(void **state)
{
    (void)state;
    char two[8192], five[8192], plain[8192];
    if (strcmp(learner_kernels(), "avx512") != 0)
        skip();
    digests_under("avx2", two);
    digests_under("avx512", five);
    digests_under("plain", plain);
    assert_string_equal(two, five);
    assert_string_not_equal(two, plain); /* an arithmetic of its own */
}

/* ---- groups ------------------------------------------------------------- */

static void assert_near(const char *name, const char *part, const float *a,
                        const float *b, size_t size, float limit)
{
    float top = 0, far = 0;
    for (size_t i = 0; i < size; i++) {
        top = fmaxf(top, fabsf(b[i]));
        far = fmaxf(far, fabsf(a[i] - b[i]));
        assert_false(isnan(a[i]));
    }
    if (far > limit * top)
        fail_msg("%s: %s: off by %g of %g", name, part, far, top);
}

/* Softmax sees no shift, so this gradient is rounding noise around 0. */
static bool is_noise(const struct net_case *c, const char *tensor)
{
    return learner_model_get_config(c->model)->attention_softmax &&
           strcmp(tensor, "attention.2.bias") == 0;
}

static void check_split(struct net_case *c, const char *name)
{
    struct net_case split;
    net_case_split(&split, c);
    net_case_predict(c, 1);
    net_case_predict(&split, 1);
    if (learner_model_get_config(c->model)->dice_batch)
        assert_near(name, "p", split.probability, c->probability,
                    c->batch.samples, 1e-5f);
    else
        assert_memory_equal(split.probability, c->probability,
                            c->batch.samples * sizeof(float));
    net_case_train(c, 1);
    net_case_train(&split, 1);
    assert_true(fabs(split.output.loss - c->output.loss) <=
                1e-6 * c->output.loss);
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        if (!is_noise(c, tensor->name))
            assert_near(name, tensor->name, split.ddense + tensor->offset,
                        c->ddense + tensor->offset,
                        (size_t)tensor->shape[0] * tensor->shape[1], 1e-4f);
    }
    for (unsigned t = 0; t < learner_model_tables(c->model); t++)
        assert_near(name, learner_model_table(c->model, t)->name,
                    split.drows[t], c->drows[t], net_case_table_size(c, t),
                    1e-4f);
    net_case_fini(&split);
}

/* The gradient of a group is that of its samples apart. */
static void groups_share_without_a_difference(void **state)
{
    (void)state;
    each(check_split);
    for (unsigned i = 0; i < net_variant_count; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i]);
        struct net_case c;
        spec.groups = 5, spec.group_max = 5, spec.history_max = 6;
        spec.exact = true, spec.seed = 31 + i;
        net_case_init(&c, &spec);
        check_split(&c, net_variants[i].name);
        net_case_fini(&c);
    }
}

/* ---- slopes ------------------------------------------------------------- */

/* The loss with w moved by `by` along the direction. */
static double loss_along(struct net_case *c, float *w, const float *direction,
                         size_t size, double by)
{
    size_t bytes = size * sizeof *w;
    size_t dense = learner_dense_size(c->model) * sizeof *w;
    float *before = malloc(bytes + 1), *all = malloc(dense);
    float *gradient = malloc(dense);
    memcpy(before, w, bytes);
    memcpy(all, c->dense, dense);
    memcpy(gradient, c->ddense, dense);
    for (size_t i = 0; i < size; i++)
        w[i] = (float)(w[i] + by * direction[i]);
    net_case_train(c, 1);
    memcpy(c->dense, all, dense);
    memcpy(c->ddense, gradient, dense);
    memcpy(w, before, bytes);
    free(before), free(all), free(gradient);
    return c->output.loss;
}

static void check_slope(struct net_case *c, const char *name, const char *part,
                        float *w, const float *gradient, size_t size)
{
    double norm = 0, loss = c->output.loss;
    float *direction = calloc(size + 1, sizeof *direction);
    for (size_t i = 0; i < size; i++)
        norm += (double)gradient[i] * gradient[i];
    norm = sqrt(norm);
    for (size_t i = 0; i < size; i++)
        direction[i] = norm > 0 ? (float)(gradient[i] / norm) : 0;
    double by = fmin(2e-4 * loss / (norm + 1e-9), 2e-3);
    double up = loss_along(c, w, direction, size, by);
    double down = loss_along(c, w, direction, size, -by);
    double slope = (up - down) / (2 * by);
    if (!(norm > 0) && !is_noise(c, part))
        fail_msg("%s: %s: no gradient", name, part);
    if (fabs(slope - norm) > 0.03 * norm + 1e-6 * loss / by)
        fail_msg("%s: %s: slope %g, gradient %g", name, part, slope, norm);
    c->output.loss = loss;
    free(direction);
}

static void check_slopes(struct net_case *c, const char *name)
{
    float *drows[NET_CASE_TABLES];
    net_case_train(c, 1);
    for (unsigned t = 0; t < learner_model_tables(c->model); t++) {
        size_t size = net_case_table_size(c, t) * sizeof(float);
        drows[t] = malloc(size);
        memcpy(drows[t], c->drows[t], size);
    }
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        if (tensor->trained && !is_noise(c, tensor->name))
            check_slope(c, name, tensor->name, c->dense + tensor->offset,
                        c->ddense + tensor->offset,
                        (size_t)tensor->shape[0] * tensor->shape[1]);
    }
    for (unsigned t = 0; t < learner_model_tables(c->model); t++) {
        check_slope(c, name, learner_model_table(c->model, t)->name,
                    c->rows[t], drows[t], net_case_table_size(c, t));
        free(drows[t]);
    }
}

/* Along its gradient the loss rises by the gradient's length; PReLU's kinks
 * take a few hundredths. test_gradient.c has the exact comparison. */
static void gradients_are_slopes(void **state)
{
    (void)state;
    each(check_slopes);
}

/* ---- scores ------------------------------------------------------------- */

static uint64_t id_of(uint32_t row)
{
    return row == LEARNER_NO_ROW ? LEARNER_ABSENT : row;
}

static void row_of(const void *tables, unsigned table, uint64_t key,
                   float *row)
{
    const struct net_case *c = tables;
    size_t W = learner_model_table(c->model, table)->dimension;
    if (table == learner_model_schema(c->model)->table_count)
        key = net_case_cross_row(c, key);
    memcpy(row, c->rows[table] + (key < c->row_count[table] ? key * W : 0),
           W * sizeof *row);
}

/* Group g as one request; its first sample's profile and context become every
 * sample's. Returns the number of candidates. */
static uint32_t score_group(struct net_case *c, uint32_t g,
                            struct learner_scorer *scorer, float *p,
                            float *attention)
{
    const struct learner_schema *schema = learner_model_schema(c->model);
    size_t F = schema->field_count, f = schema->item_count;
    size_t P = schema->profile_count, begin = c->group_begin[g];
    uint32_t count = c->group_begin[g + 1] - c->group_begin[g];
    uint32_t old = c->history_begin[g];
    uint64_t ids[64], items[640], history[640];
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < F; j++) {
            uint32_t *cell = &c->index[(begin + i) * F + j];
            if (j < P || j >= P + f)
                *cell = c->index[begin * F + j];
            else
                items[i * f + j - P] = id_of(*cell);
            ids[j] = id_of(*cell);
        }
    struct learner_request request = {
        .profile = ids, .history = history,
        .history_size = c->history_begin[g + 1] - old, .candidates = count,
        .items = items, .context = ids + P + f};
    for (size_t j = 0; j < request.history_size * f; j++)
        history[j] = id_of(c->history_index[old * f + j]);
    struct learner_parameters parameters = {c->dense, c, row_of};
    assert_int_equal(learner_score(scorer, &parameters, &request, p, attention,
                                   NULL), 0);
    return count;
}

static void check_scores(struct net_case *c, const char *name)
{
    struct learner_scorer *scorer;
    float p[64][8];
    if (learner_model_get_config(c->model)->dice_batch)
        return; /* the candidates' statistics are not the batch's */
    assert_int_equal(learner_scorer_new(c->model, 10, 8, &scorer, NULL), 0);
    for (uint32_t g = 0; g < c->batch.groups; g++)
        score_group(c, g, scorer, p[g], NULL);
    net_case_predict(c, 2);
    for (uint32_t g = 0; g < c->batch.groups; g++)
        if (memcmp(p[g], c->probability + c->group_begin[g],
                   (c->group_begin[g + 1] - c->group_begin[g]) *
                       sizeof(float)) != 0)
            fail_msg("%s: group %u: scores differ", name, g);
    learner_scorer_free(scorer);
}

static void scores_are_predictions(void **state)
{
    (void)state;
    each(check_scores);
}

/* With the batch's statistics: one group is the batch. */
static void scores_of_one_group_are_its_predictions(void **state)
{
    (void)state;
    for (unsigned i = 0; i < net_variant_count; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i]);
        struct net_case c;
        struct learner_scorer *scorer;
        float p[8], attention[56], sum = 0;
        spec.groups = 1, spec.group_max = 6, spec.exact = true;
        net_case_init(&c, &spec);
        assert_int_equal(learner_scorer_new(c.model, 7, 6, &scorer, NULL), 0);
        score_group(&c, 0, scorer, p, attention);
        net_case_predict(&c, 1);
        assert_memory_equal(p, c.probability, 6 * sizeof *p);
        for (unsigned t = 0; t < 7; t++)
            sum += attention[t];
        const struct learner_model_config *config =
            learner_model_get_config(c.model);
        if (config->kind == LEARNER_DIN && config->attention_softmax)
            assert_true(fabsf(sum - 1) < 1e-6f);
        else if (config->kind < LEARNER_GRU_ATT && config->kind != LEARNER_DIN)
            assert_true(sum == 0);
        learner_scorer_free(scorer);
        net_case_fini(&c);
    }
}

static float score_of(struct net_case *c, struct learner_scorer *scorer,
                      const uint64_t *profile, const uint64_t *item)
{
    const uint64_t hour = 4, history[5] = {1, 2, 3, LEARNER_ABSENT, 4};
    struct learner_parameters parameters = {c->dense, c, row_of};
    struct learner_request request = {.profile = profile, .history = history,
                                      .history_size = 1, .candidates = 1,
                                      .items = item, .context = &hour};
    float p;
    assert_int_equal(learner_score(scorer, &parameters, &request, &p, NULL,
                                   NULL), 0);
    return p;
}

/* Places of a multi-hot field: none is the unknown id, their order does not
 * matter but for rounding, each of them counts. */
static void check_places(struct net_case *c, const char *name)
{
    const uint64_t none = LEARNER_ABSENT;
    const uint64_t nothing[3] = {1, none, none}, unknown[3] = {1, 0, none};
    const uint64_t one[3] = {1, 7, none}, late[3] = {1, none, 7};
    const uint64_t both[3] = {1, 7, 8};
    const uint64_t plain[5] = {5, none, none, none, 6};
    const uint64_t zero[5] = {5, 0, none, none, 6};
    const uint64_t two[5] = {5, none, 3, 2, 6}, turned[5] = {5, 2, none, 3, 6};
    struct learner_scorer *scorer;
    assert_int_equal(learner_scorer_new(c->model, 1, 1, &scorer, NULL), 0);
    float p = score_of(c, scorer, one, two);
    assert_true(score_of(c, scorer, nothing, plain) ==
                score_of(c, scorer, unknown, zero));
    assert_true(p == score_of(c, scorer, late, two));
    assert_true(fabsf(p - score_of(c, scorer, one, turned)) < 1e-6f);
    if (!learner_model_get_config(c->model)->dice_batch) {
        assert_true(p != score_of(c, scorer, both, two));
        if (p == score_of(c, scorer, one, plain))
            fail_msg("%s: genres do not count", name);
    }
    learner_scorer_free(scorer);
}

static void multi_hot_fields_are_means(void **state)
{
    (void)state;
    each(check_places);
}

/* ---- edges -------------------------------------------------------------- */

static void check_edge(const struct net_case_spec *spec)
{
    struct net_case c;
    struct learner_scorer *scorer;
    float p[64];
    net_case_init(&c, spec);
    net_case_predict(&c, 1);
    net_case_train(&c, 2);
    for (uint32_t i = 0; i < c.batch.samples; i++)
        assert_true(c.probability[i] > 0 && c.probability[i] < 1);
    if (!c.output.finite)
        fail_msg("%s: %s is not finite", spec->variant->name, c.output.worst);
    assert_null(c.output.worst);
    assert_true(c.output.loss > 0);
    for (unsigned t = 0; spec->unknown && t < learner_model_tables(c.model);
         t++) {
        size_t W = learner_model_table(c.model, t)->dimension;
        for (size_t j = W; j < net_case_table_size(&c, t); j++)
            assert_true(c.drows[t][j] == 0);
    }
    assert_int_equal(learner_scorer_new(c.model, spec->history_max, 64,
                                        &scorer, NULL), 0);
    score_group(&c, 0, scorer, p, NULL);
    assert_true(p[0] > 0 && p[0] < 1);
    learner_scorer_free(scorer);
    net_case_fini(&c);
}

/* Empty history, history of one, one candidate, a batch of one, ids that
 * nobody knows. */
static void edges_are_defined(void **state)
{
    (void)state;
    static const struct {
        uint32_t groups, group_max, history_max;
        bool unknown;
    } edges[] = {
        {1, 1, 0, false}, {1, 1, 1, false}, {1, 1, 7, true},
        {3, 5, 0, false}, {3, 5, 1, false}, {4, 1, 7, false},
        {4, 3, 7, true},  {1, 64, 9, false},
    };
    for (unsigned i = 0; i < net_variant_count; i++)
        for (unsigned j = 0; j < sizeof edges / sizeof edges[0]; j++) {
            struct net_case_spec spec = net_case_usual(&net_variants[i]);
            spec.exact = true;
            spec.groups = edges[j].groups;
            spec.group_max = edges[j].group_max;
            spec.history_max = edges[j].history_max;
            spec.unknown = edges[j].unknown;
            check_edge(&spec);
        }
}

/* All clicked, or none: no division by the number of either. */
static void one_class_is_a_batch_too(void **state)
{
    (void)state;
    for (unsigned i = 0; i < net_variant_count * 2; i++) {
        struct net_case_spec spec = net_case_usual(&net_variants[i / 2]);
        struct net_case c;
        net_case_init(&c, &spec);
        memset(c.label, (int)(i % 2), c.batch.samples);
        net_case_train(&c, 1);
        assert_true(c.output.finite && c.output.loss > 0);
        net_case_fini(&c);
    }
}

/* ---- what is not finite ------------------------------------------------- */

static void check_worst(struct net_case *c, const char *name)
{
    size_t size = learner_dense_size(c->model);
    float *before = malloc(size * sizeof *before);
    c->rows[0][learner_model_table(c->model, 0)->dimension - 1] = NAN;
    c->index[0] = 1;
    c->rows[0][2 * learner_model_table(c->model, 0)->dimension - 1] = NAN;
    memcpy(before, c->dense, size * sizeof *before);
    net_case_train(c, 1);
    if (c->output.finite || strcmp(c->output.worst, "loss") != 0)
        fail_msg("%s: %s", name, c->output.worst);
    assert_memory_equal(before, c->dense, size * sizeof *before);
    free(before);
}

static void names_what_is_not_finite(void **state)
{
    (void)state;
    each(check_worst);
}

static void names_the_tensor(void **state)
{
    (void)state;
    static const struct net_variant pnn = {"pnn", LEARNER_PNN,
                                           LEARNER_STREAMING, NULL};
    struct net_case_spec spec = net_case_usual(&pnn);
    struct net_case c;
    net_case_init(&c, &spec);
    for (unsigned i = 0; i < learner_tensor_count(c.model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c.model, i);
        for (size_t j = 0; strcmp(tensor->name, "mlp.2.weight") == 0 &&
                           j < (size_t)tensor->shape[0] * 2; j++)
            c.dense[tensor->offset + j] *= 1e22f;
    }
    net_case_train(&c, 1);
    assert_false(c.output.finite);
    assert_string_equal(c.output.worst, "mlp.1.alpha");
    net_case_fini(&c);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "digest") == 0) {
        each(print_digest);
        return 0;
    }
    snprintf(program, sizeof program, "%s", argv[0]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_overwritten),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(the_past_does_not_change_a_bit),
        cmocka_unit_test(what_a_prediction_computed_is_kept),
        cmocka_unit_test(instruction_sets_give_the_same_bits),
        cmocka_unit_test(groups_share_without_a_difference),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(scores_are_predictions),
        cmocka_unit_test(scores_of_one_group_are_its_predictions),
        cmocka_unit_test(multi_hot_fields_are_means),
        cmocka_unit_test(edges_are_defined),
        cmocka_unit_test(one_class_is_a_batch_too),
        cmocka_unit_test(names_what_is_not_finite),
        cmocka_unit_test(names_the_tensor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
