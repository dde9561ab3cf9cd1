/* SPDX-License-Identifier: Apache-2.0 */
/* Checked access to JSON of foreign origin; see place.h. */
#include "snapshot/place.h"

#include <math.h>
#include <string.h>

enum base_status snapshot_place_refuse(const struct snapshot_place *place,
                                       const char *key, const char *what)
{
    return base_fail(place->error, BASE_CORRUPT, "%s%s%s: %s", place->path,
                     *place->path ? "." : "", key, what);
}

enum base_status snapshot_place_integer(const struct snapshot_place *place,
                                        const char *key, uint64_t min,
                                        uint64_t max, uint64_t *value)
{
    const json_t *json = json_object_get(place->json, key);
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        return snapshot_place_refuse(place, key,
                                     "must be a whole number, not negative");
    *value = (uint64_t)json_integer_value(json);
    if (*value < min || *value > max)
        return snapshot_place_refuse(place, key, "is out of range");
    return BASE_OK;
}

enum base_status snapshot_place_u16(const struct snapshot_place *place,
                                    const char *key, uint64_t min, uint64_t max,
                                    uint16_t *value)
{
    uint64_t wide = 0;
    enum base_status status =
        snapshot_place_integer(place, key, min, max, &wide);
    if (!status)
        *value = (uint16_t)wide;
    return status;
}

enum base_status snapshot_place_ms(const struct snapshot_place *place,
                                   const char *key, int64_t *value)
{
    const json_t *json = json_object_get(place->json, key);
    if (!json_is_integer(json))
        return snapshot_place_refuse(place, key,
                                     "must be a whole number of milliseconds");
    *value = json_integer_value(json);
    return BASE_OK;
}

enum base_status snapshot_place_text(const struct snapshot_place *place,
                                     const char *key, char *text, size_t size)
{
    const json_t *json = json_object_get(place->json, key);
    size_t length = json_string_length(json);
    if (!json_is_string(json) || length == 0 || length >= size)
        return snapshot_place_refuse(place, key,
                                     "must be a text that is not too long");
    memcpy(text, json_string_value(json), length + 1);
    return BASE_OK;
}

enum base_status snapshot_place_u64(const struct snapshot_place *place,
                                    const char *key, uint64_t *value)
{
    const json_t *json = json_object_get(place->json, key);
    if (!json_is_string(json) ||
        !snapshot_u64_scan(json_string_value(json), json_string_length(json),
                           value))
        return snapshot_place_refuse(place, key, "must be 16 hex digits");
    return BASE_OK;
}

enum base_status snapshot_place_hash(const struct snapshot_place *place,
                                     const char *key,
                                     struct snapshot_hash *hash)
{
    const json_t *json = json_object_get(place->json, key);
    if (!json_is_string(json) ||
        !snapshot_hash_scan(json_string_value(json), json_string_length(json),
                            hash))
        return snapshot_place_refuse(place, key, "must be 32 hex digits");
    return BASE_OK;
}

/* null is "undefined": not a number. */
enum base_status snapshot_place_metric(const struct snapshot_place *place,
                                       const char *key, double *value)
{
    const json_t *json = json_object_get(place->json, key);
    if (!json_is_number(json) && !json_is_null(json))
        return snapshot_place_refuse(place, key, "must be a number or null");
    *value = json_is_null(json) ? (double)NAN : json_number_value(json);
    return BASE_OK;
}

enum base_status snapshot_place_list(const struct snapshot_place *place,
                                     const char *key, size_t min, size_t max,
                                     const json_t **list)
{
    *list = json_object_get(place->json, key);
    if (!json_is_array(*list))
        return snapshot_place_refuse(place, key, "must be a list");
    if (json_array_size(*list) < min || json_array_size(*list) > max)
        return snapshot_place_refuse(place, key,
                                     "has a length that is not allowed");
    return BASE_OK;
}

enum base_status snapshot_place_object(const struct snapshot_place *place,
                                       const char *key,
                                       struct snapshot_place *inner)
{
    *inner = (struct snapshot_place){json_object_get(place->json, key), key,
                                     place->error};
    if (!json_is_object(inner->json))
        return snapshot_place_refuse(place, key, "must be an object");
    return BASE_OK;
}

struct snapshot_place snapshot_place_element(const struct snapshot_place *place,
                                             const char *key,
                                             const json_t *list, size_t index)
{
    return (struct snapshot_place){json_array_get(list, index), key,
                                   place->error};
}

/* Index of the text at `key` in a list of words that ends with NULL. */
enum base_status snapshot_place_word(const struct snapshot_place *place,
                                     const char *key, const char *const *words,
                                     unsigned *value)
{
    char text[32];
    enum base_status status =
        snapshot_place_text(place, key, text, sizeof text);
    if (status)
        return status;
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0) {
            *value = i;
            return BASE_OK;
        }
    }
    return snapshot_place_refuse(place, key,
                                 "is a word that this program does not know");
}
