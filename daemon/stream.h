/* SPDX-License-Identifier: Apache-2.0 */
/* What a ranker must know of the stream that a model was trained on: the
 * `stream` object of a manifest (schemas/snapshot.md, section 2). */
#ifndef DAEMON_STREAM_H
#define DAEMON_STREAM_H

#include "ingest/ingest.h"

/* OWNS a JSON object; NULL without memory. Any thread. */
char *daemon_stream_json(const struct ingest_config *config);

#endif
