/* SPDX-License-Identifier: Apache-2.0 */
/* Fault 24: a version damaged by accident (bytes flipped, cut, lost) or by
 * intent (files changed and their hashes made to fit) is refused with a text
 * that says why, and the version before it goes on serving. */
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
#include <jansson.h>

#include "base/bytes.h"
#include "base/file.h"
#include "snapshot/current.h"
#include "snapshot/interest.h"
#include "tests/snapshot/fixture.h"

/* A model folder with a good version that is served and a newer one, also
 * good, to be damaged. */
struct bench {
    char *folder;
    struct fixture good, next;
    struct interest_model *model;
    struct interest_scorer *scorer;
    struct fixture_request request;
    float expected[20];
    char version[512]; /* path of the newer */
};

static void open_bench(struct bench *bench, char *folder)
{
    struct interest_error error;
    memset(bench, 0, sizeof *bench);
    bench->folder = folder;
    fixture_init(&bench->good, 3, 40);
    fixture_init(&bench->next, 4, 40);
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    fixture_publish(publisher, &bench->good);
    assert_int_equal(interest_open(folder, &bench->model, &error), 0);
    assert_int_equal(
        interest_scorer_open(bench->model, 20, 20, &bench->scorer, &error), 0);
    struct snapshot_announcement said =
        fixture_publish(publisher, &bench->next);
    snprintf(bench->version, sizeof bench->version, "%s/%s", folder,
             said.folder_name);
    fixture_request(&bench->good, 1, 20, 20, &bench->request);
    fixture_score(&bench->good, &bench->request, bench->expected);
    snapshot_publisher_free(publisher);
}

static void close_bench(struct bench *bench)
{
    interest_scorer_close(bench->scorer);
    interest_close(bench->model);
    fixture_fini(&bench->good);
    fixture_fini(&bench->next);
}

/* The refresh fails, its text has `complaint`, and the old scores come. */
static void expect_refused(struct bench *bench, const char *what,
                           const char *complaint)
{
    struct interest_error error = {0};
    struct interest_version version;
    struct interest_request request = {
        .profile = bench->request.profile,
        .history = bench->request.history,
        .history_size = bench->request.history_size,
        .items = bench->request.items,
        .candidates = bench->request.candidates,
        .context = bench->request.context,
    };
    float got[20];
    int changed = 1;
    int status = interest_refresh(bench->model, &changed, &error);
    if (!status || changed)
        fail_msg("%s: was accepted", what);
    if (!strstr(error.text, complaint))
        fail_msg("%s: '%s' does not say '%s'", what, error.text, complaint);
    assert_int_equal(interest_score(bench->scorer, &request, got, NULL,
                                    &version, &error),
                     0);
    assert_true(version.version == 1);
    assert_memory_equal(got, bench->expected, sizeof got);
}

static void expect_accepted(struct bench *bench)
{
    struct interest_error error;
    int changed;
    if (interest_refresh(bench->model, &changed, &error))
        fail_msg("%s", error.text);
    assert_int_equal(changed, 1);
}

/* ---- files --------------------------------------------------------------- */

static const char *const files[] = {
    "manifest.json", "dense.safetensors", "table.gender.safetensors",
    "table.goods.safetensors", "table.cate.safetensors",
    "table.pid.safetensors"};
enum { FILES = sizeof files / sizeof *files };

static char *load(const struct bench *bench, const char *name, size_t *size)
{
    char path[1024], *data;
    snprintf(path, sizeof path, "%s/%s", bench->version, name);
    assert_int_equal(base_file_read(path, 1 << 26, &data, size, NULL), 0);
    return data;
}

static void store(const struct bench *bench, const char *name,
                  const void *data, size_t size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", bench->version, name);
    assert_int_equal(base_file_replace(path, data, size, NULL), 0);
}

static void store_current(const struct bench *bench, const char *manifest,
                          size_t size)
{
    struct snapshot_current current;
    assert_int_equal(snapshot_current_read(bench->folder, &current, NULL), 0);
    current.hash = snapshot_hash_of(manifest, size);
    assert_int_equal(snapshot_current_write(bench->folder, &current, NULL), 0);
}

static json_t *load_manifest(const struct bench *bench)
{
    size_t size;
    char *text = load(bench, "manifest.json", &size);
    json_t *manifest = json_loadb(text, size, 0, NULL);
    assert_non_null(manifest);
    free(text);
    return manifest;
}

/* Writes the manifest and makes CURRENT name it. */
static void store_manifest(const struct bench *bench, const json_t *manifest)
{
    char *text = json_dumps(manifest, JSON_REAL_PRECISION(9));
    store(bench, "manifest.json", text, strlen(text));
    store_current(bench, text, strlen(text));
    free(text);
}

/* Makes the manifest's size and hash of every file those of the disk. */
static void reseal(const struct bench *bench)
{
    json_t *manifest = load_manifest(bench);
    json_t *list = json_object_get(manifest, "files");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *file = json_array_get(list, i);
        char hash[SNAPSHOT_HASH_TEXT];
        size_t size;
        char *data = load(
            bench, json_string_value(json_object_get(file, "name")), &size);
        snapshot_hash_print(snapshot_hash_of(data, size), hash);
        json_object_set_new(file, "size", json_integer((json_int_t)size));
        json_object_set_new(file, "hash", json_string(hash));
        free(data);
    }
    store_manifest(bench, manifest);
    json_decref(manifest);
}

/* ---- accidents ----------------------------------------------------------- */

static void test_flipped(void **state)
{
    struct bench bench;
    open_bench(&bench, *state);
    for (unsigned i = 0; i < FILES; i++) {
        size_t size;
        char *data = load(&bench, files[i], &size);
        const size_t places[] = {0, 7, 8, 9, size / 3, size / 2, size - 9,
                                 size - 1};
        for (unsigned p = 0; p < 8; p++) {
            data[places[p]] ^= (char)(1 << p);
            store(&bench, files[i], data, size);
            expect_refused(&bench, files[i], "hash");
            data[places[p]] ^= (char)(1 << p);
        }
        store(&bench, files[i], data, size);
        free(data);
    }
    expect_accepted(&bench); /* all put back as it was */
    close_bench(&bench);
}

static void test_cut_and_lost(void **state)
{
    struct bench bench;
    open_bench(&bench, *state);
    for (unsigned i = 0; i < FILES; i++) {
        size_t size;
        char *data = load(&bench, files[i], &size), path[1024], moved[1024];
        const size_t sizes[] = {0, 1, 8, size / 2, size - 1};
        for (unsigned s = 0; s < 5; s++) {
            store(&bench, files[i], data, sizes[s]);
            expect_refused(&bench, files[i], files[i]);
        }
        char *longer = calloc(1, size + 64);
        assert_non_null(longer);
        memcpy(longer, data, size);
        store(&bench, files[i], longer, size + 64);
        expect_refused(&bench, files[i], files[i]);
        free(longer);
        snprintf(path, sizeof path, "%s/%s", bench.version, files[i]);
        snprintf(moved, sizeof moved, "%s/moved", bench.folder);
        assert_int_equal(unlink(path), 0);
        expect_refused(&bench, files[i], files[i]);
        store(&bench, "../moved", data, size);
        assert_int_equal(symlink(moved, path), 0); /* good bytes, by a link */
        expect_refused(&bench, files[i], files[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        expect_refused(&bench, files[i], files[i]);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0); /* must not block either */
        expect_refused(&bench, files[i], files[i]);
        assert_int_equal(unlink(path), 0);
        store(&bench, files[i], data, size);
        free(data);
    }
    expect_accepted(&bench);
    close_bench(&bench);
}

static void test_folder_link(void **state)
{
    struct bench bench;
    char moved[1024];
    open_bench(&bench, *state);
    snprintf(moved, sizeof moved, "%s/elsewhere", bench.folder);
    assert_int_equal(rename(bench.version, moved), 0);
    expect_refused(&bench, "no folder", "open folder");
    assert_int_equal(symlink(moved, bench.version), 0);
    expect_refused(&bench, "folder is a link", "open folder");
    assert_int_equal(unlink(bench.version), 0);
    assert_int_equal(rename(moved, bench.version), 0);
    expect_accepted(&bench);
    close_bench(&bench);
}

static void test_current(void **state)
{
    struct bench bench;
    char path[1024], *good;
    size_t size;
    static const char *const lines[] = {
        "", "\n", "v9", "v9999999999-9\n", "v9999999999-9 12\n",
        "../v9999999999-9 00000000000000000000000000000000\n",
        "v9999999999-9  0000000000000000000000000000000\n",
        "v9999999999-9 00000000000000000000000000000000 x\n",
        "v9999999999-9/ 00000000000000000000000000000000\n"};
    open_bench(&bench, *state);
    snprintf(path, sizeof path, "%s/CURRENT", bench.folder);
    assert_int_equal(base_file_read(path, 1000, &good, &size, NULL), 0);
    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(
            base_file_replace(path, lines[i], strlen(lines[i]), NULL), 0);
        expect_refused(&bench, lines[i], "CURRENT");
    }
    char *large = calloc(1, 5000);
    assert_non_null(large);
    assert_int_equal(base_file_replace(path, large, 5000, NULL), 0);
    expect_refused(&bench, "large", "CURRENT");
    free(large);
    assert_int_equal(unlink(path), 0);
    expect_refused(&bench, "no CURRENT", "CURRENT");
    assert_int_equal(base_file_replace(path, good, size, NULL), 0);
    expect_accepted(&bench);
    free(good);
    close_bench(&bench);
}

/* ---- attacks: the hashes fit --------------------------------------------- */

static uint8_t *data_of(char *file)
{
    return (uint8_t *)file + 8 + base_get_u64(file);
}

/* Offsets in a table file of 40 rows: index 128 x 4, keys 40 x 8, rows. */
enum { KEYS = 128 * 4, ROWS = KEYS + 40 * 8 };

static void header_2_63(char *file)
{
    base_put_u64(file, 1ull << 63);
}

/* Replaces text in the header by text of the same length. */
static void replace(char *file, const char *old, const char *text)
{
    assert_int_equal(strlen(old), strlen(text));
    char *at = memmem(file, 8 + base_get_u64(file), old, strlen(old));
    assert_non_null(at);
    memcpy(at, text, strlen(text));
}

static void overlap(char *file)
{
    replace(file, "[512,832]", "[504,824]");
}

static void hole(char *file)
{
    replace(file, "[512,832]", "[520,840]");
}

static void shape_lies(char *file)
{
    replace(file, "\"shape\":[40]", "\"shape\":[41]");
}

static void other_dtype(char *file)
{
    replace(file, "F32", "I32");
}

static void doubled_name(char *file)
{
    replace(file, "\"keys\"", "\"rows\"");
}

static void other_name(char *file)
{
    replace(file, "\"keys\"", "\"kays\"");
}

static void not_a_number(char *file)
{
    base_put_f32(data_of(file) + ROWS + 100, __builtin_nanf(""));
}

static void first_key(char *file)
{
    base_put_u64(data_of(file) + KEYS, 1);
}

static void keys_fall(char *file)
{
    base_put_u64(data_of(file) + KEYS + 80, 1);
}

static void index_wild(char *file)
{
    base_put_u32(data_of(file) + 4 * 17, 0xffffffffu);
}

static void index_full(char *file)
{
    for (unsigned i = 0; i < 128; i++) /* a probe would never end */
        base_put_u32(data_of(file) + 4 * i, 1);
}

static void index_empty(char *file)
{
    memset(data_of(file), 0, 128 * 4);
}

static void oov_weight(char *file)
{
    float *weight = (float *)(data_of(file) + ROWS);
    for (unsigned i = 0; i < 40 * 18; i++)
        weight[i] += 0.25f; /* all is in form, but not what was published */
}

static const struct {
    const char *name;
    void (*damage)(char *file);
    const char *complaint;
} attacks[] = {
    {"header of 2^63 bytes", header_2_63, "header length 9223372036854775808"},
    {"overlap", overlap, "overlapping"},
    {"hole", hole, "leaving a hole"},
    {"shape", shape_lies, "does not hold"},
    {"dtype", other_dtype, "dtype I32"},
    {"doubled name", doubled_name, "duplicate"},
    {"other name", other_name, "'keys' is missing"},
    {"not a number", not_a_number, "not finite"},
    {"first key", first_key, "not the OOV row"},
    {"keys fall", keys_fall, "do not ascend"},
    {"index entry beyond the rows", index_wild, "index does not fit"},
    {"index full", index_full, "index does not fit"},
    {"index empty", index_empty, "index does not fit"},
    {"other weights", oov_weight, "golden request"},
};

static void test_attacks(void **state)
{
    struct bench bench;
    size_t size;
    static const char name[] = "table.goods.safetensors";
    open_bench(&bench, *state);
    char *good = load(&bench, name, &size), *bad = malloc(size);
    assert_non_null(bad);
    for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        memcpy(bad, good, size);
        attacks[i].damage(bad);
        store(&bench, name, bad, size);
        reseal(&bench);
        expect_refused(&bench, attacks[i].name, attacks[i].complaint);
    }
    store(&bench, name, good, size);
    reseal(&bench);
    expect_accepted(&bench);
    free(good);
    free(bad);
    close_bench(&bench);
}

static void test_dense_attacks(void **state)
{
    struct bench bench;
    size_t size;
    static const char name[] = "dense.safetensors";
    static const struct {
        const char *old, *text, *complaint;
    } headers[] = {
        {"\"bn.beta\"", "\"bn.bet0\"", "'bn.beta' is missing"},
        {"\"shape\":[200,80]", "\"shape\":[80,200]", "shape[0] is 80"},
        {"\"shape\":[200,80]", "\"shape\":[16000]", "dimensions"},
    };
    open_bench(&bench, *state);
    char *good = load(&bench, name, &size), *bad = malloc(size);
    assert_non_null(bad);
    for (unsigned i = 0; i < 3; i++) {
        char text[32];
        snprintf(text, sizeof text, "%-*s", (int)strlen(headers[i].old),
                 headers[i].text);
        memcpy(bad, good, size);
        replace(bad, headers[i].old, text);
        store(&bench, name, bad, size);
        reseal(&bench);
        expect_refused(&bench, headers[i].text, headers[i].complaint);
    }
    memcpy(bad, good, size);
    base_put_f32(data_of(bad) + 400, __builtin_inff());
    store(&bench, name, bad, size);
    reseal(&bench);
    expect_refused(&bench, "infinite", "not finite");
    free(good);
    free(bad);
    close_bench(&bench);
}

/* Names that lead out of the folder, other versions in the folder's place. */
static void test_manifest_attacks(void **state)
{
    struct bench bench;
    open_bench(&bench, *state);
    json_t *good = load_manifest(&bench), *bad;

    bad = json_deep_copy(good);
    json_object_set_new(
        json_array_get(json_object_get(bad, "files"), 0), "name",
        json_string("../../../../../../etc/passwd"));
    store_manifest(&bench, bad);
    expect_refused(&bench, "name", "files.name: is not a file");
    json_decref(bad);

    bad = json_deep_copy(good);
    json_object_set_new(bad, "epoch", json_integer(5000000000));
    store_manifest(&bench, bad);
    expect_refused(&bench, "epoch", "is of version v5000000000-2");
    json_decref(bad);

    bad = json_deep_copy(good);
    json_object_set_new(bad, "format", json_integer(4));
    store_manifest(&bench, bad);
    expect_refused(&bench, "format", "update it");
    json_decref(bad);

    bad = json_deep_copy(good);
    json_object_set_new(
        json_array_get(json_object_get(bad, "tables"), 1), "rows",
        json_integer(41));
    store_manifest(&bench, bad);
    expect_refused(&bench, "rows", "do not fit to 41 rows");
    json_decref(bad);

    store_current(&bench, "", 0);
    expect_refused(&bench, "hash", "not the one that names it");
    store_manifest(&bench, good);
    expect_accepted(&bench);
    json_decref(good);
    close_bench(&bench);
}

#define WITH_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, fixture_folder, fixture_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(test_flipped),
        WITH_FOLDER(test_cut_and_lost),
        WITH_FOLDER(test_folder_link),
        WITH_FOLDER(test_current),
        WITH_FOLDER(test_attacks),
        WITH_FOLDER(test_dense_attacks),
        WITH_FOLDER(test_manifest_attacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
