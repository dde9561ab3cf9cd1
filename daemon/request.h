/* SPDX-License-Identifier: Apache-2.0 */
/* JSON ranking requests to ids:
 *   {"profile": {"gender": "f", ...}, "context": {"pid": "p1", ...},
 *    "behaviors": [{"goods": "g1", ...}, ...],   oldest first;
 *                  of more than 1024 the newest count
 *    "candidates": [{"goods": "g7", ...}, ...],
 *    "time_ms": 1763789000000}                   may be left out
 * Values are strings or integers, {"id": "<16 hex digits>"} where only the id
 * of a value is known, numbers where training puts them into
 * buckets, lists where a field takes several values (more than it takes are
 * ignored, as in training); a field that is left out is unknown, unless
 * training takes it from an event's time and time_ms is given; a name that the
 * model does not have is an error. Uses only libinterest. */
#ifndef DAEMON_REQUEST_H
#define DAEMON_REQUEST_H

#include "base/status.h"
#include "snapshot/interest.h"

struct rank_request {
    struct interest_request ids; /* its pointers are OWNED here */
    /* Their own texts, for printing; OWNED. */
    char **candidates, **behaviors;
};

/* Parses `text`; the errors name field and place. */
enum base_status rank_request_parse(const struct interest_model *model,
                                    const char *text, size_t size,
                                    struct rank_request *request,
                                    struct base_error *error) BASE_MUST_CHECK;
void rank_request_fini(struct rank_request *request);

#endif
