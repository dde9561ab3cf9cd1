/* SPDX-License-Identifier: Apache-2.0 */
/* What changed in a model's tables since one moment (a batch end): which rows
 * were trained, which of them are new, which keys went. A bit or two a slot,
 * eight bytes a key.
 *
 * 1. touched: the live slots that were trained since; each bit is of a live
 *    row.
 * 2. fresh: those of them whose key was made since. A key that went and was
 *    made again is fresh too, and stays in `gone`.
 * 3. gone: keys that were there at the moment and went since, each once. So
 *    those that a reader has to remove are gone without the touched ones.
 * 4. Where memory is refused, `known` turns false: nothing is said any more.
 * Train thread. */
#ifndef LEARNER_CHANGES_H
#define LEARNER_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"

struct learner_changes_table {
    uint64_t *touched, *fresh; /* OWNS (words), a bit a slot */
    uint32_t words;
    uint64_t *gone; /* OWNS */
    size_t gone_count, gone_room;
};

struct learner_changes {
    bool known;
    uint64_t position, journal_hash[2]; /* of the moment */
    uint64_t step;                      /* trained batches then */
    unsigned table_count;
    struct learner_changes_table tables[LEARNER_TABLES_MAX];
};

/* Of so many tables; nothing is known yet. */
void learner_changes_init(struct learner_changes *changes,
                          unsigned table_count);
void learner_changes_fini(struct learner_changes *changes);

/* From now on: nothing has changed since the moment. */
void learner_changes_start(struct learner_changes *changes, uint64_t position,
                           const uint64_t journal_hash[2], uint64_t step);
void learner_changes_lose(struct learner_changes *changes, const char *why);

/* A row was or will be trained; fresh: its key was made by this batch. */
void learner_changes_touch(struct learner_changes *changes, unsigned table,
                           uint32_t slot, bool fresh);
/* The row of `slot` goes. */
void learner_changes_gone(struct learner_changes *changes, unsigned table,
                          uint32_t slot, uint64_t key);

/* For a checkpoint, without `touched`: rows tell that. Little-endian: u64
 * position, two u64 of the journal's hash, u64 step, u64 tables; for each u64
 * words and as many of `fresh`, u64 keys and as many of `gone`. */
size_t learner_changes_size(const struct learner_changes *changes);
void *learner_changes_save(const struct learner_changes *changes, void *bytes);
/* *bytes moves behind what was read. BASE_CORRUPT where it does not fit. */
enum base_status learner_changes_load(struct learner_changes *changes,
                                      const uint8_t **bytes, size_t *size,
                                      struct base_error *error)
    BASE_MUST_CHECK;

#endif
