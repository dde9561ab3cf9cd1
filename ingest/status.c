/* SPDX-License-Identifier: Apache-2.0 */
/* What ingest says of itself: the state's counters as of its last commit
 * (totals.c), with what the source and the followers add. Any thread. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "ingest/parts.h"

void ingest_get_status(struct ingest *ingest, struct ingest_status *status)
{
    uint64_t handed, committed = atomic_load(&ingest->committed);
    ingest_state_status(ingest->state, status);
    ingest_source_status(ingest->source, status, &handed);
    ingest_followers_status(&ingest->followers, status);
    status->at_end = status->at_end && handed == committed;
    status->decisions_trimmed = atomic_load(&ingest->decisions_trimmed);
    status->disk_free_bytes = atomic_load(&ingest->disk.free_bytes);
    status->disk_reserve_bytes = ingest->disk.reserve_bytes;
    status->disk_low = atomic_load(&ingest->disk.low);
    status->disk_stops = atomic_load(&ingest->disk.stops);
}

size_t ingest_offsets_json(struct ingest *ingest, char *text, size_t size)
{
    struct ingest_status *status = malloc(sizeof *status);
    if (!status)
        return (size_t)snprintf(text, size, "{}");
    ingest_state_status(ingest->state, status);
    size_t used = 0;
    for (unsigned i = 0; i < status->partition_count; i++) {
        const struct ingest_partition_status *at = &status->partitions[i];
        int wrote = snprintf(used < size ? text + used : NULL,
                             used < size ? size - used : 0,
                             "%s\"%s/%d\": %lld", i ? ", " : "{",
                             ingest->config.topics[at->topic].name,
                             at->partition, (long long)at->next);
        used += (size_t)wrote;
    }
    used += (size_t)snprintf(used < size ? text + used : NULL,
                             used < size ? size - used : 0, "%s",
                             status->partition_count ? "}" : "{}");
    free(status);
    return used;
}
