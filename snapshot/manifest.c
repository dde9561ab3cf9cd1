/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest as a struct, its names, and its text; see manifest.h. Reading
 * is in manifest_reader.c. */
#include "snapshot/manifest.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/settings.h"

const char *const snapshot_group_words[] = {"profile", "item", "context",
                                            NULL};
const char *const snapshot_kind_words[] = {"base", "delta", NULL};

void snapshot_folder_print(uint64_t epoch, uint64_t version,
                           char name[SNAPSHOT_FOLDER_NAME])
{
    snprintf(name, SNAPSHOT_FOLDER_NAME, "v%llu-%llu",
             (unsigned long long)epoch, (unsigned long long)version);
}

static bool scan_number(const char **at, uint64_t *value)
{
    const char *begin = *at;
    uint64_t sum = 0;
    while (**at >= '0' && **at <= '9' && sum <= SNAPSHOT_INTEGER_MAX)
        sum = sum * 10 + (uint64_t)(*(*at)++ - '0');
    *value = sum;
    return *at > begin && *begin != '0' && sum <= SNAPSHOT_INTEGER_MAX;
}

static bool scan_name(const char *name, char letter, uint64_t *epoch,
                      uint64_t *version)
{
    const char *at = name;
    if (*at++ != letter || !scan_number(&at, epoch) || *at++ != '-' ||
        !scan_number(&at, version))
        return false;
    return *at == '\0';
}

bool snapshot_folder_scan(const char *name, uint64_t *epoch, uint64_t *version)
{
    return scan_name(name, 'v', epoch, version);
}

void snapshot_beside_print(uint64_t epoch, uint64_t version,
                           char name[SNAPSHOT_FOLDER_NAME])
{
    snapshot_folder_print(epoch, version, name);
    name[0] = 'b';
}

bool snapshot_beside_scan(const char *name, uint64_t *epoch, uint64_t *version)
{
    return scan_name(name, 'b', epoch, version);
}

bool snapshot_name_usable(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && name[length] == '\0';
}

void snapshot_table_file(const char *table, char *name, size_t size)
{
    snprintf(name, size, "table.%s.safetensors", table);
}

const struct snapshot_file *
snapshot_manifest_file(const struct snapshot_manifest *manifest,
                       const char *name)
{
    for (unsigned i = 0; i < manifest->file_count; i++)
        if (strcmp(manifest->files[i].name, name) == 0)
            return &manifest->files[i];
    return NULL;
}

enum base_status snapshot_golden_init(struct snapshot_golden *golden,
                                      const struct learner_schema *schema,
                                      uint32_t history_size,
                                      uint32_t candidates,
                                      struct base_error *error)
{
    size_t items = schema->item_count;
    size_t ids = schema->profile_count + items * history_size +
                 items * candidates + schema->context_count;
    *golden = (struct snapshot_golden){.history_size = history_size,
                                       .candidates = candidates};
    golden->profile = calloc(ids + 1, sizeof *golden->profile);
    golden->scores = calloc(candidates + 1, sizeof *golden->scores);
    if (!golden->profile || !golden->scores) {
        snapshot_golden_fini(golden);
        return base_fail(error, BASE_SYSTEM, "no memory for golden requests");
    }
    golden->history = golden->profile + schema->profile_count;
    golden->items = golden->history + items * history_size;
    golden->context = golden->items + items * candidates;
    return BASE_OK;
}

void snapshot_golden_fini(struct snapshot_golden *golden)
{
    free(golden->profile);
    free(golden->scores);
    *golden = (struct snapshot_golden){0};
}

void snapshot_manifest_describe(struct snapshot_manifest *manifest,
                                const struct learner_model *model)
{
    manifest->schema = *learner_model_schema(model);
    manifest->model = *learner_model_get_config(model);
    manifest->model.fields_off = 0; /* the schema has them left out already */
    manifest->config_hash =
        learner_config_hash(&manifest->schema, &manifest->model);
    manifest->table_count = learner_model_tables(model);
    for (unsigned i = 0; i < manifest->table_count; i++)
        manifest->tables[i] = *learner_model_table(model, i);
}

void snapshot_manifest_fini(struct snapshot_manifest *manifest)
{
    for (unsigned i = 0; i < manifest->golden_count; i++)
        snapshot_golden_fini(&manifest->golden[i]);
    manifest->golden_count = 0;
    free(manifest->offsets_json);
    free(manifest->stream_json);
    manifest->offsets_json = manifest->stream_json = NULL;
}

void snapshot_manifest_empty(struct snapshot_manifest *manifest)
{
    for (unsigned i = 0; i < manifest->golden_count; i++)
        snapshot_golden_fini(&manifest->golden[i]);
    manifest->golden_count = manifest->file_count = 0;
    memset(manifest->changed, 0, sizeof manifest->changed);
    memset(manifest->gone, 0, sizeof manifest->gone);
    manifest->kind = SNAPSHOT_BASE;
    manifest->is_beside = false;
}

/* ---- text ---------------------------------------------------------------- */

static json_t *hash_json(struct snapshot_hash hash)
{
    char text[SNAPSHOT_HASH_TEXT];
    snapshot_hash_print(hash, text);
    return json_string(text);
}

static json_t *u64_json(uint64_t value)
{
    char text[17];
    snapshot_u64_print(value, text);
    return json_string(text);
}

/* null where the value is undefined: JSON has no NaN. */
static json_t *real_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *ids_json(const uint64_t *ids, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, u64_json(ids[i]));
    return list;
}

static json_t *rows_of_ids_json(const uint64_t *ids, size_t rows, size_t width)
{
    json_t *list = json_array();
    for (size_t i = 0; i < rows; i++)
        json_array_append_new(list, ids_json(ids + i * width, width));
    return list;
}

static json_t *golden_json(const struct snapshot_golden *golden,
                           const struct learner_schema *schema)
{
    json_t *scores = json_array(), *bits = json_array();
    for (uint32_t i = 0; i < golden->candidates; i++) {
        uint32_t word;
        char text[9];
        memcpy(&word, &golden->scores[i], sizeof word);
        snprintf(text, sizeof text, "%08x", word);
        json_array_append_new(scores, real_json((double)golden->scores[i]));
        json_array_append_new(bits, json_string(text));
    }
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "profile",
        ids_json(golden->profile, schema->profile_count), "history",
        rows_of_ids_json(golden->history, golden->history_size,
                         schema->item_count),
        "items",
        rows_of_ids_json(golden->items, golden->candidates,
                         schema->item_count),
        "context", ids_json(golden->context, schema->context_count), "scores",
        scores, "bits", bits);
}

static json_t *window_json(const struct learner_window *window)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "begin_ms",
                     (json_int_t)window->begin_ms, "samples",
                     (json_int_t)window->samples, "positives",
                     (json_int_t)window->positives, "users",
                     (json_int_t)window->users, "auc", real_json(window->auc),
                     "user_auc", real_json(window->user_auc), "log_loss",
                     real_json(window->log_loss), "calibration",
                     real_json(window->calibration));
}

static json_t *gate_json(const struct snapshot_judged *judged)
{
    return json_pack("{s:I, s:o, s:b}", "samples",
                     (json_int_t)judged->samples, "dense_norm",
                     real_json(judged->dense_norm), "forced", judged->forced);
}

static json_t *tables_json(const struct snapshot_manifest *manifest)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < manifest->table_count; i++) {
        const struct learner_table_spec *table = &manifest->tables[i];
        const struct learner_schema *schema = &manifest->schema;
        int dimension =
            i < schema->table_count ? schema->tables[i].dimension : 0;
        json_t *object = json_pack(
            "{s:s, s:i, s:i, s:I, s:o, s:s}", "name", table->name,
            "dimension", dimension, "width", (int)table->dimension, "rows",
            (json_int_t)manifest->rows[i], "seed",
            u64_json(learner_table_seed(table->name)), "row_dtype",
            snapshot_dtype_name(manifest->row_dtype));
        if (manifest->kind == SNAPSHOT_DELTA)
            json_object_update_new(
                object, json_pack("{s:I, s:I}", "changed",
                                  (json_int_t)manifest->changed[i], "gone",
                                  (json_int_t)manifest->gone[i]));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *fields_json(const struct learner_schema *schema)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        json_t *object = json_pack(
            "{s:s, s:s, s:s}", "name", field->name, "group",
            snapshot_group_words[field->group], "table",
            schema->tables[field->table].name);
        if (field->continues)
            json_object_set_new(object, "continues", json_true());
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *switch_json(const struct base_setting *setting,
                           const char *text)
{
    switch (setting->type) {
    case BASE_SETTING_BOOL: return json_boolean(strcmp(text, "true") == 0);
    case BASE_SETTING_DOUBLE: return json_real(strtod(text, NULL));
    case BASE_SETTING_UNSIGNED:
    case BASE_SETTING_SIGNED: return json_integer(strtoll(text, NULL, 10));
    default: return json_string(text);
    }
}

static json_t *model_json(const struct learner_model_config *model)
{
    const struct base_settings *switches = &learner_model_switches;
    json_t *object = json_object();
    for (unsigned i = 0; i < switches->count; i++) {
        char text[64];
        base_settings_text(switches, i, model, text, sizeof text);
        json_object_set_new(object, switches->table[i].name,
                            switch_json(&switches->table[i], text));
    }
    return object;
}

static json_t *files_json(const struct snapshot_manifest *manifest)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < manifest->file_count; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:o}", "name",
                            manifest->files[i].name, "size",
                            (json_int_t)manifest->files[i].size, "hash",
                            hash_json(manifest->files[i].hash)));
    return list;
}

static json_t *parent_json(const struct snapshot_manifest *manifest)
{
    if (!manifest->parent_version)
        return json_null();
    return json_pack("{s:I, s:I, s:o}", "epoch",
                     (json_int_t)manifest->parent_epoch, "version",
                     (json_int_t)manifest->parent_version, "hash",
                     hash_json(manifest->parent_hash));
}

/* Keys that only some versions have. */
static void add_lineage(json_t *root, const struct snapshot_manifest *manifest)
{
    if (manifest->is_beside)
        json_object_set_new(root, "beside", hash_json(manifest->beside));
    if (manifest->rollback_version)
        json_object_set_new(
            root, "rollback_of",
            json_pack("{s:I, s:I}", "epoch",
                      (json_int_t)manifest->rollback_epoch, "version",
                      (json_int_t)manifest->rollback_version));
    if (manifest->cut_ms)
        json_object_set_new(
            root, "freshness",
            json_pack("{s:I, s:I}", "cut_ms", (json_int_t)manifest->cut_ms,
                      "newest_event_ms",
                      (json_int_t)manifest->newest_event_ms));
}

/* An object that the caller gave as text; NULL: an empty one. */
static enum base_status object_of(const char *text, const char *key,
                                  json_t **object, struct base_error *error)
{
    json_error_t why;
    *object = text ? json_loads(text, JSON_REJECT_DUPLICATES, &why)
                   : json_object();
    if (json_is_object(*object))
        return BASE_OK;
    json_decref(*object);
    *object = NULL;
    return base_fail(error, BASE_DATA, "%s: not a JSON object", key);
}

static json_t *manifest_json(const struct snapshot_manifest *manifest,
                             json_t *offsets, json_t *stream)
{
    json_t *golden = json_array();
    for (unsigned i = 0; i < manifest->golden_count; i++)
        json_array_append_new(golden, golden_json(&manifest->golden[i],
                                                  &manifest->schema));
    return json_pack(
        "{s:i, s:s, s:s, s:I, s:I, s:o, s:I, s:o, s:I, s:I, s:s, s:o, s:o, "
        "s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o}",
        "format", SNAPSHOT_FORMAT, "kind", snapshot_kind_words[manifest->kind],
        "model_name",
        manifest->model_name, "epoch", (json_int_t)manifest->epoch, "version",
        (json_int_t)manifest->version, "parent", parent_json(manifest),
        "position", (json_int_t)manifest->position, "journal_hash",
        hash_json(manifest->journal_hash), "newest_event_ms",
        (json_int_t)manifest->newest_event_ms, "created_ms",
        (json_int_t)manifest->created_ms, "arithmetic", manifest->arithmetic,
        "config_hash", u64_json(manifest->config_hash), "tables",
        tables_json(manifest), "fields", fields_json(&manifest->schema),
        "model", model_json(&manifest->model), "stream", stream,
        "applied_offsets", offsets, "metrics", "samples",
        window_json(&manifest->metrics_samples), "time",
        window_json(&manifest->metrics_time), "total",
        window_json(&manifest->metrics_total), "gate",
        gate_json(&manifest->judged), "files", files_json(manifest),
        "golden", golden);
}

enum base_status
snapshot_manifest_write(const struct snapshot_manifest *manifest, char **text,
                        size_t *size, struct base_error *error)
{
    json_t *offsets = NULL, *stream = NULL;
    if (manifest->epoch > SNAPSHOT_INTEGER_MAX ||
        manifest->version > SNAPSHOT_INTEGER_MAX ||
        manifest->position > SNAPSHOT_INTEGER_MAX ||
        manifest->model.seed > SNAPSHOT_INTEGER_MAX ||
        manifest->model.rate_decay_samples > SNAPSHOT_INTEGER_MAX)
        return base_fail(error, BASE_DATA,
                         "manifest: a number is above 2^53 - 1");
    enum base_status status = object_of(manifest->offsets_json,
                                        "applied_offsets", &offsets, error);
    if (!status)
        status = object_of(manifest->stream_json, "stream", &stream, error);
    if (status) {
        json_decref(offsets);
        return base_wrap(error, "manifest");
    }
    json_t *root = manifest_json(manifest, offsets, stream);
    if (root)
        add_lineage(root, manifest);
    /* Nine digits bring back every float32. */
    char *dumped =
        root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(9))
             : NULL;
    json_decref(root);
    if (!dumped)
        return base_fail(error, BASE_SYSTEM,
                         "manifest: no memory, or a name that is not UTF-8");
    *text = dumped;
    *size = strlen(dumped);
    return BASE_OK;
}
