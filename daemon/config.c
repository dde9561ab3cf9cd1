/* SPDX-License-Identifier: Apache-2.0 */
/* Loads the configuration; see config.h.
 *
 * Steps: defaults, file, command line, then what spans several settings
 * (features, derived values, consistency). The result is copied out only when
 * all of it is good. */
#include "daemon/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "daemon/config_parts.h"

static const char properties_prefix[] = "kafka.properties.";

enum base_status config_fail_at(const struct base_setting_place *place,
                                struct base_error *error, const char *key,
                                const char *text)
{
    char where[600];
    base_setting_place_text(place, where, sizeof where);
    return base_fail(error, BASE_CONFIG, "%s%.200s: %s", where, key, text);
}

/* ---- librdkafka's properties ---- */

static bool secret(const char *name)
{
    static const char *const parts[] = {"password", "secret", "ssl.key.pem",
                                        "oauthbearer.config"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

/* `file:PATH`: the file's content without its last line break. */
static enum base_status read_secret_file(const char *key, const char *name,
                                         struct base_setting_place *place,
                                         char *value, size_t size,
                                         struct base_error *error)
{
    char path[1024];
    char *data = NULL;
    size_t length;
    enum base_status status =
        base_settings_path(path, sizeof path, place->folder, name, error);
    if (status == BASE_OK)
        status = base_file_read(path, size, &data, &length, error);
    if (status != BASE_OK) {
        char where[600];
        base_setting_place_text(place, where, sizeof where);
        return base_wrap(error, "%s%.200s: secret", where, key);
    }
    while (length && (data[length - 1] == '\n' || data[length - 1] == '\r'))
        length--;
    if (length >= size)
        status = base_fail(error, BASE_CONFIG, "secret: %s is longer than %zu",
                           path, size - 1);
    else {
        memcpy(value, data, length);
        value[length] = '\0';
    }
    free(data);
    return status;
}

static enum base_status resolve_secret(const char *key, const char *given,
                                       const struct base_setting_place *at,
                                       char *value, size_t size,
                                       struct base_error *error)
{
    struct base_setting_place place = *at;
    if (strncmp(given, "file:", 5) == 0)
        return read_secret_file(key, given + 5, &place, value, size, error);
    if (strncmp(given, "env:", 4) != 0)
        return config_fail_at(at, error, key,
                              "a secret does not belong into this file; give "
                              "file:PATH or env:NAME");
    const char *content = getenv(given + 4);
    if (!content)
        return config_fail_at(at, error, key,
                              "that environment variable is not set");
    if (strlen(content) >= size)
        return config_fail_at(at, error, key,
                              "that environment variable is too long");
    memcpy(value, content, strlen(content) + 1);
    return BASE_OK;
}

/* It travels in a header: visible characters only. */
static enum base_status set_token(struct daemon_http_config *http,
                                  const char *value,
                                  const struct base_setting_place *place,
                                  struct base_error *error)
{
    static const char key[] = "http.token";
    size_t length = 0;
    enum base_status status = resolve_secret(key, value, place, http->token,
                                             sizeof http->token, error);
    if (status != BASE_OK)
        return status;
    while (http->token[length] > ' ' && http->token[length] < 127)
        length++;
    if (http->token[length] || length < DAEMON_TOKEN_MIN)
        return config_fail_at(place, error, key,
                              "a token has 16 to 255 visible ASCII characters "
                              "and no spaces");
    return BASE_OK;
}

static enum base_status set_property(struct ingest_config *ingest,
                                     const char *key, const char *value,
                                     const struct base_setting_place *place,
                                     struct base_error *error)
{
    const char *name = key + sizeof properties_prefix - 1;
    struct ingest_property *property = NULL;
    for (unsigned i = 0; i < ingest->property_count; i++)
        if (strcmp(ingest->properties[i].name, name) == 0)
            property = &ingest->properties[i];
    if (strcmp(name, "bootstrap.servers") == 0 ||
        strcmp(name, "metadata.broker.list") == 0)
        return config_fail_at(place, error, key, "set kafka.brokers instead");
    if (!name[0] || strlen(name) >= sizeof property->name)
        return config_fail_at(place, error, key, "not a property's name");
    if (!property) {
        /* Two places are kept for the brokers and the group. */
        if (ingest->property_count >= INGEST_PROPERTIES_MAX - 2)
            return config_fail_at(place, error, key, "too many properties");
        property = &ingest->properties[ingest->property_count++];
        memcpy(property->name, name, strlen(name) + 1);
    }
    if (secret(name))
        return resolve_secret(key, value, place, property->value,
                              sizeof property->value, error);
    if (strlen(value) >= sizeof property->value)
        return config_fail_at(place, error, key, "value is too long");
    memcpy(property->value, value, strlen(value) + 1);
    return BASE_OK;
}

const char *daemon_config_property(const struct ingest_config *config,
                                   const char *name)
{
    for (unsigned i = 0; i < config->property_count; i++)
        if (strcmp(config->properties[i].name, name) == 0)
            return config->properties[i].value;
    return NULL;
}

/* ---- the file ---- */

/* A list of mappings, and the part that takes its entries. */
static const struct list {
    const char *name, *hint;
    enum base_status (*begin)(struct config_loading *loading, unsigned number,
                              const struct base_setting_place *place,
                              struct base_error *error);
    enum base_status (*set)(struct config_loading *loading, unsigned number,
                            const char *key, const char *value,
                            const struct base_setting_place *place,
                            struct base_error *error);
} lists[] = {
    {"features",
     "features is a list, an entry a feature: \"- {name: ..., group: ..., "
     "dimension: ..., path: ...}\", and is given in the file only",
     config_features_begin, config_features_set},
    {"learner.shadow",
     "learner.shadow is a list, an entry a model: \"- {name: ..., kind: "
     "...}\", and is given in the file only",
     config_models_begin, config_models_set},
    {0},
};
static const char *const list_names[] = {"features", "learner.shadow", NULL};

static const struct list *find_list(const char *name)
{
    const struct list *list = lists;
    while (strcmp(list->name, name) != 0)
        list++;
    return list;
}

/* `key` is `name`, or a key within it. */
static bool below(const char *name, const char *key)
{
    size_t length = strlen(name);
    return strncmp(name, key, length) == 0 &&
           (key[length] == '\0' || key[length] == '.');
}

static enum base_status set_scalar(void *self, const struct config_entry *entry,
                                   const char *key, const char *value,
                                   const struct base_setting_place *place,
                                   struct base_error *error)
{
    struct config_loading *loading = self;
    const struct base_settings *table = daemon_config_table();
    if (entry)
        return find_list(entry->list)
            ->set(loading, entry->number, key, value, place, error);
    struct ingest_config *ingest = &loading->draft.config.ingest;
    if (strncmp(key, properties_prefix, sizeof properties_prefix - 1) == 0)
        return set_property(ingest, key, value, place, error);
    if (strcmp(key, "registry.password") == 0)
        return resolve_secret(key, value, place, ingest->registry_password,
                              sizeof ingest->registry_password, error);
    if (strcmp(key, "http.token") == 0)
        return set_token(&loading->draft.config.http, value, place, error);
    for (const struct list *list = lists; list->name; list++)
        if (below(list->name, key))
            return config_fail_at(place, error, key, list->hint);
    int index = base_settings_find(table, key);
    if (index < 0)
        return base_settings_unknown(table, key, place, error);
    struct base_setting_place *given = &loading->places[index];
    if (place->line && given->file) {
        char text[80];
        snprintf(text, sizeof text, "given twice; first in line %u",
                 given->line);
        return config_fail_at(place, error, key, text);
    }
    *given = *place;
    return base_settings_set(table, (unsigned)index, value, place,
                             &loading->draft, error);
}

static enum base_status begin_entry(void *self,
                                    const struct config_entry *entry,
                                    const struct base_setting_place *place,
                                    struct base_error *error)
{
    return find_list(entry->list)->begin(self, entry->number, place, error);
}

/* ---- the whole ---- */

static enum base_status require_all(const struct config_loading *loading,
                                    struct base_error *error)
{
    for (unsigned i = 0; i < daemon_config_table()->count; i++) {
        const struct base_setting *setting = &daemon_config_table()->table[i];
        if (!setting->fallback && !loading->places[i].file)
            return base_fail(error, BASE_CONFIG, "%s: %s must be given: %s",
                             loading->file, setting->name, setting->doc);
    }
    return BASE_OK;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_CHARACTERS LETTERS "0123456789_-"

bool config_name_usable(const char *name)
{
    return !name[strspn(name, NAME_CHARACTERS)];
}

/* Kafka's own rule, said before Kafka is asked. */
static enum base_status check_topic(const struct config_loading *loading,
                                    const char *key, const char *topic,
                                    struct base_error *error)
{
    if (!topic[strspn(topic, NAME_CHARACTERS ".")] && strcmp(topic, ".") != 0 &&
        strcmp(topic, "..") != 0)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "%s: %s: \"%s\" cannot be a topic's name; letters, "
                     "digits, \".\", \"_\" and \"-\" can",
                     loading->file, key, topic);
}

static enum base_status check_topics(const struct config_loading *loading,
                                     struct base_error *error)
{
    const struct ingest_config *ingest = &loading->draft.config.ingest;
    const char *told = ingest->announcement_topic;
    const char *impressions = ingest->topics[0].name;
    const char *clicks = ingest->topics[1].name;
    enum base_status status =
        check_topic(loading, "impressions.topic", impressions, error);
    if (status == BASE_OK)
        status = check_topic(loading, "clicks.topic", clicks, error);
    if (status == BASE_OK)
        status = check_topic(loading, "kafka.announcement_topic", told, error);
    if (status != BASE_OK)
        return status;
    if (strcmp(impressions, clicks) == 0)
        return base_fail(error, BASE_CONFIG,
                         "%s: impressions.topic and clicks.topic are both "
                         "\"%s\"; they must differ",
                         loading->file, impressions);
    if (strcmp(told, impressions) == 0 || strcmp(told, clicks) == 0)
        return base_fail(error, BASE_CONFIG,
                         "%s: kafka.announcement_topic is \"%s\", which "
                         "is read too; it must be another",
                         loading->file, told);
    return BASE_OK;
}

static enum base_status check_whole(const struct config_loading *loading,
                                    struct base_error *error)
{
    const struct ingest_config *ingest = &loading->draft.config.ingest;
    if (check_topics(loading, error) != BASE_OK)
        return error->status;
    if (strcmp(loading->draft.config.state,
               loading->draft.config.snapshot.folder) == 0)
        return base_fail(error, BASE_CONFIG,
                         "%s: state and model_folder are both %s; they must "
                         "differ",
                         loading->file, loading->draft.config.state);
    if (ingest->label_mode == INGEST_LABEL_FNW && ingest->negative_keep < 1)
        return base_fail(error, BASE_CONFIG,
                         "%s: ingest.negative_keep below 1 needs "
                         "ingest.label_mode window",
                         loading->file);
    return BASE_OK;
}

/* Fetched schemas are kept with the state. */
static enum base_status set_registry(const struct config_loading *loading,
                                     struct ingest_config *ingest,
                                     struct base_error *error)
{
    bool framed = ingest->topics[0].framing == INGEST_CONFLUENT ||
                  ingest->topics[1].framing == INGEST_CONFLUENT;
    if (ingest->registry_url[0] && !framed)
        return base_fail(error, BASE_CONFIG,
                         "%s: registry.url is given, but impressions.framing "
                         "and clicks.framing are plain; confluent names its "
                         "schemas by id",
                         loading->file);
    return base_file_join(ingest->registry_folder,
                          sizeof ingest->registry_folder,
                          loading->draft.config.state, "schemas", error);
}

static void add_property(struct ingest_config *ingest, const char *name,
                         const char *value)
{
    struct ingest_property *property =
        &ingest->properties[ingest->property_count++];
    snprintf(property->name, sizeof property->name, "%s", name);
    snprintf(property->value, sizeof property->value, "%s", value);
}

/* Values that follow from others; what two parts need is copied to both. */
static enum base_status derive(struct config_loading *loading,
                               struct base_error *error)
{
    struct daemon_config *config = &loading->draft.config;
    struct ingest_config *ingest = &config->ingest;
    snprintf(config->file, sizeof config->file, "%s", loading->file);
    ingest->map_bytes = loading->draft.map_mb << 20;
    ingest->disk_reserve_bytes = loading->draft.disk_reserve_mb << 20;
    ingest->journal_max_bytes = loading->draft.journal_max_mb << 20;
    ingest->dead_letter_max_bytes = loading->draft.dead_letter_max_mb << 20;
    if (set_registry(loading, ingest, error))
        return error->status;
    /* Two checkpoints are kept: half of the journal at most is behind the
     * older one, and what is not trained yet finds room. */
    config->learner.checkpoint_bytes =
        ingest->journal_keep ? 0 : ingest->journal_max_bytes / 4;
    memcpy(ingest->model_name, config->snapshot.model_name,
           sizeof ingest->model_name);
    add_property(ingest, "bootstrap.servers", config->kafka_brokers);
    if (!daemon_config_property(ingest, "group.id"))
        add_property(ingest, "group.id", config->kafka_group);
    enum base_status status = base_file_join(
        ingest->folder, sizeof ingest->folder, config->state, "store", error);
    if (status == BASE_OK)
        status = base_file_join(config->learner.folder,
                                sizeof config->learner.folder, config->state,
                                "checkpoints", error);
    return status;
}

/* Folder of the file, "" for the current one. */
static void folder_of(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (slash == path)
        length = 1;
    snprintf(folder, size, "%.*s", (int)length, path);
}

static enum base_status apply_overrides(struct config_loading *loading,
                                        const char *const *overrides,
                                        unsigned count,
                                        struct base_error *error)
{
    const struct base_setting_place place = {.file = "--set", .folder = ""};
    for (unsigned i = 0; i < count; i++) {
        const char *equals = strchr(overrides[i], '=');
        char key[256];
        if (!equals || (size_t)(equals - overrides[i]) >= sizeof key)
            return base_fail(error, BASE_USAGE,
                             "--set %.100s: must be KEY=VALUE", overrides[i]);
        snprintf(key, sizeof key, "%.*s", (int)(equals - overrides[i]),
                 overrides[i]);
        enum base_status status =
            set_scalar(loading, NULL, key, equals + 1, &place, error);
        if (status != BASE_OK)
            return status;
    }
    return BASE_OK;
}

static enum base_status load(struct config_loading *loading,
                             const char *const *overrides, unsigned count,
                             struct base_error *error)
{
    const struct config_visitor visitor = {.self = loading,
                                           .lists = list_names,
                                           .scalar = set_scalar,
                                           .begin = begin_entry};
    const struct base_setting_place place = {.file = loading->file,
                                             .folder = loading->folder};
    folder_of(loading->file, loading->folder, sizeof loading->folder);
    enum base_status status = base_settings_default(
        daemon_config_table(), &place, &loading->draft, error);
    if (status == BASE_OK)
        status =
            config_file_walk(loading->file, loading->folder, &visitor, error);
    if (status == BASE_OK)
        status = apply_overrides(loading, overrides, count, error);
    if (status == BASE_OK)
        status = require_all(loading, error);
    if (status == BASE_OK)
        status = config_features_build(loading, error);
    if (status == BASE_OK)
        status = check_whole(loading, error);
    if (status == BASE_OK)
        status = derive(loading, error);
    return status == BASE_OK ? config_models_build(loading, error) : status;
}

enum base_status daemon_config_load_with(const char *path,
                                         const char *const *overrides,
                                         unsigned count,
                                         struct daemon_config *config,
                                         struct base_error *error)
{
    BASE_ASSERT(daemon_feature_table.count <= CONFIG_FEATURE_SETTINGS_MAX);
    struct config_loading *loading = calloc(1, sizeof *loading);
    if (!loading)
        return base_fail(error, BASE_SYSTEM, "configuration: no memory");
    loading->file = path;
    enum base_status status = load(loading, overrides, count, error);
    if (status == BASE_OK)
        *config = loading->draft.config;
    free(loading);
    if (status == BASE_OK)
        snprintf(config->ingest.file, sizeof config->ingest.file, "%s", path);
    return status;
}

enum base_status daemon_config_load(const char *path,
                                    struct daemon_config *config,
                                    struct base_error *error)
{
    return daemon_config_load_with(path, NULL, 0, config, error);
}

/* ---- reference ---- */

/* Names, wrapped. */
static void print_names(const struct base_settings *settings, FILE *out)
{
    size_t used = 3;
    for (unsigned i = 0; i < settings->count; i++) {
        size_t size = strlen(settings->table[i].name) + 1;
        if (used + size > 78) {
            fprintf(out, "\n   ");
            used = 3;
        }
        used += size;
        fprintf(out, " %s", settings->table[i].name);
    }
    fprintf(out, "\n");
}

void daemon_config_reference(FILE *out)
{
    fprintf(out, "Settings of the configuration file\n\n");
    base_settings_reference(daemon_config_table(), out);
    fprintf(out, "registry.password\n    Of registry.user: file:PATH or "
                 "env:NAME.\n\n");
    fprintf(out, "http.token\n    Of POST /control/..., 16 to 255 visible "
                 "characters: file:PATH or\n    env:NAME. None: no "
                 "controls.\n\n");
    fprintf(out, "kafka.properties.NAME\n    A property of librdkafka. Names "
                 "with \"password\" or \"secret\",\n    ssl.key.pem and "
                 "sasl.oauthbearer.config take file:PATH or env:NAME.\n\nEach entry of the list features:\n\n");
    base_settings_reference(&daemon_feature_table, out);
    fprintf(out, "Each entry of the list learner.shadow, which are further "
                 "models on the same\nstream, takes the model's keys above, "
                 "without \"learner.\", in the\nsame words; name must be "
                 "given:\n\n   ");
    print_names(daemon_shadow_table(), out);
}

static const char *name_of(const struct base_settings *settings, unsigned index)
{
    return index < settings->count ? settings->table[index].name : NULL;
}

const char *daemon_config_setting(unsigned index)
{
    return name_of(daemon_config_table(), index);
}

const char *daemon_config_feature_setting(unsigned index)
{
    return name_of(&daemon_feature_table, index);
}

const char *daemon_config_shadow_setting(unsigned index)
{
    return name_of(daemon_shadow_table(), index);
}
