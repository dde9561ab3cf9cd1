/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of the daemon and of the commands that read its file:
 * one YAML file, flattened into dotted keys of one table (config.c), checked
 * as a whole. What is loaded is const from then on; any thread may read it.
 * Does not open state, sockets or Kafka. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdint.h>
#include <stdio.h>

#include "base/log.h"
#include "base/status.h"
#include "daemon/gate.h"
#include "ingest/ingest.h"
#include "learner/learner.h"
#include "snapshot/snapshot.h"

enum { DAEMON_TOKEN_MIN = 16, DAEMON_TOKEN_MAX = 256 /* with its NUL */ };

struct daemon_http_config {
    char listen[64]; /* numeric address */
    uint16_t port;   /* 0: any free one */
    uint32_t connections_max;
    char token[DAEMON_TOKEN_MAX]; /* of POST /control/...; "": refused */
};

struct daemon_publish_config {
    uint32_t delta_ms; /* 0: only at the end */
    /* A base beside a delta after so many, or so many bytes of them; 0: not
     * because of that. */
    uint64_t base_deltas, base_bytes;
    char model[LEARNER_NAME_MAX]; /* of the published one; never empty */
    struct daemon_gate_config gate;
};

enum { DAEMON_SHADOWS_MAX = 15 };

/* All parts are filled for their owners; a trainer's `source`, hooks and
 * their `self` are left empty for whoever opens it. Kafka's address
 * and group are librdkafka properties in ingest.properties
 * (bootstrap.servers, group.id). */
struct daemon_config {
    char file[1024];
    char state[1024];
    char kafka_brokers[1024];
    char kafka_group[250];
    enum base_log_level log_level;
    bool disk_check; /* refuse a disk that cannot hold what is allowed */
    struct ingest_config ingest;
    struct learner_trainer_config learner; /* the main model */
    unsigned shadow_count;
    struct learner_trainer_config shadows[DAEMON_SHADOWS_MAX];
    struct snapshot_config snapshot;
    struct daemon_http_config http;
    struct daemon_publish_config publish;
};

/* Fills *config from the file. Every error names file, line, column, key,
 * value and what is allowed; nothing secret is in a text. */
enum base_status daemon_config_load(const char *path,
                                    struct daemon_config *config,
                                    struct base_error *error) BASE_MUST_CHECK;

/* The same, with `count` settings "dotted.key=value" of the command line,
 * which have precedence over the file's; relative paths in them are relative
 * to the current folder. */
enum base_status
daemon_config_load_with(const char *path, const char *const *overrides,
                        unsigned count, struct daemon_config *config,
                        struct base_error *error) BASE_MUST_CHECK;

/* Prints every setting with type, default, range and meaning. */
void daemon_config_reference(FILE *out);

/* Name of setting `index` of the main table, NULL past the end (tests compare
 * the sample file with it). */
const char *daemon_config_setting(unsigned index);
/* The same for the settings of one entry of `features:`. */
const char *daemon_config_feature_setting(unsigned index);
const char *daemon_config_shadow_setting(unsigned index);

/* Prints a model's switches with their values, wrapped. */
void daemon_config_print_model(const struct learner_trainer_config *config,
                               FILE *out);

/* Value of a librdkafka property in `config`, NULL where not given. */
const char *daemon_config_property(const struct ingest_config *config,
                                   const char *name);

#endif
