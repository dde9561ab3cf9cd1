/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in the order of their keys; see keyed.h. */
#include "learner/keyed.h"

#include <stdbool.h>
#include <stdlib.h>

/* One pass, by byte `byte` of the key; false where all keys have the same
 * there and nothing was moved. */
static bool sort_by_byte(const struct learner_keyed *from,
                         struct learner_keyed *to, size_t n, unsigned byte)
{
    size_t begin[257] = {0};
    for (size_t i = 0; i < n; i++)
        begin[(from[i].key >> 8 * byte & 255) + 1]++;
    for (unsigned i = 0; i < 256; i++) {
        if (begin[i + 1] == n)
            return false;
        begin[i + 1] += begin[i];
    }
    for (size_t i = 0; i < n; i++)
        to[begin[from[i].key >> 8 * byte & 255]++] = from[i];
    return true;
}

enum base_status learner_keyed_sort(struct learner_keyed **keyed, size_t n,
                                    struct base_error *error)
{
    struct learner_keyed *other = malloc((n + 1) * sizeof *other);
    if (!other)
        return base_fail(error, BASE_SYSTEM, "no memory to sort %zu rows", n);
    for (unsigned byte = 0; byte < 8; byte++)
        if (sort_by_byte(*keyed, other, n, byte)) {
            struct learner_keyed *sorted = other;
            other = *keyed;
            *keyed = sorted;
        }
    free(other);
    return BASE_OK;
}
