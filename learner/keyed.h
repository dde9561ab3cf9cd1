/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in the order of their keys: a radix sort, byte by byte, that leaves out
 * bytes in which all keys agree. Any thread. */
#ifndef LEARNER_KEYED_H
#define LEARNER_KEYED_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct learner_keyed {
    uint64_t key;
    const void *row; /* BORROWS */
};

/* Sorts (n) in place of *keyed, which may become another block: of malloc, as
 * it came. BASE_SYSTEM without memory for a second one. */
enum base_status learner_keyed_sort(struct learner_keyed **keyed, size_t n,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
