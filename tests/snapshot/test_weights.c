/* SPDX-License-Identifier: Apache-2.0 */
/* A table's file, of each row type, as base and as delta: what it holds is
 * read back, what no publisher writes is refused with the reason. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "snapshot/encoder.h"
#include "snapshot/index.h"
#include "snapshot/row.h"
#include "snapshot/weights.h"
#include "tests/snapshot/fixture.h"

enum { WIDTH = 5, ROWS = 4, GONE = 3 };

/* What a test may spoil before it is written. */
struct content {
    enum snapshot_kind kind;
    enum snapshot_dtype dtype;
    uint64_t keys[ROWS], gone[GONE];
    float floats[ROWS * WIDTH], scale[ROWS];
    uint8_t values[ROWS * WIDTH * 4];
};

static struct content content_of(enum snapshot_kind kind,
                                 enum snapshot_dtype dtype)
{
    struct content content = {.kind = kind, .dtype = dtype,
                              .keys = {0, 7, 9, 1ull << 63},
                              .gone = {3, 8, UINT64_MAX}};
    for (unsigned i = 0; i < ROWS; i++) {
        float *row = content.floats + i * WIDTH;
        for (unsigned j = 0; j < WIDTH; j++)
            row[j] = i == 2 ? 0 : (float)(i * WIDTH + j) / 32 - 0.25f;
        content.scale[i] = snapshot_row_scale(row, WIDTH);
        assert_true(snapshot_row_encode(
            dtype, row, WIDTH, content.scale[i],
            content.values + i * WIDTH * snapshot_dtype_size(dtype)));
    }
    return content;
}

static void add(struct snapshot_tensor *tensors, unsigned *count,
                const char *name, enum snapshot_dtype dtype, uint64_t rows,
                uint64_t width)
{
    struct snapshot_tensor *tensor = &tensors[(*count)++];
    *tensor = (struct snapshot_tensor){.dtype = dtype,
                                       .dimensions = width ? 2 : 1,
                                       .shape = {rows, width}};
    strcpy(tensor->name, name);
}

/* Writes the file and says its bytes. */
static char *write_table(const char *folder, const struct content *content,
                         size_t *size)
{
    struct snapshot_tensor tensors[4];
    struct snapshot_encoder *encoder;
    struct snapshot_file file;
    uint32_t index[16] = {0};
    char path[1200], *bytes = NULL;
    unsigned count = 0;
    bool delta = content->kind == SNAPSHOT_DELTA;
    bool scaled = content->dtype == SNAPSHOT_I8;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    size_t row = WIDTH * snapshot_dtype_size(content->dtype);
    if (!delta)
        add(tensors, &count, "index", SNAPSHOT_U32, 16, 0);
    add(tensors, &count, "keys", SNAPSHOT_U64, ROWS, 0);
    if (delta)
        add(tensors, &count, "gone", SNAPSHOT_U64, GONE, 0);
    if (scaled)
        add(tensors, &count, "scale", SNAPSHOT_F32, ROWS, 0);
    add(tensors, &count, "rows", content->dtype, ROWS, WIDTH);
    snapshot_index_build(index, 16, content->keys, ROWS);
    assert_int_equal(snapshot_encoder_open(fd, "table", tensors, count,
                                           &encoder, NULL), 0);
    if (!delta)
        assert_int_equal(
            snapshot_encoder_add(encoder, index, sizeof index, NULL), 0);
    assert_int_equal(snapshot_encoder_add(encoder, content->keys,
                                          sizeof content->keys, NULL), 0);
    if (delta)
        assert_int_equal(snapshot_encoder_add(encoder, content->gone,
                                              sizeof content->gone, NULL), 0);
    if (scaled)
        assert_int_equal(snapshot_encoder_add(encoder, content->scale,
                                              sizeof content->scale, NULL), 0);
    assert_int_equal(
        snapshot_encoder_add(encoder, content->values, ROWS * row, NULL), 0);
    assert_int_equal(snapshot_encoder_finish(encoder, &file, NULL), 0);
    snapshot_encoder_free(encoder);
    close(fd);
    snprintf(path, sizeof path, "%s/table", folder);
    assert_int_equal(base_file_read(path, 1 << 20, &bytes, size, NULL), 0);
    assert_int_equal(unlink(path), 0);
    return bytes;
}

static enum base_status parse(const struct content *content, const char *bytes,
                              size_t size, struct snapshot_table *table,
                              struct base_error *error)
{
    static struct snapshot_manifest manifest;
    memset(&manifest, 0, sizeof manifest);
    manifest.kind = content->kind;
    manifest.row_dtype = content->dtype;
    manifest.tables[0].dimension = WIDTH;
    manifest.rows[0] = manifest.changed[0] = ROWS;
    manifest.gone[0] = GONE;
    return snapshot_table_parse(bytes, size, &manifest, 0, table, error);
}

static const enum snapshot_dtype dtypes[] = {SNAPSHOT_F32, SNAPSHOT_F16,
                                             SNAPSHOT_I8};

static void test_read_back(void **state)
{
    for (unsigned i = 0; i < 6; i++) {
        struct content content =
            content_of(i % 2 ? SNAPSHOT_DELTA : SNAPSHOT_BASE, dtypes[i / 2]);
        struct snapshot_table table;
        struct base_error error;
        size_t size;
        char *bytes = write_table(*state, &content, &size);
        if (parse(&content, bytes, size, &table, &error))
            fail_msg("%s", error.text);
        for (unsigned r = 0; r < ROWS; r++) {
            uint8_t row[WIDTH * 4 + 8];
            float got[WIDTH];
            assert_true(table.keys[r] == content.keys[r]);
            snapshot_table_pack(&table, r, row);
            snapshot_row_widen(content.dtype, WIDTH, row, got);
            for (unsigned j = 0; j < WIDTH; j++) {
                float difference = got[j] - content.floats[r * WIDTH + j];
                float allowed = content.dtype == SNAPSHOT_I8
                                    ? content.scale[r] / 2 + 1e-7f
                                    : 0; /* these are exact in float16 */
                assert_true(difference <= allowed && -difference <= allowed);
            }
        }
        snapshot_table_fini(&table);
        free(bytes);
    }
}

static void refuse(const char *folder, const struct content *content,
                   const char *complaint)
{
    struct snapshot_table table;
    struct base_error error;
    size_t size;
    char *bytes = write_table(folder, content, &size);
    assert_int_equal(parse(content, bytes, size, &table, &error),
                     BASE_CORRUPT);
    if (!strstr(error.text, complaint))
        fail_msg("'%s' does not say '%s'", error.text, complaint);
    free(bytes);
}

static void test_values(void **state)
{
    static const uint16_t halves[] = {0x7c00, 0xfc00, 0x7e01};
    static const float scales[] = {-1.0f, __builtin_inff(),
                                   __builtin_nanf("")};
    struct content content;
    for (unsigned i = 0; i < 3; i++) {
        content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F16);
        memcpy(content.values + 2 * (i * 7), &halves[i], 2);
        refuse(*state, &content, "not finite");
        content = content_of(SNAPSHOT_BASE, SNAPSHOT_I8);
        content.scale[i + 1] = scales[i];
        refuse(*state, &content, "not finite");
        content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F32);
        memcpy(content.values + 4 * (i * 7), &scales[1], 4);
        refuse(*state, &content, "not finite");
    }
    content = content_of(SNAPSHOT_DELTA, SNAPSHOT_I8);
    content.values[13] = 0x80; /* -128 */
    refuse(*state, &content, "not finite");
}

static void test_keys(void **state)
{
    struct content content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F32);
    content.keys[0] = 1;
    refuse(*state, &content, "row 0 is not the OOV row");
    content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F32);
    content.keys[2] = 7;
    refuse(*state, &content, "keys do not ascend at row 2");
    content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F32);
    content.gone[1] = 3;
    refuse(*state, &content, "gone do not ascend at row 1");
    content = content_of(SNAPSHOT_DELTA, SNAPSHOT_F32);
    content.gone[1] = 9;
    refuse(*state, &content, "0000000000000009 is in keys and in gone");
    content.gone[0] = 0;
    refuse(*state, &content, "0000000000000000 is in keys and in gone");
}

/* A base's file where a delta's is due, and the other way; another row type
 * than the manifest says. */
static void test_other_file(void **state)
{
    struct content content = content_of(SNAPSHOT_BASE, SNAPSHOT_F32);
    struct snapshot_table table;
    struct base_error error;
    size_t size;
    char *bytes = write_table(*state, &content, &size);
    content.kind = SNAPSHOT_DELTA;
    assert_int_equal(parse(&content, bytes, size, &table, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "'gone' is missing"));
    content.kind = SNAPSHOT_BASE;
    content.dtype = SNAPSHOT_F16;
    assert_int_equal(parse(&content, bytes, size, &table, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "F16 of 2 is due"));
    free(bytes);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_read_back),
        WITH_FOLDER(test_values),
        WITH_FOLDER(test_keys),
        WITH_FOLDER(test_other_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
