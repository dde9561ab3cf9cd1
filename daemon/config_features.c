/* SPDX-License-Identifier: Apache-2.0 */
/* The list `features:` becomes schema and mappings; see config_parts.h. One
 * thread. Does not look into the events' schemas. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- groups ---- */

static const char *const group_names[] = {[LEARNER_PROFILE] = "profile",
                                          [LEARNER_ITEM] = "item",
                                          [LEARNER_CONTEXT] = "context"};

/* Groups of the user's own stand among the context fields. */
static enum learner_group group_of(const struct config_feature *feature)
{
    for (int i = LEARNER_PROFILE; i < LEARNER_CONTEXT; i++)
        if (strcmp(feature->group, group_names[i]) == 0)
            return (enum learner_group)i;
    return LEARNER_CONTEXT;
}

/* Letters to add, leave out or change to get from one to the other. */
static unsigned letters_between(const char *a, const char *b)
{
    unsigned row[LEARNER_NAME_MAX];
    unsigned length = (unsigned)strlen(b);
    for (unsigned j = 0; j <= length; j++)
        row[j] = j;
    for (unsigned i = 0; a[i]; i++) {
        unsigned corner = row[0];
        row[0] = i + 1;
        for (unsigned j = 0; j < length; j++) {
            unsigned best = corner + (tolower((unsigned char)a[i]) != b[j]);
            corner = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (corner + 1 < best)
                best = corner + 1;
            row[j + 1] = best;
        }
    }
    return row[length];
}

/* A slip of the pen must not become a group of its own. */
static enum base_status check_group(const struct config_loading *loading,
                                    unsigned entry, struct base_error *error)
{
    const char *group = loading->features[entry].group;
    for (int i = LEARNER_PROFILE; i <= LEARNER_CONTEXT; i++) {
        if (strcmp(group, group_names[i]) == 0)
            return BASE_OK;
        if (letters_between(group, group_names[i]) <= 1)
            return feature_fail(loading, entry, error,
                                "a group of one's own needs a name less like "
                                "profile, item and context than",
                                group);
    }
    return config_name_usable(group)
               ? BASE_OK
               : feature_fail(loading, entry, error,
                              "a group is named with letters, digits, \"_\" "
                              "and \"-\", not",
                              group);
}

/* ---- transforms ---- */

static enum base_status read_bounds(const struct config_loading *loading,
                                    unsigned entry,
                                    struct ingest_transform *transform,
                                    struct base_error *error)
{
    const char *text = loading->features[entry].bounds;
    for (const char *at = text; *at;) {
        char *end;
        double bound = strtod(at, &end);
        unsigned count = transform->bound_count;
        if (end == at || (*end && (*end != ',' || !end[1])) ||
            !(bound >= -0x1p53 && bound <= 0x1p53) ||
            count == INGEST_BOUNDS_MAX ||
            (count && bound <= transform->bounds[count - 1]))
            return feature_fail(loading, entry, error,
                                "bounds are 1 to 64 numbers within 2^53, each "
                                "above the one before, not",
                                text);
        transform->bounds[transform->bound_count++] = bound;
        at = *end ? end + 1 : end;
    }
    return BASE_OK;
}

static enum base_status check_transform(const struct config_loading *loading,
                                        unsigned entry,
                                        struct base_error *error)
{
    const struct config_feature *feature = &loading->features[entry];
    bool bucket = feature->transform == INGEST_TRANSFORM_BUCKET;
    struct ingest_transform transform = {.kind = feature->transform};
    if (bucket && !feature->bounds[0])
        return feature_fail(loading, entry, error, "transform bucket must give",
                            "bounds");
    if (!bucket && feature->bounds[0])
        return feature_fail(loading, entry, error,
                            "only transform bucket takes", "bounds");
    if (feature->values > 1 && feature->transform != INGEST_TRANSFORM_NONE)
        return feature_fail(loading, entry, error,
                            "a feature with a transform cannot have more",
                            "values");
    return read_bounds(loading, entry, &transform, error);
}

/* ---- to schema and mappings ---- */

/* Names stand in lines of text beside the state, where blanks part them. */
static bool name_usable(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("_-.", *name))
            return false;
    return true;
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
    if (feature->table[0] && !name_usable(feature->name))
        return feature_fail(loading, entry, error,
                            "a feature is named with letters, digits, \"_\", "
                            "\"-\" and \".\", not",
                            feature->name);
    const char *table = feature->table[0] ? feature->table : feature->name;
    if (!config_name_usable(table))
        return feature_fail(loading, entry, error,
                            "a table, which has the feature's name where none "
                            "is given, is named with letters, digits, \"_\" "
                            "and \"-\", not",
                            table);
    if (feature->click[0] && group_of(feature) != LEARNER_ITEM)
        return feature_fail(loading, entry, error,
                            "only features of group item may give", "click");
    enum base_status status = check_group(loading, entry, error);
    return status == BASE_OK ? check_transform(loading, entry, error) : status;
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

/* Name of place `place` of a feature: "genres", "genres.2", ... */
static enum base_status name_field(const struct config_loading *loading,
                                   unsigned entry, unsigned place,
                                   struct learner_schema *schema,
                                   struct base_error *error)
{
    const char *name = loading->features[entry].name;
    char full[2 * LEARNER_NAME_MAX];
    snprintf(full, sizeof full, place ? "%s.%u" : "%s", name, place + 1);
    if (strlen(full) >= LEARNER_NAME_MAX)
        return feature_fail(loading, entry, error,
                            "too long with the numbers of its values:", name);
    for (unsigned i = 0; i < schema->field_count; i++)
        if (strcmp(schema->fields[i].name, full) == 0)
            return feature_fail(loading, entry, error,
                                "a feature has this name already:", full);
    memcpy(schema->fields[schema->field_count].name, full, strlen(full) + 1);
    return BASE_OK;
}

/* One place of a feature as a field of its own. */
static enum base_status add_field(struct config_loading *loading,
                                  unsigned entry, unsigned place,
                                  struct base_error *error)
{
    const struct config_feature *feature = &loading->features[entry];
    struct ingest_config *ingest = &loading->draft.config.ingest;
    struct learner_schema *schema = &ingest->schema;
    uint16_t at = schema->field_count;
    struct learner_field *field = &schema->fields[at];
    if (at == LEARNER_FIELDS_MAX)
        return feature_fail(loading, entry, error,
                            "more than 64 fields, an array's values counted "
                            "each, with",
                            feature->name);
    enum base_status status =
        name_field(loading, entry, place, schema, error);
    if (status == BASE_OK)
        status = find_table(loading, entry, schema, &field->table, error);
    if (status != BASE_OK)
        return status;
    field->group = group_of(feature);
    field->more = place ? 0 : (uint16_t)(feature->values - 1);
    field->continues = place > 0;
    memcpy(ingest->groups[at], feature->group, LEARNER_NAME_MAX);
    memcpy(ingest->topics[0].mapping.fields[at], feature->path,
           INGEST_PATH_MAX);
    if (field->group == LEARNER_ITEM)
        memcpy(ingest->topics[1].mapping.fields[at],
               feature->click[0] ? feature->click : feature->path,
               INGEST_PATH_MAX);
    ingest->transforms[at].kind = feature->transform;
    schema->field_count++;
    return read_bounds(loading, entry, &ingest->transforms[at], error);
}

/* The features of the group with this name, in the order of the file. */
static enum base_status add_group(struct config_loading *loading,
                                  const char *group, uint16_t *count,
                                  struct base_error *error)
{
    enum base_status status = BASE_OK;
    for (unsigned i = 0; i < loading->feature_count && status == BASE_OK; i++) {
        const struct config_feature *feature = &loading->features[i];
        if (strcmp(feature->group, group) != 0)
            continue;
        for (unsigned place = 0;
             place < feature->values && status == BASE_OK; place++, ++*count)
            status = add_field(loading, i, place, error);
    }
    return status;
}

/* Whether feature `entry` is the first of its group. */
static bool begins_group(const struct config_loading *loading, unsigned entry)
{
    for (unsigned i = 0; i < entry; i++)
        if (strcmp(loading->features[i].group,
                   loading->features[entry].group) == 0)
            return false;
    return true;
}

/* Fields stand by group, the user's own groups and context in the order in
 * which they appear first, and within a group as in the file. */
enum base_status config_features_build(struct config_loading *loading,
                                       struct base_error *error)
{
    struct learner_schema *schema = &loading->draft.config.ingest.schema;
    enum base_status status = BASE_OK;
    for (unsigned i = 0; i < loading->feature_count && status == BASE_OK; i++)
        status = check_feature(loading, i, error);
    if (status == BASE_OK)
        status = add_group(loading, group_names[LEARNER_PROFILE],
                           &schema->profile_count, error);
    if (status == BASE_OK)
        status = add_group(loading, group_names[LEARNER_ITEM],
                           &schema->item_count, error);
    for (unsigned i = 0; i < loading->feature_count && status == BASE_OK; i++)
        if (group_of(&loading->features[i]) == LEARNER_CONTEXT &&
            begins_group(loading, i))
            status = add_group(loading, loading->features[i].group,
                               &schema->context_count, error);
    if (status == BASE_OK && !schema->item_count)
        status = base_fail(error, BASE_CONFIG,
                           "%s: features: at least one of group item is "
                           "needed",
                           loading->file);
    return status;
}
