/* SPDX-License-Identifier: Apache-2.0 */
/* The running daemon of a configuration, as its commands talk to it: found by
 * <state>/http.port, asked over HTTP on the loopback or http.listen, controls
 * with the token of http.token. One thread. */
#ifndef DAEMON_CLIENT_H
#define DAEMON_CLIENT_H

#include <stddef.h>

#include "base/status.h"
#include "daemon/config.h"

struct daemon_reply {
    long code; /* of HTTP; 0: none came */
    size_t size;
    char *text; /* OWNS; with a NUL */
};
void daemon_client_free(struct daemon_reply *reply);

/* POST /control/<path> with a JSON body, or "". BASE_OK for an answer 2xx,
 * whose text has no line end; else a status after its code, with what the
 * daemon said. BASE_UNAVAILABLE where none answers. *reply is freed by the
 * caller in any case. */
enum base_status daemon_client_control(const struct daemon_config *config,
                                       const char *path, const char *body,
                                       struct daemon_reply *reply,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* GET /<path>. */
enum base_status daemon_client_get(const struct daemon_config *config,
                                   const char *path, struct daemon_reply *reply,
                                   struct base_error *error) BASE_MUST_CHECK;

#endif
