/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks: wall clock for event time, monotonic for intervals. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds since 1970-01-01 UTC. */
int64_t base_wall_ms(void);
/* Microseconds and milliseconds of CLOCK_MONOTONIC. */
int64_t base_monotonic_us(void);
int64_t base_monotonic_ms(void);

#endif
