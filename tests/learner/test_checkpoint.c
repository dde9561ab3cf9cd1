/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint's file: whatever byte is changed, cut off or added, opening it
 * says so; what it holds does not depend on slots. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <xxhash.h>

#include "base/file.h"
#include "learner/cut.h"
#include "learner/settings.h"

static char folder[256], file_path[300], other_path[300];
static const uint64_t up[] = {1, 2, 3, 70, 71, UINT64_MAX};
static const uint64_t down[] = {UINT64_MAX, 71, 70, 3, 2, 1};

/* Every member of the model's configuration is another than its default. */
static void make_info(struct learner_checkpoint_info *info)
{
    memset(info, 0, sizeof *info);
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        uint8_t *member = (uint8_t *)&info->model + setting->offset;
        if (setting->type == BASE_SETTING_BOOL ||
            setting->type == BASE_SETTING_ENUM)
            member[0] = 1;
        else
            for (size_t k = 0; k < setting->size; k++)
                member[k] = (uint8_t)(1 + (i + k) % 63);
    }
    strcpy(info->schema.tables[0].name, "genre");
    info->schema.tables[0].dimension = 2;
    info->schema.table_count = 1;
    info->schema.field_count = info->schema.item_count = 2;
    for (unsigned i = 0; i < 2; i++)
        info->schema.fields[i].group = LEARNER_ITEM;
    info->schema.fields[0].more = 1;
    info->schema.fields[1].continues = true;
    info->status.samples = 77;
    strcpy(info->tables[0].name, "goods");
    info->tables[0].dimension = 3;
    info->row_state[0] = 6;
    info->table_count = 1;
}

/* Writes a checkpoint at `position` whose rows were made in the order of
 * `keys`; the row of key 70 has `step`. */
static void write_checkpoint(uint64_t position, const uint64_t *keys,
                             uint32_t step)
{
    struct learner_table *table;
    struct learner_cut *cut;
    struct base_error error;
    const struct learner_table_config rows = {.width = 3, .embedding = 3,
                                                .state = 6, .seed = 1,
                                                .purpose = 2,
                                                .row_limit = 0.05f};
    assert_int_equal(learner_table_new(&table, &rows, &error), BASE_OK);
    for (unsigned i = 0; i < 6; i++) {
        uint32_t slot;
        assert_int_equal(learner_table_create(table, keys[i], &slot, &error),
                         BASE_OK);
        learner_table_row(table, slot)->touched = i; /* not in the digest */
        learner_table_row(table, slot)->step = keys[i] == 70 ? step : 0;
    }
    struct learner_cut_config config = {
        .tables = &table, .table_count = 1, .folder = folder, .kept = 9};
    assert_int_equal(learner_cut_new(&config, &cut, &error), BASE_OK);
    static struct learner_checkpoint_info info;
    uint8_t head[LEARNER_CHECKPOINT_HEAD_MAX];
    make_info(&info);
    info.position = position;
    info.journal_hash[0] = 11;
    info.journal_hash[1] = 12;
    info.config_hash = 13;
    strcpy(info.arithmetic, "plain-v1");
    info.rows[0] = learner_table_rows(table);
    size_t size = learner_checkpoint_encode(&info, head);
    const uint64_t dense[5] = {9, 2, 1, 2, 3};
    assert_int_equal(learner_cut_begin(cut, position, 0,
                                       size + sizeof dense + 3 + 4 + 5,
                                       &error),
                     BASE_OK);
    memcpy(learner_cut_part(cut, LEARNER_CUT_HEAD, size), head, size);
    memcpy(learner_cut_part(cut, LEARNER_CUT_DENSE, sizeof dense), dense,
           sizeof dense);
    memcpy(learner_cut_part(cut, LEARNER_CUT_METRICS, 3), "abc", 3);
    memcpy(learner_cut_part(cut, LEARNER_CUT_NEGATIVES, 4), "defg", 4);
    memcpy(learner_cut_part(cut, LEARNER_CUT_EVICTION, 5), "hijkl", 5);
    uint32_t changed = learner_table_find(table, 3);
    learner_cut_touch(cut, 0, changed); /* so that there is an undo record */
    learner_table_row(table, changed)->values[0] = 99.0f;
    assert_int_equal(learner_cut_outcome(cut, true, &error),
                     LEARNER_CUT_DONE);
    learner_cut_free(cut);
    learner_table_free(table);
}

static void path_of(char *path, uint64_t position)
{
    char name[LEARNER_CHECKPOINT_NAME];
    learner_checkpoint_name(name, position);
    snprintf(path, 300, "%s/%s", folder, name);
}

static int set_up(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/test_checkpoint.XXXXXX",
             base ? base : "/tmp");
    if (!mkdtemp(folder))
        return 1;
    write_checkpoint(5, up, 1);
    path_of(file_path, 5);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct base_error error;
    return base_file_remove(folder, &error) != BASE_OK;
}

static struct learner_checkpoint *open_good(const char *path)
{
    struct learner_checkpoint *checkpoint;
    struct base_error error;
    if (learner_checkpoint_open(path, &checkpoint, &error))
        fail_msg("%s", error.text);
    return checkpoint;
}

static enum base_status status_of(const char *path, struct base_error *error)
{
    struct learner_checkpoint *checkpoint = NULL;
    enum base_status status =
        learner_checkpoint_open(path, &checkpoint, error);
    if (!status)
        learner_checkpoint_free(checkpoint);
    return status;
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    struct learner_checkpoint *checkpoint = open_good(file_path);
    const struct learner_checkpoint_info *info =
        learner_checkpoint_get_info(checkpoint);
    assert_true(info->position == 5 && info->config_hash == 13);
    assert_true(info->journal_hash[0] == 11 && info->journal_hash[1] == 12);
    assert_string_equal(info->arithmetic, "plain-v1");
    static struct learner_checkpoint_info wrote;
    make_info(&wrote);
    assert_memory_equal(&info->schema, &wrote.schema, sizeof wrote.schema);
    assert_true(info->model.fields_off != 0);
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        assert_memory_equal((const uint8_t *)&info->model + setting->offset,
                            (const uint8_t *)&wrote.model + setting->offset,
                            setting->size);
    }
    assert_int_equal(info->status.samples, 77);
    assert_int_equal(info->table_count, 1);
    assert_string_equal(info->tables[0].name, "goods");
    assert_int_equal(info->tables[0].dimension, 3);
    assert_int_equal(info->row_state[0], 6);
    assert_int_equal(info->rows[0], 7);
    const struct learner_checkpoint_parts *parts =
        learner_checkpoint_get_parts(checkpoint);
    assert_memory_equal(parts->part[LEARNER_CUT_METRICS].bytes, "abc", 3);
    assert_int_equal(parts->part[LEARNER_CUT_NEGATIVES].size, 4);
    assert_memory_equal(parts->part[LEARNER_CUT_NEGATIVES].bytes, "defg", 4);
    assert_null(parts->part[LEARNER_CUT_ADMISSION].bytes);
    assert_memory_equal(parts->part[LEARNER_CUT_EVICTION].bytes, "hijkl", 5);
    uint64_t first;
    memcpy(&first, learner_checkpoint_dense(checkpoint), sizeof first);
    assert_int_equal(first, 1);
    learner_checkpoint_free(checkpoint);
}

struct walk {
    uint64_t keys[16];
    float values[16];
    unsigned count, stop_after;
};

static enum base_status note(void *self, uint64_t key, const float *weights)
{
    struct walk *walk = self;
    if (walk->count == walk->stop_after)
        return BASE_STOPPED;
    walk->values[walk->count] = weights[0];
    walk->keys[walk->count++] = key;
    return BASE_OK;
}

static void rows_come_by_key_as_of_the_position(void **state)
{
    (void)state;
    struct learner_checkpoint *checkpoint = open_good(file_path);
    struct walk walk = {.stop_after = 16};
    struct base_error error;
    assert_int_equal(
        learner_checkpoint_rows(checkpoint, 0, note, &walk, &error), BASE_OK);
    const uint64_t expected[] = {0, 1, 2, 3, 70, 71, UINT64_MAX};
    assert_int_equal(walk.count, 7);
    assert_memory_equal(walk.keys, expected, sizeof expected);
    assert_true(walk.values[3] <= 0.05f); /* not 99: undone */
    walk = (struct walk){.stop_after = 3};
    assert_int_equal(
        learner_checkpoint_rows(checkpoint, 0, note, &walk, &error),
        BASE_STOPPED);
    assert_int_equal(walk.count, 3);
    assert_int_equal(
        learner_checkpoint_rows(checkpoint, 1, note, &walk, &error),
        BASE_BROKEN);
    learner_checkpoint_free(checkpoint);
}

static void digest_of(uint64_t position, uint64_t *digest)
{
    path_of(other_path, position);
    struct learner_checkpoint *checkpoint = open_good(other_path);
    memcpy(digest, learner_checkpoint_get_info(checkpoint)->digest, 16);
    learner_checkpoint_free(checkpoint);
}

static void the_digest_sees_content_not_slots(void **state)
{
    (void)state;
    uint64_t digests[3][2];
    write_checkpoint(6, down, 1);
    write_checkpoint(7, up, 2);
    for (unsigned i = 0; i < 3; i++)
        digest_of(5 + i, digests[i]);
    assert_memory_equal(digests[0], digests[1], 16);
    assert_memory_not_equal(digests[0], digests[2], 16);
}

static size_t read_bytes(char **bytes)
{
    char path[320];
    size_t size;
    struct base_error error;
    snprintf(path, sizeof path, "%s/%s", file_path, LEARNER_CUT_NAME);
    assert_int_equal(base_file_read(path, 1 << 20, bytes, &size, &error),
                     BASE_OK);
    return size;
}

/* Puts `size` bytes as checkpoint 8 and opens it. */
static enum base_status open_bytes(const char *bytes, size_t size,
                                   struct base_error *error)
{
    char path[320];
    path_of(other_path, 8);
    assert_int_equal(base_file_make_folder(other_path, error), BASE_OK);
    snprintf(path, sizeof path, "%s/%s", other_path, LEARNER_CUT_NAME);
    (void)unlink(path); /* a truncated file is flushed when it is closed */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_true(write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    return status_of(other_path, error);
}

static void a_flipped_bit_anywhere_is_found(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    assert_int_equal(open_bytes(bytes, size, &error), BASE_OK);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (char)(1 << i % 8);
        assert_int_equal(open_bytes(bytes, size, &error), BASE_CORRUPT);
        assert_non_null(strstr(error.text, other_path));
        assert_non_null(strstr(error.text, "offset "));
        bytes[i] ^= (char)(1 << i % 8);
    }
    assert_int_equal(open_bytes(bytes, size, &error), BASE_OK);
    free(bytes);
}

static void a_cut_off_or_added_byte_is_found(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    for (size_t left = 0; left < size; left++)
        assert_int_equal(open_bytes(bytes, left, &error), BASE_CORRUPT);
    assert_int_equal(open_bytes(bytes, size + 1, &error), BASE_CORRUPT);
    free(bytes);
}

/* Records that verify alone, but stand in another order. */
static void records_in_another_place_are_found(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    struct learner_cut_record head, dense;
    size_t at = sizeof(struct learner_cut_file);
    memcpy(&head, bytes + at, sizeof head);
    size_t one = sizeof head + learner_cut_padded(head.size);
    memcpy(&dense, bytes + at + one, sizeof dense);
    size_t two = sizeof dense + learner_cut_padded(dense.size);
    char *swapped = malloc(size);
    memcpy(swapped, bytes, size);
    memcpy(swapped + at, bytes + at + one, two);
    memcpy(swapped + at + two, bytes + at, one);
    assert_int_equal(open_bytes(swapped, size, &error), BASE_CORRUPT);
    free(swapped);
    free(bytes);
}

/* Makes all hashes right again, as far as records can be followed. */
static void hash_again(char *bytes, size_t size)
{
    size_t at = sizeof(struct learner_cut_file);
    struct learner_cut_record record;
    while (size - at >= sizeof record) {
        memcpy(&record, bytes + at, sizeof record);
        size_t left = size - at - sizeof record;
        if (record.size > left || learner_cut_padded(record.size) > left)
            return;
        record.hash = learner_cut_record_hash(
            &record, bytes + at + sizeof record, at);
        memcpy(bytes + at, &record, sizeof record);
        at += sizeof record + learner_cut_padded(record.size);
        if (record.type == LEARNER_CUT_END)
            break;
    }
    if (size - at != 16)
        return;
    XXH128_hash_t hash = XXH3_128bits(bytes, at);
    memcpy(bytes + at, &hash.low64, 8);
    memcpy(bytes + at + 8, &hash.high64, 8);
}

/* What is wrong but hashed well is read without harm: it opens, or it is
 * corrupt (sanitizers watch). */
static void wrong_values_with_right_hashes_do_no_harm(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    char *changed = malloc(size);
    unsigned opened = 0, corrupt = 0;
    for (size_t i = sizeof(struct learner_cut_file); i < size; i++) {
        memcpy(changed, bytes, size);
        changed[i] = (char)(i % 3 == 0 ? 0xff
                            : i % 3 == 1 ? bytes[i] ? 0 : 0x80
                                         : bytes[i] + 1);
        hash_again(changed, size);
        enum base_status status = open_bytes(changed, size, &error);
        assert_true(status == BASE_OK || status == BASE_CORRUPT);
        opened += status == BASE_OK;
        corrupt += status == BASE_CORRUPT;
    }
    assert_true(opened > 500 && corrupt > 100);
    free(changed);
    free(bytes);
}

static void foreign_and_newer_files_are_named_as_such(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    struct learner_cut_file file;
    memcpy(&file, bytes, sizeof file);
    file.format = LEARNER_CUT_FORMAT + 1;
    file.hash = learner_cut_file_hash(&file);
    memcpy(bytes, &file, sizeof file);
    assert_int_equal(open_bytes(bytes, size, &error), BASE_CONFIG);
    assert_non_null(strstr(error.text, "format 4"));
    assert_non_null(strstr(error.text, "or a newer one"));
    memcpy(bytes, "PK\3\4zipf", 8);
    assert_int_equal(open_bytes(bytes, size, &error), BASE_CORRUPT);
    assert_non_null(strstr(error.text, "magic"));
    free(bytes);
    assert_int_equal(status_of("/nonexistent", &error), BASE_NO_INPUT);
}

/* Every format before this one that was ever written, with what is said. */
static void old_formats_are_refused_with_advice(void **state)
{
    (void)state;
    static const struct {
        uint32_t format;
        const char *text;
    } old[] = {{1, "start with a new state folder"},
             {2, "start with a new state folder"}};
    assert_int_equal(sizeof old / sizeof old[0], LEARNER_CUT_FORMAT - 1);
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    for (unsigned i = 0; i < LEARNER_CUT_FORMAT - 1; i++) {
        struct learner_cut_file file;
        memcpy(&file, bytes, sizeof file);
        file.format = old[i].format;
        file.hash = learner_cut_file_hash(&file);
        memcpy(bytes, &file, sizeof file);
        assert_int_equal(open_bytes(bytes, size, &error), BASE_CONFIG);
        assert_non_null(strstr(error.text, old[i].text));
        assert_non_null(strstr(error.text, other_path));
    }
    free(bytes);
}

/* A switch that this program does not know: not read as something else. */
static void a_switch_of_a_later_program_is_found(void **state)
{
    (void)state;
    char *bytes;
    struct base_error error;
    size_t size = read_bytes(&bytes);
    char *name = memmem(bytes, size, "evolution", 9);
    assert_non_null(name);
    name[0] = 'r';
    hash_again(bytes, size);
    assert_int_equal(open_bytes(bytes, size, &error), BASE_CORRUPT);
    assert_non_null(strstr(error.text, "head"));
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(rows_come_by_key_as_of_the_position),
        cmocka_unit_test(the_digest_sees_content_not_slots),
        cmocka_unit_test(a_flipped_bit_anywhere_is_found),
        cmocka_unit_test(a_cut_off_or_added_byte_is_found),
        cmocka_unit_test(records_in_another_place_are_found),
        cmocka_unit_test(wrong_values_with_right_hashes_do_no_harm),
        cmocka_unit_test(foreign_and_newer_files_are_named_as_such),
        cmocka_unit_test(old_formats_are_refused_with_advice),
        cmocka_unit_test(a_switch_of_a_later_program_is_found),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
