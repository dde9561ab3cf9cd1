/* SPDX-License-Identifier: Apache-2.0 */
/* Skew: did rankers score with the histories that training sees? A producer may
 * put into an impression what its ranker logged with the score (interest.h,
 * interest_history_hash); here it is compared with the history of the
 * impression's sample.
 *
 * 1. It changes counters of this process and nothing else: no stored record, no
 *    sample, no order.
 * 2. Compared is what the impression may know when it is applied, which is what
 *    its sample will hold, whenever that is cut (join.c, rule 4). Late and
 *    duplicate impressions have no sample and are not compared, nor are those
 *    whose history may lack behaviors that newer ones pushed out.
 * Thread: store. */
#ifndef INGEST_SKEW_H
#define INGEST_SKEW_H

#include <stdbool.h>

#include "ingest/event.h"

/* The id that a logged hash has under this seed, whether it was written as a
 * long or as 16 hex digits (ingest_served.hash). */
#define INGEST_SKEW_SEED "history"

/* `history` (count, f ids): of the sample; overwritten. */
void ingest_skew_compare(struct ingest_skew_status *skew,
                         const struct ingest_config *config,
                         const struct ingest_served *served, uint64_t *history,
                         uint32_t count);

#endif
