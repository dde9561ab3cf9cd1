/* SPDX-License-Identifier: Apache-2.0 */
/* A model that changes; see chain.h. */
#include "tests/snapshot/chain.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"

struct line {
    uint64_t key, old; /* old: place before; UINT64_MAX: a new row */
    bool changed;
};

static int by_key(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static float draw(uint64_t seed, uint64_t a, uint64_t b)
{
    return base_random_unit(base_random_u64(77, seed, a, b)) - 0.5f;
}

/* Which rows change, and which go for a new key. */
static void mark(struct chain_change *change, unsigned t, uint64_t seed,
                 uint64_t rows, struct line *lines)
{
    const struct fixture *fixture = change->fixture;
    for (uint64_t i = 0; i < fixture->rows; i++)
        lines[i] = (struct line){fixture->keys[t][i], i, i == 0};
    for (uint64_t i = 0; i < rows && fixture->rows > 1; i++) {
        uint64_t bits = base_random_u64(seed, t, 1, i);
        struct line *line =
            &lines[1 + base_random_below(bits, fixture->rows - 1)];
        if (!line->changed && i % 4 == 0) {
            change->gone[t][change->gone_count[t]++] = line->key;
            line->key = base_random_u64(seed, t, 2, i) | 1ull << 63;
            line->old = UINT64_MAX;
        }
        line->changed = true;
    }
    qsort(lines, fixture->rows, sizeof *lines, by_key);
    if (change->gone_count[t])
        qsort(change->gone[t], change->gone_count[t], sizeof(uint64_t),
              by_number);
}

static void change_table(struct chain_change *change, unsigned t,
                         uint64_t seed, uint64_t rows)
{
    struct fixture *fixture = change->fixture;
    size_t width = learner_model_table(fixture->model, t)->dimension;
    struct line *lines = calloc(fixture->rows, sizeof *lines);
    float *values = calloc(fixture->rows * width, sizeof *values);
    change->row[t] = calloc(fixture->rows, sizeof(uint64_t));
    change->gone[t] = calloc(fixture->rows, sizeof(uint64_t));
    assert_true(lines && values && change->row[t] && change->gone[t]);
    mark(change, t, seed, rows, lines);
    for (uint64_t i = 0; i < fixture->rows; i++) {
        fixture->keys[t][i] = lines[i].key;
        if (!lines[i].changed) {
            memcpy(values + i * width,
                   fixture->values[t] + lines[i].old * width,
                   width * sizeof *values);
            continue;
        }
        change->row[t][change->count[t]++] = i;
        for (size_t j = 0; j < width; j++)
            values[i * width + j] = draw(seed, t, i * width + j);
    }
    free(fixture->values[t]);
    fixture->values[t] = values;
    free(lines);
}

void chain_change(struct fixture *fixture, uint64_t seed, uint64_t rows,
                  struct chain_change *change)
{
    *change = (struct chain_change){.fixture = fixture};
    for (unsigned i = 0; i < learner_tensor_count(fixture->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(fixture->model, i);
        size_t count = (size_t)tensor->shape[0] *
                       (tensor->dimensions == 2 ? tensor->shape[1] : 1);
        for (size_t j = 0; tensor->trained && j < count; j++)
            fixture->dense[tensor->offset + j] +=
                0.01f * draw(seed, 1000 + i, j);
    }
    for (unsigned t = 0; t < learner_model_tables(fixture->model); t++)
        change_table(change, t, seed, rows);
    fixture->position += 10;
}

void chain_change_fini(struct chain_change *change)
{
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++) {
        free(change->row[t]);
        free(change->gone[t]);
    }
}

static enum base_status
give_changed(void *self, unsigned table,
             enum base_status (*each)(void *each_self, uint64_t key,
                                      const float *weights),
             void *each_self, struct base_error *error)
{
    const struct chain_change *change = self;
    const struct fixture *fixture = change->fixture;
    size_t width = learner_model_table(fixture->model, table)->dimension;
    (void)error;
    for (uint64_t i = 0; i < change->count[table]; i++) {
        uint64_t row = change->row[table][i];
        enum base_status status =
            each(each_self, fixture->keys[table][row],
                 fixture->values[table] + row * width);
        if (status)
            return status;
    }
    return BASE_OK;
}

struct snapshot_announcement
chain_publish_delta(struct snapshot_publisher *publisher,
                    const struct chain_change *change)
{
    struct snapshot_announcement announcement;
    struct snapshot_manifest manifest;
    struct base_error error;
    struct snapshot_content content = {.model = change->fixture->model,
                                       .dense = change->fixture->dense,
                                       .self = (void *)(uintptr_t)change,
                                       .rows = give_changed};
    fixture_manifest(change->fixture, &manifest);
    manifest.kind = SNAPSHOT_DELTA;
    manifest.row_dtype = publisher->row_dtype;
    for (unsigned t = 0; t < manifest.table_count; t++) {
        content.gone[t] = change->gone[t];
        content.gone_count[t] = change->gone_count[t];
        manifest.rows[t] = change->fixture->rows;
    }
    if (snapshot_publisher_put(publisher, &content, &manifest, &announcement,
                               &error))
        fail_msg("%s", error.text);
    snapshot_manifest_fini(&manifest);
    return announcement;
}

void chain_publish_beside(struct snapshot_publisher *publisher,
                          struct fixture *fixture,
                          const struct snapshot_announcement *delta)
{
    struct snapshot_manifest manifest;
    struct snapshot_content content = fixture_content(fixture);
    struct base_error error;
    char path[1200], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", publisher->config.folder,
             delta->folder_name);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (snapshot_file_read(folder, "manifest.json", SNAPSHOT_MANIFEST_MAX,
                           &text, &size, &error) ||
        snapshot_manifest_read(text, size, &manifest, &error) ||
        snapshot_publisher_put_beside(publisher, &content, &manifest,
                                      snapshot_hash_of(text, size), &error))
        fail_msg("%s", error.text);
    close(folder);
    free(text);
    snapshot_manifest_fini(&manifest);
}
