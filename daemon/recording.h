/* SPDX-License-Identifier: Apache-2.0 */
/* A recording: an Avro container file of one topic's records, read in order.
 * libavro reads it; the files are the operator's own, not the network's.
 * One thread. */
#ifndef DAEMON_RECORDING_H
#define DAEMON_RECORDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/ingest.h"

struct recording;

/* One record; BORROWS until the next call on its recording. */
struct recording_record {
    const char *value; /* Avro binary, behind `frame` free bytes */
    size_t size;       /* with the frame */
    const char *user;  /* canonical text */
    size_t user_size;
    int64_t event_ms;
};

/* `frame` bytes are left free before each value, for a framing's header. */
enum base_status recording_open(const char *path,
                                const struct ingest_mapping *mapping,
                                size_t frame, struct recording **recording,
                                struct base_error *error) BASE_MUST_CHECK;
void recording_close(struct recording *recording);

/* BASE_NO_INPUT at the end of the file. */
enum base_status recording_next(struct recording *recording,
                                struct recording_record *record,
                                struct base_error *error) BASE_MUST_CHECK;
char *recording_frame(struct recording *recording); /* the free bytes */

#endif
