/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks; see clock.h. */
#include "base/clock.h"

#include <time.h>

static int64_t microseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t base_wall_ms(void)
{
    return microseconds(CLOCK_REALTIME) / 1000;
}

int64_t base_monotonic_us(void)
{
    return microseconds(CLOCK_MONOTONIC);
}

int64_t base_monotonic_ms(void)
{
    return base_monotonic_us() / 1000;
}
