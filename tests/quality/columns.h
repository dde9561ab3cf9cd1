/* SPDX-License-Identifier: Apache-2.0 */
/* A journal's samples as flat files that C and numpy map, little-endian, for
 * the quality report. One folder:
 *   batches        struct columns_batch, one a journal batch
 *   ids            (S,F) u64, S samples of all batches
 *   user           (S) u64
 *   event_ms       (S) i64
 *   label          (S) u8, final
 *   group_begin    u32, G+1 a batch: first sample of each group in the batch
 *   history_begin  u32, G+1 a batch: first behavior, in the batch's own
 *   history        (behaviors,f) u64, oldest behavior of a group first
 * Written once and whole; a made folder never changes. One thread. */
#ifndef TESTS_QUALITY_COLUMNS_H
#define TESTS_QUALITY_COLUMNS_H

#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"

struct columns_batch {
    uint64_t first, end;
    uint64_t journal_hash[2];
    uint64_t groups_at;    /* its first entry in group_begin, history_begin */
    uint64_t behaviors_at; /* its first behavior */
    uint32_t groups, behaviors;
};

/* ---- writing ------------------------------------------------------------- */

struct columns_writer; /* OWNS */
enum base_status columns_create(const char *folder,
                                const struct learner_schema *schema,
                                struct columns_writer **writer,
                                struct base_error *error) BASE_MUST_CHECK;
/* Window mode only: BASE_DATA for a batch with final labels. */
enum base_status columns_append(struct columns_writer *writer,
                                const struct learner_batch *batch,
                                struct base_error *error) BASE_MUST_CHECK;
/* Frees; what could not be written is an error. */
enum base_status columns_finish(struct columns_writer *writer,
                                struct base_error *error) BASE_MUST_CHECK;

/* ---- reading ------------------------------------------------------------- */

struct columns; /* OWNS its maps */
enum base_status columns_open(const char *folder,
                              const struct learner_schema *schema,
                              struct columns **columns,
                              struct base_error *error) BASE_MUST_CHECK;
void columns_close(struct columns *columns);
uint64_t columns_samples(const struct columns *columns);
/* Batches that end behind `limit` are not given: BASE_AGAIN. May be moved
 * while no trainer reads. */
void columns_set_limit(struct columns *columns, uint64_t limit);
/* End of the last batch that ends at or before `position`. */
uint64_t columns_border(const struct columns *columns, uint64_t position);
/* What a batch points to BORROWS until columns_close(). */
struct learner_source columns_source(struct columns *columns);

#endif
