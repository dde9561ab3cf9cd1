/* SPDX-License-Identifier: Apache-2.0 */
/* The snapshot's boundary for the daemon: turns a checkpoint into a published
 * version. The ranker's side is interest.h.
 *
 * A version is a folder v<epoch>-<version> with manifest.json and tensors in
 * the safetensors format (schemas/snapshot.md). It is written aside as
 * .tmp-..., every file and folder fsynced, renamed, then CURRENT is replaced:
 * that commits it. Role: publish. */
#ifndef SNAPSHOT_SNAPSHOT_H
#define SNAPSHOT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"

struct snapshot_publisher; /* OWNS the model folder; one per folder */

/* What a checkpoint is judged on before it becomes a version; not a number
 * where undefined. */
struct snapshot_judged {
    uint64_t samples; /* trained by the model since it began */
    double auc, calibration; /* of the newest closed sample window */
    /* Euclidean norm of the trained matrices of the dense part (not of
     * biases, slopes, statistics); 0 where it has none. Not a number where
     * any dense weight is not finite. */
    double dense_norm;
    bool forced; /* published against the gate's word */
};

/* Any status but BASE_OK keeps the checkpoint from becoming a version and is
 * what snapshot_publish returns. `last`: of the newest version, NULL where
 * there is none of this model. `next->forced` is the judge's to set. */
struct snapshot_gate {
    void *self;
    enum base_status (*judge)(void *self, const struct snapshot_judged *last,
                              struct snapshot_judged *next,
                              struct base_error *error); /* NULL: all pass */
};

/* How the values of rows are published. */
enum snapshot_row_type {
    SNAPSHOT_ROW_F32,
    SNAPSHOT_ROW_F16,
    SNAPSHOT_ROW_I8 /* with a scale for each row */
};

struct snapshot_config {
    char folder[1024];
    char model_name[64];
    /* Older ones are removed, but not before a reader can begin at a newer
     * one: at least so many versions (2 or more), and so many of them complete
     * (1 or more), are kept. */
    uint32_t versions_kept, bases_kept;
    enum snapshot_row_type row_type; /* another one starts a new chain */
    uint32_t golden_requests; /* in each manifest, 4 */
    /* What rankers must know of the stream (schemas/snapshot.md, section 2):
     * a JSON object for every manifest. NULL: empty. BORROWS until free. */
    const char *stream_json;
    struct snapshot_gate gate;
};

/* What is announced on Kafka and kept in the outbox; plain record. */
struct snapshot_announcement {
    char model_name[64];
    uint64_t epoch, version;
    char folder_name[64];
    char manifest_hash[33]; /* XXH3-128 of manifest.json, hex */
    uint64_t position;
    int64_t newest_event_ms, created_ms;
    /* Not announced: */
    uint64_t training_hash;   /* learner_training_hash(), of its model */
    uint64_t journal_hash[2]; /* at `position` */
    uint64_t samples;         /* trained by then */
    uint64_t bytes;           /* of its files */
    bool delta;
    uint64_t rollback_epoch, rollback_version; /* whose content it has again;
                                                  0: its own */
};

/* Makes and locks the folder (BASE_EXISTS: another publisher has it), reads
 * CURRENT, removes left-over .tmp-* and versions newer than CURRENT. A CURRENT
 * that does not verify is an error: the operator removes it to start a new
 * chain; older versions then stay until that pushes them out. The epoch of this
 * process is one above stored_epoch and every version's, at least unix seconds; *current
 * (version 0 where none) tells what is published now, so that a missing outbox
 * row can be written. */
enum base_status snapshot_publisher_open(const struct snapshot_config *config,
                                         uint64_t stored_epoch,
                                         struct snapshot_publisher **publisher,
                                         struct snapshot_announcement *current,
                                         struct base_error *error)
    BASE_MUST_CHECK;
/* Removes all versions but the newest one and what is needed to load it, the
 * pinned too, at once; *removed of them. BASE_AGAIN while readers hold one,
 * then the others are gone. Role publish. */
enum base_status snapshot_publisher_purge(struct snapshot_publisher *publisher,
                                          uint64_t *removed,
                                          struct base_error *error)
    BASE_MUST_CHECK;
void snapshot_publisher_free(struct snapshot_publisher *publisher);
/* What a new reader must apply beside a base by now: how many deltas, and their
 * bytes. Reads the folder. Role publish. */
enum base_status
snapshot_publisher_chain(const struct snapshot_publisher *publisher,
                         uint64_t *deltas, uint64_t *bytes,
                         struct base_error *error) BASE_MUST_CHECK;
uint64_t snapshot_publisher_epoch(const struct snapshot_publisher *publisher);

/* The training_hash that versions of this model have. */
enum base_status
snapshot_training_hash(const struct learner_schema *schema,
                       const struct learner_model_config *model,
                       uint64_t *hash, struct base_error *error)
    BASE_MUST_CHECK;

/* Publishes the state of a checkpoint folder as the next version, a base: a
 * chain begins.
 * `offsets_json` is a JSON object put into the manifest as it is: what of the
 * source has been applied by now, at least what the weights were trained on;
 * may be NULL. Asks the gate, then refuses weights that are not finite
 * (BASE_DATA). On an error nothing is current that was not before. */
enum base_status snapshot_publish(struct snapshot_publisher *publisher,
                                  const char *checkpoint_path,
                                  const char *offsets_json,
                                  struct snapshot_announcement *announcement,
                                  struct base_error *error) BASE_MUST_CHECK;

/* Whether the delta can be the next version: it holds all that changed since
 * the current one, of the same model, arithmetic and type of rows. */
bool snapshot_follows(const struct snapshot_publisher *publisher,
                      const struct learner_delta *delta);
/* What the gate says of the state that a delta was taken of, whether it follows
 * or a base must be next. */
enum base_status snapshot_judge(const struct snapshot_publisher *publisher,
                                const struct learner_delta *delta,
                                struct base_error *error) BASE_MUST_CHECK;
/* Journal position of the current version, also after a commit that failed
 * half-way; 0 where there is none. */
uint64_t snapshot_publisher_position(const struct snapshot_publisher *publisher);
/* Publishes it, as snapshot_publish does a base. BASE_BROKEN where it does not
 * follow. Sorts the delta. */
enum base_status
snapshot_publish_delta(struct snapshot_publisher *publisher,
                       struct learner_delta *delta, const char *offsets_json,
                       struct snapshot_announcement *announcement,
                       struct base_error *error) BASE_MUST_CHECK;
/* Writes the base beside a delta that was published, from a checkpoint of the
 * same position: new readers begin there. Any thread, beside the others. */
enum base_status
snapshot_publish_beside(struct snapshot_publisher *publisher,
                        const char *checkpoint_path,
                        const struct snapshot_announcement *version,
                        struct base_error *error) BASE_MUST_CHECK;

/* Pins a version of a model folder, by its name v<epoch>-<version>: retention
 * leaves it alone, with all that is needed to load it, until it is unpinned.
 * Beside a publisher. BASE_NO_INPUT: there is no such version, or (unpin) it is
 * not pinned; BASE_EXISTS: it is pinned already; BASE_LIMIT: too many are. */
enum base_status snapshot_pin(const char *folder, const char *name,
                              struct base_error *error) BASE_MUST_CHECK;
enum base_status snapshot_unpin(const char *folder, const char *name,
                                struct base_error *error) BASE_MUST_CHECK;
/* A version of a model folder. */
struct snapshot_listed {
    char name[64]; /* v<epoch>-<version> */
    uint64_t epoch, version;
    bool current, delta, beside; /* beside: there is a base beside it */
    bool pinned;
    bool loadable; /* it, or a parent of it, is where a reader can begin */
    bool sound;    /* its manifest can be read; else what follows is 0 */
    uint64_t rollback_epoch, rollback_version; /* whose content it has again;
                                                  0: its own */
    uint64_t position;
    uint64_t training_hash; /* learner_training_hash(), of its model */
    int64_t created_ms, newest_event_ms;
    uint64_t bytes; /* of the files of v<epoch>-<version> */
    struct snapshot_judged judged;
};
/* Calls `each` for each version, oldest first. */
enum base_status
snapshot_list(const char *folder,
              void (*each)(void *self, const struct snapshot_listed *version),
              void *self, struct base_error *error) BASE_MUST_CHECK;
/* The one that `text` names: "v<epoch>-<version>", or its number alone.
 * BASE_NO_INPUT where it is not there, or cannot be loaded; BASE_USAGE where
 * two have that number. */
enum base_status snapshot_find(const char *folder, const char *text,
                               struct snapshot_listed *found,
                               struct base_error *error) BASE_MUST_CHECK;

/* Publishes the content of an older version (or of the newest again) as the
 * next one, bit for bit: a base of a new epoch, not judged. BASE_NO_INPUT where
 * it, or what it builds on, is not there any more. Role publish. */
enum base_status
snapshot_rollback(struct snapshot_publisher *publisher, uint64_t epoch,
                  uint64_t version, struct snapshot_announcement *announcement,
                  struct base_error *error) BASE_MUST_CHECK;

/* How a version differs from a checkpoint. */
struct snapshot_difference {
    uint64_t count; /* tensors and rows that differ; 0: equal, bit for bit */
    char tensor[64]; /* the first: a dense tensor's or a table's name .. */
    uint64_t key;    /* .. and the key of the row */
    uint64_t tensors, rows; /* compared */
};
/* Compares all tensors of a version with the state of a checkpoint of the same
 * position and model (BASE_BROKEN otherwise). BASE_NO_INPUT where the version,
 * or what it builds on, is not there. Any process. */
enum base_status snapshot_compare(const char *folder, uint64_t epoch,
                                  uint64_t version,
                                  const char *checkpoint_path,
                                  struct snapshot_difference *difference,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
