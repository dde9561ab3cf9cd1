/* SPDX-License-Identifier: Apache-2.0 */
/* A schema registry of the tests' own on a free port of 127.0.0.1: answers
 * right, wrongly, hugely or not at all, one connection a request, on a thread
 * of its own. By id: below 100 the schema set, 1xx unknown, 2xx garbage, 3xx
 * huge, 4xx foreign, 5xx an answer cut short. Its URL's path is /registry. */
#ifndef TESTS_INGEST_REGISTRY_SERVER_H
#define TESTS_INGEST_REGISTRY_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct registry_server {
    int listener;
    uint16_t port;
    pthread_t thread;
    atomic_bool ending;
    atomic_uint requests;
    atomic_bool broken; /* all ids answer 500 */
    atomic_bool busy;   /* all ids answer 429, come back in 2 s */
    atomic_bool slow;   /* no answer while it is so */
    char body[8000]; /* of the answer to ids below 100 */
};

void registry_server_start(struct registry_server *server, const char *schema);
void registry_server_stop(struct registry_server *server);

#endif
