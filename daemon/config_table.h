/* SPDX-License-Identifier: Apache-2.0 */
/* The two tables of settings behind config.c: the file's dotted keys, and the
 * keys of one entry of `features:`. Tables only; no parsing here. */
#ifndef DAEMON_CONFIG_TABLE_H
#define DAEMON_CONFIG_TABLE_H

#include "base/settings.h"
#include "daemon/config.h"

/* What the main table fills: the configuration, and values that are given in
 * other units than their owner wants. */
struct config_draft {
    struct daemon_config config;
    uint64_t map_mb, journal_max_mb, dead_letter_max_mb;
};

enum feature_transform { FEATURE_NONE, FEATURE_HOUR };

/* One entry of `features:` as written. */
struct config_feature {
    char name[LEARNER_NAME_MAX];
    enum learner_group group;
    uint16_t dimension;
    char path[INGEST_PATH_MAX];
    enum feature_transform transform;
    char table[LEARNER_NAME_MAX];
    char click[INGEST_PATH_MAX];
    unsigned line, column; /* of the entry */
};

extern const struct base_settings daemon_config_table;
extern const struct base_settings daemon_feature_table;

#endif
