/* SPDX-License-Identifier: Apache-2.0 */
/* Single-producer single-consumer ring of pointers; a push hands ownership
 * over. Blocking waits sleep on a futex-backed condition with a time-out; a
 * closed ring wakes both sides. Exactly one pushing and one popping thread. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct base_ring;

/* `capacity` is rounded up to a power of two. */
enum base_status base_ring_new(struct base_ring **ring, size_t capacity,
                               struct base_error *error) BASE_MUST_CHECK;
/* Items still inside are the caller's to drain first. */
void base_ring_free(struct base_ring *ring);

/* TAKES `item` (not NULL) and returns true; false when still full after
 * timeout_ms (0: at once, -1: no limit) or when the ring is closed. */
bool base_ring_push(struct base_ring *ring, void *item, int timeout_ms)
    BASE_MUST_CHECK;

/* The oldest item, or NULL when still empty after timeout_ms, or when closed
 * and empty. */
void *base_ring_pop(struct base_ring *ring, int timeout_ms);

size_t base_ring_size(const struct base_ring *ring);
/* No push succeeds afterwards; what is inside can still be popped. Any
 * thread. */
void base_ring_close(struct base_ring *ring);
bool base_ring_closed(const struct base_ring *ring);

#endif
