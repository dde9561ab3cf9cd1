/* SPDX-License-Identifier: Apache-2.0 */
/* Clicks that came before their impression: for each impression id the refs
 * of the waiting clicks that name it, in the order of arrival. In memory only,
 * rebuilt from the blocks at open. Refs that were resolved meanwhile stay
 * until they reach the front: whoever takes one checks that it still waits.
 * Thread: store. */
#ifndef INGEST_EARLY_H
#define INGEST_EARLY_H

#include <stdbool.h>

#include "base/map.h"

struct ingest_early_node {
    uint64_t ref;
    uint32_t next; /* index + 1; 0: last */
};

struct ingest_early {
    struct base_map *heads; /* impression -> first << 32 | last, index + 1 */
    struct ingest_early_node *nodes; /* OWNS */
    uint32_t count, capacity, unused; /* unused: free list, index + 1 */
};

enum base_status ingest_early_init(struct ingest_early *early,
                                   struct base_error *error) BASE_MUST_CHECK;
void ingest_early_fini(struct ingest_early *early);
enum base_status ingest_early_add(struct ingest_early *early,
                                  uint64_t impression, uint64_t ref,
                                  struct base_error *error) BASE_MUST_CHECK;
/* The oldest ref, without or with taking it; false where there is none. */
bool ingest_early_peek(const struct ingest_early *early, uint64_t impression,
                       uint64_t *ref);
bool ingest_early_take(struct ingest_early *early, uint64_t impression,
                       uint64_t *ref);

#endif
