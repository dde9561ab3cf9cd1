/* SPDX-License-Identifier: Apache-2.0 */
/* The trainer on a synthetic journal: restarts and threads do not change a
 * bit, checkpoints are exact while training goes on, what is wrong is said,
 * and it learns. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "learner/checkpoint.h"
#include "learner/learner.h"
#include "trainer_run.h"

enum { B = RUN_BATCH, END = RUN_END };

/* Trains what is left up to END, and learns the path of its checkpoint. */
static void name_end(struct run *run)
{
    run_start(run, END);
    run_wait(run, END);
    learner_trainer_checkpoint(run->trainer);
    while (run->calls == 0)
        usleep(200);
    run_stop(run, false);
    assert_int_equal(run->position, END);
}

static void restarts(bool fnw)
{
    struct run straight, broken;
    run_init(&straight, fnw);
    run_init(&broken, fnw);
    run_to(&straight, END);
    /* Stops without a checkpoint lose what came after the last one. */
    for (unsigned i = 0; i < 12; i++) {
        uint64_t bits = base_random_u64(1, 2, 3, i);
        run_open(&broken);
        uint64_t at = learner_trainer_position(broken.trainer);
        uint64_t to = at + (1 + bits % 5) * B;
        to = to < END ? to : END;
        run_start(&broken, to);
        if (bits >> 60 < 12) /* one in the middle, training on meanwhile */
            learner_trainer_checkpoint(broken.trainer);
        if (bits >> 50 & 1)
            run_wait(&broken, to);
        run_stop(&broken, bits >> 51 & 1);
    }
    assert_true(broken.calls >= 2);
    run_to(&broken, END);
    run_check_same(straight.path, broken.path);
    run_fini(&straight);
    run_fini(&broken);
}

static void restarts_do_not_change_a_bit(void **state)
{
    (void)state;
    restarts(false);
}

static void restarts_do_not_change_a_bit_with_fnw(void **state)
{
    (void)state;
    restarts(true);
}

static void threads_do_not_change_a_bit(void **state)
{
    (void)state;
    struct run one, more;
    run_init(&one, false);
    run_to(&one, END);
    for (uint16_t threads = 2; threads <= 4; threads += 2) {
        run_init(&more, false);
        more.config.threads = threads;
        run_to(&more, END);
        run_check_same(one.path, more.path);
        run_fini(&more);
    }
    run_fini(&one);
}

static void a_checkpoint_while_training_is_exact(void **state)
{
    (void)state;
    struct run busy, straight;
    run_init(&busy, false);
    run_start(&busy, 1000 * B);
    run_wait(&busy, 3 * B);
    uint64_t request = learner_trainer_checkpoint(busy.trainer);
    while (busy.calls == 0)
        usleep(100);
    assert_true(busy.request == request);
    assert_true(busy.position >= 3 * B);
    run_stop(&busy, false);
    run_init(&straight, false);
    run_to(&straight, busy.position);
    run_check_same(straight.path, busy.path);
    run_fini(&straight);
    run_fini(&busy);
}

/* A journal that asks for a checkpoint two batches ahead of each sweep of
 * eviction, every 64 batches: the cut begins, then the very next batch lets
 * rows go, or takes their slots again, before a slice is taken. */
struct asking {
    struct run *run;
    struct learner_source inner;
    uint64_t asked;
};

static enum base_status ask_and_go_on(void *self, uint64_t position,
                                      int timeout_ms,
                                      struct learner_batch *batch,
                                      struct base_error *error)
{
    struct asking *asking = self;
    uint64_t number = position / B % 64;
    bool ask = number == 62 || number == 1;
    if (ask && asking->run->request < asking->asked) {
        usleep(100); /* the trainer takes the slices of that one first */
        return BASE_AGAIN;
    }
    enum base_status status = asking->inner.next(
        asking->inner.self, position, timeout_ms, batch, error);
    if (!status && ask)
        asking->asked = learner_trainer_checkpoint(asking->run->trainer);
    return status;
}

static void evicting_run(struct run *run)
{
    const struct stream_config stream = {
        .seed = 5, .batch_size = B, .group_max = 4,
        .lengths = STREAM_GEOMETRIC, .history_mean = 6, .history_max = 20,
        .users = 300, .goods = 400, .cates = 20, .interests = 4,
        .rich = true, .fashion = 10,
    };
    run_init(run, false);
    run->config.model.eviction_ms = 60000;
    run->config.checkpoints_kept = 16;
    run_stream(run, &stream);
}

static void a_checkpoint_is_exact_while_rows_go(void **state)
{
    (void)state;
    struct run busy;
    struct learner_status status;
    uint64_t positions[16];
    unsigned count;
    struct base_error error;
    evicting_run(&busy);
    struct asking asking = {&busy, busy.config.source, 0};
    busy.config.source = (struct learner_source){&asking, ask_and_go_on};
    run_start(&busy, 260 * B);
    run_wait(&busy, 260 * B);
    learner_trainer_status(busy.trainer, &status);
    assert_true(status.evicted > 100);
    run_stop(&busy, true);
    assert_int_equal(learner_checkpoint_list(busy.config.folder, positions,
                                             16, &count, &error),
                     BASE_OK);
    assert_int_equal(count, 10);
    for (unsigned i = 0; i < count; i++) {
        struct run straight;
        char path[1400], name[LEARNER_CHECKPOINT_NAME];
        evicting_run(&straight);
        run_to(&straight, positions[i]);
        learner_checkpoint_name(name, positions[i]);
        snprintf(path, sizeof path, "%s/%s", busy.config.folder, name);
        run_check_same(straight.path, path);
        run_fini(&straight);
    }
    run_fini(&busy);
}

static void it_learns(void **state)
{
    (void)state;
    struct run run;
    struct learner_window windows[64];
    struct learner_status status;
    run_init(&run, false);
    run.config.window_ms = 100 * 4000; /* 4,000 samples */
    run_start(&run, 640 * B);
    run_wait(&run, 640 * B);
    unsigned n = learner_trainer_windows(run.trainer, windows, 64);
    assert_int_equal(n, 5);
    assert_true(windows[n - 1].log_loss < windows[0].log_loss - 0.03);
    assert_true(windows[n - 1].auc > windows[0].auc + 0.05);
    assert_true(windows[n - 1].auc > 0.7);
    assert_true(fabs(windows[n - 1].calibration - 1.0) < 0.1);
    learner_trainer_status(run.trainer, &status);
    assert_int_equal(status.samples, 640 * B);
    assert_int_equal(status.batches, 640);
    assert_int_equal(status.total.samples, 640 * B);
    assert_int_equal(status.last_samples.samples, 150);
    assert_true(status.last_samples.user_auc > 0.3);
    assert_true(status.newest_event_ms ==
                1600000000000 + (640 * B - 1) * 100);
    assert_true(status.rows[1] > 300 && status.rows[1] <= 405);
    assert_true(status.busy_seconds > 0.0 && status.table_bytes > 10000);
    run_stop(&run, false);
    run_fini(&run);
}

static void flip(const char *folder, size_t at)
{
    char path[1300];
    snprintf(path, sizeof path, "%s/%s", folder, LEARNER_CUT_NAME);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    fputc(byte ^ 4, file);
    assert_int_equal(fclose(file), 0);
}

static void a_damaged_checkpoint_is_passed_over(void **state)
{
    (void)state;
    struct run run, straight;
    char aside[1200];
    run_init(&run, false);
    run_to(&run, 4 * B);
    run_to(&run, 8 * B);
    assert_int_equal(run.oldest_kept, 4 * B);
    flip(run.path, 5000);
    run_open(&run);
    assert_int_equal(learner_trainer_position(run.trainer), 4 * B);
    snprintf(aside, sizeof aside, "%s/damaged-%020d", run.config.folder,
             8 * B);
    assert_int_equal(access(aside, F_OK), 0);
    run_to(&run, 8 * B); /* and its place can be taken again */
    assert_int_equal(run.oldest_kept, 4 * B);
    run_init(&straight, false);
    run_to(&straight, 8 * B);
    run_check_same(straight.path, run.path);
    run_fini(&straight);
    run_fini(&run);
}

static void without_one_that_verifies_it_starts_anew(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run_to(&run, 4 * B);
    flip(run.path, 100);
    run_open(&run);
    assert_int_equal(learner_trainer_position(run.trainer), 0);
    run_fini(&run);
}

static void check_refused(struct run *run, const char *text)
{
    struct base_error error;
    assert_int_equal(
        learner_trainer_open(&run->config, &run->trainer, &error),
        BASE_CONFIG);
    if (!strstr(error.text, text))
        fail_msg("'%s' is not in: %s", text, error.text);
}

static void another_model_is_refused_by_name(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run_to(&run, 2 * B);
    run.config.model.batch_size = 64;
    check_refused(&run, "learner.batch_size is 64, it was 32");
    run.config.model.batch_size = 32;
    run.config.model.seed = 99;
    check_refused(&run, "learner.seed is 99, it was ");
    learner_model_config_default(&run.config.model);
    check_refused(&run, "put the configuration back");
    run_fini(&run);
}

static char program[4096];

/* The environment chooses the arithmetic once a process: another process. */
static void another_arithmetic_is_refused(void **state)
{
    (void)state;
    struct run run;
    char command[6000];
    if (strcmp(learner_arithmetic(), "plain-v1") == 0)
        skip();
    run_init(&run, false);
    run_to(&run, 2 * B);
    snprintf(command, sizeof command,
             "INTERESTD_KERNELS=plain '%s' refused '%s'", program,
             run.config.folder);
    assert_int_equal(system(command), 0);
    run_fini(&run);
}

/* As called by the test above; 0 where it is refused as it should be. */
static int open_refused(const char *folder)
{
    struct run run;
    struct base_error error;
    run_init(&run, false);
    rmdir(run.folder);
    snprintf(run.config.folder, sizeof run.config.folder, "%s", folder);
    enum base_status status =
        learner_trainer_open(&run.config, &run.trainer, &error);
    stream_free(run.stream);
    return status != BASE_CONFIG ||
           !strstr(error.text, "arithmetic fma-v1");
}

static void instruction_sets_do_not_change_a_bit(void **state)
{
    (void)state;
    struct run here, there;
    char command[6000];
    if (strcmp(learner_kernels(), "avx512") != 0)
        skip();
    run_init(&here, false);
    run_init(&there, false);
    run_to(&here, END);
    snprintf(command, sizeof command,
             "INTERESTD_KERNELS=avx2 '%s' train '%s'", program,
             there.config.folder);
    assert_int_equal(system(command), 0);
    name_end(&there);
    run_check_same(here.path, there.path);
    run_fini(&here);
    run_fini(&there);
}

/* A process of its own that trains to the end, with checkpoints all the
 * while. */
static int train_in(const char *folder)
{
    struct run run;
    run_init(&run, false);
    rmdir(run.folder);
    snprintf(run.config.folder, sizeof run.config.folder, "%s", folder);
    run_start(&run, END);
    while (learner_trainer_position(run.trainer) < END) {
        learner_trainer_checkpoint(run.trainer);
        usleep(300);
    }
    run_stop(&run, true);
    stream_free(run.stream);
    return 0;
}

static void kills_do_not_change_a_bit(void **state)
{
    (void)state;
    struct run straight, killed;
    run_init(&straight, false);
    run_init(&killed, false);
    run_to(&straight, END);
    for (unsigned i = 0; i < 12; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            execl(program, program, "train", killed.config.folder,
                  (char *)NULL);
            _exit(127);
        }
        usleep(1000 + (useconds_t)(base_random_u64(6, 6, 6, i) % 15000));
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    name_end(&killed);
    run_check_same(straight.path, killed.path);
    run_fini(&straight);
    run_fini(&killed);
}

static void what_is_not_finite_is_rejected_and_counted(void **state)
{
    (void)state;
    struct run run, fresh;
    struct learner_status status;
    run_init(&run, false);
    run.config.model.row_limit = 1e29f;
    run_to(&run, 5 * B);
    run_open(&run);
    learner_trainer_status(run.trainer, &status);
    assert_int_equal(status.samples, 0);
    assert_int_equal(status.rejected, 5 * B);
    assert_int_equal(status.position, 5 * B);
    assert_int_equal(status.total.samples, 0);
    assert_int_equal(status.rows[1], 1); /* nothing but the OOV row */
    /* And not a weight is different from the start. */
    run_init(&fresh, false);
    fresh.config.model.row_limit = 1e29f;
    run_to(&fresh, 0);
    struct learner_checkpoint *a = run_open_path(run.path);
    struct learner_checkpoint *b = run_open_path(fresh.path);
    assert_memory_equal(learner_checkpoint_get_info(a)->digest,
                        learner_checkpoint_get_info(b)->digest, 16);
    learner_checkpoint_free(a);
    learner_checkpoint_free(b);
    run_fini(&fresh);
    run_fini(&run);
}

static void wait_calls(struct run *run, unsigned calls)
{
    while (run->calls < calls)
        usleep(100);
}

static void requests_are_answered_idle_paused_or_busy(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run_start(&run, 2 * B);
    run_wait(&run, 2 * B);
    while (!learner_trainer_idle(run.trainer))
        usleep(100);
    assert_int_equal(learner_trainer_checkpoint(run.trainer), 1);
    wait_calls(&run, 1);
    assert_true(run.position == 2 * B && run.request == 1);
    /* Nothing trained since: the same one, named again. */
    assert_int_equal(learner_trainer_checkpoint(run.trainer), 2);
    wait_calls(&run, 2);
    assert_true(run.position == 2 * B && run.request == 2);
    /* Answered in a turn that has seen the pause; so are all after it. */
    learner_trainer_pause(run.trainer, true);
    assert_int_equal(learner_trainer_checkpoint(run.trainer), 3);
    wait_calls(&run, 3);
    stream_set_limit(run.stream, 4 * B);
    assert_int_equal(learner_trainer_checkpoint(run.trainer), 4);
    wait_calls(&run, 4);
    assert_true(run.position == 2 * B && run.request == 4);
    assert_int_equal(learner_trainer_position(run.trainer), 2 * B);
    learner_trainer_pause(run.trainer, false);
    run_wait(&run, 4 * B);
    assert_int_equal(learner_trainer_checkpoint(run.trainer), 5);
    wait_calls(&run, 5);
    assert_true(run.position == 4 * B && run.request == 5);
    assert_true(run.oldest_kept == 2 * B);
    struct learner_status status;
    learner_trainer_status(run.trainer, &status);
    assert_int_equal(status.checkpoints, 2);
    assert_int_equal(status.checkpoint_position, 4 * B);
    run_stop(&run, true);
    assert_int_equal(run.calls, 5); /* it was up to date */
    run_fini(&run);
}

/* Whatever a clock says: the journal behind the older one is bounded. */
static void checkpoints_follow_the_journal(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run.config.checkpoint_bytes = 2 * B * 24; /* two batches at most */
    run_start(&run, END);
    run_wait(&run, END);
    run_stop(&run, true);
    assert_int_equal(run.position, END);
    assert_true(run.calls >= END / (2 * B));
    assert_in_range(run.widest, B, 2 * B);
    assert_in_range(run.oldest_kept, END - 2 * B, END - B);
    run_fini(&run);
}

static void a_failing_source_ends_the_thread_aloud(void **state)
{
    (void)state;
    struct run run;
    struct base_error error;
    run_init(&run, false);
    run_start(&run, 2 * B);
    run_wait(&run, 2 * B);
    stream_set_failure(run.stream, BASE_CORRUPT);
    while (run.failures == 0)
        usleep(100);
    assert_non_null(strstr(run.reason, "told to fail at 64"));
    assert_int_equal(learner_trainer_stop(run.trainer, true, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "told to fail at 64"));
    assert_int_equal(run.failures, 1);
    assert_int_equal(run.calls, 0);
    run_fini(&run);
}

struct seen {
    uint64_t next, samples;
    double sum;
};

static void predicted(void *self, const struct learner_batch *batch,
                      const float *probability)
{
    struct run *run = self;
    struct seen *seen = run->extra;
    assert_true(batch->first == seen->next);
    seen->next = batch->end;
    for (uint32_t i = 0; i < batch->samples; i++)
        seen->sum += (double)probability[i];
    seen->samples += batch->samples;
}

/* Trained to the half, then frozen: another's total is not moved by what it
 * has not trained, the weights stay, nothing is written. */
static void a_frozen_model_predicts_and_measures_alone(void **state)
{
    (void)state;
    struct run run;
    struct learner_status before, after;
    struct seen seen = {.next = END / 2};
    run_init(&run, false);
    run.config.window_samples = B;
    run_to(&run, END / 2);
    run.config.frozen = true;
    run.config.predicted = predicted;
    run.config.checkpoint_bytes = 1;
    run.extra = &seen;
    run_open(&run);
    learner_trainer_status(run.trainer, &before);
    assert_int_equal(before.position, END / 2);
    run_start(&run, END);
    run_wait(&run, END);
    unsigned calls = run.calls;
    learner_trainer_checkpoint(run.trainer); /* names the one there is */
    while (run.calls == calls)
        usleep(100);
    assert_int_equal(run.position, END / 2);
    learner_trainer_status(run.trainer, &after);
    run_stop(&run, true);
    assert_int_equal(after.samples, END);
    assert_int_equal(after.total.samples, END);
    assert_int_equal(after.last_samples.samples, B);
    assert_int_equal(after.checkpoints, 0);
    assert_true(after.loss == before.loss);
    assert_memory_equal(after.rows, before.rows, sizeof before.rows);
    assert_int_equal(seen.samples, END / 2);
    /* The same weights again, the same predictions. */
    double sum = seen.sum;
    seen = (struct seen){.next = END / 2};
    run_start(&run, END);
    run_wait(&run, END);
    run_stop(&run, true);
    assert_true(seen.sum == sum);
    /* And they are not those of a model that trains on. */
    seen = (struct seen){.next = END / 2};
    run.config.frozen = false;
    run.config.checkpoint_bytes = 0;
    run_start(&run, END);
    run_wait(&run, END);
    run_stop(&run, false);
    assert_true(seen.sum != sum);
    run_fini(&run);
}

/* What another has begun there stays, and what is damaged too. */
static void a_frozen_model_leaves_its_folder_alone(void **state)
{
    (void)state;
    struct run run;
    struct base_error error;
    char begun[1200];
    run_init(&run, false);
    run_to(&run, 4 * B);
    run_to(&run, 8 * B);
    flip(run.path, 5000);
    snprintf(begun, sizeof begun, "%s/.tmp-ck-%020d", run.config.folder,
             9 * B);
    assert_int_equal(base_file_make_folder(begun, &error), BASE_OK);
    run.config.frozen = true;
    run_open(&run);
    assert_int_equal(learner_trainer_position(run.trainer), 4 * B);
    assert_int_equal(access(begun, F_OK), 0);
    assert_int_equal(access(run.path, F_OK), 0);
    run_fini(&run);
}

/* A frozen model without a checkpoint answers no request, but stops. */
static void a_frozen_fresh_model_writes_nothing(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run.config.frozen = true;
    run_start(&run, 4 * B);
    run_wait(&run, 4 * B);
    learner_trainer_checkpoint(run.trainer);
    run_stop(&run, true);
    assert_int_equal(run.calls, 0);
    assert_int_equal(access(run.config.folder, F_OK), -1);
    run_open(&run);
    assert_int_equal(learner_trainer_position(run.trainer), 0);
    run_fini(&run);
}

/* A model that joins the journal late. */
static void a_fresh_model_begins_where_it_is_told(void **state)
{
    (void)state;
    struct run run, zero;
    struct learner_status status;
    run_init(&run, false);
    run.config.begin = 20 * B;
    run_to(&run, 22 * B);
    run.config.begin = 30 * B; /* there is a checkpoint now */
    run_to(&run, 25 * B);
    run_open(&run);
    learner_trainer_status(run.trainer, &status);
    assert_int_equal(status.begin, 20 * B);
    assert_int_equal(status.position, 25 * B);
    assert_int_equal(status.samples, 5 * B);
    assert_true(status.newest_event_ms ==
                1600000000000 + (25 * B - 1) * 100); /* as stream.c has it */
    run_init(&zero, false);
    run_to(&zero, 0);
    zero.config.begin = 20 * B; /* no: its own is at 0 */
    run_open(&zero);
    assert_int_equal(learner_trainer_position(zero.trainer), 0);
    run_fini(&zero);
    run_fini(&run);
}

/* A batch that begins before the rate falls has it whole. */
static void the_rate_falls_at_its_position(void **state)
{
    (void)state;
    struct run falls, stays;
    run_init(&falls, false);
    run_init(&stays, false);
    falls.config.model.rate_decay = 0.5f;
    falls.config.model.rate_decay_samples = 4 * B;
    run_to(&falls, 4 * B);
    run_to(&stays, 4 * B);
    run_check_same(falls.path, stays.path);
    struct learner_checkpoint *checkpoints[2];
    run_to(&falls, 5 * B);
    run_to(&stays, 5 * B);
    checkpoints[0] = run_open_path(falls.path);
    checkpoints[1] = run_open_path(stays.path);
    assert_memory_not_equal(
        learner_checkpoint_get_info(checkpoints[0])->digest,
        learner_checkpoint_get_info(checkpoints[1])->digest, 16);
    for (unsigned i = 0; i < 2; i++)
        learner_checkpoint_free(checkpoints[i]);
    run_fini(&falls);
    run_fini(&stays);
}

/* Training losses: those of a window, and they fall. */
static void the_status_says_the_loss(void **state)
{
    (void)state;
    struct run run;
    struct learner_status early, late;
    run_init(&run, false);
    run.config.window_samples = 20 * B;
    run_to(&run, 10 * B); /* no window has closed */
    run_open(&run);
    learner_trainer_status(run.trainer, &early);
    assert_true(early.loss > 0.4 && early.loss < 0.8);
    assert_true(early.auxiliary_loss == 0.0);
    run_start(&run, 300 * B);
    run_wait(&run, 300 * B);
    learner_trainer_status(run.trainer, &late);
    assert_true(late.loss < early.loss - 0.01);
    /* About the log loss of the same samples, predicted a step before. */
    assert_true(fabs(late.loss - late.last_samples.log_loss) < 0.02);
    run_stop(&run, false);
    run_fini(&run);
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* The authors' DIEN with their vocabulary, before it has learned (MODEL 1.8):
 * about half of ln 2 for clicks; ln(2 + 2 cosh d) for the next behaviors, d
 * about normal, the same in all cells. */
static void a_fresh_model_loses_what_the_authors_does(void **state)
{
    (void)state;
    enum { SEEDS = 9 };
    const struct stream_config stream = {
        .seed = 5, .batch_size = 128, .group_max = 2,
        .lengths = STREAM_UNIFORM, .history_mean = 15, .history_max = 40,
        .users = 3000, .goods = 40000, .cates = 500, .interests = 4,
    };
    double auxiliary[SEEDS];
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        struct run run;
        struct learner_status status;
        run_init(&run, false);
        struct learner_model_config *config = &run.config.model;
        learner_model_config_profile(config, LEARNER_REFERENCE, LEARNER_DIEN);
        run_stream(&run, &stream);
        config->row_vocabulary = 367983;
        config->learning_rate = 1e-9f;
        config->seed = seed + 1;
        run.config.threads = 2;
        run.config.window_samples = 128;
        run_start(&run, 9 * 128); /* 256 positives and more */
        run_wait(&run, 9 * 128);
        learner_trainer_status(run.trainer, &status);
        assert_true(status.loss > 0.344 && status.loss < 0.356);
        auxiliary[seed] = status.auxiliary_loss;
        run_stop(&run, false);
        run_fini(&run);
    }
    qsort(auxiliary, SEEDS, sizeof auxiliary[0], ascending);
    assert_true(auxiliary[0] > 1.38629 - 1e-5);
    assert_true(auxiliary[SEEDS / 2] < 1.9);
    assert_true(auxiliary[SEEDS - 2] < 2.4);
    assert_true(auxiliary[SEEDS - 1] > auxiliary[0] + 0.01);
}

static void another_switch_is_refused_by_its_word(void **state)
{
    (void)state;
    struct run run;
    run_init(&run, false);
    run_to(&run, 2 * B);
    struct learner_model_config was = run.config.model;
    run.config.model.regularizer = LEARNER_MBA;
    check_refused(&run, "learner.regularizer is mba, it was none");
    run.config.model = was;
    run.config.model.attention_softmax = true;
    check_refused(&run, "learner.attention_softmax is true, it was false");
    run.config.model = was;
    run.config.model.fields_off = 1;
    check_refused(&run, "learner.fields_off");
    run.config.model = was;
    run.config.schema.tables[1].dimension = 17;
    check_refused(&run, "feature 'goods'");
    run_fini(&run);
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return strcmp(argv[1], "train") == 0 ? train_in(argv[2])
                                             : open_refused(argv[2]);
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts_do_not_change_a_bit),
        cmocka_unit_test(restarts_do_not_change_a_bit_with_fnw),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(instruction_sets_do_not_change_a_bit),
        cmocka_unit_test(kills_do_not_change_a_bit),
        cmocka_unit_test(a_checkpoint_while_training_is_exact),
        cmocka_unit_test(a_checkpoint_is_exact_while_rows_go),
        cmocka_unit_test(it_learns),
        cmocka_unit_test(a_damaged_checkpoint_is_passed_over),
        cmocka_unit_test(without_one_that_verifies_it_starts_anew),
        cmocka_unit_test(another_model_is_refused_by_name),
        cmocka_unit_test(another_arithmetic_is_refused),
        cmocka_unit_test(what_is_not_finite_is_rejected_and_counted),
        cmocka_unit_test(requests_are_answered_idle_paused_or_busy),
        cmocka_unit_test(a_frozen_model_predicts_and_measures_alone),
        cmocka_unit_test(a_frozen_model_leaves_its_folder_alone),
        cmocka_unit_test(a_frozen_fresh_model_writes_nothing),
        cmocka_unit_test(a_fresh_model_begins_where_it_is_told),
        cmocka_unit_test(the_rate_falls_at_its_position),
        cmocka_unit_test(the_status_says_the_loss),
        cmocka_unit_test(a_fresh_model_loses_what_the_authors_does),
        cmocka_unit_test(another_switch_is_refused_by_its_word),
        cmocka_unit_test(checkpoints_follow_the_journal),
        cmocka_unit_test(a_failing_source_ends_the_thread_aloud),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
