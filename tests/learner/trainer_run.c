/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer on a synthetic journal; see trainer_run.h. */
#include "trainer_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"

static void checkpointed(void *self, const char *path, uint64_t position,
                         uint64_t oldest_kept, uint64_t request)
{
    struct run *run = self;
    snprintf(run->path, sizeof run->path, "%s", path);
    if (position - run->position > run->widest)
        run->widest = position - run->position;
    atomic_store(&run->position, position);
    atomic_store(&run->oldest_kept, oldest_kept);
    atomic_store(&run->request, request);
    atomic_fetch_add(&run->calls, 1);
}

static void failed(void *self, const struct base_error *error)
{
    struct run *run = self;
    snprintf(run->reason, sizeof run->reason, "%s", error->text);
    atomic_fetch_add(&run->failures, 1);
}

void run_stream(struct run *run, const struct stream_config *stream)
{
    struct learner_trainer_config *config = &run->config;
    stream_free(run->stream);
    run->stream = stream_new(stream);
    config->source = stream_source(run->stream);
    config->model.batch_size = stream->batch_size;
    if (stream->rich)
        stream_rich_schema(&config->schema, 4);
    else
        stream_schema(&config->schema);
}

void run_init(struct run *run, bool fnw)
{
    const struct stream_config stream = {
        .seed = 5, .batch_size = RUN_BATCH, .group_max = 4,
        .lengths = STREAM_GEOMETRIC, .history_mean = 6, .history_max = 20,
        .users = 300, .goods = 400, .cates = 20, .interests = 4, .fnw = fnw,
    };
    memset(run, 0, sizeof *run);
    const char *base = getenv("TMPDIR");
    snprintf(run->folder, sizeof run->folder, "%s/test_trainer.XXXXXX",
             base ? base : "/tmp");
    assert_non_null(mkdtemp(run->folder));
    struct learner_trainer_config *config = &run->config;
    learner_model_config_default(&config->model);
    run_stream(run, &stream);
    config->model.mlp_hidden[0] = 32;
    config->model.mlp_hidden[1] = 16;
    config->model.attention_hidden[0] = 16;
    config->model.attention_hidden[1] = 8;
    config->model.learning_rate = 0.01f;
    config->threads = 1;
    config->window_ms = 7000;
    config->window_samples = 150;
    config->checkpoints_kept = 2;
    config->hook_self = run;
    config->checkpointed = checkpointed;
    config->failed = failed;
    snprintf(config->folder, sizeof config->folder, "%s/checkpoints",
             run->folder);
}

void run_fini(struct run *run)
{
    struct base_error error;
    learner_trainer_free(run->trainer);
    stream_free(run->stream);
    assert_int_equal(base_file_remove(run->folder, &error), BASE_OK);
}

void run_open(struct run *run)
{
    struct base_error error;
    if (learner_trainer_open(&run->config, &run->trainer, &error))
        fail_msg("%s", error.text);
}

void run_start(struct run *run, uint64_t limit)
{
    struct base_error error;
    if (!run->trainer)
        run_open(run);
    stream_set_limit(run->stream, limit);
    assert_int_equal(learner_trainer_start(run->trainer, &error), BASE_OK);
}

void run_wait(struct run *run, uint64_t position)
{
    while (learner_trainer_position(run->trainer) < position)
        usleep(200);
}

void run_stop(struct run *run, bool checkpoint)
{
    struct base_error error;
    if (learner_trainer_stop(run->trainer, checkpoint, &error))
        fail_msg("%s", error.text);
    learner_trainer_free(run->trainer);
    run->trainer = NULL;
}

void run_to(struct run *run, uint64_t limit)
{
    run_start(run, limit);
    run_wait(run, limit);
    run_stop(run, true);
    assert_int_equal(run->position, limit);
}

struct learner_checkpoint *run_open_path(const char *path)
{
    struct learner_checkpoint *checkpoint;
    struct base_error error;
    if (learner_checkpoint_open(path, &checkpoint, &error))
        fail_msg("%s", error.text);
    return checkpoint;
}

void run_check_same(const char *left, const char *right)
{
    struct learner_checkpoint *a = run_open_path(left), *b = run_open_path(right);
    const struct learner_checkpoint_info *ia = learner_checkpoint_get_info(a);
    const struct learner_checkpoint_info *ib = learner_checkpoint_get_info(b);
    const struct learner_checkpoint_parts *pa =
        learner_checkpoint_get_parts(a);
    const struct learner_checkpoint_parts *pb =
        learner_checkpoint_get_parts(b);
    assert_true(ia->position == ib->position);
    assert_memory_equal(ia->digest, ib->digest, sizeof ia->digest);
    assert_memory_equal(ia->journal_hash, ib->journal_hash, 16);
    assert_memory_equal(ia->rows, ib->rows, sizeof ia->rows);
    assert_true(pa->dense_step == pb->dense_step);
    for (unsigned i = LEARNER_CUT_METRICS; i < LEARNER_CUT_PARTS; i++) {
        assert_int_equal(pa->part[i].size, pb->part[i].size);
        assert_memory_equal(pa->part[i].bytes, pb->part[i].bytes,
                            pa->part[i].size);
    }
    assert_memory_equal(&ia->status.total, &ib->status.total,
                        sizeof ia->status.total);
    assert_int_equal(ia->status.samples, ib->status.samples);
    assert_int_equal(ia->status.batches, ib->status.batches);
    learner_checkpoint_free(a);
    learner_checkpoint_free(b);
}
