/* SPDX-License-Identifier: Apache-2.0 */
/* Tensor files: what the encoder writes the reader gives back; what is wrong
 * in any way is refused with a text that says so (fault 24). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "snapshot/encoder.h"

struct place {
    char path[256];
    int folder;
};

static int make_folder(void **state)
{
    static struct place place;
    const char *base = getenv("TMPDIR");
    snprintf(place.path, sizeof place.path, "%s/interestd-XXXXXX",
             base ? base : "/tmp");
    if (!mkdtemp(place.path))
        return -1;
    place.folder = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &place;
    return place.folder < 0;
}

static int remove_folder(void **state)
{
    struct place *place = *state;
    close(place->folder);
    return base_file_remove(place->path, NULL);
}

static struct snapshot_file write_pair(int folder, const char *name)
{
    struct snapshot_tensor tensors[] = {
        {.name = "a", .dtype = SNAPSHOT_U64, .dimensions = 1, .shape = {3}},
        {.name = "b", .dtype = SNAPSHOT_F32, .dimensions = 2, .shape = {2, 5}},
    };
    const uint64_t a[] = {1, 2, UINT64_MAX};
    float b[10];
    struct snapshot_encoder *encoder;
    struct snapshot_file file;
    struct base_error error;
    for (int i = 0; i < 10; i++)
        b[i] = (float)i / 3;
    assert_int_equal(snapshot_encoder_open(folder, name, tensors, 2, &encoder,
                                           &error),
                     BASE_OK);
    assert_int_equal(snapshot_encoder_add(encoder, a, sizeof a, &error),
                     BASE_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(
            snapshot_encoder_add(encoder, &b[i], sizeof b[i], &error),
            BASE_OK);
    assert_int_equal(snapshot_encoder_finish(encoder, &file, &error), BASE_OK);
    snapshot_encoder_free(encoder);
    return file;
}

static void test_round_trip(void **state)
{
    struct place *place = *state;
    struct snapshot_tensors tensors;
    struct base_error error;
    struct snapshot_file file = write_pair(place->folder, "pair");
    assert_int_equal(snapshot_tensors_open(place->folder, &file, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_OK);
    const struct snapshot_tensor *a = snapshot_tensors_find(&tensors, "a");
    const struct snapshot_tensor *b = snapshot_tensors_find(&tensors, "b");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(snapshot_tensors_find(&tensors, "c"));
    assert_int_equal((tensors.data - tensors.bytes) % SNAPSHOT_TENSORS_ALIGN,
                     0);
    assert_int_equal(b->dimensions, 2);
    assert_int_equal(b->shape[0], 2);
    assert_int_equal(b->shape[1], 5);
    assert_true(base_get_u64(tensors.data + a->begin + 16) == UINT64_MAX);
    assert_true(base_get_f32(tensors.data + b->begin + 36) == 9.0f / 3);
    snapshot_tensors_fini(&tensors);
}

static void test_encoder_counts(void **state)
{
    struct place *place = *state;
    struct snapshot_tensor tensor = {
        .name = "a", .dtype = SNAPSHOT_F32, .dimensions = 1, .shape = {4}};
    struct snapshot_encoder *encoder;
    struct snapshot_file file;
    struct base_error error;
    float values[5] = {0};
    assert_int_equal(snapshot_encoder_open(place->folder, "short", &tensor, 1,
                                           &encoder, &error),
                     BASE_OK);
    assert_int_equal(snapshot_encoder_add(encoder, values, 12, &error),
                     BASE_OK);
    assert_int_equal(snapshot_encoder_finish(encoder, &file, &error),
                     BASE_BROKEN);
    snapshot_encoder_free(encoder);
    assert_int_equal(snapshot_encoder_open(place->folder, "short", &tensor, 1,
                                           &encoder, &error),
                     BASE_IO); /* exists */
    assert_null(encoder);
}

/* A file on disk that is not what the manifest says. */
static void test_open_refuses(void **state)
{
    struct place *place = *state;
    struct snapshot_tensors tensors;
    struct base_error error;
    struct snapshot_file good = write_pair(place->folder, "good"), bad;

    bad = good;
    bad.hash.low ^= 1;
    assert_int_equal(snapshot_tensors_open(place->folder, &bad, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "good: its hash"));
    bad = good;
    bad.size++;
    assert_int_equal(snapshot_tensors_open(place->folder, &bad, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "the manifest says"));
    bad = good;
    strcpy(bad.name, "absent");
    assert_int_equal(snapshot_tensors_open(place->folder, &bad, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_NO_INPUT);
    bad = good;
    strcpy(bad.name, "link");
    assert_int_equal(symlinkat("good", place->folder, "link"), 0);
    assert_int_equal(snapshot_tensors_open(place->folder, &bad, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_IO);
    strcpy(bad.name, "folder");
    assert_int_equal(mkdirat(place->folder, "folder", 0700), 0);
    assert_int_equal(snapshot_tensors_open(place->folder, &bad, SNAPSHOT_COPY, &tensors,
                                           &error),
                     BASE_CORRUPT);
}

/* ---- headers ------------------------------------------------------------- */

/* A file in memory: header text padded to a multiple of 8, data of zeros. */
static uint8_t *image(const char *header, size_t data, size_t *size)
{
    size_t length = strlen(header), padded = (length + 7) & ~(size_t)7;
    uint8_t *bytes = calloc(1, 8 + padded + data);
    assert_non_null(bytes);
    base_put_u64(bytes, padded);
    memset(bytes + 8, ' ', padded);
    memcpy(bytes + 8, header, length);
    *size = 8 + padded + data;
    return bytes;
}

static void expect(const char *header, size_t data, const char *complaint)
{
    struct snapshot_tensors tensors;
    struct base_error error = {0};
    size_t size;
    uint8_t *bytes = image(header, data, &size);
    enum base_status status =
        snapshot_tensors_parse(bytes, size, &tensors, &error);
    if (complaint) {
        assert_int_equal(status, BASE_CORRUPT);
        if (!strstr(error.text, complaint))
            fail_msg("'%s' does not say '%s'", error.text, complaint);
        assert_null(tensors.tensor);
    } else {
        assert_int_equal(status, BASE_OK);
        snapshot_tensors_fini(&tensors);
    }
    free(bytes);
}

#define F32(name, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape \
    ",\"data_offsets\":[" begin "," end "]}"

static void test_headers(void **state)
{
    (void)state;
    expect("{" F32("a", "[2]", "0", "8") "}", 8, NULL);
    expect("{" F32("b", "[1]", "8", "12") "," F32("a", "[2]", "0", "8") "}",
           12, NULL);
    expect("{\"__metadata__\":{\"by\":\"x\"}," F32("a", "[2]", "0", "8") "}",
           8, NULL);
    expect("{" F32("scalar", "[]", "0", "4") "}", 4, NULL);
    expect("{" F32("none", "[0]", "0", "0") "}", 0, NULL);
    expect("{}", 0, NULL);
    expect("{}", 4, "belong to no tensor");
    expect("{" F32("a", "[2]", "0", "8") "," F32("a", "[2]", "0", "8") "}", 8,
           "duplicate");
    expect("{" F32("a", "[2]", "0", "8") "," F32("b", "[2]", "4", "12") "}",
           12, "overlapping");
    expect("{" F32("a", "[2]", "0", "8") "," F32("b", "[1]", "12", "16") "}",
           16, "leaving a hole");
    expect("{" F32("a", "[1]", "4", "8") "}", 8, "leaving a hole");
    expect("{" F32("a", "[2]", "0", "8") "}", 12, "belong to no tensor");
    expect("{" F32("a", "[3]", "0", "12") "}", 8, "outside");
    expect("{" F32("a", "[2]", "8", "0") "}", 8, "outside");
    expect("{" F32("a", "[2]", "0", "4") "}", 4, "does not hold");
    expect("{" F32("a", "[-1]", "0", "4") "}", 4, "is not a size");
    expect("{" F32("a", "[1.0]", "0", "4") "}", 4, "is not a size");
    expect("{" F32("a", "[1]", "-4", "4") "}", 4, "two sizes");
    expect("{" F32("a", "{}", "0", "4") "}", 4, "must be a list");
}

static void test_hostile_shapes(void **state)
{
    (void)state;
    /* nine dimensions; products that wrap to 0 and to the right number */
    expect("{" F32("a", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "at most 8");
    expect("{" F32("a", "[1,1,1,1,1,1,1,1]", "0", "4") "}", 4, NULL);
    expect("{" F32("a", "[4611686018427387904,4]", "0", "0") "}", 0,
           "does not hold");
    expect("{" F32("a", "[4294967296,4294967297]", "0", "16") "}", 16,
           "does not hold");
    expect("{" F32("a", "[9223372036854775807,9223372036854775807]", "0",
                   "4") "}",
           4, "does not hold");
    expect("{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
           8, "dtype F64");
    expect("{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
           "is not a string");
    expect("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "nothing else");
    expect("{\"a\":7}", 4, "nothing else");
    expect("{" F32("a", "[1]", "0", "4")
           ",\"k\":{\"dtype\":\"U64\",\"shape\":[1],"
           "\"data_offsets\":[4,12]}}",
           12, "not aligned");
    expect("{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
           4, "name has 0 bytes");
    expect("[]", 0, "not a padded JSON object");
    expect("{\"a\":", 0, "header:");
    expect("{} x", 0, "header:");
}

static void test_header_length(void **state)
{
    struct snapshot_tensors tensors;
    struct base_error error;
    static const uint64_t lengths[] = {1ull << 63, UINT64_MAX,
                                       UINT64_MAX - 7, 1 << 21, 9, 0, 16};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t bytes[16] = {0};
        base_put_u64(bytes, lengths[i]);
        memcpy(bytes + 8, "{}      ", 8);
        assert_int_equal(snapshot_tensors_parse(bytes, sizeof bytes, &tensors,
                                                &error),
                         BASE_CORRUPT);
        assert_non_null(strstr(error.text, "header"));
    }
    for (size_t size = 0; size < 8; size++)
        assert_int_equal(
            snapshot_tensors_parse("\0\0\0\0\0\0\0", size, &tensors, &error),
            BASE_CORRUPT);
}

/* No prefix of a good file is a good file. */
static void test_truncated(void **state)
{
    struct snapshot_tensors tensors;
    size_t size;
    uint8_t *bytes = image("{" F32("a", "[2]", "0", "8") "}", 8, &size);
    (void)state;
    for (size_t part = 0; part < size; part++) {
        uint8_t *prefix = malloc(part + 1); /* so that overreads are seen */
        assert_non_null(prefix);
        memcpy(prefix, bytes, part);
        assert_int_equal(snapshot_tensors_parse(prefix, part, &tensors, NULL),
                         BASE_CORRUPT);
        free(prefix);
    }
    free(bytes);
}

static void test_finite(void **state)
{
    float values[100] = {0};
    (void)state;
    assert_true(snapshot_floats_finite(values, 100));
    values[17] = 3.4e38f;
    assert_true(snapshot_floats_finite(values, 100));
    values[99] = -__builtin_inff();
    assert_false(snapshot_floats_finite(values, 100));
    assert_true(snapshot_floats_finite(values, 99));
    values[0] = __builtin_nanf("");
    assert_false(snapshot_floats_finite(values, 99));
}

static void test_hash_text(void **state)
{
    char text[SNAPSHOT_HASH_TEXT];
    struct snapshot_hash hash = snapshot_hash_of("abc", 3), back;
    (void)state;
    snapshot_hash_print(hash, text);
    /* as printed by `printf abc | xxhsum -H2` */
    assert_string_equal(text, "06b05ab6733a618578af5f94892f3950");
    assert_true(snapshot_hash_scan(text, 32, &back));
    assert_true(snapshot_hash_equal(hash, back));
    assert_false(snapshot_hash_scan(text, 31, &back));
    text[3] = 'G';
    assert_false(snapshot_hash_scan(text, 32, &back));
    text[3] = 'B'; /* upper case is not ours */
    assert_false(snapshot_hash_scan(text, 32, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_encoder_counts, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(test_open_refuses, make_folder,
                                        remove_folder),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_hostile_shapes),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_finite),
        cmocka_unit_test(test_hash_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
