/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json -> struct snapshot_manifest; see manifest.h. The text is of
 * foreign origin: no value is used before its type and range are checked, and
 * each error names the key. Unknown keys are allowed at every level, so that
 * later writers may say more. */
#include "snapshot/manifest.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "learner/settings.h"
#include "snapshot/place.h"

/* ---- the parts ----------------------------------------------------------- */

/* Epoch and version of another version. */
static enum base_status read_reference(const struct snapshot_place *place,
                                       uint64_t *epoch, uint64_t *version)
{
    enum base_status status =
        snapshot_place_integer(place, "epoch", 1, SNAPSHOT_INTEGER_MAX, epoch);
    if (!status)
        status = snapshot_place_integer(place, "version", 1,
                                        SNAPSHOT_INTEGER_MAX, version);
    return status;
}

static enum base_status read_parent(const struct snapshot_place *root,
                                    struct snapshot_manifest *manifest)
{
    struct snapshot_place parent;
    if (json_is_null(json_object_get(root->json, "parent")))
        return manifest->kind == SNAPSHOT_BASE
                   ? BASE_OK
                   : snapshot_place_refuse(root, "parent",
                                           "is null, but a delta has one");
    enum base_status status = snapshot_place_object(root, "parent", &parent);
    if (!status)
        status = read_reference(&parent, &manifest->parent_epoch,
                                &manifest->parent_version);
    if (!status)
        status = snapshot_place_hash(&parent, "hash", &manifest->parent_hash);
    if (!status && (manifest->parent_epoch > manifest->epoch ||
                    manifest->parent_version >= manifest->version))
        status = snapshot_place_refuse(root, "parent", "is no older version");
    return status;
}

/* A base beside a delta; a version that repeats another; when it was cut. */
static enum base_status read_lineage(const struct snapshot_place *root,
                                     struct snapshot_manifest *manifest)
{
    struct snapshot_place place;
    enum base_status status = BASE_OK;
    const json_t *beside = json_object_get(root->json, "beside");
    manifest->is_beside = beside && !json_is_null(beside);
    if (manifest->is_beside)
        status =
            manifest->kind == SNAPSHOT_BASE
                ? snapshot_place_hash(root, "beside", &manifest->beside)
                : snapshot_place_refuse(root, "beside", "is for a base only");
    if (!status && json_object_get(root->json, "rollback_of"))
        status = snapshot_place_object(root, "rollback_of", &place);
    if (!status && json_object_get(root->json, "rollback_of"))
        status = read_reference(&place, &manifest->rollback_epoch,
                                &manifest->rollback_version);
    if (!status && json_object_get(root->json, "freshness")) {
        status = snapshot_place_object(root, "freshness", &place);
        if (!status)
            status = snapshot_place_ms(&place, "cut_ms", &manifest->cut_ms);
    }
    return status;
}

/* A table of fields, or the one of crosses, which is the last. */
static enum base_status add_table(const struct snapshot_place *place,
                                  struct snapshot_manifest *manifest,
                                  uint16_t dimension)
{
    struct learner_schema *schema = &manifest->schema;
    const struct learner_table_spec *table =
        &manifest->tables[manifest->table_count];
    if (manifest->table_count != schema->table_count)
        return snapshot_place_refuse(place, "dimension",
                                     "is 0, but it is not the last table");
    if (!dimension)
        return strcmp(table->name, LEARNER_CROSS_TABLE) == 0
                   ? BASE_OK
                   : snapshot_place_refuse(place, "dimension",
                                           "is 0: the table is of no "
                                           "field");
    schema->tables[schema->table_count] = *table;
    schema->tables[schema->table_count++].dimension = dimension;
    return BASE_OK;
}

static enum base_status read_row_dtype(const struct snapshot_place *place,
                                       struct snapshot_manifest *manifest)
{
    static const char *const words[] = {"F32", "F16", "I8", NULL};
    static const enum snapshot_dtype types[] = {SNAPSHOT_F32, SNAPSHOT_F16,
                                                SNAPSHOT_I8};
    unsigned word;
    enum base_status status =
        snapshot_place_word(place, "row_dtype", words, &word);
    if (status)
        return status;
    if (manifest->table_count && manifest->row_dtype != types[word])
        return snapshot_place_refuse(place, "row_dtype",
                                     "differs between tables");
    manifest->row_dtype = types[word];
    return BASE_OK;
}

/* Rows of the version; of a delta also those in its file and those that went.
 */
static enum base_status read_counts(const struct snapshot_place *place,
                                    struct snapshot_manifest *manifest)
{
    unsigned t = manifest->table_count;
    enum base_status status = snapshot_place_integer(
        place, "rows", 1, SNAPSHOT_ROWS_MAX, &manifest->rows[t]);
    if (!status && manifest->kind == SNAPSHOT_DELTA)
        status = snapshot_place_integer(place, "changed", 1, manifest->rows[t],
                                        &manifest->changed[t]);
    if (!status && manifest->kind == SNAPSHOT_DELTA)
        status = snapshot_place_integer(place, "gone", 0, SNAPSHOT_ROWS_MAX,
                                        &manifest->gone[t]);
    return status ? status : read_row_dtype(place, manifest);
}

static enum base_status read_table(const struct snapshot_place *place,
                                   struct snapshot_manifest *manifest)
{
    struct learner_table_spec *table = &manifest->tables[manifest->table_count];
    uint64_t seed;
    uint16_t dimension = 0;
    enum base_status status =
        snapshot_place_text(place, "name", table->name, sizeof table->name);
    if (!status && !snapshot_name_usable(table->name))
        status = snapshot_place_refuse(place, "name",
                                       "may only have letters, digits, _, -");
    for (unsigned i = 0; !status && i < manifest->table_count; i++)
        if (strcmp(manifest->tables[i].name, table->name) == 0)
            status = snapshot_place_refuse(place, "name", "comes twice");
    if (!status)
        status = snapshot_place_u16(place, "dimension", 0,
                                    LEARNER_DIMENSION_MAX, &dimension);
    if (!status)
        status = snapshot_place_u16(
            place, "width", 1, LEARNER_DIMENSION_MAX + 1, &table->dimension);
    if (!status)
        status = read_counts(place, manifest);
    if (!status)
        status = snapshot_place_u64(place, "seed", &seed);
    if (!status && seed != learner_table_seed(table->name))
        status = snapshot_place_refuse(place, "seed",
                                       "is not XXH3-64 of the table's name");
    return status ? status : add_table(place, manifest, dimension);
}

static enum base_status read_tables(const struct snapshot_place *root,
                                    struct snapshot_manifest *manifest)
{
    const json_t *list;
    enum base_status status =
        snapshot_place_list(root, "tables", 1, LEARNER_TABLES_MAX, &list);
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        struct snapshot_place place =
            snapshot_place_element(root, "tables", list, i);
        status = read_table(&place, manifest);
        manifest->table_count++;
    }
    return status;
}

/* A column of a multi-hot field's run behind its first. */
static enum base_status read_continues(const struct snapshot_place *place,
                                       struct learner_schema *schema,
                                       struct learner_field *field)
{
    const json_t *json = json_object_get(place->json, "continues");
    if (!json)
        return BASE_OK;
    if (!json_is_boolean(json))
        return snapshot_place_refuse(place, "continues",
                                     "must be true or false");
    field->continues = json_is_true(json);
    if (!field->continues)
        return BASE_OK;
    if (schema->field_count == 0 || field[-1].group != field->group ||
        field[-1].table != field->table)
        return snapshot_place_refuse(
            place, "continues", "the field before has another group or table");
    do
        field--;
    while (field->continues);
    field->more++;
    return BASE_OK;
}

static enum base_status read_field(const struct snapshot_place *place,
                                   struct learner_schema *schema)
{
    struct learner_field *field = &schema->fields[schema->field_count];
    char table[LEARNER_NAME_MAX];
    unsigned group = 0;
    enum base_status status =
        snapshot_place_text(place, "name", field->name, sizeof field->name);
    if (!status)
        status =
            snapshot_place_word(place, "group", snapshot_group_words, &group);
    if (!status)
        status = snapshot_place_text(place, "table", table, sizeof table);
    if (status)
        return status;
    if (schema->field_count && group < (unsigned)field[-1].group)
        return snapshot_place_refuse(
            place, "group",
            "fields must stand in the order profile, item, context");
    field->group = (enum learner_group)group;
    while (field->table < schema->table_count &&
           strcmp(schema->tables[field->table].name, table) != 0)
        field->table++;
    if (field->table == schema->table_count)
        return snapshot_place_refuse(place, "table", "names no table");
    uint16_t *counts[] = {&schema->profile_count, &schema->item_count,
                          &schema->context_count};
    ++*counts[group];
    return read_continues(place, schema, field);
}

static enum base_status read_fields(const struct snapshot_place *root,
                                    struct learner_schema *schema)
{
    const json_t *list;
    enum base_status status =
        snapshot_place_list(root, "fields", 1, LEARNER_FIELDS_MAX, &list);
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        struct snapshot_place place =
            snapshot_place_element(root, "fields", list, i);
        status = read_field(&place, schema);
        schema->field_count++;
    }
    if (!status && schema->item_count == 0)
        status = snapshot_place_refuse(root, "fields",
                                       "must have one of group item");
    return status;
}

/* The text that base_settings_set() takes; false where the type is wrong. */
static bool switch_text(const struct base_setting *setting, const json_t *json,
                        char *text, size_t size)
{
    switch (setting->type) {
    case BASE_SETTING_BOOL:
        snprintf(text, size, "%s", json_is_true(json) ? "true" : "false");
        return json_is_boolean(json);
    case BASE_SETTING_DOUBLE:
        snprintf(text, size, "%.17g", json_number_value(json));
        return json_is_number(json);
    case BASE_SETTING_UNSIGNED:
    case BASE_SETTING_SIGNED:
        snprintf(text, size, "%lld", (long long)json_integer_value(json));
        return json_is_integer(json);
    default:
        snprintf(text, size, "%.40s",
                 json_is_string(json) ? json_string_value(json) : "");
        return json_is_string(json);
    }
}

/* Every switch must be there: one that is not known would change scores. */
static enum base_status read_model(const struct snapshot_place *root,
                                   struct learner_model_config *model)
{
    static const struct base_setting_place nowhere = {.file = "manifest"};
    const struct base_settings *switches = &learner_model_switches;
    struct snapshot_place place;
    enum base_status status = snapshot_place_object(root, "model", &place);
    for (unsigned i = 0; !status && i < switches->count; i++) {
        const struct base_setting *setting = &switches->table[i];
        const json_t *json = json_object_get(place.json, setting->name);
        char text[64];
        if (!json)
            status = snapshot_place_refuse(&place, setting->name, "is missing");
        else if (!switch_text(setting, json, text, sizeof text))
            status = snapshot_place_refuse(&place, setting->name,
                                           "is of another type");
        else if (base_settings_set(switches, i, text, &nowhere, model, NULL))
            status = snapshot_place_refuse(
                &place, setting->name,
                setting->type == BASE_SETTING_ENUM
                    ? "is a word that this program does not know"
                    : "is out of range");
    }
    return status;
}

static enum base_status read_window(const struct snapshot_place *metrics,
                                    const char *key,
                                    struct learner_window *window)
{
    struct snapshot_place place;
    enum base_status status = snapshot_place_object(metrics, key, &place);
    if (!status)
        status = snapshot_place_ms(&place, "begin_ms", &window->begin_ms);
    struct {
        const char *key;
        uint64_t *value;
    } counts[] = {{"samples", &window->samples},
                  {"positives", &window->positives},
                  {"users", &window->users}};
    for (unsigned i = 0; !status && i < 3; i++)
        status = snapshot_place_integer(&place, counts[i].key, 0,
                                        SNAPSHOT_INTEGER_MAX, counts[i].value);
    struct {
        const char *key;
        double *value;
    } numbers[] = {{"auc", &window->auc},
                   {"user_auc", &window->user_auc},
                   {"log_loss", &window->log_loss},
                   {"calibration", &window->calibration}};
    for (unsigned i = 0; !status && i < 4; i++)
        status =
            snapshot_place_metric(&place, numbers[i].key, numbers[i].value);
    return status;
}

static enum base_status read_metrics(const struct snapshot_place *root,
                                     struct snapshot_manifest *manifest)
{
    struct snapshot_place place;
    enum base_status status = snapshot_place_object(root, "metrics", &place);
    if (!status)
        status = read_window(&place, "samples", &manifest->metrics_samples);
    if (!status)
        status = read_window(&place, "time", &manifest->metrics_time);
    if (!status)
        status = read_window(&place, "total", &manifest->metrics_total);
    return status;
}

/* Manifests before the gate have none. */
static enum base_status read_gate(const struct snapshot_place *root,
                                  struct snapshot_manifest *manifest)
{
    struct snapshot_place place;
    struct snapshot_judged *judged = &manifest->judged;
    *judged = (struct snapshot_judged){
        .auc = manifest->metrics_samples.auc,
        .calibration = manifest->metrics_samples.calibration,
        .dense_norm = (double)NAN};
    if (!json_object_get(root->json, "gate"))
        return BASE_OK;
    enum base_status status = snapshot_place_object(root, "gate", &place);
    if (!status)
        status = snapshot_place_integer(&place, "samples", 0,
                                        SNAPSHOT_INTEGER_MAX, &judged->samples);
    if (!status)
        status =
            snapshot_place_metric(&place, "dense_norm", &judged->dense_norm);
    const json_t *forced =
        status ? NULL : json_object_get(place.json, "forced");
    if (!status && !json_is_boolean(forced))
        status =
            snapshot_place_refuse(&place, "forced", "must be true or false");
    judged->forced = json_is_true(forced);
    return status;
}

/* A file must be one that the tables ask for; so no name can lead outside of
 * the version's folder. */
static bool belongs(const struct snapshot_manifest *manifest, const char *name)
{
    if (strcmp(name, SNAPSHOT_DENSE_FILE) == 0)
        return true;
    for (unsigned i = 0; i < manifest->table_count; i++) {
        char expected[sizeof manifest->files[0].name];
        snapshot_table_file(manifest->tables[i].name, expected,
                            sizeof expected);
        if (strcmp(name, expected) == 0)
            return true;
    }
    return false;
}

static enum base_status read_file(const struct snapshot_place *place,
                                  struct snapshot_manifest *manifest)
{
    struct snapshot_file *file = &manifest->files[manifest->file_count];
    enum base_status status =
        snapshot_place_text(place, "name", file->name, sizeof file->name);
    if (!status && !belongs(manifest, file->name))
        status = snapshot_place_refuse(place, "name",
                                       "is not a file of this version");
    if (!status && snapshot_manifest_file(manifest, file->name))
        status = snapshot_place_refuse(place, "name", "comes twice");
    if (!status)
        status = snapshot_place_integer(place, "size", 8, SNAPSHOT_INTEGER_MAX,
                                        &file->size);
    if (!status)
        status = snapshot_place_hash(place, "hash", &file->hash);
    return status;
}

static enum base_status read_files(const struct snapshot_place *root,
                                   struct snapshot_manifest *manifest)
{
    const json_t *list;
    size_t expected = (size_t)manifest->table_count + 1;
    enum base_status status =
        snapshot_place_list(root, "files", expected, expected, &list);
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        struct snapshot_place place =
            snapshot_place_element(root, "files", list, i);
        status = read_file(&place, manifest);
        manifest->file_count++;
    }
    return status;
}

/* ---- golden requests ----------------------------------------------------- */

static enum base_status read_ids(const struct snapshot_place *place,
                                 const char *key, const json_t *list,
                                 size_t count, uint64_t *ids)
{
    if (!json_is_array(list) || json_array_size(list) != count)
        return snapshot_place_refuse(place, key,
                                     "must have one id for each field");
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_string(id) ||
            !snapshot_u64_scan(json_string_value(id), json_string_length(id),
                               &ids[i]))
            return snapshot_place_refuse(place, key,
                                         "ids must be 16 hex digits");
    }
    return BASE_OK;
}

static enum base_status read_rows_of_ids(const struct snapshot_place *place,
                                         const char *key, size_t width,
                                         uint64_t *ids)
{
    const json_t *list = json_object_get(place->json, key);
    enum base_status status = BASE_OK;
    for (size_t i = 0; !status && i < json_array_size(list); i++)
        status = read_ids(place, key, json_array_get(list, i), width,
                          ids + i * width);
    return status;
}

/* The bits are what counts; the decimal score beside them is for people and
 * for readers in other languages, and must agree. */
static enum base_status read_scores(const struct snapshot_place *place,
                                    struct snapshot_golden *golden)
{
    const json_t *scores, *bits;
    size_t count = golden->candidates;
    enum base_status status =
        snapshot_place_list(place, "scores", count, count, &scores);
    if (!status)
        status = snapshot_place_list(place, "bits", count, count, &bits);
    for (size_t i = 0; !status && i < count; i++) {
        char text[17] = "00000000";
        uint64_t word;
        const json_t *json = json_array_get(bits, i);
        if (json_string_length(json) != 8)
            return snapshot_place_refuse(place, "bits",
                                         "must be 8 hex digits each");
        memcpy(text + 8, json_string_value(json), 9);
        if (!snapshot_u64_scan(text, 16, &word))
            return snapshot_place_refuse(place, "bits",
                                         "must be 8 hex digits each");
        uint32_t low = (uint32_t)word;
        memcpy(&golden->scores[i], &low, sizeof low);
        double score = json_number_value(json_array_get(scores, i));
        if (!((float)score == golden->scores[i]))
            return snapshot_place_refuse(place, "scores", "differ from bits");
    }
    return status;
}

static enum base_status read_golden(const struct snapshot_place *place,
                                    struct snapshot_manifest *manifest)
{
    const struct learner_schema *schema = &manifest->schema;
    struct snapshot_golden *golden = &manifest->golden[manifest->golden_count];
    const json_t *history, *items;
    enum base_status status =
        snapshot_place_list(place, "history", 0, LEARNER_HISTORY_MAX, &history);
    if (!status)
        status = snapshot_place_list(place, "items", 1, SNAPSHOT_CANDIDATES_MAX,
                                     &items);
    if (!status)
        status = snapshot_golden_init(
            golden, schema, (uint32_t)json_array_size(history),
            (uint32_t)json_array_size(items), place->error);
    if (status)
        return status;
    manifest->golden_count++;
    status = read_ids(place, "profile", json_object_get(place->json, "profile"),
                      schema->profile_count, golden->profile);
    if (!status)
        status =
            read_ids(place, "context", json_object_get(place->json, "context"),
                     schema->context_count, golden->context);
    if (!status)
        status = read_rows_of_ids(place, "history", schema->item_count,
                                  golden->history);
    if (!status)
        status =
            read_rows_of_ids(place, "items", schema->item_count, golden->items);
    if (!status)
        status = read_scores(place, golden);
    return status;
}

static enum base_status read_goldens(const struct snapshot_place *root,
                                     struct snapshot_manifest *manifest)
{
    const json_t *list;
    enum base_status status =
        snapshot_place_list(root, "golden", 0, SNAPSHOT_GOLDEN_MAX, &list);
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        struct snapshot_place place =
            snapshot_place_element(root, "golden", list, i);
        status = read_golden(&place, manifest);
    }
    return status;
}

/* ---- the whole ----------------------------------------------------------- */

static enum base_status read_identity(const struct snapshot_place *root,
                                      struct snapshot_manifest *manifest)
{
    unsigned kind = 0;
    enum base_status status =
        snapshot_place_word(root, "kind", snapshot_kind_words, &kind);
    manifest->kind = (enum snapshot_kind)kind;
    if (!status)
        status = snapshot_place_text(root, "model_name", manifest->model_name,
                                     sizeof manifest->model_name);
    if (!status)
        status = snapshot_place_integer(root, "epoch", 1, SNAPSHOT_INTEGER_MAX,
                                        &manifest->epoch);
    if (!status)
        status = snapshot_place_integer(
            root, "version", 1, SNAPSHOT_INTEGER_MAX, &manifest->version);
    if (!status)
        status = read_parent(root, manifest);
    if (!status)
        status = read_lineage(root, manifest);
    if (!status)
        status = snapshot_place_integer(
            root, "position", 0, SNAPSHOT_INTEGER_MAX, &manifest->position);
    if (!status)
        status =
            snapshot_place_hash(root, "journal_hash", &manifest->journal_hash);
    if (!status)
        status = snapshot_place_ms(root, "newest_event_ms",
                                   &manifest->newest_event_ms);
    if (!status)
        status = snapshot_place_ms(root, "created_ms", &manifest->created_ms);
    if (!status)
        status = snapshot_place_text(root, "arithmetic", manifest->arithmetic,
                                     sizeof manifest->arithmetic);
    return status;
}

static enum base_status read_configuration(const struct snapshot_place *root,
                                           struct snapshot_manifest *manifest)
{
    enum base_status status =
        snapshot_place_u64(root, "config_hash", &manifest->config_hash);
    if (!status)
        status = read_tables(root, manifest);
    if (!status)
        status = read_fields(root, &manifest->schema);
    if (!status)
        status = read_model(root, &manifest->model);
    if (!status && manifest->config_hash !=
                       learner_config_hash(&manifest->schema, &manifest->model))
        status = snapshot_place_refuse(
            root, "config_hash", "does not fit to tables, fields and model");
    return status;
}

/* The object at `key` as text; NULL where there is none. */
static enum base_status keep_object(const struct snapshot_place *root,
                                    const char *key,
                                    struct snapshot_place *object, char **text)
{
    *object = (struct snapshot_place){.error = root->error};
    if (!json_object_get(root->json, key))
        return BASE_OK;
    enum base_status status = snapshot_place_object(root, key, object);
    if (status)
        return status;
    *text = json_dumps(object->json, JSON_COMPACT);
    if (!*text)
        return base_fail(root->error, BASE_SYSTEM, "no memory");
    return BASE_OK;
}

static enum base_status read_bounds(const struct snapshot_place *place,
                                    struct snapshot_transform *transform)
{
    const json_t *list;
    enum base_status status =
        snapshot_place_list(place, "bounds", 1, SNAPSHOT_BOUNDS_MAX, &list);
    for (size_t i = 0; !status && i < json_array_size(list); i++) {
        const json_t *bound = json_array_get(list, i);
        double value = json_number_value(bound);
        if (!json_is_number(bound) || fabs(value) > 0x1p53 ||
            (i && !(value > transform->bounds[i - 1])))
            return snapshot_place_refuse(place, "bounds",
                                         "must be ascending numbers");
        transform->bounds[i] = value;
        transform->bound_count = (unsigned)i + 1;
    }
    return status;
}

/* A transform that is not known here is an error: requests could not be made
 * as training makes them. */
static enum base_status read_transform(const struct snapshot_place *transforms,
                                       const char *field,
                                       struct snapshot_transform *transform)
{
    static const char *const words[] = {
        [SNAPSHOT_TRANSFORM_NONE] = "none",
        [SNAPSHOT_TRANSFORM_HOUR] = "hour",
        [SNAPSHOT_TRANSFORM_WEEKDAY] = "weekday",
        [SNAPSHOT_TRANSFORM_BUCKET] = "bucket",
        NULL,
    };
    struct snapshot_place place;
    unsigned kind;
    if (!json_object_get(transforms->json, field))
        return BASE_OK;
    enum base_status status = snapshot_place_object(transforms, field, &place);
    if (!status)
        status = snapshot_place_word(&place, "transform", words, &kind);
    if (status)
        return status;
    transform->kind = (enum snapshot_transform_kind)kind;
    return kind == SNAPSHOT_TRANSFORM_BUCKET ? read_bounds(&place, transform)
                                             : BASE_OK;
}

static enum base_status read_transforms(const struct snapshot_place *stream,
                                        struct snapshot_manifest *manifest)
{
    struct snapshot_place place;
    if (!json_object_get(stream->json, "transforms"))
        return BASE_OK;
    enum base_status status =
        snapshot_place_object(stream, "transforms", &place);
    for (unsigned i = 0; !status && i < manifest->schema.field_count; i++)
        status = read_transform(&place, manifest->schema.fields[i].name,
                                &manifest->transforms[i]);
    return status;
}

static enum base_status read_stream(const struct snapshot_place *root,
                                    struct snapshot_manifest *manifest)
{
    struct snapshot_place stream;
    uint64_t history_max = 0;
    manifest->negative_keep = 1;
    enum base_status status =
        keep_object(root, "stream", &stream, &manifest->stream_json);
    if (status || !stream.json)
        return status;
    if (json_object_get(stream.json, "history_max"))
        status = snapshot_place_integer(&stream, "history_max", 1,
                                        LEARNER_HISTORY_MAX, &history_max);
    manifest->history_max = (uint32_t)history_max;
    const json_t *keep = json_object_get(stream.json, "negative_keep");
    if (!status && keep) {
        manifest->negative_keep = json_number_value(keep);
        if (!(manifest->negative_keep > 0 && manifest->negative_keep <= 1))
            status =
                snapshot_place_refuse(&stream, "negative_keep",
                                      "must be a number above 0, at most 1");
    }
    return status ? status : read_transforms(&stream, manifest);
}

static enum base_status read_root(const struct snapshot_place *root,
                                  struct snapshot_manifest *manifest)
{
    uint64_t format;
    enum base_status status = snapshot_place_integer(
        root, "format", 1, SNAPSHOT_INTEGER_MAX, &format);
    if (status)
        return status;
    if (format != SNAPSHOT_FORMAT)
        return base_fail(
            root->error, BASE_CONFIG,
            "format %llu; this program reads format %d: %s",
            (unsigned long long)format, SNAPSHOT_FORMAT,
            format > SNAPSHOT_FORMAT
                ? "update it"
                : "a development version wrote it; remove CURRENT and "
                  "publish again");
    struct snapshot_place offsets;
    status = read_identity(root, manifest);
    if (!status)
        status = read_configuration(root, manifest);
    if (!status)
        status = read_stream(root, manifest);
    if (!status)
        status = keep_object(root, "applied_offsets", &offsets,
                             &manifest->offsets_json);
    if (!status)
        status = read_metrics(root, manifest);
    if (!status)
        status = read_gate(root, manifest);
    if (!status)
        status = read_files(root, manifest);
    if (!status)
        status = read_goldens(root, manifest);
    return status;
}

enum base_status snapshot_manifest_read(const char *text, size_t size,
                                        struct snapshot_manifest *manifest,
                                        struct base_error *error)
{
    memset(manifest, 0, sizeof *manifest);
    if (size > SNAPSHOT_MANIFEST_MAX)
        return base_fail(error, BASE_CORRUPT, "manifest: %zu bytes; at most %d",
                         size, SNAPSHOT_MANIFEST_MAX);
    json_error_t why;
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!json)
        return base_fail(error, BASE_CORRUPT, "manifest: line %d: %s", why.line,
                         why.text);
    struct snapshot_place root = {json, "", error};
    enum base_status status =
        json_is_object(json)
            ? read_root(&root, manifest)
            : base_fail(error, BASE_CORRUPT, "must be an object");
    json_decref(json);
    if (status) {
        snapshot_manifest_fini(manifest);
        return base_wrap(error, "manifest");
    }
    return BASE_OK;
}
