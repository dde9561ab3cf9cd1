/* SPDX-License-Identifier: Apache-2.0 */
/* A table in a reader's memory: key -> row, persistent (path copying). A new
 * generation begins as a copy of the root of the one before and copies only
 * what a delta touches; all else is shared.
 *
 *   root: (pages) -> page: 64 x bucket -> bucket: count, keys, rows
 *
 *  1. A key's bucket follows from its hash and the number of buckets alone
 *     (linear hashing, Litwin 1980): growing by one bucket moves keys of one
 *     bucket only, so a table grows without ever being rebuilt.
 *  2. What two generations share stands at the same place in both. So what one
 *     of them owns alone is found by comparing pointers: no counts, nothing is
 *     written to what scoring threads read.
 *  3. Generations are freed in the order in which they were made, each against
 *     its successor; or the newest, against its predecessor.
 *  4. A finished map never changes. No key is in it twice, key 0 always is.
 * A map is made and freed by one thread, read by any. */
#ifndef SNAPSHOT_MAP_H
#define SNAPSHOT_MAP_H

#include "snapshot/weights.h"

enum {
    SNAPSHOT_MAP_LOAD = 8,    /* rows a bucket, in the mean */
    SNAPSHOT_MAP_BUCKET = 1024 /* at most; ids are hashes, so that more were
                                  made to meet in one bucket */
};

struct snapshot_map; /* OWNS what its predecessor does not */

/* Of a base's table; BORROWS nothing. BASE_CORRUPT: an overfull bucket. */
enum base_status snapshot_map_build(const struct snapshot_table *base,
                                    struct snapshot_map **map,
                                    struct base_error *error) BASE_MUST_CHECK;

/* A successor of `old`, equal to it, not finished. `old` must not be freed
 * before it. */
enum base_status snapshot_map_begin(const struct snapshot_map *old,
                                    struct snapshot_map **map,
                                    struct base_error *error) BASE_MUST_CHECK;

/* Takes in a delta's table; after an error the map is only good to be freed.
 * `old` is what it began from, NULL for one that was built. BASE_CORRUPT: a
 * key is said to be gone that is not there, or an overfull bucket. */
enum base_status snapshot_map_apply(struct snapshot_map *map,
                                    const struct snapshot_map *old,
                                    const struct snapshot_table *delta,
                                    struct base_error *error) BASE_MUST_CHECK;

/* Frees all that is not part of `shared` (a neighbour, or NULL). */
void snapshot_map_free(struct snapshot_map *map,
                       const struct snapshot_map *shared);

uint64_t snapshot_map_rows(const struct snapshot_map *map);
uint64_t snapshot_map_bytes(const struct snapshot_map *map); /* with shared */
/* Bytes that are not part of `shared`. */
uint64_t snapshot_map_own(const struct snapshot_map *map,
                          const struct snapshot_map *shared);
bool snapshot_map_has(const struct snapshot_map *map, uint64_t key);
/* All keys, (rows), in no order. */
void snapshot_map_keys(const struct snapshot_map *map, uint64_t *keys);
/* The row of `key`, or the OOV row, as floats. */
void snapshot_map_read(const struct snapshot_map *map, uint64_t key,
                       float *floats);

#endif
