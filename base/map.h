/* SPDX-License-Identifier: Apache-2.0 */
/* Hash map from u64 keys to u64 values: open addressing, linear probing,
 * deletion by backward shift, power-of-two capacity, load at most 3/4.
 * Keys are expected to be hashes already; they are mixed once more, so that
 * hostile keys do not cluster by accident. One owner thread at a time. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct base_map; /* OWNS its memory */

/* `seed` varies the placement of keys, not the contents. */
enum base_status base_map_new(struct base_map **map, uint64_t seed,
                              struct base_error *error) BASE_MUST_CHECK;
void base_map_free(struct base_map *map);

size_t base_map_size(const struct base_map *map);
size_t base_map_bytes(const struct base_map *map);

/* Address of the value of `key`, or NULL. BORROWS until the next put or
 * remove. */
uint64_t *base_map_get(const struct base_map *map, uint64_t key);

/* Sets the value of `key`. BASE_SYSTEM where memory is refused (unchanged). */
enum base_status base_map_put(struct base_map *map, uint64_t key,
                              uint64_t value,
                              struct base_error *error) BASE_MUST_CHECK;

/* True where the key was there. */
bool base_map_remove(struct base_map *map, uint64_t key);

/* Walks all pairs in no order: *cursor starts at 0; false at the end. The map
 * must not change meanwhile. */
bool base_map_next(const struct base_map *map, size_t *cursor, uint64_t *key,
                   uint64_t *value);

#endif
