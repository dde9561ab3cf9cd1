/* SPDX-License-Identifier: Apache-2.0 */
/* Columns: what is read back from the files is what the journal gave; borders
 * and limits fall on batch ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "columns.h"
#include "stream.h"

enum { BATCHES = 7, BATCH = 48 };

static const struct stream_config shape = {.seed = 5,
                                           .batch_size = BATCH,
                                           .group_max = 5,
                                           .lengths = STREAM_GEOMETRIC,
                                           .history_mean = 4,
                                           .history_max = 20,
                                           .users = 30,
                                           .goods = 50,
                                           .cates = 9,
                                           .interests = 3};

static char folder[] = "/tmp/interestd-columns-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    struct base_error error;
    (void)state;
    return (int)base_file_remove(folder, &error);
}

static void check(enum base_status status, const struct base_error *error)
{
    if (status)
        fail_msg("%s", error->text);
}

static struct stream *open_stream(void)
{
    struct stream *stream = stream_new(&shape);
    assert_non_null(stream);
    stream_set_limit(stream, BATCHES * BATCH);
    return stream;
}

static void write_all(const struct learner_schema *schema)
{
    struct base_error error;
    struct stream *stream = open_stream();
    struct learner_source source = stream_source(stream);
    struct columns_writer *writer;
    struct learner_batch batch;
    check(columns_create(folder, schema, &writer, &error), &error);
    for (uint64_t at = 0; at < BATCHES * BATCH; at = batch.end) {
        check(source.next(source.self, at, 0, &batch, &error), &error);
        check(columns_append(writer, &batch, &error), &error);
    }
    check(columns_finish(writer, &error), &error);
    stream_free(stream);
}

#define SAME(a, b, count) assert_memory_equal(a, b, (count) * sizeof *(a))

static void same_batch(const struct learner_schema *schema,
                       const struct learner_batch *a,
                       const struct learner_batch *b)
{
    assert_int_equal(a->first, b->first);
    assert_int_equal(a->end, b->end);
    assert_int_equal(a->samples, b->samples);
    assert_int_equal(a->groups, b->groups);
    assert_int_equal(b->finals, 0);
    SAME(a->journal_hash, b->journal_hash, 2);
    SAME(a->ids, b->ids, a->samples * schema->field_count);
    SAME(a->user, b->user, a->samples);
    SAME(a->event_ms, b->event_ms, a->samples);
    SAME(a->label, b->label, a->samples);
    SAME(a->kind, b->kind, a->samples);
    SAME(a->group_begin, b->group_begin, a->groups + 1);
    SAME(a->history_begin, b->history_begin, a->groups + 1);
    SAME(a->history, b->history,
         a->history_begin[a->groups] * schema->item_count);
}

static void read_back_equals_journal(void **state)
{
    struct base_error error;
    struct learner_schema schema;
    struct columns *columns;
    struct learner_batch wanted, found;
    (void)state;
    stream_schema(&schema);
    write_all(&schema);
    check(columns_open(folder, &schema, &columns, &error), &error);
    assert_int_equal(columns_samples(columns), BATCHES * BATCH);
    struct stream *stream = open_stream();
    struct learner_source journal = stream_source(stream);
    struct learner_source source = columns_source(columns);
    /* In order, then from a place in the middle, as after a restart. */
    for (unsigned round = 0; round < 2; round++)
        for (uint64_t at = round * 3 * BATCH; at < BATCHES * BATCH;
             at = found.end) {
            check(journal.next(journal.self, at, 0, &wanted, &error), &error);
            check(source.next(source.self, at, 0, &found, &error), &error);
            same_batch(&schema, &wanted, &found);
        }
    assert_int_equal(source.next(source.self, BATCHES * BATCH, 0, &found,
                                 &error),
                     BASE_AGAIN);
    assert_int_equal(source.next(source.self, 1, 0, &found, &error),
                     BASE_DATA);
    stream_free(stream);
    columns_close(columns);
}

static void limits_and_borders_are_batch_ends(void **state)
{
    struct base_error error;
    struct learner_schema schema;
    struct columns *columns;
    struct learner_batch batch;
    (void)state;
    stream_schema(&schema);
    write_all(&schema);
    check(columns_open(folder, &schema, &columns, &error), &error);
    struct learner_source source = columns_source(columns);
    assert_int_equal(columns_border(columns, 0), 0);
    assert_int_equal(columns_border(columns, BATCH - 1), 0);
    assert_int_equal(columns_border(columns, BATCH), BATCH);
    assert_int_equal(columns_border(columns, 3 * BATCH + 7), 3 * BATCH);
    assert_int_equal(columns_border(columns, UINT64_MAX), BATCHES * BATCH);
    columns_set_limit(columns, 2 * BATCH);
    check(source.next(source.self, BATCH, 0, &batch, &error), &error);
    assert_int_equal(source.next(source.self, 2 * BATCH, 0, &batch, &error),
                     BASE_AGAIN);
    columns_close(columns);
}

static void a_file_cut_off_is_refused(void **state)
{
    struct base_error error;
    struct learner_schema schema;
    struct columns *columns = NULL;
    char path[200];
    (void)state;
    stream_schema(&schema);
    write_all(&schema);
    snprintf(path, sizeof path, "%s/user", folder);
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(columns_open(folder, &schema, &columns, &error),
                     BASE_DATA);
    assert_int_equal(truncate(path, 9), 0);
    assert_int_equal(columns_open(folder, &schema, &columns, &error),
                     BASE_DATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_back_equals_journal),
        cmocka_unit_test(limits_and_borders_are_batch_ends),
        cmocka_unit_test(a_file_cut_off_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
