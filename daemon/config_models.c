/* SPDX-License-Identifier: Apache-2.0 */
/* The main model and the list `learner.shadow:` become trainer configurations;
 * see config_parts.h.
 *
 * A model's values are the defaults of its profile and kind, under the keys
 * that the file gives: each switch alone. A shadow is measured in the main
 * model's windows, takes its batches and, unless it says otherwise, its
 * divisor and shards. One thread. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "daemon/config_parts.h"
#include "learner/settings.h"

/* ---- the entries ---- */

enum base_status config_models_begin(struct config_loading *loading,
                                     unsigned number,
                                     const struct base_setting_place *place,
                                     struct base_error *error)
{
    if (number >= DAEMON_SHADOWS_MAX)
        return config_fail_at(place, error, "learner.shadow",
                              "more than 15 models");
    loading->shadow_count = number + 1;
    loading->shadow_begin[number] = *place;
    return base_settings_default(daemon_shadow_table(), place,
                                 &loading->shadows[number], error);
}

enum base_status config_models_set(struct config_loading *loading,
                                   unsigned number, const char *key,
                                   const char *value,
                                   const struct base_setting_place *place,
                                   struct base_error *error)
{
    const struct base_settings *table = daemon_shadow_table();
    int index = base_settings_find(table, key);
    if (index < 0)
        return base_settings_unknown(table, key, place, error);
    struct base_setting_place *given = &loading->shadow_places[number][index];
    if (given->file)
        return config_fail_at(place, error, key, "given twice in one model");
    *given = *place;
    return base_settings_set(table, (unsigned)index, value, place,
                             &loading->shadows[number], error);
}

/* ---- one model ---- */

/* A model as written, and where. */
struct written {
    const struct config_loading *loading;
    const struct config_model *model;
    const struct base_setting_place *places; /* of the model's keys */
    struct base_setting_place begin;         /* of the whole */
    char what[64];                           /* "learner.shadow[1]" */
};

/* Places of the keys behind learner_model_switches, in their table's order. */
static unsigned own_key(const char *name)
{
    int index = base_settings_find(daemon_shadow_table(), name);
    BASE_ASSERT(index >= 0);
    return (unsigned)index;
}

/* "<place><what>.<key>", or the whole's where the key was not given. */
static void place_of(const struct written *written, unsigned key, char *text,
                     size_t size)
{
    const struct base_setting_place *place = &written->places[key];
    char where[600];
    base_setting_place_text(place->file ? place : &written->begin, where,
                            sizeof where);
    snprintf(text, size, "%s%s.%s", where, written->what,
             daemon_shadow_table()->table[key].name);
}

static void take_values(const struct written *written,
                        const struct learner_model_config *main,
                        struct learner_model_config *model)
{
    const struct config_model *from = written->model;
    learner_model_config_profile(model, from->profile, from->model.kind);
    if (main) {
        model->batch_size = main->batch_size;
        model->shards = main->shards;
    }
    for (unsigned i = 0; i < learner_model_switches.count; i++) {
        const struct base_setting *setting = &learner_model_switches.table[i];
        if (written->places[i].file)
            memcpy((char *)model + setting->offset,
                   (const char *)&from->model + setting->offset, setting->size);
    }
}

/* Field of that name, a multi-hot one's first; -1: none. */
static int find_field(const struct learner_schema *schema, const char *name,
                      size_t size)
{
    for (unsigned i = 0; i < schema->field_count; i++)
        if (!schema->fields[i].continues &&
            strlen(schema->fields[i].name) == size &&
            memcmp(schema->fields[i].name, name, size) == 0)
            return (int)i;
    return -1;
}

static enum base_status unknown_field(const struct written *written,
                                      const struct learner_schema *schema,
                                      const char *name, size_t size,
                                      struct base_error *error)
{
    char where[700], known[600] = "";
    size_t used = 0;
    place_of(written, own_key("fields_off"), where, sizeof where);
    for (unsigned i = 0; i < schema->field_count && used < sizeof known; i++)
        if (!schema->fields[i].continues)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                     used ? ", " : "", schema->fields[i].name);
    return base_fail(error, BASE_CONFIG,
                     "%s: there is no feature \"%.*s\"; there are %s", where,
                     (int)(size < 100 ? size : 100), name, known);
}

static enum base_status take_fields_off(const struct written *written,
                                        const struct learner_schema *schema,
                                        uint64_t *fields_off,
                                        struct base_error *error)
{
    const char *at = written->model->fields_off;
    *fields_off = 0;
    while (*at) {
        at += strspn(at, ", []"); /* --set takes [goods] too */
        size_t size = strcspn(at, ", []");
        if (!size)
            break;
        int field = find_field(schema, at, size);
        if (field < 0)
            return unknown_field(written, schema, at, size, error);
        *fields_off |= UINT64_C(1) << field;
        at += size;
    }
    return BASE_OK;
}

/* Whether `word` stands alone in `text`. */
static bool mentions(const char *text, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at++) {
        unsigned char before = at > text ? (unsigned char)at[-1] : ' ';
        unsigned char behind = (unsigned char)at[size];
        if (!isalnum(before) && before != '_' && !isalnum(behind) &&
            behind != '_')
            return true;
    }
    return false;
}

/* The learner refuses a combination in its own words: the place of a key that
 * they name, and that was given, is put before them, else kind's. */
static enum base_status add_place(const struct written *written,
                                  struct base_error *error)
{
    char where[700];
    const struct base_settings *table = daemon_shadow_table();
    for (unsigned i = 0; i <= own_key("fields_off"); i++)
        if (written->places[i].file &&
            mentions(error->text, table->table[i].name)) {
            place_of(written, i, where, sizeof where);
            return base_wrap(error, "%s", where);
        }
    place_of(written, own_key("kind"), where, sizeof where);
    return base_wrap(error, "%s", where);
}

static enum base_status check_model(const struct written *written,
                                    const struct learner_trainer_config *config,
                                    struct base_error *error)
{
    struct learner_model *model = NULL;
    if (!config_name_usable(config->name)) {
        char where[700];
        place_of(written, own_key("name"), where, sizeof where);
        return base_fail(error, BASE_CONFIG,
                         "%s: \"%s\" is not allowed: letters, digits, \"_\" "
                         "and \"-\"",
                         where, config->name);
    }
    enum base_status status =
        learner_model_new(&config->schema, &config->model, &model, error);
    learner_model_free(model);
    return status == BASE_OK ? BASE_OK : add_place(written, error);
}

/* What `written` says, over *config, which has the rest already. */
static enum base_status build(const struct written *written,
                              const struct learner_model_config *main,
                              struct learner_trainer_config *config,
                              struct base_error *error)
{
    memcpy(config->name, written->model->name, sizeof config->name);
    config->threads = written->model->threads;
    take_values(written, main, &config->model);
    enum base_status status = take_fields_off(written, &config->schema,
                                              &config->model.fields_off, error);
    return status == BASE_OK ? check_model(written, config, error) : status;
}

/* ---- all of them ---- */

static enum base_status check_name(const struct config_loading *loading,
                                   unsigned number, struct base_error *error)
{
    const char *name = loading->shadows[number].name;
    const struct base_setting_place *place =
        &loading->shadow_places[number][own_key("name")];
    if (!place->file)
        return config_fail_at(&loading->shadow_begin[number], error,
                              "learner.shadow", "must give \"name\"");
    bool taken = strcmp(loading->draft.main.name, name) == 0;
    for (unsigned i = 0; i < number; i++)
        taken |= strcmp(loading->shadows[i].name, name) == 0;
    return taken ? config_fail_at(place, error, "name",
                                  "another model has this name already")
                 : BASE_OK;
}

static enum base_status build_shadow(struct config_loading *loading,
                                     unsigned number, struct base_error *error)
{
    struct daemon_config *config = &loading->draft.config;
    struct learner_trainer_config *shadow = &config->shadows[number];
    struct written written = {.loading = loading,
                              .model = &loading->shadows[number],
                              .places = loading->shadow_places[number],
                              .begin = loading->shadow_begin[number]};
    char name[LEARNER_NAME_MAX + 8];
    enum base_status status = check_name(loading, number, error);
    if (status != BASE_OK)
        return status;
    snprintf(written.what, sizeof written.what, "learner.shadow[%u]", number);
    snprintf(name, sizeof name, "shadow/%s", written.model->name);
    *shadow = config->learner;
    status = base_file_join(shadow->folder, sizeof shadow->folder,
                            config->state, name, error);
    return status == BASE_OK
               ? build(&written, &config->learner.model, shadow, error)
               : status;
}

/* publish.model: one of the models; "" is the main one. */
static enum base_status check_published(struct config_loading *loading,
                                        struct base_error *error)
{
    struct daemon_config *config = &loading->draft.config;
    char *name = config->publish.model;
    int key = base_settings_find(daemon_config_table(), "publish.model");
    if (!name[0])
        memcpy(name, config->learner.name, sizeof config->publish.model);
    uint64_t *fields_off = &config->ingest.served_fields_off;
    *fields_off = config->learner.model.fields_off;
    if (strcmp(name, config->learner.name) == 0)
        return BASE_OK;
    for (unsigned i = 0; i < loading->shadow_count; i++)
        if (strcmp(name, config->shadows[i].name) == 0) {
            *fields_off = config->shadows[i].model.fields_off;
            return BASE_OK;
        }
    char text[200];
    snprintf(text, sizeof text,
             "there is no model \"%s\": the main one is \"%s\", further ones "
             "are in learner.shadow",
             name, config->learner.name);
    return config_fail_at(&loading->places[key], error, "publish.model", text);
}

enum base_status config_models_build(struct config_loading *loading,
                                     struct base_error *error)
{
    struct daemon_config *config = &loading->draft.config;
    const struct written main = {
        .loading = loading,
        .model = &loading->draft.main,
        .places = loading->places + daemon_config_model_first(),
        .begin = {.file = loading->file},
        .what = "learner",
    };
    config->learner.schema = config->ingest.schema;
    enum base_status status = build(&main, NULL, &config->learner, error);
    config->ingest.batch_size = config->learner.model.batch_size;
    config->shadow_count = loading->shadow_count;
    for (unsigned i = 0; i < loading->shadow_count && status == BASE_OK; i++)
        status = build_shadow(loading, i, error);
    return status == BASE_OK ? check_published(loading, error) : status;
}

/* ---- printing ---- */

static void print_word(FILE *out, size_t *used, const char *name,
                       const char *value)
{
    size_t size = strlen(name) + strlen(value) + 4;
    if (*used + size > 79) {
        fprintf(out, "\n   ");
        *used = 3;
    }
    *used += size;
    fprintf(out, " %s: %s,", name, value);
}

void daemon_config_print_model(const struct learner_trainer_config *config,
                               FILE *out)
{
    char value[700] = "";
    size_t used = 3, length = 0;
    fprintf(out, "  model %s\n   ", config->name);
    for (unsigned i = 0; i < learner_model_switches.count; i++) {
        base_settings_text(&learner_model_switches, i, &config->model, value,
                           sizeof value);
        print_word(out, &used, learner_model_switches.table[i].name, value);
    }
    value[0] = '\0';
    for (unsigned i = 0; i < config->schema.field_count; i++)
        if (config->model.fields_off >> i & 1 && length < sizeof value)
            length += (size_t)snprintf(value + length, sizeof value - length,
                                       "%s%s", length ? ", " : "",
                                       config->schema.fields[i].name);
    fprintf(out, " fields_off: [%s]\n", value);
}
