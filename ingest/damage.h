/* SPDX-License-Identifier: Apache-2.0 */
/* Where a batch ends that the broker's disk has damaged: the first offset from
 * which records can be read again. A fetch anywhere in such a batch fails, one
 * behind it does not, so the end is found by halving. */
#ifndef INGEST_DAMAGE_H
#define INGEST_DAMAGE_H

#include <stdatomic.h>

#include "ingest/kafka.h"

/* `from` lies in the damaged batch of position's partition. *end: the first
 * offset behind it that can be read, or the log's end. BASE_AGAIN where the
 * broker did not answer in time, BASE_STOPPED once *stopping. Blocks; uses
 * `handle` (a helper of ingest_kafka_new) for itself meanwhile. */
enum base_status
ingest_damage_find_end(rd_kafka_t *handle, const struct ingest_config *config,
                       const struct ingest_position *position, int64_t from,
                       const atomic_bool *stopping, int64_t *end,
                       struct base_error *error) BASE_MUST_CHECK;

#endif
