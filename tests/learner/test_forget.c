/* SPDX-License-Identifier: Apache-2.0 */
/* A forget in the journal: the rows of the user's id go at exactly that
 * position, nothing names the user afterwards, and restarts around it do not
 * change a bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer_run.h"

/* The stream with a batch of forgets after AT samples: a user and its row of
 * the first profile field, a user with nothing, nobody. */
enum { FORGETS = 3, AT = 6 * RUN_BATCH, LAST = 12 * RUN_BATCH + FORGETS };

struct forgetful {
    struct learner_source from;
    struct learner_forget forget[FORGETS];
    bool fnw;
    struct learner_final *final; /* OWNS: moved */
};

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct forgetful *source = self;
    if (position == AT) {
        *batch = (struct learner_batch){.first = AT,
                                        .end = AT + FORGETS,
                                        .journal_hash = {7, 8},
                                        .forgets = FORGETS,
                                        .forget = source->forget};
        return BASE_OK;
    }
    uint64_t moved = position > AT ? FORGETS : 0;
    enum base_status status = source->from.next(
        source->from.self, position - moved, timeout_ms, batch, error);
    if (status || !moved)
        return status;
    batch->first += moved;
    batch->end += moved;
    source->final =
        realloc(source->final, (batch->finals + 1) * sizeof *source->final);
    for (uint32_t i = 0; i < batch->finals; i++) {
        source->final[i] = batch->final[i];
        if (source->final[i].position >= AT)
            source->final[i].position += moved;
    }
    batch->final = source->final;
    return BASE_OK;
}

/* The user of the sample before the forgets: it is in all windows. */
static void set_up(struct run *run, struct forgetful *source, bool fnw)
{
    struct learner_batch batch;
    struct base_error error;
    run_init(run, fnw);
    *source = (struct forgetful){.from = run->config.source, .fnw = fnw};
    stream_set_limit(run->stream, RUN_END);
    assert_int_equal(source->from.next(source->from.self, AT - RUN_BATCH, 0,
                                       &batch, &error), BASE_OK);
    uint32_t last = batch.samples - 1, F = run->config.schema.field_count;
    while (batch.ids[last * F] == 0 ||
           (fnw && batch.kind[last] != LEARNER_FNW_NEGATIVE))
        last--; /* one whose field has a value, and that still waits */
    source->forget[0] = (struct learner_forget){
        .user = batch.user[last],
        .rows = 2,
        .row = {{run->config.schema.fields[0].table,
                 batch.ids[last * F]},
                {LEARNER_TABLES_MAX, 5}}}; /* of no table: nothing happens */
    source->forget[1].user = 12345;
    run->config.source = (struct learner_source){source, next};
    /* All of the user's samples are in one open window at the forget. */
    run->config.window_samples = 2 * LAST;
}

static void tear_down(struct run *run, struct forgetful *source)
{
    free(source->final);
    run_fini(run);
}

struct seek {
    uint64_t key;
    bool found;
};

static enum base_status seek_row(void *self, uint64_t key, const float *weights)
{
    struct seek *seek = self;
    (void)weights;
    seek->found |= key == seek->key;
    return BASE_OK;
}

static bool has_row(const struct learner_checkpoint *checkpoint,
                    const struct forgetful *source)
{
    const struct learner_forget *forget = &source->forget[0];
    struct seek seek = {.key = forget->row[0].key};
    struct base_error error;
    assert_int_equal(learner_checkpoint_rows(checkpoint, forget->row[0].table,
                                             seek_row, &seek, &error), BASE_OK);
    return seek.found;
}

static bool names_user(const struct learner_checkpoint *checkpoint,
                       const struct forgetful *source)
{
    const struct learner_checkpoint_part *part =
        &learner_checkpoint_get_parts(checkpoint)->part[LEARNER_CUT_METRICS];
    return memmem(part->bytes, part->size, &source->forget[0].user, 8) != NULL;
}

static void rows_and_names_go_at_its_position(bool fnw)
{
    struct run run;
    struct forgetful source;
    set_up(&run, &source, fnw);
    /* Exactly to the forgets, then over them. */
    run.config.source = source.from;
    run_to(&run, AT);
    struct learner_checkpoint *checkpoint = run_open_path(run.path);
    assert_true(has_row(checkpoint, &source));
    assert_true(names_user(checkpoint, &source));
    uint64_t rows = learner_checkpoint_get_info(checkpoint)
                        ->rows[source.forget[0].row[0].table];
    learner_checkpoint_free(checkpoint);
    run.config.source = (struct learner_source){&source, next};
    run_start(&run, AT); /* no sample follows */
    run_wait(&run, AT + FORGETS);
    struct learner_status status;
    learner_trainer_status(run.trainer, &status);
    run_stop(&run, true);
    assert_int_equal(status.forgotten_rows, 1);
    checkpoint = run_open_path(run.path);
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(checkpoint);
    assert_true(info->position == AT + FORGETS);
    assert_int_equal(info->status.forgets, FORGETS);
    assert_int_equal(info->status.samples, AT);
    assert_int_equal(info->status.batches, AT / RUN_BATCH);
    assert_false(has_row(checkpoint, &source));
    assert_false(names_user(checkpoint, &source));
    assert_true(info->rows[source.forget[0].row[0].table] == rows - 1);
    learner_checkpoint_free(checkpoint);
    tear_down(&run, &source);
}

static void rows_and_names_go(void **state)
{
    (void)state;
    rows_and_names_go_at_its_position(false);
}

static void rows_and_names_go_with_fnw(void **state)
{
    (void)state;
    rows_and_names_go_at_its_position(true);
}

/* One that stops wherever it can, before, at and behind the forgets. */
static void restarts(bool fnw)
{
    struct run straight, cut;
    struct forgetful source, other;
    set_up(&straight, &source, fnw);
    set_up(&cut, &other, fnw);
    run_start(&straight, LAST - FORGETS);
    run_wait(&straight, LAST);
    run_stop(&straight, true);
    for (uint64_t at = RUN_BATCH; at <= LAST - FORGETS; at += RUN_BATCH) {
        run_start(&cut, at);
        run_wait(&cut, at < AT ? at : at + FORGETS);
        run_stop(&cut, true);
    }
    assert_true(straight.position == LAST && cut.position == LAST);
    run_check_same(straight.path, cut.path);
    tear_down(&straight, &source);
    tear_down(&cut, &other);
}

static void restarts_around_it_do_not_change_a_bit(void **state)
{
    (void)state;
    restarts(false);
    restarts(true);
}

/* Training goes on from the checkpoint before the forgets as if it had never
 * stopped behind them. */
static void a_replay_from_before_it_ends_the_same(void **state)
{
    (void)state;
    struct run straight, again;
    struct forgetful source, other;
    char newest[1200];
    set_up(&straight, &source, false);
    set_up(&again, &other, false);
    run_start(&straight, LAST - FORGETS);
    run_wait(&straight, LAST);
    run_stop(&straight, true);
    again.config.source = other.from;
    run_to(&again, AT);
    again.config.source = (struct learner_source){&other, next};
    run_start(&again, AT + RUN_BATCH);
    run_wait(&again, AT + RUN_BATCH + FORGETS);
    run_stop(&again, false); /* as a kill: its newest is the one at AT */
    run_start(&again, LAST - FORGETS);
    run_wait(&again, LAST);
    run_stop(&again, true);
    memcpy(newest, again.path, sizeof newest);
    run_check_same(straight.path, newest);
    tear_down(&straight, &source);
    tear_down(&again, &other);
}

/* A model that does not use the field has no row of it to lose. */
static void a_model_without_the_field_goes_on(void **state)
{
    (void)state;
    struct run run;
    struct forgetful source;
    struct learner_status status;
    set_up(&run, &source, false);
    run.config.model.fields_off = 1; /* the first field */
    run_start(&run, LAST - FORGETS);
    run_wait(&run, LAST);
    learner_trainer_status(run.trainer, &status);
    run_stop(&run, true);
    assert_int_equal(status.forgotten_rows, 0);
    assert_int_equal(status.forgets, FORGETS);
    tear_down(&run, &source);
}

/* ---- deltas -------------------------------------------------------------- */

struct versions {
    struct run *run;
    _Atomic unsigned count;
    bool complete[8];
};

static struct versions versions;

/* By the train thread: each becomes a version. */
static void changed(void *self, struct learner_delta *delta)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    struct run *run = self;
    versions.complete[versions.count] = info->complete;
    learner_trainer_settle(run->trainer, true);
    atomic_fetch_add(&versions.count, 1);
}

static void ask_delta(struct run *run)
{
    unsigned before = atomic_load(&versions.count);
    learner_trainer_delta(run->trainer, 0, false);
    while (atomic_load(&versions.count) == before)
        usleep(200);
}

/* Neither a delta nor a checkpoint's note of changes may name what went. */
static void a_base_follows_it(void **state)
{
    (void)state;
    struct run run;
    struct forgetful source;
    set_up(&run, &source, false);
    versions = (struct versions){.run = &run};
    run.config.changed = changed;
    run_start(&run, AT - 2 * RUN_BATCH);
    run_wait(&run, AT - 2 * RUN_BATCH);
    ask_delta(&run); /* the first one is a base */
    stream_set_limit(run.stream, AT - RUN_BATCH);
    run_wait(&run, AT - RUN_BATCH);
    ask_delta(&run);
    stream_set_limit(run.stream, AT);
    run_wait(&run, AT + FORGETS);
    unsigned calls = run.calls;
    learner_trainer_checkpoint(run.trainer);
    while (run.calls == calls)
        usleep(200);
    struct learner_checkpoint *checkpoint = run_open_path(run.path);
    const struct learner_checkpoint_part *part =
        &learner_checkpoint_get_parts(checkpoint)->part[LEARNER_CUT_CHANGES];
    assert_true(part->bytes != NULL);
    assert_null(memmem(part->bytes, part->size,
                       &source.forget[0].row[0].key, 8));
    learner_checkpoint_free(checkpoint);
    ask_delta(&run);
    stream_set_limit(run.stream, AT + RUN_BATCH);
    run_wait(&run, AT + RUN_BATCH + FORGETS);
    ask_delta(&run);
    run_stop(&run, false);
    assert_int_equal(versions.count, 4);
    assert_false(versions.complete[0]);
    assert_true(versions.complete[1]);
    assert_false(versions.complete[2]); /* over the forgets */
    assert_true(versions.complete[3]);
    tear_down(&run, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_names_go),
        cmocka_unit_test(rows_and_names_go_with_fnw),
        cmocka_unit_test(restarts_around_it_do_not_change_a_bit),
        cmocka_unit_test(a_replay_from_before_it_ends_the_same),
        cmocka_unit_test(a_model_without_the_field_goes_on),
        cmocka_unit_test(a_base_follows_it),
    };
    return cmocka_run_group_tests_name("forget", tests, NULL, NULL);
}
