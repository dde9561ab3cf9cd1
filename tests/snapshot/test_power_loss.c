/* SPDX-License-Identifier: Apache-2.0 */
/* Fault 20 for model folders: publications of bases, deltas and bases beside
 * them, with retention, are recorded as operations on files and folders, and
 * folders are built that a power loss at any of them could have left. In each
 * a ranker opens the version that had been published, or the one that was
 * under way, all files verified; a publisher goes on in some.
 *   test_snapshot_power_loss [STATES] */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/disk.h"
#include "base/random.h"
#include "snapshot/interest.h"
#include "tests/snapshot/chain.h"

enum { STATES = 600, VERSIONS = 16, ROWS = 30, GO_ON = 8 };

static unsigned long states = STATES;

static struct {
    struct fixture fixture;
    char *root;
    struct snapshot_announcement published[VERSIONS + 2]; /* [1] the first */
} run;

static void publish(struct snapshot_publisher *publisher, unsigned k)
{
    struct chain_change change;
    if (k % 6 == 1) {
        run.published[k] = fixture_publish(publisher, &run.fixture);
        disk_mark(k);
        return;
    }
    chain_change(&run.fixture, k, 6, &change);
    run.published[k] = chain_publish_delta(publisher, &change);
    disk_mark(k);
    if (k % 4 == 0)
        chain_publish_beside(publisher, &run.fixture, &run.published[k]);
    chain_change_fini(&change);
}

static void record_run(void)
{
    char folder[400];
    snprintf(folder, sizeof folder, "%s/model", run.root);
    fixture_init(&run.fixture, 1, ROWS);
    disk_record(run.root);
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    for (unsigned k = 1; k <= VERSIONS; k++)
        publish(publisher, k);
    snapshot_publisher_free(publisher);
    disk_stop();
}

static bool is_version(const struct interest_version *got, unsigned k)
{
    return k > 0 && k <= VERSIONS && got->epoch == run.published[k].epoch &&
           got->version == run.published[k].version &&
           got->position == run.published[k].position;
}

/* The publisher starts again and publishes, and is followed. */
static bool goes_on(const char *folder)
{
    struct interest_model *model;
    struct interest_version got;
    struct interest_error error;
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    struct snapshot_announcement last =
        fixture_publish(publisher, &run.fixture);
    snapshot_publisher_free(publisher);
    if (interest_open(folder, &model, &error))
        return false;
    interest_get_version(model, &got);
    interest_close(model);
    return got.epoch == last.epoch && got.version == last.version;
}

/* NULL, or what is wrong with what the crash left. */
static const char *check(const struct disk_crash *crash, bool go_on)
{
    static char text[1100];
    char root[400], folder[440];
    unsigned promised = disk_marked(crash);
    struct interest_model *model;
    struct interest_version got;
    struct interest_error error;
    snprintf(root, sizeof root, "%s/crash", run.root);
    snprintf(folder, sizeof folder, "%s/model", root);
    disk_build(crash, root);
    if (interest_open(folder, &model, &error)) {
        snprintf(text, sizeof text, "%s", error.text);
        if (promised)
            return text;
    } else {
        interest_get_version(model, &got);
        interest_close(model);
        if (!is_version(&got, promised) && !is_version(&got, promised + 1))
            return "another version than was published";
    }
    return !go_on || goes_on(folder) ? NULL : "the next version is not served";
}

static struct disk_crash crash_of(unsigned long i)
{
    return (struct disk_crash){
        .at = (unsigned)base_random_below(base_random_u64(1, 2, i, 0),
                                          disk_operations() + 1),
        .loss = (enum disk_loss)(i % DISK_LOSSES),
        .seed = base_random_u64(1, 3, i, 0)};
}

static void every_power_loss_leaves_a_version(void **state)
{
    (void)state;
    for (unsigned long i = 0; i < states; i++) {
        struct disk_crash crash = crash_of(i);
        const char *wrong = check(&crash, i % GO_ON == 0);
        if (wrong)
            fail_msg("state %lu: crash at %u of %u behind version %u, loss "
                     "%d: %s", i, crash.at, disk_operations(),
                     disk_marked(&crash), crash.loss, wrong);
    }
    print_message("%lu states, %u operations, %d versions\n", states,
                  disk_operations(), VERSIONS);
}

static void without_syncs_it_is_noticed(void **state)
{
    unsigned wrong = 0;
    (void)state;
    for (unsigned long i = 0; i < STATES && !wrong; i++) {
        struct disk_crash crash = crash_of(i);
        crash.loss = DISK_KEEP_SOME;
        crash.no_sync = true;
        wrong += check(&crash, false) != NULL;
    }
    assert_int_equal(wrong, 1);
}

static int set_up(void **state)
{
    if (fixture_folder(state))
        return -1;
    run.root = *state;
    record_run();
    return 0;
}

static int tear_down(void **state)
{
    fixture_fini(&run.fixture);
    disk_forget();
    return fixture_remove(state);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_syncs_it_is_noticed),
        cmocka_unit_test(every_power_loss_leaves_a_version),
    };
    if (argc > 1)
        states = strtoul(argv[1], NULL, 10);
    /* The disk is made up; what lies under it need not be one. */
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
