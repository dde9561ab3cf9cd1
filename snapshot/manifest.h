/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.json of a version, as a struct and as text (schemas/snapshot.md,
 * section 2). Reading checks every field and names the key that is wrong.
 * Any thread; no files are touched here. */
#ifndef SNAPSHOT_MANIFEST_H
#define SNAPSHOT_MANIFEST_H

#include "learner/learner.h"
#include "snapshot/hash.h"
#include "snapshot/snapshot.h"
#include "snapshot/tensors.h"

enum {
    SNAPSHOT_FORMAT = 3,
    SNAPSHOT_MODEL_NAME = 64,     /* with its NUL */
    SNAPSHOT_FOLDER_NAME = 64,    /* "v<epoch>-<version>", with its NUL */
    SNAPSHOT_FILES_MAX = LEARNER_TABLES_MAX + 1,
    SNAPSHOT_GOLDEN_MAX = 64,     /* requests */
    SNAPSHOT_CANDIDATES_MAX = 256, /* of a golden request */
    SNAPSHOT_MANIFEST_MAX = 16 << 20, /* bytes */
};
#define SNAPSHOT_ROWS_MAX (1ull << 31) /* of a table */
#define SNAPSHOT_INTEGER_MAX ((1ull << 53) - 1) /* exact in every JSON reader */

/* A request with the scores that these weights gave. */
struct snapshot_golden {
    uint32_t history_size, candidates;
    uint64_t *profile; /* OWNS one block: profile, history, items, context */
    uint64_t *history, *items, *context; /* into it */
    float *scores; /* OWNS (candidates) */
};

/* What training makes a field's id of: its value, or a number that is derived
 * from a time (UTC) or a value. */
enum snapshot_transform_kind {
    SNAPSHOT_TRANSFORM_NONE,
    SNAPSHOT_TRANSFORM_HOUR,    /* of the day, 0 to 23 */
    SNAPSHOT_TRANSFORM_WEEKDAY, /* 0 = Monday */
    SNAPSHOT_TRANSFORM_BUCKET,  /* how many bounds are <= the value */
};
enum { SNAPSHOT_BOUNDS_MAX = 64 };
struct snapshot_transform {
    enum snapshot_transform_kind kind;
    unsigned bound_count;
    double bounds[SNAPSHOT_BOUNDS_MAX]; /* ascending */
};

enum snapshot_kind {
    SNAPSHOT_BASE, /* complete in itself */
    SNAPSHOT_DELTA /* what changed since its parent */
};

struct snapshot_manifest {
    enum snapshot_kind kind;
    char model_name[SNAPSHOT_MODEL_NAME];
    uint64_t epoch, version;
    /* The version that was current before; parent_version 0 where none. A
     * delta has one, and changes it. */
    uint64_t parent_epoch, parent_version;
    struct snapshot_hash parent_hash;
    /* A base beside a delta: the hash of that delta's manifest. */
    bool is_beside;
    struct snapshot_hash beside;
    /* The version whose content this one repeats; rollback_version 0: none. */
    uint64_t rollback_epoch, rollback_version;
    uint64_t position;
    struct snapshot_hash journal_hash;
    int64_t newest_event_ms, created_ms;
    int64_t cut_ms; /* wall clock when the weights were copied; 0: not said */
    char arithmetic[32];
    uint64_t config_hash;
    struct learner_schema schema;      /* the model's own */
    struct learner_model_config model; /* fields_off is 0 */
    unsigned table_count; /* the schema's tables and, behind, one of crosses */
    struct learner_table_spec tables[LEARNER_TABLES_MAX]; /* with widths */
    enum snapshot_dtype row_dtype; /* F32, F16 or I8; of all tables */
    uint64_t rows[LEARNER_TABLES_MAX]; /* with the OOV row; of the version */
    uint64_t changed[LEARNER_TABLES_MAX]; /* of a delta: rows in its file */
    uint64_t gone[LEARNER_TABLES_MAX];    /* of a delta: keys without row */
    char *offsets_json; /* OWNS; NULL: none; applied_offsets */
    char *stream_json;  /* OWNS; NULL: none; the next three are read from it */
    uint32_t history_max;  /* behaviors of a trained history; 0: not said */
    double negative_keep;  /* share of negatives that was trained; 1: all */
    struct snapshot_transform transforms[LEARNER_FIELDS_MAX]; /* of fields */
    struct learner_window metrics_samples, metrics_time, metrics_total;
    /* auc and calibration are those of metrics_samples. */
    struct snapshot_judged judged;
    unsigned file_count;
    struct snapshot_file files[SNAPSHOT_FILES_MAX];
    unsigned golden_count;
    struct snapshot_golden golden[SNAPSHOT_GOLDEN_MAX];
};

/* Takes schema, switches, tables and config_hash of a model. */
void snapshot_manifest_describe(struct snapshot_manifest *manifest,
                                const struct learner_model *model);
void snapshot_manifest_fini(struct snapshot_manifest *manifest);
/* Of kind base, without what it said of files, changes and golden requests:
 * for other files of the same state. */
void snapshot_manifest_empty(struct snapshot_manifest *manifest);

/* Makes room for a golden request; BASE_SYSTEM without memory. */
enum base_status
snapshot_golden_init(struct snapshot_golden *golden,
                     const struct learner_schema *schema,
                     uint32_t history_size, uint32_t candidates,
                     struct base_error *error) BASE_MUST_CHECK;
void snapshot_golden_fini(struct snapshot_golden *golden);

/* *text OWNS *size bytes (a NUL behind them). BASE_DATA where offsets_json or
 * stream_json is no JSON object or a number does not fit. */
enum base_status snapshot_manifest_write(
    const struct snapshot_manifest *manifest, char **text, size_t *size,
    struct base_error *error) BASE_MUST_CHECK;

/* BASE_CORRUPT names the key; BASE_CONFIG: another format version. */
enum base_status snapshot_manifest_read(const char *text, size_t size,
                                        struct snapshot_manifest *manifest,
                                        struct base_error *error)
    BASE_MUST_CHECK;

/* "b<epoch>-<version>", the folder of a base beside a delta, and back. */
void snapshot_beside_print(uint64_t epoch, uint64_t version,
                           char name[SNAPSHOT_FOLDER_NAME]);
bool snapshot_beside_scan(const char *name, uint64_t *epoch,
                          uint64_t *version);
/* "v<epoch>-<version>" and back; false for any other text. */
void snapshot_folder_print(uint64_t epoch, uint64_t version,
                           char name[SNAPSHOT_FOLDER_NAME]);
bool snapshot_folder_scan(const char *name, uint64_t *epoch,
                          uint64_t *version);

/* "dense.safetensors", "table.<name>.safetensors". A table's name must be of
 * [A-Za-z0-9_-], which snapshot_name_usable tells. */
void snapshot_table_file(const char *table, char *name, size_t size);
bool snapshot_name_usable(const char *name);
#define SNAPSHOT_DENSE_FILE "dense.safetensors"

/* The file of that name in the manifest, or NULL. */
const struct snapshot_file *
snapshot_manifest_file(const struct snapshot_manifest *manifest,
                       const char *name);

/* Words of enum learner_group; NULL ends. */
extern const char *const snapshot_group_words[];
/* Words of enum snapshot_kind; NULL ends. */
extern const char *const snapshot_kind_words[];

#endif
