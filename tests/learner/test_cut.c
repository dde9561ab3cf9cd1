/* SPDX-License-Identifier: Apache-2.0 */
/* The cut under updates, new rows and removals against a deep copy taken at
 * its position, bit for bit; what a failed or abandoned one leaves behind. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "learner/cut.h"

enum { TABLES = 3 };
static const unsigned dimensions[TABLES] = {18, 4, 33};

struct world {
    char folder[256];
    struct learner_table *tables[TABLES];
    struct learner_cut *cut;
    struct learner_checkpoint_info info;
    uint64_t draws;
    unsigned written;
    uint64_t written_position, oldest_kept, request;
    char written_path[1200];
};

static void before0(void *self, uint32_t slot)
{
    learner_cut_touch(((struct world *)self)->cut, 0, slot);
}

static void before1(void *self, uint32_t slot)
{
    learner_cut_touch(((struct world *)self)->cut, 1, slot);
}

static void before2(void *self, uint32_t slot)
{
    learner_cut_touch(((struct world *)self)->cut, 2, slot);
}

static void written(void *self, const char *path, uint64_t position,
                    uint64_t oldest_kept, uint64_t request)
{
    struct world *world = self;
    world->written++;
    world->written_position = position;
    world->oldest_kept = oldest_kept;
    world->request = request;
    snprintf(world->written_path, sizeof world->written_path, "%s", path);
}

static void set_up(struct world *world, size_t slice_bytes, unsigned kept)
{
    void (*const before[TABLES])(void *, uint32_t) = {before0, before1,
                                                      before2};
    struct base_error error;
    *world = (struct world){.draws = 1};
    const char *base = getenv("TMPDIR");
    snprintf(world->folder, sizeof world->folder, "%s/test_cut.XXXXXX",
             base ? base : "/tmp");
    assert_non_null(mkdtemp(world->folder));
    for (unsigned t = 0; t < TABLES; t++) {
        const struct learner_table_config table = {
            .width = dimensions[t], .embedding = dimensions[t],
            .state = 2 * dimensions[t], .seed = 1, .purpose = t,
            .row_limit = 0.05f};
        assert_int_equal(learner_table_new(&world->tables[t], &table, &error),
                         BASE_OK);
        learner_table_watch(world->tables[t], before[t], world);
        struct learner_table_spec *spec = &world->info.tables[t];
        snprintf(spec->name, sizeof spec->name, "table%u", t);
        spec->dimension = (uint16_t)dimensions[t];
        world->info.row_state[t] = (uint16_t)(2 * dimensions[t]);
    }
    world->info.table_count = TABLES;
    struct learner_cut_config config = {
        .tables = world->tables,
        .table_count = TABLES,
        .folder = world->folder,
        .kept = kept,
        .slice_bytes = slice_bytes,
        .written = written,
        .written_self = world,
    };
    assert_int_equal(learner_cut_new(&config, &world->cut, &error), BASE_OK);
}

static void tear_down(struct world *world)
{
    struct base_error error;
    learner_cut_free(world->cut);
    for (unsigned t = 0; t < TABLES; t++)
        learner_table_free(world->tables[t]);
    assert_int_equal(base_file_remove(world->folder, &error), BASE_OK);
}

static uint64_t draw(struct world *world)
{
    return base_random_u64(4, 4, 4, world->draws++);
}

/* A batch's worth of changes: updates, new rows, now and then a removal. */
static void change(struct world *world, unsigned changes)
{
    struct base_error error;
    for (unsigned i = 0; i < changes; i++) {
        unsigned t = (unsigned)(draw(world) % TABLES);
        struct learner_table *table = world->tables[t];
        uint64_t key = draw(world) % 4000;
        uint32_t slot = learner_table_find(table, key);
        if (slot && draw(world) % 50 == 0) {
            learner_table_remove(table, slot);
            continue;
        }
        assert_int_equal(learner_table_create(table, key, &slot, &error),
                         BASE_OK);
        learner_cut_touch(world->cut, t, slot);
        struct learner_row *row = learner_table_row(table, slot);
        row->step++;
        row->touched = (uint32_t)i;
        row->values[draw(world) % dimensions[t]] =
            base_random_unit(draw(world));
    }
}

struct copy {
    uint32_t slots[TABLES];
    uint8_t *rows[TABLES];
};

static struct copy copy_tables(const struct world *world)
{
    struct copy copy;
    for (unsigned t = 0; t < TABLES; t++) {
        const struct learner_table *table = world->tables[t];
        size_t stride = learner_table_stride(table);
        copy.slots[t] = learner_table_slots(table);
        copy.rows[t] = malloc(copy.slots[t] * stride);
        for (uint32_t i = 0; i < copy.slots[t]; i++)
            memcpy(copy.rows[t] + i * stride, learner_table_row(table, i),
                   stride);
    }
    return copy;
}

static void begin(struct world *world, uint64_t position, uint64_t request)
{
    struct base_error error;
    uint8_t head[LEARNER_CHECKPOINT_HEAD_MAX];
    struct learner_checkpoint_info *info = &world->info;
    info->position = position;
    for (unsigned t = 0; t < TABLES; t++)
        info->rows[t] = learner_table_rows(world->tables[t]);
    size_t size = learner_checkpoint_encode(info, head);
    const uint64_t dense[2 + 6] = {9, 4, 1, 2, 3, 4, 5, 6};
    assert_int_equal(learner_cut_begin(world->cut, position, request,
                                       size + sizeof dense + 5, &error),
                     BASE_OK);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_HEAD, size), head, size);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_DENSE, sizeof dense),
           dense, sizeof dense);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_METRICS, 5), "abcde", 5);
}

static void check_equal(const char *path, const struct copy *copy)
{
    struct learner_checkpoint *checkpoint;
    struct base_error error;
    if (learner_checkpoint_open(path, &checkpoint, &error))
        fail_msg("%s", error.text);
    const struct learner_checkpoint_parts *parts =
        learner_checkpoint_get_parts(checkpoint);
    assert_int_equal(parts->dense_step, 9);
    assert_int_equal(parts->part[LEARNER_CUT_METRICS].size, 5);
    assert_memory_equal(parts->part[LEARNER_CUT_METRICS].bytes, "abcde", 5);
    assert_null(parts->part[LEARNER_CUT_NEGATIVES].bytes);
    for (unsigned t = 0; t < TABLES; t++) {
        size_t stride = (24 + 12 * dimensions[t] + 7) & ~7u;
        assert_int_equal(learner_checkpoint_slots(checkpoint, t),
                         copy->slots[t]);
        for (uint32_t i = 0; i < copy->slots[t]; i++)
            assert_memory_equal(learner_checkpoint_slot(checkpoint, t, i),
                                copy->rows[t] + i * stride, stride);
    }
    learner_checkpoint_free(checkpoint);
}

static void free_copy(struct copy *copy)
{
    for (unsigned t = 0; t < TABLES; t++)
        free(copy->rows[t]);
}

static void a_cut_under_changes_is_the_state_at_its_position(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 2000, 2);
    change(&world, 3000);
    for (uint64_t position = 100; position <= 600; position += 100) {
        struct copy copy = copy_tables(&world);
        begin(&world, position, position / 100);
        assert_true(learner_cut_slicing(world.cut));
        change(&world, 40); /* before the first slice, too */
        unsigned slices = 1;
        while (learner_cut_step(world.cut, true)) {
            change(&world, 25);
            slices++;
        }
        assert_true(slices > 50);
        change(&world, 100);
        assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                         LEARNER_CUT_DONE);
        assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                         LEARNER_CUT_NONE);
        assert_int_equal(world.written_position, position);
        assert_int_equal(world.request, position / 100);
        assert_int_equal(world.oldest_kept,
                         position == 100 ? 100 : position - 100);
        check_equal(world.written_path, &copy);
        free_copy(&copy);
    }
    assert_int_equal(world.written, 6);
    uint64_t positions[8];
    unsigned count;
    assert_int_equal(learner_checkpoint_list(world.folder, positions, 8,
                                             &count, &error),
                     BASE_OK);
    assert_int_equal(count, 2);
    assert_true(positions[0] == 500 && positions[1] == 600);
    tear_down(&world);
}

/* One row a slice, many undo records: all buffers fill up. */
static void tiny_buffers_make_the_trainer_wait_but_lose_nothing(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 1, 1);
    change(&world, 4000);
    struct copy copy = copy_tables(&world);
    begin(&world, 7, 0);
    change(&world, 4000);
    while (learner_cut_step(world.cut, true))
        change(&world, 1);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    check_equal(world.written_path, &copy);
    assert_true(learner_cut_waits(world.cut) > 0);
    free_copy(&copy);
    tear_down(&world);
}

/* Without waiting a slice is left out where the writer is behind; the state
 * is the same, and steps never count as waits. */
static void a_slow_writer_does_not_stop_the_trainer(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 1, 1);
    change(&world, 4000);
    struct copy copy = copy_tables(&world);
    begin(&world, 7, 0);
    while (learner_cut_step(world.cut, false))
        ;
    assert_int_equal(learner_cut_waits(world.cut), 0);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    check_equal(world.written_path, &copy);
    free_copy(&copy);
    tear_down(&world);
}

static unsigned count_names(const char *folder)
{
    char command[600];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    unsigned n = 999;
    assert_int_equal(fscanf(pipe, "%u", &n), 1);
    pclose(pipe);
    return n;
}

static void an_abandoned_cut_leaves_nothing(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 2000, 2);
    change(&world, 2000);
    begin(&world, 1, 0);
    change(&world, 100);
    assert_true(learner_cut_step(world.cut, true));
    assert_true(learner_cut_running(world.cut));
    learner_cut_abandon(world.cut);
    assert_false(learner_cut_running(world.cut));
    assert_int_equal(count_names(world.folder), 0);
    /* And the next one is whole. */
    struct copy copy = copy_tables(&world);
    begin(&world, 2, 0);
    change(&world, 100);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    check_equal(world.written_path, &copy);
    free_copy(&copy);
    tear_down(&world);
}

static void a_failed_cut_says_why_and_training_goes_on(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 2000, 2);
    change(&world, 2000);
    assert_int_equal(rmdir(world.folder), 0);
    FILE *file = fopen(world.folder, "w"); /* a file where the folder was */
    assert_non_null(file);
    fclose(file);
    begin(&world, 1, 5);
    while (learner_cut_step(world.cut, true))
        change(&world, 10);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_FAILED);
    assert_non_null(strstr(error.text, world.folder));
    assert_int_equal(world.written, 0);
    assert_int_equal(unlink(world.folder), 0);
    assert_int_equal(mkdir(world.folder, 0700), 0);
    begin(&world, 1, 5);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    assert_int_equal(world.written, 1);
    tear_down(&world);
}

/* As a full disk: the file cannot grow beyond some bytes. */
static void a_full_disk_fails_the_cut_alone(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    struct rlimit before, small;
    set_up(&world, 2000, 2);
    change(&world, 3000);
    begin(&world, 1, 0);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (rlim_t bytes = 0; bytes < 60000; bytes += 9000) {
        small = before;
        small.rlim_cur = bytes;
        change(&world, 50);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        begin(&world, 2, 0);
        while (learner_cut_step(world.cut, true))
            change(&world, 10);
        enum learner_cut_outcome outcome =
            learner_cut_outcome(world.cut, true, &error);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(outcome, LEARNER_CUT_FAILED);
        assert_int_equal(count_names(world.folder), 1);
    }
    struct copy copy = copy_tables(&world);
    begin(&world, 2, 0);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    check_equal(world.written_path, &copy);
    free_copy(&copy);
    tear_down(&world);
}

static void leftovers_are_cleaned(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    char path[600];
    set_up(&world, 0, 2);
    begin(&world, 3, 0);
    assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                     LEARNER_CUT_DONE);
    snprintf(path, sizeof path, "%s/.tmp-ck-00000000000000000009/deep",
             world.folder);
    assert_int_equal(base_file_make_folder(path, &error), BASE_OK);
    assert_int_equal(count_names(world.folder), 2);
    assert_int_equal(learner_cut_clean(world.folder, &error), BASE_OK);
    assert_int_equal(count_names(world.folder), 1);
    tear_down(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_under_changes_is_the_state_at_its_position),
        cmocka_unit_test(
            tiny_buffers_make_the_trainer_wait_but_lose_nothing),
        cmocka_unit_test(a_slow_writer_does_not_stop_the_trainer),
        cmocka_unit_test(an_abandoned_cut_leaves_nothing),
        cmocka_unit_test(a_failed_cut_says_why_and_training_goes_on),
        cmocka_unit_test(a_full_disk_fails_the_cut_alone),
        cmocka_unit_test(leftovers_are_cleaned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
