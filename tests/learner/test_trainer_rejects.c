/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that go wrong: the batch is rejected, named and counted, and
 * whatever it held leaves no trace. */
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

enum { B = RUN_BATCH, AT = 45 * B, END = 100 * B, GOODS = 2 };
static const uint64_t POISON = 0x123456789; /* goods of the bad batch */

/* A journal whose batch at AT is replaced by one that holds the poisoned
 * goods: with the other ids, labels and histories as they are, or all bare. */
struct spoiled {
    struct learner_source inner;
    bool bare;
    uint64_t ids[B * 64];
    uint8_t label[B];
    uint32_t history_begin[B + 1], group_begin[B + 1];
    int64_t event_ms[B];
    unsigned fields, item; /* F, place of goods */
};

static enum base_status next(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error)
{
    struct spoiled *spoiled = self;
    enum base_status status = spoiled->inner.next(
        spoiled->inner.self, position, timeout_ms, batch, error);
    if (status || position != AT)
        return status;
    memcpy(spoiled->ids, batch->ids, B * spoiled->fields * 8);
    spoiled->ids[(B / 2) * spoiled->fields + spoiled->item] = POISON;
    batch->ids = spoiled->ids;
    if (!spoiled->bare)
        return BASE_OK;
    for (unsigned i = 0; i < B * spoiled->fields; i++)
        spoiled->ids[i] = 0;
    for (unsigned i = 0; i < B; i++) {
        spoiled->ids[i * spoiled->fields + spoiled->item] = POISON;
        spoiled->group_begin[i] = i;
        spoiled->event_ms[i] = INT64_C(1) << 50; /* in the far future */
    }
    spoiled->group_begin[B] = batch->groups = B;
    batch->group_begin = spoiled->group_begin;
    batch->history_begin = spoiled->history_begin; /* all 0 */
    batch->label = spoiled->label;
    batch->event_ms = spoiled->event_ms;
    return BASE_OK;
}

static void make(struct run *run, struct spoiled *spoiled,
                 enum learner_kind kind, bool bare)
{
    const struct stream_config stream = {
        .seed = 5, .batch_size = B, .group_max = 4,
        .lengths = STREAM_GEOMETRIC, .history_mean = 6, .history_max = 20,
        .users = 300, .goods = 400, .cates = 20, .interests = 4,
        .rich = true, .fashion = 10,
    };
    run_init(run, false);
    struct learner_model_config *config = &run->config.model;
    learner_model_config_profile(config, LEARNER_STREAMING, kind);
    config->mlp_hidden[0] = 16;
    config->mlp_hidden[1] = 8;
    config->attention_hidden[0] = config->auxiliary_hidden[0] = 8;
    config->attention_hidden[1] = config->auxiliary_hidden[1] = 4;
    config->regularizer = LEARNER_DIFACTO;
    config->admission = 3;
    config->eviction_ms = 60000;
    run_stream(run, &stream);
    *spoiled = (struct spoiled){
        .inner = stream_source(run->stream), .bare = bare,
        .fields = run->config.schema.field_count,
        .item = run->config.schema.profile_count};
    run->config.source = (struct learner_source){spoiled, next};
    run_open(run);
}

static struct learner_row *row_of(struct learner_trainer *trainer,
                                  uint64_t key)
{
    uint32_t slot;
    struct base_error error;
    struct learner_table *table = trainer->tables[GOODS];
    assert_string_equal(learner_model_table(trainer->model, GOODS)->name,
                        "goods");
    assert_int_equal(learner_table_create(table, key, &slot, &error),
                     BASE_OK);
    return learner_table_row(table, slot);
}

static float *tensor_of(struct learner_trainer *trainer, const char *name)
{
    for (unsigned i = 0; i < learner_tensor_count(trainer->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(trainer->model,
                                                             i);
        if (strcmp(tensor->name, name) == 0)
            return trainer->dense + tensor->offset;
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static void status_at(struct run *run, uint64_t position,
                      struct learner_status *status)
{
    run_start(run, position);
    run_wait(run, position);
    learner_trainer_status(run->trainer, status);
}

/* All weights, states and rows that a checkpoint holds. */
static void check_finite(const char *path)
{
    struct learner_checkpoint *checkpoint = run_open_path(path);
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(checkpoint);
    const struct learner_checkpoint_parts *parts =
        learner_checkpoint_get_parts(checkpoint);
    for (uint64_t i = 0; i < 3 * parts->dense_size; i++)
        assert_true(isfinite(parts->weights[i]));
    for (unsigned t = 0; t < info->table_count; t++)
        for (uint32_t s = 0; s < learner_checkpoint_slots(checkpoint, t); s++)
            for (unsigned j = 0;
                 j < info->tables[t].dimension + info->row_state[t]; j++)
                assert_true(isfinite(
                    learner_checkpoint_slot(checkpoint, t, s)->values[j]));
    learner_checkpoint_free(checkpoint);
}

/* The same bad place in the journal, with and without other ids, positives,
 * histories and event times around it: the state after it is the same. */
static void no_trace_of_a_bad_batch(enum learner_kind kind)
{
    struct run full, bare;
    struct spoiled spoiled[2];
    struct run *const runs[2] = {&full, &bare};
    struct learner_status status;
    for (unsigned i = 0; i < 2; i++) {
        make(runs[i], &spoiled[i], kind, i == 1);
        row_of(runs[i]->trainer, POISON)->values[1] = 3e37f;
        status_at(runs[i], END, &status);
        assert_int_equal(status.rejected, B);
        assert_int_equal(status.rejected_batches, 1);
        assert_int_equal(status.samples, END - B);
        assert_in_range(status.rejected_position, AT, AT + B - 1);
        assert_true(status.rejected_for[0] != '\0');
        run_stop(runs[i], true);
        check_finite(runs[i]->path);
    }
    run_check_same(full.path, bare.path);
    run_fini(&full);
    run_fini(&bare);
}

static void din_has_no_trace_of_a_bad_batch(void **state)
{
    (void)state;
    no_trace_of_a_bad_batch(LEARNER_DIN);
}

static void wide_deep_has_no_trace_of_a_bad_batch(void **state)
{
    (void)state;
    no_trace_of_a_bad_batch(LEARNER_WIDE_DEEP);
}

/* With negatives: the bare batch has no positives to add to their pool. */
static void dien_has_no_trace_of_a_bad_batch(void **state)
{
    (void)state;
    no_trace_of_a_bad_batch(LEARNER_DIEN);
}

/* Whatever is not a number is called by its name, and stays alone. */
static void the_tensor_is_named(void **state)
{
    (void)state;
    static const char *const names[] = {"bn.gamma", "attention.1.weight",
                                        "mlp.0.weight", "mlp.2.bias",
                                        "mlp.0.alpha"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct run run;
        struct spoiled spoiled;
        struct learner_status status;
        make(&run, &spoiled, LEARNER_DIN, false);
        tensor_of(run.trainer, names[i])[0] = i % 2 ? NAN : INFINITY;
        status_at(&run, 3 * B, &status);
        assert_int_equal(status.rejected, 3 * B);
        assert_int_equal(status.samples, 0);
        assert_int_equal(status.rejected_position, 2 * B);
        assert_string_equal(status.rejected_for, names[i]);
        assert_true(isnan(status.loss));
        run_stop(&run, false);
        run_fini(&run);
    }
}

static void the_table_is_named_and_the_sample(void **state)
{
    (void)state;
    struct run run;
    struct spoiled spoiled;
    struct learner_status status;
    make(&run, &spoiled, LEARNER_DIN, false);
    row_of(run.trainer, POISON)->values[0] = NAN;
    status_at(&run, END, &status);
    assert_int_equal(status.rejected, B);
    assert_string_equal(status.rejected_for, "goods");
    assert_int_equal(status.rejected_position, AT + B / 2);
    run_stop(&run, false);
    run_fini(&run);
}

/* A prediction that is finite, of a loss or a gradient that is not. */
static void a_gradient_out_of_bounds_is_rejected(void **state)
{
    (void)state;
    struct run run;
    struct spoiled spoiled;
    struct learner_status status;
    make(&run, &spoiled, LEARNER_BASE, false);
    tensor_of(run.trainer, "mlp.2.weight")[0] = 1e25f;
    status_at(&run, 2 * B, &status);
    assert_int_equal(status.rejected, 2 * B);
    assert_true(strcmp(status.rejected_for, "prediction") != 0);
    assert_true(strchr(status.rejected_for, '.') ||
                strcmp(status.rejected_for, "loss") == 0);
    assert_int_equal(status.rejected_position, B);
    run_stop(&run, true);
    check_finite(run.path);
    run_fini(&run);
}

/* What `run` logs while it trains to the end of its first batch. */
static void log_of(struct run *run, char *text, size_t size)
{
    struct learner_status status;
    char path[300];
    snprintf(path, sizeof path, "%s/log", run->folder);
    FILE *file = fopen(path, "w+");
    assert_non_null(file);
    int kept = dup(STDERR_FILENO);
    assert_true(kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    status_at(run, B, &status);
    run_stop(run, false);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void the_log_says_model_tensor_and_position(void **state)
{
    (void)state;
    struct run run;
    struct spoiled spoiled;
    char text[4096];
    make(&run, &spoiled, LEARNER_BASE, false);
    learner_trainer_free(run.trainer);
    snprintf(run.config.name, sizeof run.config.name, "shadow-1");
    run_open(&run);
    tensor_of(run.trainer, "mlp.1.bias")[3] = NAN;
    log_of(&run, text, sizeof text);
    assert_non_null(strstr(text, "event=batch_rejected model=shadow-1 first=0 "
                                 "samples=32 tensor=\"mlp.1.bias\" "
                                 "position=0 "));
    run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(din_has_no_trace_of_a_bad_batch),
        cmocka_unit_test(wide_deep_has_no_trace_of_a_bad_batch),
        cmocka_unit_test(dien_has_no_trace_of_a_bad_batch),
        cmocka_unit_test(the_tensor_is_named),
        cmocka_unit_test(the_table_is_named_and_the_sample),
        cmocka_unit_test(a_gradient_out_of_bounds_is_rejected),
        cmocka_unit_test(the_log_says_model_tensor_and_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
