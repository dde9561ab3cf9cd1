/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer's deltas, applied one after the other by a reader as dumb as can
 * be: always the state of a checkpoint of the same position, bit for bit; each
 * holds exactly the rows that were trained since the version before; over
 * eviction, rejected batches, versions that are held, and restarts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "learner/trainer.h"
#include "trainer_run.h"

enum { B = RUN_BATCH, END = 120 * B, MOST = 4000, GOODS = 1 };

/* A table as the reader has it, ascending. */
struct side {
    size_t count, W;
    uint64_t keys[MOST];
    float rows[MOST * 32];
};

struct reader {
    struct run run;
    struct side tables[8];
    unsigned table_count;
    float *dense;
    size_t dense_size;
    bool has_base;
    uint64_t position, hash[2], step, samples; /* of its version */
    unsigned deltas, bases, held, gone, hold_every;
    pthread_mutex_t mutex; /* of the next, and of run.path and run.position */
    struct learner_delta *awaiting; /* of a base that comes as a checkpoint */
    _Atomic uint64_t seen; /* position of the newest that came */
    struct learner_source inner;
    uint64_t poison_at; /* batch with POISON; 0: none */
    uint64_t ids[B * 64];
};

static const uint64_t POISON = 0x123456789;

/* ---- the reader ---------------------------------------------------------- */

struct walk {
    struct reader *reader;
    struct side *side;
    size_t at;
};

static enum base_status add_base_row(void *self, uint64_t key,
                                     const float *weights)
{
    struct walk *walk = self;
    struct side *side = walk->side;
    assert_true(side->count < MOST);
    side->keys[side->count] = key;
    memcpy(side->rows + side->count * side->W, weights, side->W * 4);
    side->count++;
    return BASE_OK;
}

static size_t place_of(const struct side *side, uint64_t key)
{
    size_t low = 0, high = side->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (side->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum base_status set_row(void *self, uint64_t key, const float *weights)
{
    struct walk *walk = self;
    struct side *side = walk->side;
    size_t at = place_of(side, key);
    assert_true(key == 0 ? walk->at == 0 : key > walk->at); /* ascending */
    walk->at = key;
    if (at == side->count || side->keys[at] != key) {
        assert_true(side->count < MOST);
        memmove(side->keys + at + 1, side->keys + at,
                (side->count - at) * sizeof(uint64_t));
        memmove(side->rows + (at + 1) * side->W, side->rows + at * side->W,
                (side->count - at) * side->W * sizeof(float));
        side->keys[at] = key;
        side->count++;
    }
    memcpy(side->rows + at * side->W, weights, side->W * sizeof(float));
    return BASE_OK;
}

static void take_away(struct side *side, uint64_t key)
{
    size_t at = place_of(side, key);
    if (!key || at == side->count || side->keys[at] != key)
        fail_msg("key %016llx went, but was not there",
                 (unsigned long long)key);
    side->count--;
    memmove(side->keys + at, side->keys + at + 1,
            (side->count - at) * sizeof(uint64_t));
    memmove(side->rows + at * side->W, side->rows + (at + 1) * side->W,
            (side->count - at) * side->W * sizeof(float));
}

static enum base_status has_row(void *self, uint64_t key, const float *weights)
{
    struct walk *walk = self;
    const struct side *side = walk->side;
    assert_true(walk->at < side->count && side->keys[walk->at] == key);
    assert_memory_equal(side->rows + walk->at * side->W, weights,
                        side->W * sizeof(float));
    walk->at++;
    return BASE_OK;
}

static void apply(struct reader *reader, const struct learner_delta *delta)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct base_error error;
    memcpy(reader->dense, learner_delta_dense(delta), reader->dense_size * 4);
    for (unsigned t = 0; t < reader->table_count; t++) {
        uint64_t count;
        const uint64_t *gone = learner_delta_keys_gone(delta, t, &count);
        struct walk walk = {reader, &reader->tables[t], 0};
        for (uint64_t i = 0; i < count; i++) {
            assert_true(i == 0 || gone[i] > gone[i - 1]);
            take_away(walk.side, gone[i]);
        }
        reader->gone += (unsigned)count;
        assert_int_equal(
            learner_delta_rows(delta, t, set_row, &walk, &error), BASE_OK);
        assert_int_equal(walk.side->count, info->rows[t]);
    }
}

/* Where the tables are as of the delta's position: just what was trained since
 * the version is in it. */
static enum base_status count_row(void *self, uint64_t key,
                                  const float *weights)
{
    (void)key, (void)weights;
    ++*(size_t *)self;
    return BASE_OK;
}

static void check_exact(const struct reader *reader,
                        const struct learner_delta *delta)
{
    const struct learner_trainer *trainer = reader->run.trainer;
    struct base_error error;
    if (trainer->position != learner_delta_get_info(delta)->position)
        return; /* it took more than one slice: they are ahead of it */
    for (unsigned t = 0; t < reader->table_count; t++) {
        const struct learner_table *table = trainer->tables[t];
        size_t trained = 0, rows = 0;
        for (uint32_t i = 0; i < learner_table_slots(table); i++) {
            const struct learner_row *row = learner_table_row(table, i);
            trained += row->live && (i == 0 || row->touched > reader->step);
        }
        assert_int_equal(
            learner_delta_rows(delta, t, count_row, &rows, &error), BASE_OK);
        assert_int_equal(rows, trained);
    }
}

static void load_base(struct reader *reader, const char *path)
{
    struct learner_checkpoint *checkpoint = run_open_path(path);
    struct base_error error;
    memcpy(reader->dense, learner_checkpoint_dense(checkpoint),
           reader->dense_size * 4);
    for (unsigned t = 0; t < reader->table_count; t++) {
        struct walk walk = {reader, &reader->tables[t], 0};
        walk.side->count = 0;
        assert_int_equal(learner_checkpoint_rows(checkpoint, t, add_base_row,
                                                 &walk, &error),
                         BASE_OK);
    }
    learner_checkpoint_free(checkpoint);
    reader->has_base = true;
    reader->bases++;
}

static void check_same_as(struct reader *reader, const char *path)
{
    struct learner_checkpoint *checkpoint = run_open_path(path);
    struct base_error error;
    assert_true(learner_checkpoint_get_info(checkpoint)->position ==
                reader->position);
    assert_memory_equal(reader->dense, learner_checkpoint_dense(checkpoint),
                        reader->dense_size * 4);
    for (unsigned t = 0; t < reader->table_count; t++) {
        struct walk walk = {reader, &reader->tables[t], 0};
        assert_int_equal(learner_checkpoint_rows(checkpoint, t, has_row, &walk,
                                                 &error),
                         BASE_OK);
        assert_int_equal(walk.at, walk.side->count);
    }
    learner_checkpoint_free(checkpoint);
}

/* ---- the publisher ------------------------------------------------------- */

static void settle(struct reader *reader, const struct learner_delta_info *info,
                   bool committed)
{
    uint64_t position = info->position;
    if (committed) {
        const struct learner_status *status = &info->status;
        reader->position = position;
        memcpy(reader->hash, info->journal_hash, sizeof reader->hash);
        reader->step = status->batches - status->rejected_batches;
        reader->samples = status->samples;
    }
    learner_trainer_settle(reader->run.trainer, committed);
    learner_trainer_delta(reader->run.trainer, 0, false);
    atomic_store(&reader->seen, position);
}

/* Delta and checkpoint of the base came, in whatever order. */
static void try_base(struct reader *reader)
{
    pthread_mutex_lock(&reader->mutex);
    const struct learner_delta_info *info =
        reader->awaiting ? learner_delta_get_info(reader->awaiting) : NULL;
    bool come = info && info->position == reader->run.position;
    if (come) {
        load_base(reader, reader->run.path);
        reader->awaiting = NULL;
        settle(reader, info, true);
    }
    pthread_mutex_unlock(&reader->mutex);
}

/* By the train thread. */
static void changed(void *self, struct learner_delta *delta)
{
    struct reader *reader = self;
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct base_error error;
    if (!info->complete) {
        if (info->checkpoint) {
            pthread_mutex_lock(&reader->mutex);
            reader->awaiting = delta;
            pthread_mutex_unlock(&reader->mutex);
            try_base(reader);
            return;
        }
        learner_trainer_settle(reader->run.trainer, false);
        learner_trainer_delta(reader->run.trainer, 0, true);
        return;
    }
    assert_true(reader->has_base && info->since == reader->position);
    assert_memory_equal(info->since_hash, reader->hash, sizeof reader->hash);
    assert_int_equal(learner_delta_sort(delta, &error), BASE_OK);
    check_exact(reader, delta);
    reader->deltas++;
    bool hold = reader->hold_every && reader->deltas % reader->hold_every;
    if (!hold)
        apply(reader, delta);
    reader->held += hold;
    settle(reader, info, !hold);
}

/* By the writer's thread; the train thread may already train on. */
static void checkpointed(void *self, const char *path, uint64_t position,
                         uint64_t oldest_kept, uint64_t request)
{
    struct reader *reader = self;
    (void)oldest_kept, (void)request;
    pthread_mutex_lock(&reader->mutex);
    snprintf(reader->run.path, sizeof reader->run.path, "%s", path);
    reader->run.position = position;
    pthread_mutex_unlock(&reader->mutex);
    try_base(reader);
}

/* ---- runs ---------------------------------------------------------------- */

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct reader *reader = self;
    enum base_status status = reader->inner.next(
        reader->inner.self, position, timeout_ms, batch, error);
    if (status || !reader->poison_at || position != reader->poison_at)
        return status;
    unsigned fields = reader->run.config.schema.field_count;
    memcpy(reader->ids, batch->ids, B * fields * sizeof(uint64_t));
    reader->ids[B / 2 * fields + reader->run.config.schema.profile_count] =
        POISON;
    batch->ids = reader->ids;
    return BASE_OK;
}

static struct reader *reader_new(bool eviction)
{
    const struct stream_config stream = {
        .seed = 5, .batch_size = B, .group_max = 4,
        .lengths = STREAM_GEOMETRIC, .history_mean = 6, .history_max = 20,
        .users = 300, .goods = 400, .cates = 20, .interests = 4,
        .fashion = 5,
    };
    struct reader *reader = calloc(1, sizeof *reader);
    assert_non_null(reader);
    run_init(&reader->run, false);
    pthread_mutex_init(&reader->mutex, NULL);
    struct learner_trainer_config *config = &reader->run.config;
    config->model.eviction_ms = eviction ? 20000 : 0;
    run_stream(&reader->run, &stream);
    config->model.batch_size = B;
    reader->inner = stream_source(reader->run.stream);
    config->source = (struct learner_source){reader, next};
    config->hook_self = reader;
    config->changed = changed;
    config->checkpointed = checkpointed;
    struct learner_model *model;
    struct base_error error;
    assert_int_equal(learner_model_new(&config->schema, &config->model, &model,
                                       &error),
                     BASE_OK);
    reader->table_count = learner_model_tables(model);
    for (unsigned t = 0; t < reader->table_count; t++)
        reader->tables[t].W = learner_model_table(model, t)->dimension;
    reader->dense_size = learner_dense_size(model);
    reader->dense = calloc(reader->dense_size, sizeof(float));
    learner_model_free(model);
    return reader;
}

static void reader_free(struct reader *reader)
{
    run_fini(&reader->run);
    pthread_mutex_destroy(&reader->mutex);
    free(reader->dense);
    free(reader);
}

/* Opens with what is published, and asks. */
static void begin(struct reader *reader)
{
    struct learner_trainer_config *config = &reader->run.config;
    config->has_version = reader->has_base;
    config->version_position = reader->position;
    config->version_samples = reader->samples;
    memcpy(config->version_hash, reader->hash, sizeof reader->hash);
    run_open(&reader->run);
    learner_trainer_delta(reader->run.trainer, 0, !reader->has_base);
}

/* In steps, each published or held before the next. */
static void run_on(struct reader *reader, uint64_t limit)
{
    uint64_t at = learner_trainer_position(reader->run.trainer);
    run_start(&reader->run, at);
    while (at < limit) {
        at = limit - at > 4 * B ? at + 4 * B : limit;
        stream_set_limit(reader->run.stream, at);
        run_wait(&reader->run, at);
        while (at > reader->run.config.version_position &&
               atomic_load(&reader->seen) < at)
            usleep(200);
    }
}

static void run_from(struct reader *reader, uint64_t limit, bool checkpoint)
{
    atomic_store(&reader->seen, 0);
    begin(reader);
    run_on(reader, limit);
    run_stop(&reader->run, checkpoint);
}

static void every_version_is_the_state_of_its_position(void **state)
{
    (void)state;
    for (unsigned eviction = 0; eviction < 2; eviction++) {
        struct reader *reader = reader_new(eviction);
        run_from(reader, END, true);
        assert_true(reader->bases == 1 && reader->deltas > 10);
        assert_true(eviction ? reader->gone > 20 : reader->gone == 0);
        check_same_as(reader, reader->run.path);
        reader_free(reader);
    }
}

static void rows_of_held_versions_stay_changed(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    reader->hold_every = 4;
    run_from(reader, END, true);
    assert_true(reader->held > 10);
    reader->hold_every = 0;
    run_from(reader, END + 3 * B, true);
    check_same_as(reader, reader->run.path);
    assert_int_equal(reader->bases, 1);
    reader_free(reader);
}

static void a_rejected_batch_leaves_no_trace(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    struct base_error error;
    struct learner_status status;
    uint32_t slot;
    reader->poison_at = 40 * B;
    begin(reader);
    struct learner_table *goods = reader->run.trainer->tables[GOODS];
    assert_int_equal(learner_table_create(goods, POISON, &slot, &error),
                     BASE_OK);
    learner_table_row(goods, slot)->values[0] = (float)NAN;
    run_on(reader, END);
    learner_trainer_status(reader->run.trainer, &status);
    assert_int_equal(status.rejected_batches, 1);
    run_stop(&reader->run, true);
    check_same_as(reader, reader->run.path);
    reader_free(reader);
}

/* Stopped in order: the last version is of the last checkpoint's position. */
static void a_restart_goes_on(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    for (unsigned i = 1; i <= 6; i++)
        run_from(reader, i * 20 * B, true);
    assert_int_equal(reader->bases, 1);
    check_same_as(reader, reader->run.path);
    reader_free(reader);
}

/* Killed: the checkpoint is older than the version, training passes it. */
static void a_crash_goes_on_behind_the_version(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    run_from(reader, 20 * B, true);
    uint64_t checkpoint = reader->run.position;
    for (unsigned i = 2; i <= 4; i++) {
        run_from(reader, i * 20 * B, false);
        assert_true(reader->position > checkpoint);
        assert_true(reader->run.position == checkpoint);
    }
    run_from(reader, END, true);
    assert_int_equal(reader->bases, 1);
    check_same_as(reader, reader->run.path);
    reader_free(reader);
}

/* Nothing is published any more, checkpoints are written, then a kill: the
 * checkpoint says what had changed since the version. */
static void a_checkpoint_knows_what_changed(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    run_from(reader, 50 * B, true);
    uint64_t version = reader->position;
    reader->hold_every = 1000000;
    run_from(reader, 90 * B, true);
    run_from(reader, 100 * B, true);
    assert_true(reader->position == version && reader->held > 2);
    reader->hold_every = 0;
    run_from(reader, END, true);
    assert_int_equal(reader->bases, 1);
    check_same_as(reader, reader->run.path);
    reader_free(reader);
}

/* Another journal, or a version that nobody remembers: a base. */
static void what_cannot_be_known_is_a_base(void **state)
{
    (void)state;
    struct reader *reader = reader_new(true);
    run_from(reader, 40 * B, true);
    reader->position -= 5 * B;
    run_from(reader, 60 * B, true); /* between two checkpoints: not noted */
    assert_int_equal(reader->bases, 2);
    check_same_as(reader, reader->run.path);
    reader->hash[0] ^= 1;
    run_from(reader, 80 * B, true);
    assert_int_equal(reader->bases, 3);
    check_same_as(reader, reader->run.path);
    reader->position += B;
    reader->hash[1] ^= 1;
    run_from(reader, 100 * B, true); /* training comes to another hash */
    assert_int_equal(reader->bases, 4);
    check_same_as(reader, reader->run.path);
    reader->samples--;
    run_from(reader, 110 * B, true); /* the model began elsewhere */
    assert_int_equal(reader->bases, 5);
    check_same_as(reader, reader->run.path);
    reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_is_the_state_of_its_position),
        cmocka_unit_test(rows_of_held_versions_stay_changed),
        cmocka_unit_test(a_rejected_batch_leaves_no_trace),
        cmocka_unit_test(a_restart_goes_on),
        cmocka_unit_test(a_crash_goes_on_behind_the_version),
        cmocka_unit_test(a_checkpoint_knows_what_changed),
        cmocka_unit_test(what_cannot_be_known_is_a_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
