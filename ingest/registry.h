/* SPDX-License-Identifier: Apache-2.0 */
/* The schema registry's client (Confluent's HTTP API, which Apicurio and
 * Karapace speak too): fetches writers' schemas by id into a folder of
 * <id>.avsc, which is the cache: an id never changes its schema, so what is
 * there is never asked for again, and a daemon whose registry is away goes on
 * with what it has. An operator may put files there by hand.
 *
 * 1. ask() never blocks; one thread of the client's own talks HTTP, one
 *    request at a time, at most RATE a second, whatever ids arrive.
 * 2. An id is ABSENT where the registry itself said so: three times, for it
 *    may be a moment behind the producer, but once for an id far above all
 *    that are known, or while there is a flood of such ids. In a flood an id
 *    far above is ABSENT at once, and asked for behind all others.
 * 3. Trouble leaves an id WANTED, asked again after 1 s, 2 s .. 60 s. Where it
 *    is the registry's (down, slow, 429, 500) nothing is asked meanwhile.
 * 4. What is remembered is bounded by INGEST_REGISTRY_IDS_MAX ids.
 *
 * Does not parse Avro, beyond what is said by the answer's own JSON. */
#ifndef INGEST_REGISTRY_H
#define INGEST_REGISTRY_H

#include <stdint.h>

#include "base/status.h"

enum { INGEST_REGISTRY_IDS_MAX = 4096 };

struct ingest_registry_config {
    const char *url;      /* "http://host:8081/base": "/schemas/ids/7" is put
                             behind it; BORROWS until the free, as all here */
    const char *user;     /* basic authentication; "" for none */
    const char *password;
    const char *folder;   /* made where missing */
    int event_fd;         /* written when an answer came; -1: none */
    unsigned timeout_ms;  /* of a request; 0: 10 s */
};

enum ingest_registry_state {
    INGEST_REGISTRY_WANTED, /* being asked for */
    INGEST_REGISTRY_READY,  /* <folder>/<id>.avsc is there */
    INGEST_REGISTRY_ABSENT, /* the registry does not know it; asked again,
                               behind those WANTED, while records name it */
    INGEST_REGISTRY_FOREIGN /* it is no Avro schema, or refers to others */
};

struct ingest_registry_status {
    uint64_t requests, failures; /* HTTP requests, and those without answer */
    unsigned wanted;             /* ids being asked for */
    char trouble[200];           /* the last failure, "" after an answer */
};

struct ingest_registry;

/* BASE_CONFIG where the URL is none, or holds a password; which is not said. */
enum base_status ingest_registry_check_url(const char *url,
                                           struct base_error *error)
    BASE_MUST_CHECK;
/* Connects nowhere yet. BASE_CONFIG as above. */
enum base_status
ingest_registry_new(const struct ingest_registry_config *config,
                    struct ingest_registry **registry,
                    struct base_error *error) BASE_MUST_CHECK;
/* Ends a request under way. */
void ingest_registry_free(struct ingest_registry *registry);

/* Any thread. */
enum ingest_registry_state ingest_registry_ask(struct ingest_registry *registry,
                                               uint32_t id);
void ingest_registry_get_status(struct ingest_registry *registry,
                                struct ingest_registry_status *status);

#endif
