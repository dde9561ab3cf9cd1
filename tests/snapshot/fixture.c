/* SPDX-License-Identifier: Apache-2.0 */
/* Model and weights for the snapshot tests; see fixture.h. */
#include "tests/snapshot/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "snapshot/row.h"

static void make_schema(struct learner_schema *schema)
{
    *schema = (struct learner_schema){
        .field_count = 4,
        .profile_count = 1,
        .item_count = 2,
        .context_count = 1,
        .table_count = 4,
        .fields = {{"gender", LEARNER_PROFILE, 0},
                   {"goods", LEARNER_ITEM, 1},
                   {"cate", LEARNER_ITEM, 2},
                   {"pid", LEARNER_CONTEXT, 3}},
        .tables = {{"gender", 4}, {"goods", 18}, {"cate", 7}, {"pid", 4}},
    };
}

static float draw(uint64_t seed, uint64_t place, uint64_t at)
{
    return base_random_unit(base_random_u64(seed, 7, place, at)) - 0.5f;
}

static void fill_dense(struct fixture *fixture, uint64_t seed)
{
    size_t size = learner_dense_size(fixture->model);
    fixture->dense = aligned_alloc(64, (size * 4 + 63) & ~(size_t)63);
    assert_non_null(fixture->dense);
    memset(fixture->dense, 0, size * sizeof *fixture->dense);
    for (unsigned i = 0; i < learner_tensor_count(fixture->model); i++) {
        const struct learner_tensor *tensor =
            learner_tensor(fixture->model, i);
        size_t count = (size_t)tensor->shape[0] *
                       (tensor->dimensions == 2 ? tensor->shape[1] : 1);
        bool positive = strstr(tensor->name, "variance") != NULL;
        for (size_t j = 0; j < count; j++) {
            float value = draw(seed, i, j) * 0.4f;
            fixture->dense[tensor->offset + j] =
                positive ? 0.5f + fabsf(value) : value;
        }
    }
}

static void fill_table(struct fixture *fixture, unsigned table, uint64_t seed)
{
    size_t width = learner_model_table(fixture->model, table)->dimension;
    fixture->keys[table] = calloc(fixture->rows, sizeof(uint64_t));
    fixture->values[table] = calloc(fixture->rows * width, sizeof(float));
    assert_non_null(fixture->keys[table]);
    assert_non_null(fixture->values[table]);
    for (uint64_t i = 1; i < fixture->rows; i++)
        fixture->keys[table][i] =
            fixture->keys[table][i - 1] + 1 +
            base_random_below(base_random_u64(9, table, 0, i), 1ull << 40);
    for (size_t i = 0; i < fixture->rows * width; i++)
        fixture->values[table][i] = draw(seed, 100 + table, i);
}

static void init(struct fixture *fixture, uint64_t seed, uint64_t rows)
{
    struct base_error error;
    fixture->rows = rows;
    fixture->position = seed;
    if (learner_model_new(&fixture->schema, &fixture->config, &fixture->model,
                          &error))
        fail_msg("%s", error.text);
    fill_dense(fixture, seed);
    for (unsigned i = 0; i < learner_model_tables(fixture->model); i++)
        fill_table(fixture, i, seed);
}

void fixture_init_with(struct fixture *fixture, uint64_t seed, uint64_t rows,
                       uint16_t mlp_width, enum learner_activation activation)
{
    memset(fixture, 0, sizeof *fixture);
    make_schema(&fixture->schema);
    learner_model_config_default(&fixture->config);
    fixture->config.mlp_hidden[0] = mlp_width;
    fixture->config.activation = activation;
    init(fixture, seed, rows);
}

void fixture_init_full(struct fixture *fixture, uint64_t seed, uint64_t rows)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->schema = (struct learner_schema){
        .field_count = 7,
        .profile_count = 2,
        .item_count = 3,
        .context_count = 2,
        .table_count = 7,
        .fields = {{"gender", LEARNER_PROFILE, 0},
                   {"age_level", LEARNER_PROFILE, 1},
                   {"goods", LEARNER_ITEM, 2},
                   {"shop", LEARNER_ITEM, 3},
                   {"cate", LEARNER_ITEM, 4},
                   {"pid", LEARNER_CONTEXT, 5},
                   {"hour", LEARNER_CONTEXT, 6}},
        .tables = {{"gender", 4}, {"age_level", 4}, {"goods", 18},
                   {"shop", 18}, {"cate", 18}, {"pid", 4}, {"hour", 4}},
    };
    learner_model_config_default(&fixture->config);
    init(fixture, seed, rows);
}

void fixture_init_multi(struct fixture *fixture, uint64_t seed, uint64_t rows)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->schema = (struct learner_schema){
        .field_count = 7,
        .profile_count = 1,
        .item_count = 4,
        .context_count = 2,
        .table_count = 4,
        .fields = {{"gender", LEARNER_PROFILE, 0, 0, false},
                   {"goods", LEARNER_ITEM, 1, 0, false},
                   {"genres", LEARNER_ITEM, 2, 2, false},
                   {"genres.2", LEARNER_ITEM, 2, 0, true},
                   {"genres.3", LEARNER_ITEM, 2, 0, true},
                   {"tags", LEARNER_CONTEXT, 3, 1, false},
                   {"tags.2", LEARNER_CONTEXT, 3, 0, true}},
        .tables = {{"gender", 4}, {"goods", 4}, {"genres", 4}, {"tags", 4}},
    };
    learner_model_config_default(&fixture->config);
    init(fixture, seed, rows);
}

void fixture_init(struct fixture *fixture, uint64_t seed, uint64_t rows)
{
    fixture_init_with(fixture, seed, rows, 200, LEARNER_DICE);
}

void fixture_fini(struct fixture *fixture)
{
    for (unsigned i = 0; i < LEARNER_TABLES_MAX; i++) {
        free(fixture->keys[i]);
        free(fixture->values[i]);
    }
    free(fixture->dense);
    learner_model_free(fixture->model);
    memset(fixture, 0, sizeof *fixture);
}

static enum base_status
give_rows(void *self, unsigned table,
          enum base_status (*each)(void *each_self, uint64_t key,
                                   const float *weights),
          void *each_self, struct base_error *error)
{
    struct fixture *fixture = self;
    size_t width = learner_model_table(fixture->model, table)->dimension;
    (void)error;
    for (uint64_t i = 0; i < fixture->rows; i++) {
        enum base_status status =
            each(each_self, fixture->keys[table][i],
                 fixture->values[table] + i * width);
        if (status)
            return status;
    }
    return BASE_OK;
}

struct snapshot_content fixture_content(struct fixture *fixture)
{
    return (struct snapshot_content){.model = fixture->model,
                                     .dense = fixture->dense,
                                     .self = fixture,
                                     .rows = give_rows};
}

void fixture_manifest(const struct fixture *fixture,
                      struct snapshot_manifest *manifest)
{
    memset(manifest, 0, sizeof *manifest);
    manifest->position = fixture->position;
    manifest->journal_hash = (struct snapshot_hash){fixture->position, 1};
    manifest->newest_event_ms = 1500000000000;
    snapshot_manifest_describe(manifest, fixture->model);
    manifest->metrics_total = (struct learner_window){
        .begin_ms = 5, .samples = 10, .positives = 3, .users = 2, .auc = 0.75,
        .user_auc = (double)NAN, .log_loss = 0.5, .calibration = 1.0625};
}

static void find(const void *tables, unsigned table, uint64_t key, float *row)
{
    const struct fixture *fixture = tables;
    uint64_t low = 0, high = fixture->rows;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        if (fixture->keys[table][middle] <= key)
            low = middle;
        else
            high = middle;
    }
    if (fixture->keys[table][low] != key)
        low = 0;
    size_t width = learner_model_table(fixture->model, table)->dimension;
    memcpy(row, fixture->values[table] + low * width, width * sizeof *row);
}

struct learner_parameters fixture_parameters(const struct fixture *fixture)
{
    return (struct learner_parameters){
        .dense = fixture->dense, .tables = fixture, .row = find};
}

struct snapshot_publisher *fixture_publisher(const char *folder)
{
    struct snapshot_config config = {.model_name = "ctr",
                                     .versions_kept = 5,
                                     .golden_requests = 4};
    struct snapshot_announcement current;
    struct snapshot_publisher *publisher;
    struct base_error error;
    snprintf(config.folder, sizeof config.folder, "%s", folder);
    if (snapshot_publisher_open(&config, 0, &publisher, &current, &error))
        fail_msg("%s", error.text);
    return publisher;
}

struct snapshot_announcement
fixture_publish(struct snapshot_publisher *publisher, struct fixture *fixture)
{
    struct snapshot_announcement announcement;
    struct snapshot_manifest manifest;
    struct base_error error;
    struct snapshot_content content = fixture_content(fixture);
    fixture_manifest(fixture, &manifest);
    manifest.row_dtype = snapshot_publisher_dtype(publisher);
    if (snapshot_publisher_put(publisher, &content, &manifest, &announcement,
                               &error))
        fail_msg("%s", error.text);
    snapshot_manifest_fini(&manifest);
    return announcement;
}

static uint64_t draw_id(const struct fixture *fixture, unsigned table,
                        uint64_t seed, uint64_t at)
{
    uint64_t bits = base_random_u64(seed, 11, table, at);
    return bits % 5 == 0 ? bits
                         : fixture->keys[table][bits / 5 % fixture->rows];
}

void fixture_request(const struct fixture *fixture, uint64_t seed,
                     uint32_t history_size, uint32_t candidates,
                     struct fixture_request *request)
{
    uint64_t at = 0;
    request->history_size = history_size;
    request->candidates = candidates;
    request->profile[0] = draw_id(fixture, 0, seed, at++);
    request->context[0] = draw_id(fixture, 3, seed, at++);
    for (uint32_t i = 0; i < 2 * history_size; i++)
        request->history[i] = draw_id(fixture, 1 + i % 2, seed, at++);
    for (uint32_t i = 0; i < 2 * candidates; i++)
        request->items[i] = draw_id(fixture, 1 + i % 2, seed, at++);
}

void fixture_round(struct fixture *fixture, enum snapshot_dtype dtype)
{
    uint8_t bytes[4 * LEARNER_DIMENSION_MAX + 8], row[sizeof bytes];
    for (unsigned t = 0; t < learner_model_tables(fixture->model); t++) {
        size_t width = learner_model_table(fixture->model, t)->dimension;
        for (uint64_t i = 0; i < fixture->rows; i++) {
            float *values = fixture->values[t] + i * width;
            float scale = snapshot_row_scale(values, width);
            assert_true(
                snapshot_row_encode(dtype, values, width, scale, bytes));
            snapshot_row_pack(dtype, width, bytes, scale, row);
            snapshot_row_widen(dtype, width, row, values);
        }
    }
}

void fixture_score(const struct fixture *fixture,
                   const struct fixture_request *request, float *probability)
{
    struct learner_scorer *scorer;
    struct base_error error;
    struct learner_parameters parameters = fixture_parameters(fixture);
    struct learner_request inner = {
        .profile = request->profile,
        .history = request->history,
        .history_size = request->history_size,
        .candidates = request->candidates,
        .items = request->items,
        .context = request->context,
    };
    if (learner_scorer_new(fixture->model, 100, 500, &scorer, &error) ||
        learner_score(scorer, &parameters, &inner, probability, NULL, &error))
        fail_msg("%s", error.text);
    learner_scorer_free(scorer);
}

int fixture_folder(void **state)
{
    static char path[256];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/interestd-XXXXXX", base ? base : "/tmp");
    *state = path;
    return mkdtemp(path) == NULL;
}

int fixture_remove(void **state)
{
    return base_file_remove(*state, NULL);
}
