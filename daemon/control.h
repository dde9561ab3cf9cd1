/* SPDX-License-Identifier: Apache-2.0 */
/* POST /control/{pause,resume,checkpoint,publish,forget,rollback}: who may,
 * what is asked, the answer in JSON.
 *
 * 1. Without a token in the configuration every control is refused; the
 *    token is compared in a time that does not depend on where it differs.
 * 2. The right to ask is judged before what is asked, whose bytes are foreign:
 *    a body is empty or one JSON object of at most DAEMON_CONTROL_BODY_MAX
 *    bytes; unknown arguments and keys are refused.
 * 3. Nothing here waits: an action is started, /status tells its outcome.
 * Knows no HTTP library. Role loop. */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DAEMON_CONTROL_BODY_MAX = 4096, DAEMON_CONTROL_ANSWER_MAX = 512 };

struct learner_forget;
struct ingest_config;

struct daemon_control_hooks {
    void *self;
    const struct ingest_config *ingest; /* BORROWS: how users are named */
    void (*pause)(void *self, bool paused);
    void (*checkpoint)(void *self);
    /* False: there is no model that could be published. */
    bool (*publish)(void *self, bool force);
    /* Number of the request. */
    uint64_t (*forget)(void *self, const struct learner_forget *forgets,
                       unsigned count, bool purge);
    /* Number of the request; 0: one is under way. */
    uint64_t (*rollback)(void *self, const char *version, bool learner);
};

/* All texts BORROW and come from the client. */
struct daemon_control_request {
    const char *name;          /* behind "/control/" */
    const char *authorization; /* the header, NULL: none */
    const char *force;         /* argument of that name, NULL: none */
    unsigned arguments;        /* how many in all */
    const char *body;
    size_t body_size; /* more than DAEMON_CONTROL_BODY_MAX: not all there */
};

struct daemon_control_answer {
    unsigned code; /* of HTTP: 200, 202, 400, 401, 403, 404, 409, 413 */
    char text[DAEMON_CONTROL_ANSWER_MAX]; /* a JSON object and a line end */
};

/* `token` "": controls are off. `hooks` NULL: likewise. */
void daemon_control_answer(const struct daemon_control_hooks *hooks,
                           const char *token,
                           const struct daemon_control_request *request,
                           struct daemon_control_answer *answer);

#endif
