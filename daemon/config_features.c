/* SPDX-License-Identifier: Apache-2.0 */
/* The list `features:` becomes schema and mappings; see config_parts.h. One
 * thread. Does not look into the events' schemas. */
#include <string.h>

#include "daemon/config_parts.h"

/* ---- the entries ---- */

enum base_status config_features_begin(struct config_loading *loading,
                                       unsigned number,
                                       const struct base_setting_place *place,
                                       struct base_error *error)
{
    if (number >= LEARNER_FIELDS_MAX)
        return config_fail_at(place, error, "features",
                              "more than 64 features");
    struct config_feature *feature = &loading->features[number];
    loading->feature_count = number + 1;
    enum base_status status =
        base_settings_default(&daemon_feature_table, place, feature, error);
    feature->line = place->line;
    feature->column = place->column;
    return status;
}

enum base_status config_features_set(struct config_loading *loading,
                                     unsigned number, const char *key,
                                     const char *value,
                                     const struct base_setting_place *place,
                                     struct base_error *error)
{
    int index = base_settings_find(&daemon_feature_table, key);
    if (index < 0)
        return base_settings_unknown(&daemon_feature_table, key, place, error);
    if (loading->feature_given[number][index])
        return config_fail_at(place, error, key, "given twice in one feature");
    loading->feature_given[number][index] = true;
    return base_settings_set(&daemon_feature_table, (unsigned)index, value,
                             place, &loading->features[number], error);
}

/* ---- to schema and mappings ---- */

static enum base_status feature_fail(const struct config_loading *loading,
                                     unsigned entry, struct base_error *error,
                                     const char *text, const char *name)
{
    const struct config_feature *feature = &loading->features[entry];
    struct base_setting_place place = {.file = loading->file,
                                       .line = feature->line,
                                       .column = feature->column};
    char where[600];
    base_setting_place_text(&place, where, sizeof where);
    return base_fail(error, BASE_CONFIG, "%sfeatures[%u]: %s \"%s\"", where,
                     entry, text, name);
}

static enum base_status check_feature(const struct config_loading *loading,
                                      unsigned entry, struct base_error *error)
{
    const struct config_feature *feature = &loading->features[entry];
    for (unsigned k = 0; k < daemon_feature_table.count; k++) {
        const struct base_setting *setting = &daemon_feature_table.table[k];
        if (!setting->fallback && !loading->feature_given[entry][k])
            return feature_fail(loading, entry, error, "must give",
                                setting->name);
    }
    for (unsigned i = 0; i < entry; i++)
        if (strcmp(loading->features[i].name, feature->name) == 0)
            return feature_fail(
                loading, entry, error,
                "a feature has this name already:", feature->name);
    const char *table = feature->table[0] ? feature->table : feature->name;
    if (!config_name_usable(table))
        return feature_fail(loading, entry, error,
                            "a table, which has the feature's name where none "
                            "is given, is named with letters, digits, \"_\" "
                            "and \"-\", not",
                            table);
    if (feature->click[0] && feature->group != LEARNER_ITEM)
        return feature_fail(loading, entry, error,
                            "only features of group item may give", "click");
    return BASE_OK;
}

/* Index of the feature's table in the schema, made when new. */
static enum base_status find_table(const struct config_loading *loading,
                                   unsigned entry,
                                   struct learner_schema *schema,
                                   uint16_t *table, struct base_error *error)
{
    const struct config_feature *feature = &loading->features[entry];
    const char *name = feature->table[0] ? feature->table : feature->name;
    uint16_t i = 0;
    while (i < schema->table_count && strcmp(schema->tables[i].name, name) != 0)
        i++;
    *table = i;
    if (i < schema->table_count)
        return schema->tables[i].dimension == feature->dimension
                   ? BASE_OK
                   : feature_fail(loading, entry, error,
                                  "dimension differs from the other field of "
                                  "table",
                                  name);
    struct learner_table_spec *spec = &schema->tables[schema->table_count++];
    memcpy(spec->name, name, strlen(name) + 1);
    spec->dimension = feature->dimension;
    return BASE_OK;
}

static enum base_status add_field(struct config_loading *loading, unsigned entry,
                                  struct base_error *error)
{
    const struct config_feature *feature = &loading->features[entry];
    struct ingest_config *ingest = &loading->draft.config.ingest;
    struct learner_schema *schema = &ingest->schema;
    struct ingest_mapping *impression = &ingest->topics[0].mapping;
    struct ingest_mapping *click = &ingest->topics[1].mapping;
    uint16_t at = schema->field_count++;
    struct learner_field *field = &schema->fields[at];
    memcpy(field->name, feature->name, sizeof field->name);
    field->group = feature->group;
    memcpy(impression->fields[at], feature->path, INGEST_PATH_MAX);
    impression->hour[at] = feature->transform == FEATURE_HOUR;
    if (feature->group == LEARNER_ITEM) {
        memcpy(click->fields[at],
               feature->click[0] ? feature->click : feature->path,
               INGEST_PATH_MAX);
        click->hour[at] = impression->hour[at];
    }
    return find_table(loading, entry, schema, &field->table, error);
}

/* Fields stand by group, and within a group as in the file. */
enum base_status config_features_build(struct config_loading *loading,
                                       struct base_error *error)
{
    struct learner_schema *schema = &loading->draft.config.ingest.schema;
    uint16_t *const counts[] = {
        [LEARNER_PROFILE] = &schema->profile_count,
        [LEARNER_ITEM] = &schema->item_count,
        [LEARNER_CONTEXT] = &schema->context_count,
    };
    enum base_status status = BASE_OK;
    for (unsigned i = 0; i < loading->feature_count && status == BASE_OK; i++)
        status = check_feature(loading, i, error);
    for (unsigned group = 0; group < 3; group++)
        for (unsigned i = 0; i < loading->feature_count && status == BASE_OK;
             i++)
            if (loading->features[i].group == group) {
                status = add_field(loading, i, error);
                ++*counts[group];
            }
    if (status == BASE_OK && !schema->item_count)
        status = base_fail(error, BASE_CONFIG,
                           "%s: features: at least one of group item is "
                           "needed",
                           loading->file);
    return status;
}
