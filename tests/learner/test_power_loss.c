/* SPDX-License-Identifier: Apache-2.0 */
/* Fault 20 for checkpoints: a trainer that writes one after the other is
 * recorded as operations on files and folders, and folders are built that a
 * power loss at any of them could have left. The trainer opens each at the
 * checkpoint it had been promised, or at the one that was under way; damaged
 * ones are passed over. Some train on: to the same bits.
 *   test_learner_power_loss [STATES] */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/disk.h"
#include "base/file.h"
#include "base/random.h"
#include "trainer_run.h"

enum { STATES = 200, CHECKPOINTS = 8, STEP = 2 * RUN_BATCH, GO_ON = 10 };

static unsigned long states = STATES;
static struct run run;
static char whole[1300]; /* the folder of the run that nothing happened to */

static void record_run(void)
{
    run_init(&run, false);
    snprintf(whole, sizeof whole, "%s", run.config.folder);
    disk_record(run.folder);
    for (unsigned k = 1; k <= CHECKPOINTS; k++) {
        run_to(&run, k * STEP);
        disk_mark(k);
    }
    disk_stop();
}

static void last_path(const char *folder, char *path, size_t size)
{
    char name[LEARNER_CHECKPOINT_NAME];
    learner_checkpoint_name(name, CHECKPOINTS * STEP);
    snprintf(path, size, "%s/%s", folder, name);
}

/* Opens what the crash leaves; NULL, or what is wrong. */
static const char *opens(const struct disk_crash *crash)
{
    static char text[1200];
    char root[400];
    struct base_error error;
    uint64_t promised = disk_marked(crash) * (uint64_t)STEP;
    snprintf(root, sizeof root, "%s/crash", run.folder);
    disk_build(crash, root);
    snprintf(run.config.folder, sizeof run.config.folder, "%s/checkpoints",
             root);
    if (learner_trainer_open(&run.config, &run.trainer, &error)) {
        snprintf(text, sizeof text, "%s", error.text);
        return text;
    }
    uint64_t position = learner_trainer_position(run.trainer);
    if (position == promised || position == promised + STEP)
        return NULL;
    snprintf(text, sizeof text, "position %llu, promised %llu",
             (unsigned long long)position, (unsigned long long)promised);
    return text;
}

static void close_trainer(void)
{
    learner_trainer_free(run.trainer);
    run.trainer = NULL;
}

static void check(const struct disk_crash *crash, bool go_on)
{
    char kept[1400], made[1400];
    const char *wrong = opens(crash);
    if (wrong)
        fail_msg("crash at %u of %u, loss %d: %s", crash->at,
                 disk_operations(), crash->loss, wrong);
    if (go_on &&
        learner_trainer_position(run.trainer) < CHECKPOINTS * STEP) {
        run_to(&run, CHECKPOINTS * STEP);
        last_path(whole, kept, sizeof kept);
        last_path(run.config.folder, made, sizeof made);
        run_check_same(kept, made);
    }
    close_trainer();
}

static void without_syncs_it_is_noticed(void **state)
{
    bool noticed = false;
    (void)state;
    for (unsigned i = 1; i <= disk_operations() && !noticed; i++) {
        const struct disk_crash crash = {.at = i, .loss = DISK_KEEP_SOME,
                                         .seed = i, .no_sync = true};
        noticed = opens(&crash) != NULL;
        close_trainer();
    }
    assert_true(noticed);
}

static void every_power_loss_leaves_a_checkpoint(void **state)
{
    (void)state;
    for (unsigned long i = 0; i < states; i++) {
        const struct disk_crash crash = {
            .at = (unsigned)base_random_below(base_random_u64(1, 2, i, 0),
                                              disk_operations() + 1),
            .loss = (enum disk_loss)(i % DISK_LOSSES),
            .seed = base_random_u64(1, 3, i, 0)};
        check(&crash, i % GO_ON == 0);
    }
    print_message("%lu states, %u operations, %d checkpoints\n", states,
                  disk_operations(), CHECKPOINTS);
}

static int set_up(void **state)
{
    (void)state;
    record_run();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    run_fini(&run);
    disk_forget();
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_syncs_it_is_noticed),
        cmocka_unit_test(every_power_loss_leaves_a_checkpoint),
    };
    if (argc > 1)
        states = strtoul(argv[1], NULL, 10);
    /* The disk is made up; what lies under it need not be one. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
