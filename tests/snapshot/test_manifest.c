/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest: written and read back it is the same; each damaged field is
 * refused by its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "learner/settings.h"
#include "tests/snapshot/fixture.h"

static void fill(struct snapshot_manifest *manifest, struct fixture *fixture)
{
    fixture_init(fixture, 42, 3);
    fixture_manifest(fixture, manifest);
    strcpy(manifest->model_name, "ctr");
    strcpy(manifest->arithmetic, "fma-v1");
    manifest->epoch = 1763789000;
    manifest->version = 7;
    manifest->parent_epoch = 1763789000;
    manifest->parent_version = 6;
    manifest->parent_hash = (struct snapshot_hash){0x0123456789abcdef, 9};
    manifest->created_ms = 1763789111222;
    manifest->offsets_json = strdup("{\"impressions\":[12,13]}");
    manifest->stream_json =
        strdup("{\"history_max\":50,\"negative_keep\":0.5,\"transforms\":"
               "{\"gender\":{\"transform\":\"bucket\",\"bounds\":[1,2.5]},"
               "\"goods\":{\"transform\":\"weekday\"},"
               "\"pid\":{\"transform\":\"hour\"}},\"later\":[1]}");
    manifest->metrics_time.log_loss = 0.123456789;
    manifest->metrics_samples.auc = 0.625;
    manifest->judged = (struct snapshot_judged){
        .samples = 4000, .dense_norm = 12.5, .forced = true};
    manifest->file_count = 5;
    strcpy(manifest->files[0].name, "dense.safetensors");
    for (unsigned i = 0; i < 4; i++) {
        manifest->rows[i] = 3;
        snapshot_table_file(fixture->schema.tables[i].name,
                            manifest->files[i + 1].name,
                            sizeof manifest->files[0].name);
    }
    for (unsigned i = 0; i < 5; i++) {
        manifest->files[i].size = 1000 + i;
        manifest->files[i].hash = (struct snapshot_hash){i, ~0ull};
    }
    manifest->golden_count = 1;
    assert_int_equal(snapshot_golden_init(&manifest->golden[0],
                                          &fixture->schema, 2, 3, NULL),
                     BASE_OK);
    manifest->golden[0].profile[0] = UINT64_MAX;
    manifest->golden[0].items[5] = 77;
    manifest->golden[0].context[0] = 78;
    manifest->golden[0].scores[0] = 0x1.fffffep-2f;
    manifest->golden[0].scores[2] = 1e-30f;
}

static char *written(size_t *size)
{
    struct snapshot_manifest manifest;
    struct fixture fixture;
    struct base_error error;
    char *text;
    fill(&manifest, &fixture);
    if (snapshot_manifest_write(&manifest, &text, size, &error))
        fail_msg("%s", error.text);
    snapshot_manifest_fini(&manifest);
    fixture_fini(&fixture);
    return text;
}

/* Writes and reads `in`; what was read writes the same text. */
static void pass_through(struct snapshot_manifest *in,
                         struct snapshot_manifest *out)
{
    struct base_error error;
    char *text, *again;
    size_t size, size_again;
    assert_int_equal(snapshot_manifest_write(in, &text, &size, &error),
                     BASE_OK);
    if (snapshot_manifest_read(text, size, out, &error))
        fail_msg("%s", error.text);
    assert_int_equal(snapshot_manifest_write(out, &again, &size_again, &error),
                     BASE_OK);
    assert_string_equal(text, again);
    free(text);
    free(again);
}

static void a_delta_and_a_base_beside_it_pass_through(void **state)
{
    struct snapshot_manifest in, out;
    struct fixture fixture;
    (void)state;
    fill(&in, &fixture);
    in.kind = SNAPSHOT_DELTA;
    in.row_dtype = SNAPSHOT_I8;
    in.cut_ms = 1763789111111;
    for (unsigned i = 0; i < 4; i++) {
        in.changed[i] = 1 + i % 3;
        in.gone[i] = 5 + i;
    }
    pass_through(&in, &out);
    assert_int_equal(out.kind, SNAPSHOT_DELTA);
    assert_int_equal(out.row_dtype, SNAPSHOT_I8);
    assert_memory_equal(out.changed, in.changed, sizeof in.changed);
    assert_memory_equal(out.gone, in.gone, sizeof in.gone);
    assert_true(out.cut_ms == in.cut_ms && !out.is_beside);
    snapshot_manifest_fini(&out);
    in.kind = SNAPSHOT_BASE;
    in.is_beside = true;
    in.beside = (struct snapshot_hash){1, 2};
    in.rollback_epoch = 5;
    in.rollback_version = 6;
    pass_through(&in, &out);
    assert_int_equal(out.kind, SNAPSHOT_BASE);
    assert_true(out.is_beside && snapshot_hash_equal(out.beside, in.beside));
    assert_true(out.rollback_epoch == 5 && out.rollback_version == 6);
    snapshot_manifest_fini(&out);
    snapshot_manifest_fini(&in);
    fixture_fini(&fixture);
}

static void test_round_trip(void **state)
{
    struct snapshot_manifest in, out;
    struct fixture fixture;
    struct base_error error;
    char *text, *again;
    size_t size, size_again;
    (void)state;
    fill(&in, &fixture);
    assert_int_equal(snapshot_manifest_write(&in, &text, &size, &error),
                     BASE_OK);
    if (snapshot_manifest_read(text, size, &out, &error))
        fail_msg("%s", error.text);
    assert_string_equal(out.model_name, "ctr");
    assert_true(out.epoch == in.epoch && out.version == in.version);
    assert_true(snapshot_hash_equal(out.parent_hash, in.parent_hash));
    assert_memory_equal(&out.schema, &in.schema, sizeof in.schema);
    assert_true(out.model.learning_rate == in.model.learning_rate);
    assert_true(out.model.row_limit == in.model.row_limit);
    assert_true(out.model.seed == in.model.seed);
    assert_int_equal(out.model.activation, LEARNER_DICE);
    assert_string_equal(out.offsets_json, "{\"impressions\":[12,13]}");
    assert_string_equal(out.stream_json, in.stream_json);
    assert_int_equal(out.history_max, 50);
    assert_true(out.negative_keep == 0.5);
    assert_int_equal(out.transforms[0].kind, SNAPSHOT_TRANSFORM_BUCKET);
    assert_int_equal(out.transforms[0].bound_count, 2);
    assert_true(out.transforms[0].bounds[1] == 2.5);
    assert_int_equal(out.transforms[1].kind, SNAPSHOT_TRANSFORM_WEEKDAY);
    assert_int_equal(out.transforms[2].kind, SNAPSHOT_TRANSFORM_NONE);
    assert_int_equal(out.transforms[3].kind, SNAPSHOT_TRANSFORM_HOUR);
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        assert_memory_equal((char *)&out.model + setting->offset,
                            (char *)&in.model + setting->offset,
                            setting->size);
    }
    assert_true(isnan(out.metrics_total.user_auc));
    assert_true(out.metrics_time.log_loss == 0.123456789);
    assert_int_equal(out.judged.samples, 4000);
    assert_true(out.judged.dense_norm == 12.5);
    assert_true(out.judged.auc == 0.625);
    assert_true(out.judged.forced);
    assert_memory_equal(out.golden[0].scores, in.golden[0].scores,
                        3 * sizeof(float));
    assert_true(out.golden[0].profile[0] == UINT64_MAX);
    assert_int_equal(out.golden[0].items[5], 77);
    assert_int_equal(out.golden[0].context[0], 78);
    /* and all the rest: what was read writes the same text */
    assert_int_equal(snapshot_manifest_write(&out, &again, &size_again,
                                             &error),
                     BASE_OK);
    assert_string_equal(again, text);
    free(again);
    free(text);
    snapshot_manifest_fini(&in);
    snapshot_manifest_fini(&out);
    fixture_fini(&fixture);
}

/* Sets what `path` ("files.0.size") names to `value`, given as JSON. */
static void set(json_t *at, const char *path, const char *value)
{
    char step[64];
    const char *rest = path;
    for (;;) {
        size_t length = strcspn(rest, ".");
        memcpy(step, rest, length);
        step[length] = '\0';
        rest += length;
        if (*rest++ == '\0')
            break;
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(step))
                               : json_object_get(at, step);
        assert_non_null(at);
    }
    json_t *json = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    if (json_is_array(at))
        assert_int_equal(json_array_set_new(at, (size_t)atoi(step), json), 0);
    else if (json)
        assert_int_equal(json_object_set_new(at, step, json), 0);
    else
        assert_int_equal(json_object_del(at, step), 0);
}

static const struct {
    const char *path, *value, *complaint; /* value NULL: key removed */
} damages[] = {
    {"format", "4", "reads format 3: update"},
    {"format", "2", "reads format 3: a development version"},
    {"format", "\"3\"", "format:"},
    {"kind", "\"delta\"", "tables.changed:"},
    {"kind", "\"sum\"", "kind:"},
    {"beside", "\"00\"", "beside:"},
    {"rollback_of", "7", "rollback_of:"},
    {"rollback_of", "{\"epoch\":1}", "rollback_of.version:"},
    {"freshness", "{}", "freshness.cut_ms:"},
    {"parent.version", "7", "parent: is no older version"},
    {"parent.epoch", "1763789001", "parent: is no older version"},
    {"tables.0.row_dtype", "\"F64\"", "tables.row_dtype:"},
    {"tables.1.row_dtype", "\"F16\"", "tables.row_dtype: differs"},
    {"kind", NULL, "kind:"},
    {"model_name", "\"\"", "model_name:"},
    {"epoch", "0", "epoch:"},
    {"epoch", "-1", "epoch:"},
    {"epoch", "9007199254740992", "epoch:"},
    {"version", "1.5", "version:"},
    {"parent", "3", "parent:"},
    {"parent.hash", "\"xyz\"", "parent.hash:"},
    {"position", "null", "position:"},
    {"journal_hash", "\"00\"", "journal_hash:"},
    {"newest_event_ms", "\"now\"", "newest_event_ms:"},
    {"arithmetic", "\"0123456789012345678901234567890123\"", "arithmetic:"},
    {"config_hash", "\"0000000000000000\"", "config_hash:"},
    {"tables", "[]", "tables:"},
    {"tables.0.name", "\"../x\"", "tables.name:"},
    {"tables.0.name", "\"goods\"", "tables.seed:"},
    {"tables.1.name", "\"gender\"", "tables.name: comes twice"},
    {"tables.0.dimension", "0", "tables.dimension: is 0: the table is of no"},
    {"tables.0.width", "0", "tables.width:"},
    {"tables.0.width", "130", "tables.width:"},
    {"tables.0.width", "null", "tables.width:"},
    {"tables.0.dimension", "129", "tables.dimension:"},
    {"tables.0.dimension", "5", "config_hash:"},
    {"tables.0.rows", "0", "tables.rows:"},
    {"tables.0.seed", "\"0000000000000000\"", "tables.seed:"},
    {"fields", "[]", "fields:"},
    {"fields.0.group", "\"user\"", "fields.group:"},
    {"fields.0.group", "\"context\"", "fields.group:"},
    {"fields.0.table", "\"nowhere\"", "fields.table:"},
    {"fields.0.continues", "true", "fields.continues:"},
    {"fields.2.continues", "true", "fields.continues:"},
    {"fields.2.continues", "1", "fields.continues:"},
    {"model.kind", "\"none\"", "model.kind: is a word"},
    {"model.kind", "1", "model.kind: is of another type"},
    {"model.kind", "\"lr\"", "config_hash:"},
    {"model.pooling", NULL, "model.pooling: is missing"},
    {"model.activation", "\"tanh\"", "model.activation:"},
    {"model.attention_softmax", "0", "model.attention_softmax:"},
    {"model.attention_hidden_1", "[80]", "model.attention_hidden_1:"},
    {"model.attention_hidden_2", "0", "model.attention_hidden_2:"},
    {"model.mlp_hidden_1", "100000", "model.mlp_hidden_1:"},
    {"model.batch_size", "0", "model.batch_size:"},
    {"model.shards", "65536", "model.shards:"},
    {"model.seed", "\"1\"", "model.seed:"},
    {"model.learning_rate", "1e300", "model.learning_rate:"},
    {"applied_offsets", "[]", "applied_offsets:"},
    {"stream", "[]", "stream:"},
    {"stream.history_max", "0", "stream.history_max:"},
    {"stream.history_max", "1025", "stream.history_max:"},
    {"stream.negative_keep", "0", "stream.negative_keep:"},
    {"stream.negative_keep", "1.5", "stream.negative_keep:"},
    {"stream.negative_keep", "\"all\"", "stream.negative_keep:"},
    {"stream.transforms", "[]", "transforms:"},
    {"stream.transforms.pid", "\"hour\"", "transforms.pid:"},
    {"stream.transforms.pid.transform", "\"year\"", "pid.transform:"},
    {"stream.transforms.gender.bounds", "[]", "gender.bounds:"},
    {"stream.transforms.gender.bounds", "[2,2]", "gender.bounds:"},
    {"stream.transforms.gender.bounds", "[1e16]", "gender.bounds:"},
    {"stream.transforms.gender.bounds", "[\"1\"]", "gender.bounds:"},
    {"metrics.total.auc", "\"high\"", "total.auc:"},
    {"metrics.time.samples", "-2", "time.samples:"},
    {"gate", "[]", "gate:"},
    {"gate.samples", "-1", "gate.samples:"},
    {"gate.dense_norm", "\"12\"", "gate.dense_norm:"},
    {"gate.forced", "1", "gate.forced:"},
    {"gate.forced", NULL, "gate.forced:"},
    {"files", "[]", "files:"},
    {"files.0.name", "\"../dense.safetensors\"", "files.name: is not a file"},
    {"files.1.name", "\"dense.safetensors\"", "files.name: comes twice"},
    {"files.0.size", "7", "files.size:"},
    {"files.0.hash", "12", "files.hash:"},
    {"golden", "{}", "golden:"},
    {"golden.0.profile", "[]", "golden.profile:"},
    {"golden.0.profile.0", "3", "golden.profile:"},
    {"golden.0.history.1", "[\"0000000000000001\"]", "golden.history:"},
    {"golden.0.items", "[]", "golden.items:"},
    {"golden.0.context.0", "\"1\"", "golden.context:"},
    {"golden.0.bits.0", "\"3f8000000\"", "golden.bits:"},
    {"golden.0.bits.0", "\"3f80000g\"", "golden.bits:"},
    {"golden.0.bits.0", "\"3f800000\"", "golden.scores:"},
    {"golden.0.scores.0", "\"x\"", "golden.scores:"},
};

static void test_damages(void **state)
{
    size_t size;
    char *good = written(&size);
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct snapshot_manifest manifest;
        struct base_error error = {0};
        json_t *json = json_loads(good, 0, NULL);
        set(json, damages[i].path, damages[i].value);
        char *text = json_dumps(json, JSON_REAL_PRECISION(9));
        enum base_status status = snapshot_manifest_read(
            text, strlen(text), &manifest, &error);
        if (status != BASE_CORRUPT && status != BASE_CONFIG)
            fail_msg("%s = %s was accepted", damages[i].path,
                     damages[i].value ? damages[i].value : "(none)");
        if (!strstr(error.text, damages[i].complaint))
            fail_msg("%s: '%s' does not say '%s'", damages[i].path,
                     error.text, damages[i].complaint);
        free(text);
        json_decref(json);
    }
    free(good);
}

/* Versions whose writer said nothing of the stream. */
static void test_stream_may_be_absent(void **state)
{
    struct snapshot_manifest manifest;
    struct base_error error;
    size_t size;
    char *good = written(&size);
    (void)state;
    json_t *json = json_loads(good, 0, NULL);
    set(json, "stream", NULL);
    set(json, "applied_offsets", NULL);
    char *text = json_dumps(json, JSON_REAL_PRECISION(9));
    if (snapshot_manifest_read(text, strlen(text), &manifest, &error))
        fail_msg("%s", error.text);
    assert_int_equal(manifest.history_max, 0);
    assert_true(manifest.negative_keep == 1);
    assert_null(manifest.stream_json);
    snapshot_manifest_fini(&manifest);
    json_decref(json);
    free(text);
    free(good);
}

/* Unknown keys are for later writers; cut or doubled text is not JSON. */
static void test_text(void **state)
{
    struct snapshot_manifest manifest;
    struct base_error error;
    size_t size;
    char *good = written(&size);
    (void)state;
    json_t *json = json_loads(good, 0, NULL);
    set(json, "later", "{\"x\":1}");
    set(json, "files.0.later", "1");
    char *text = json_dumps(json, JSON_REAL_PRECISION(9));
    assert_int_equal(
        snapshot_manifest_read(text, strlen(text), &manifest, &error), BASE_OK);
    snapshot_manifest_fini(&manifest);
    free(text);
    json_decref(json);
    for (size_t part = 0; part < size; part += 13)
        assert_int_equal(snapshot_manifest_read(good, part, &manifest, &error),
                         BASE_CORRUPT);
    static const char twice[] = "{\"format\":3,\"format\":3}";
    assert_int_equal(
        snapshot_manifest_read(twice, sizeof twice - 1, &manifest, &error),
        BASE_CORRUPT);
    assert_int_equal(snapshot_manifest_read("[]", 2, &manifest, &error),
                     BASE_CORRUPT);
    free(good);
}

static void test_what_is_given_must_be_object(void **state)
{
    struct snapshot_manifest manifest;
    struct fixture fixture;
    struct base_error error;
    char *text;
    size_t size;
    (void)state;
    fill(&manifest, &fixture);
    manifest.offsets_json[0] = '[';
    assert_int_equal(snapshot_manifest_write(&manifest, &text, &size, &error),
                     BASE_DATA);
    assert_non_null(strstr(error.text, "applied_offsets"));
    manifest.offsets_json[0] = '{';
    manifest.stream_json[0] = '[';
    assert_int_equal(snapshot_manifest_write(&manifest, &text, &size, &error),
                     BASE_DATA);
    assert_non_null(strstr(error.text, "stream"));
    snapshot_manifest_fini(&manifest);
    fixture_fini(&fixture);
}

static void test_folder_names(void **state)
{
    uint64_t epoch, version;
    char name[SNAPSHOT_FOLDER_NAME];
    static const char *const bad[] = {
        "",      "v1",    "v1-",       "v-1",    "v01-1",  "v1-01", "x1-1",
        "v1-1 ", "v1-1/", "v1-1-1",    "../v1-1", "v0-1",  "v1-0",  "V1-1",
        "v1--1", "v+1-1", "v9007199254740992-1", "v1-99999999999999999999"};
    (void)state;
    snapshot_folder_print(1763789000, 12, name);
    assert_string_equal(name, "v1763789000-12");
    assert_true(snapshot_folder_scan(name, &epoch, &version));
    assert_true(epoch == 1763789000 && version == 12);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (snapshot_folder_scan(bad[i], &epoch, &version))
            fail_msg("'%s' was taken for a folder", bad[i]);
    assert_true(snapshot_name_usable("goods_2-x"));
    assert_false(snapshot_name_usable("a/b"));
    assert_false(snapshot_name_usable(".."));
    assert_false(snapshot_name_usable(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(a_delta_and_a_base_beside_it_pass_through),
        cmocka_unit_test(test_damages),
        cmocka_unit_test(test_stream_may_be_absent),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_what_is_given_must_be_object),
        cmocka_unit_test(test_folder_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
