/* SPDX-License-Identifier: Apache-2.0 */
/* Checked access to a JSON object of foreign origin: each value's type and
 * range is judged as it is taken, each error names the key. The statuses are
 * BASE_CORRUPT, or BASE_OK with the value set. Any thread. */
#ifndef SNAPSHOT_PLACE_H
#define SNAPSHOT_PLACE_H

#include <jansson.h>

#include "base/status.h"
#include "snapshot/hash.h"

/* One object of the text and where it stands, for the error texts. BORROWS. */
struct snapshot_place {
    const json_t *json;
    const char *path; /* "model", "files" */
    struct base_error *error;
};

enum base_status snapshot_place_refuse(const struct snapshot_place *place,
                                       const char *key, const char *what);

enum base_status snapshot_place_integer(const struct snapshot_place *place,
                                        const char *key, uint64_t min,
                                        uint64_t max, uint64_t *value);
enum base_status snapshot_place_u16(const struct snapshot_place *place,
                                    const char *key, uint64_t min, uint64_t max,
                                    uint16_t *value);
enum base_status snapshot_place_ms(const struct snapshot_place *place,
                                   const char *key, int64_t *value);
enum base_status snapshot_place_text(const struct snapshot_place *place,
                                     const char *key, char *text, size_t size);
/* 16 and 32 hex digits. */
enum base_status snapshot_place_u64(const struct snapshot_place *place,
                                    const char *key, uint64_t *value);
enum base_status snapshot_place_hash(const struct snapshot_place *place,
                                     const char *key,
                                     struct snapshot_hash *hash);
/* null is "undefined": not a number. */
enum base_status snapshot_place_metric(const struct snapshot_place *place,
                                       const char *key, double *value);
enum base_status snapshot_place_list(const struct snapshot_place *place,
                                     const char *key, size_t min, size_t max,
                                     const json_t **list);
enum base_status snapshot_place_object(const struct snapshot_place *place,
                                       const char *key,
                                       struct snapshot_place *inner);
struct snapshot_place snapshot_place_element(const struct snapshot_place *place,
                                             const char *key,
                                             const json_t *list, size_t index);
/* Index of the text at `key` in a list of words that ends with NULL. */
enum base_status snapshot_place_word(const struct snapshot_place *place,
                                     const char *key, const char *const *words,
                                     unsigned *value);

#endif
