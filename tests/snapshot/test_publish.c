/* SPDX-License-Identifier: Apache-2.0 */
/* From the trainer to the ranker: a real checkpoint, published, scores in
 * libinterest bit for bit as the checkpoint's weights do in the learner; the
 * gate between them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "snapshot/interest.h"
#include "snapshot/version.h"
#include "tests/snapshot/fixture.h"

/* ---- a source of drawn samples ------------------------------------------- */

enum { BATCH = 32, BATCHES = 40, HISTORY = 6, ITEMS = 300 };

struct stream {
    const struct fixture *fixture; /* for its schema */
    uint64_t ids[BATCH * 4], user[BATCH];
    int64_t event_ms[BATCH];
    uint8_t label[BATCH], kind[BATCH];
    uint32_t group_begin[BATCH + 1], history_begin[BATCH + 1];
    uint64_t history[BATCH * HISTORY * 2];
};

static uint64_t draw(uint64_t position, uint64_t number, uint64_t below)
{
    return 1 + base_random_below(base_random_u64(3, 5, position, number),
                                 below);
}

static void fill_sample(struct stream *stream, uint64_t position, unsigned i)
{
    uint64_t goods = draw(position, 0, ITEMS);
    uint64_t *ids = stream->ids + 4 * i;
    ids[0] = draw(position, 1, 2);
    ids[1] = goods;
    ids[2] = goods % 10;
    ids[3] = draw(position, 2, 3);
    stream->user[i] = draw(position, 3, 50);
    stream->event_ms[i] = 1500000000000 + (int64_t)position;
    stream->label[i] = goods % 3 == 0;
    stream->kind[i] = LEARNER_WINDOW;
    stream->group_begin[i] = i;
    stream->history_begin[i] = i * HISTORY;
    for (unsigned t = 0; t < HISTORY; t++) {
        uint64_t behavior = draw(position, 10 + t, ITEMS);
        stream->history[2 * (i * HISTORY + t)] = behavior;
        stream->history[2 * (i * HISTORY + t) + 1] = behavior % 10;
    }
}

static enum base_status next_batch(void *self, uint64_t position,
                                   int timeout_ms, struct learner_batch *batch,
                                   struct base_error *error)
{
    struct stream *stream = self;
    (void)timeout_ms;
    if (position >= (uint64_t)BATCH * BATCHES)
        return base_fail(error, BASE_AGAIN, "no more");
    for (unsigned i = 0; i < BATCH; i++)
        fill_sample(stream, position + i, i);
    stream->group_begin[BATCH] = BATCH;
    stream->history_begin[BATCH] = BATCH * HISTORY;
    *batch = (struct learner_batch){
        .first = position,
        .end = position + BATCH,
        .journal_hash = {position + BATCH, 7},
        .samples = BATCH,
        .groups = BATCH,
        .ids = stream->ids,
        .user = stream->user,
        .event_ms = stream->event_ms,
        .label = stream->label,
        .kind = stream->kind,
        .group_begin = stream->group_begin,
        .history_begin = stream->history_begin,
        .history = stream->history,
    };
    return BASE_OK;
}

/* ---- training ------------------------------------------------------------ */

struct outcome {
    char path[1024];
    uint64_t position;
    bool failed;
};

static void note_checkpoint(void *self, const char *path, uint64_t position,
                            uint64_t oldest_kept_position, uint64_t request)
{
    struct outcome *outcome = self;
    (void)oldest_kept_position;
    (void)request;
    snprintf(outcome->path, sizeof outcome->path, "%s", path);
    outcome->position = position;
}

static void note_failure(void *self, const struct base_error *error)
{
    struct outcome *outcome = self;
    outcome->failed = true;
    fprintf(stderr, "trainer: %s\n", error->text);
}

/* Trains all batches and leaves a checkpoint. */
static void train(const char *folder, const struct fixture *fixture,
                  struct outcome *outcome)
{
    struct stream *stream = calloc(1, sizeof *stream);
    struct learner_trainer *trainer;
    struct learner_trainer_config config = {
        .schema = fixture->schema,
        .model = fixture->config,
        .threads = 1,
        .window_ms = 3600000,
        .window_samples = 256,
        .checkpoints_kept = 2,
        .source = {.self = stream, .next = next_batch},
        .hook_self = outcome,
        .checkpointed = note_checkpoint,
        .failed = note_failure,
    };
    struct base_error error;
    assert_non_null(stream);
    config.model.batch_size = BATCH;
    memset(outcome, 0, sizeof *outcome);
    snprintf(config.folder, sizeof config.folder, "%s/checkpoints", folder);
    if (learner_trainer_open(&config, &trainer, &error) ||
        learner_trainer_start(trainer, &error))
        fail_msg("%s", error.text);
    while (!learner_trainer_idle(trainer) && !outcome->failed)
        continue;
    if (learner_trainer_stop(trainer, true, &error))
        fail_msg("%s", error.text);
    learner_trainer_free(trainer);
    free(stream);
    assert_false(outcome->failed);
    assert_true(outcome->position == (uint64_t)BATCH * BATCHES);
}

/* ---- the checkpoint's own weights, for learner_score --------------------- */

struct rows {
    struct fixture *fixture;
    unsigned table;
    uint64_t count;
};

static enum base_status collect(void *self, uint64_t key, const float *weights)
{
    struct rows *rows = self;
    struct fixture *fixture = rows->fixture;
    size_t width = fixture->schema.tables[rows->table].dimension;
    fixture->keys[rows->table][rows->count] = key;
    memcpy(fixture->values[rows->table] + rows->count * width, weights,
           width * sizeof *weights);
    rows->count++;
    return BASE_OK;
}

/* Fixture whose weights are the checkpoint's; each table filled up with keys
 * that have no row there, hence the OOV row's weights. */
static void load_checkpoint(const char *path, struct fixture *fixture)
{
    struct learner_checkpoint *checkpoint;
    struct base_error error;
    if (learner_checkpoint_open(path, &checkpoint, &error))
        fail_msg("%s", error.text);
    memcpy(fixture->dense, learner_checkpoint_dense(checkpoint),
           learner_dense_size(fixture->model) * sizeof(float));
    for (unsigned i = 0; i < fixture->schema.table_count; i++) {
        struct rows rows = {fixture, i, 0};
        for (uint64_t r = 0; r < fixture->rows; r++)
            fixture->keys[i][r] = UINT64_MAX - fixture->rows + r;
        if (learner_checkpoint_rows(checkpoint, i, collect, &rows, &error))
            fail_msg("%s", error.text);
        assert_true(rows.count > 2 && rows.count < fixture->rows);
        size_t width = fixture->schema.tables[i].dimension;
        for (uint64_t r = rows.count; r < fixture->rows; r++)
            memcpy(fixture->values[i] + r * width, fixture->values[i],
                   width * sizeof(float));
    }
    learner_checkpoint_free(checkpoint);
}

static void compare(struct interest_model *model,
                    const struct fixture *fixture)
{
    struct interest_scorer *scorer;
    struct interest_error error;
    static float expected[50], got[50];
    bool differ = false;
    assert_int_equal(interest_scorer_open(model, 40, 50, &scorer, &error), 0);
    for (unsigned i = 0; i < 20; i++) {
        struct fixture_request request;
        fixture_request(fixture, i, 2 * i, 50, &request);
        for (unsigned c = 0; c < 40; c += 2) { /* known goods and categories */
            request.items[c] = draw(i, c, ITEMS);
            request.items[c + 1] = request.items[c] % 10;
        }
        struct interest_request asked = {.profile = request.profile,
                                         .context = request.context,
                                         .history = request.history,
                                         .history_size = request.history_size,
                                         .items = request.items,
                                         .candidates = request.candidates};
        fixture_score(fixture, &request, expected);
        if (interest_score(scorer, &asked, got, NULL, NULL, &error))
            fail_msg("%s", error.text);
        assert_memory_equal(got, expected, sizeof got);
        differ |= got[0] != got[10];
    }
    assert_true(differ);
    interest_scorer_close(scorer);
}

static void test_checkpoint_to_ranker(void **state)
{
    struct fixture fixture;
    struct outcome outcome;
    struct base_error error;
    struct interest_error why;
    struct interest_model *model;
    struct snapshot_announcement said;
    struct interest_version version;
    char folder[1024];
    fixture_init(&fixture, 1, ITEMS + 20);
    train(*state, &fixture, &outcome);
    snprintf(folder, sizeof folder, "%s/model", (char *)*state);
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    if (snapshot_publish(publisher, outcome.path, "{\"clicks\":[5]}", &said,
                         &error))
        fail_msg("%s", error.text);
    assert_true(said.position == (uint64_t)BATCH * BATCHES);
    assert_true(said.newest_event_ms ==
                1500000000000 + BATCH * BATCHES - 1);
    if (interest_open(folder, &model, &why))
        fail_msg("%s", why.text);
    interest_get_version(model, &version);
    assert_true(version.position == said.position);
    load_checkpoint(outcome.path, &fixture);
    compare(model, &fixture);
    interest_close(model);

    /* The manifest says what the checkpoint knew. */
    struct snapshot_current current;
    struct snapshot_version opened;
    assert_int_equal(snapshot_current_read(folder, &current, &error), 0);
    assert_int_equal(snapshot_version_begin(folder, &current, &opened, &error),
                     0);
    assert_true(opened.manifest.journal_hash.low == BATCH * BATCHES);
    assert_true(opened.manifest.journal_hash.high == 7);
    assert_true(opened.manifest.metrics_total.samples == BATCH * BATCHES);
    assert_string_equal(opened.manifest.offsets_json, "{\"clicks\":[5]}");
    assert_int_equal(opened.manifest.model.batch_size, BATCH);
    snapshot_version_fini(&opened);

    assert_int_not_equal( /* no checkpoint there */
        snapshot_publish(publisher, folder, NULL, &said, &error), BASE_OK);
    assert_int_equal(
        snapshot_publish(publisher, outcome.path, "[]", &said, &error),
        BASE_DATA);
    assert_int_equal(
        snapshot_publish(publisher, outcome.path, NULL, &said, &error), 0);
    assert_true(said.version == 2);
    snapshot_publisher_free(publisher);
    fixture_fini(&fixture);
}

/* What the gate was asked, and its answer. */
struct seen {
    unsigned calls;
    bool had_last;
    struct snapshot_judged last, next;
    enum base_status answer;
};

static enum base_status judge(void *self, const struct snapshot_judged *last,
                              struct snapshot_judged *next,
                              struct base_error *error)
{
    struct seen *seen = self;
    seen->calls++;
    seen->had_last = last != NULL;
    if (last)
        seen->last = *last;
    seen->next = *next;
    next->forced = true;
    return seen->answer ? base_fail(error, seen->answer, "held") : BASE_OK;
}

static struct snapshot_publisher *gated(const char *folder, struct seen *seen)
{
    struct snapshot_config config = {.versions_kept = 5,
                                     .golden_requests = 1,
                                     .gate = {seen, judge}};
    struct snapshot_announcement current;
    struct snapshot_publisher *publisher;
    struct base_error error;
    strcpy(config.folder, folder);
    strcpy(config.model_name, "ctr");
    if (snapshot_publisher_open(&config, 1, &publisher, &current, &error))
        fail_msg("%s", error.text);
    return publisher;
}

static double square_of(const struct fixture *fixture)
{
    double sum = 0;
    for (unsigned i = 0; i < learner_tensor_count(fixture->model); i++) {
        const struct learner_tensor *tensor =
            learner_tensor(fixture->model, i);
        if (tensor->dimensions != 2)
            continue;
        for (size_t k = 0;
             k < (size_t)tensor->shape[0] * tensor->shape[1]; k++) {
            double value = (double)fixture->dense[tensor->offset + k];
            sum += value * value;
        }
    }
    return sum;
}

/* What is refused is nowhere; what passed is what the next one is compared
 * with, by another process too, but not by another model's. */
static void test_gate(void **state)
{
    struct fixture fixture, other;
    struct outcome outcome, odd;
    struct seen seen = {.answer = BASE_AGAIN};
    struct base_error error;
    struct snapshot_announcement said;
    struct snapshot_current current;
    char folder[1024], second[1024];
    fixture_init(&fixture, 1, ITEMS + 20);
    train(*state, &fixture, &outcome);
    load_checkpoint(outcome.path, &fixture);
    snprintf(folder, sizeof folder, "%s/model", (char *)*state);
    struct snapshot_publisher *publisher = gated(folder, &seen);
    assert_int_equal(
        snapshot_publish(publisher, outcome.path, NULL, &said, &error),
        BASE_AGAIN);
    assert_int_equal(snapshot_current_read(folder, &current, &error),
                     BASE_NO_INPUT);
    assert_false(seen.had_last);
    assert_int_equal(seen.next.samples, BATCH * BATCHES);
    assert_false(seen.next.forced);
    double square = seen.next.dense_norm * seen.next.dense_norm;
    assert_true(square > 0.999999 * square_of(&fixture) &&
                square < 1.000001 * square_of(&fixture));
    seen.answer = BASE_OK;
    assert_int_equal(
        snapshot_publish(publisher, outcome.path, NULL, &said, &error), 0);
    assert_false(seen.had_last);
    snapshot_publisher_free(publisher);

    publisher = gated(folder, &seen);
    seen.answer = BASE_AGAIN;
    for (unsigned i = 0; i < 2; i++) {
        seen.had_last = false;
        assert_int_equal(
            snapshot_publish(publisher, outcome.path, NULL, &said, &error),
            BASE_AGAIN);
        assert_true(seen.had_last);
        assert_int_equal(seen.last.samples, BATCH * BATCHES);
        assert_true(seen.last.forced);
        assert_true(fabs(seen.last.dense_norm - seen.next.dense_norm) < 1e-6);
    }
    fixture_init_with(&other, 1, ITEMS + 20, 12, LEARNER_PRELU);
    snprintf(second, sizeof second, "%s/other", (char *)*state);
    assert_int_equal(mkdir(second, 0700), 0);
    train(second, &other, &odd);
    assert_int_equal(
        snapshot_publish(publisher, odd.path, NULL, &said, &error),
        BASE_AGAIN);
    assert_false(seen.had_last);
    assert_int_equal(seen.calls, 5);
    snapshot_publisher_free(publisher);
    fixture_fini(&other);
    fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checkpoint_to_ranker,
                                        fixture_folder, fixture_remove),
        cmocka_unit_test_setup_teardown(test_gate, fixture_folder,
                                        fixture_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
