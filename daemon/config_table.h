/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of settings behind config.c: the file's dotted keys, and the keys
 * of one entry of `features:` and of `learner.shadow:`. The keys of a model
 * are learner_model_switches with a few of the daemon's: below `learner.` for
 * the main model, alone in an entry of `learner.shadow`. Tables only; no
 * parsing here. */
#ifndef DAEMON_CONFIG_TABLE_H
#define DAEMON_CONFIG_TABLE_H

#include "base/settings.h"
#include "daemon/config.h"

/* One model as written: what is not given takes its default from profile and
 * kind (config_models.c). */
struct config_model {
    char name[LEARNER_NAME_MAX];
    enum learner_profile profile;
    char fields_off[1024]; /* "goods,shop" */
    uint16_t threads;
    struct learner_model_config model;
};

/* What the main table fills: the configuration, and values that are given in
 * other units than their owner wants. */
struct config_draft {
    struct daemon_config config;
    struct config_model main;
    uint64_t map_mb, journal_max_mb, dead_letter_max_mb, disk_reserve_mb;
};

enum { CONFIG_BOUNDS_MAX = 1024 };

/* One entry of `features:` as written. */
struct config_feature {
    char name[LEARNER_NAME_MAX];
    char group[LEARNER_NAME_MAX]; /* may be a name of the user's own */
    uint16_t dimension, values;
    char path[INGEST_PATH_MAX];
    enum ingest_transform_kind transform;
    char bounds[CONFIG_BOUNDS_MAX]; /* "18,25,35" */
    char table[LEARNER_NAME_MAX];
    char click[INGEST_PATH_MAX];
    unsigned line, column; /* of the entry */
};

/* The main table, the model's keys at the end. Any thread. */
const struct base_settings *daemon_config_table(void);
/* The first of the main model's keys: those of learner_model_switches, in
 * their order. */
unsigned daemon_config_model_first(void);
extern const struct base_settings daemon_feature_table;
/* Entries land in a struct config_model; those of learner_model_switches come
 * first, in their order. */
const struct base_settings *daemon_shadow_table(void);

enum {
    CONFIG_SETTINGS_MAX = 192,
    CONFIG_FEATURE_SETTINGS_MAX = 16,
    CONFIG_MODEL_SETTINGS_MAX = 64,
};

#endif
