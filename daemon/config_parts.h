/* SPDX-License-Identifier: Apache-2.0 */
/* What config.c shares with its parts, config_features.c and config_models.c:
 * the configuration while it is being loaded. One thread. */
#ifndef DAEMON_CONFIG_PARTS_H
#define DAEMON_CONFIG_PARTS_H

#include "daemon/config_file.h"
#include "daemon/config_table.h"

struct config_loading {
    struct config_draft draft;
    const char *file;
    char folder[1024];
    /* Where a key was given; file NULL: not given. */
    struct base_setting_place places[CONFIG_SETTINGS_MAX];
    unsigned feature_count;
    struct config_feature features[LEARNER_FIELDS_MAX];
    bool feature_given[LEARNER_FIELDS_MAX][CONFIG_FEATURE_SETTINGS_MAX];
    unsigned shadow_count;
    struct config_model shadows[DAEMON_SHADOWS_MAX];
    struct base_setting_place shadow_begin[DAEMON_SHADOWS_MAX];
    struct base_setting_place shadow_places[DAEMON_SHADOWS_MAX]
                                           [CONFIG_MODEL_SETTINGS_MAX];
};

/* BASE_CONFIG "<place><key>: <text>". */
enum base_status config_fail_at(const struct base_setting_place *place,
                                struct base_error *error, const char *key,
                                const char *text);

/* Tables, models and model versions name files and labels. */
bool config_name_usable(const char *name);

/* An entry of `features:` begins; one of its keys; all of them to schema and
 * mappings. */
enum base_status
config_features_begin(struct config_loading *loading, unsigned number,
                      const struct base_setting_place *place,
                      struct base_error *error) BASE_MUST_CHECK;
enum base_status config_features_set(struct config_loading *loading,
                                     unsigned number, const char *key,
                                     const char *value,
                                     const struct base_setting_place *place,
                                     struct base_error *error) BASE_MUST_CHECK;
enum base_status
config_features_build(struct config_loading *loading,
                      struct base_error *error) BASE_MUST_CHECK;

/* The same of `learner.shadow:`; the main model and the shadows to trainer
 * configurations, once the schema is there. */
enum base_status config_models_begin(struct config_loading *loading,
                                     unsigned number,
                                     const struct base_setting_place *place,
                                     struct base_error *error) BASE_MUST_CHECK;
enum base_status config_models_set(struct config_loading *loading,
                                   unsigned number, const char *key,
                                   const char *value,
                                   const struct base_setting_place *place,
                                   struct base_error *error) BASE_MUST_CHECK;
enum base_status config_models_build(struct config_loading *loading,
                                     struct base_error *error) BASE_MUST_CHECK;

#endif
