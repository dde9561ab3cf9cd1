/* SPDX-License-Identifier: Apache-2.0 */
/* The file PINNED of a model folder: names of versions, one a line, that
 * retention leaves alone with all that is needed to load them. Replaced as a
 * whole. Any thread or process; who writes last wins. */
#ifndef SNAPSHOT_PINS_H
#define SNAPSHOT_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { SNAPSHOT_PINS_MAX = 256 };

struct snapshot_pins {
    unsigned count;
    struct {
        uint64_t epoch, version;
    } pin[SNAPSHOT_PINS_MAX];
};

/* None where there is no such file. BASE_CORRUPT names a bad line. */
enum base_status snapshot_pins_read(const char *folder,
                                    struct snapshot_pins *pins,
                                    struct base_error *error) BASE_MUST_CHECK;
enum base_status snapshot_pins_write(const char *folder,
                                     const struct snapshot_pins *pins,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Place of the version, or -1. */
int snapshot_pins_find(const struct snapshot_pins *pins, uint64_t epoch,
                       uint64_t version);

#endif
