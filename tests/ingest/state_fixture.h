/* SPDX-License-Identifier: Apache-2.0 */
/* A state in a temporary folder, events to apply, and its dump as text. */
#ifndef TESTS_INGEST_STATE_FIXTURE_H
#define TESTS_INGEST_STATE_FIXTURE_H

#include "ingest/state.h"

enum { FIXTURE_FIELDS = 4, FIXTURE_PROFILE = 1, FIXTURE_ITEMS = 2 };

struct state_fixture {
    struct ingest_config config;
    struct ingest_state *state;
    struct base_error error;
    char folder[200];
};

/* Makes the folder and a configuration with small numbers; opens nothing. */
void state_fixture_init(struct state_fixture *fixture);
void state_fixture_open(struct state_fixture *fixture);
/* Ends like a kill: nothing is committed. */
void state_fixture_close(struct state_fixture *fixture);
void state_fixture_fini(struct state_fixture *fixture);

void state_fixture_begin(struct state_fixture *fixture);
void state_fixture_commit(struct state_fixture *fixture);
void state_fixture_start(struct state_fixture *fixture, unsigned partitions);
/* Applies; anything but BASE_OK fails the test with the text. */
void state_fixture_apply(struct state_fixture *fixture,
                         const struct ingest_event *event);
/* Committed state as text; the state must be closed. *text OWNS. */
char *state_fixture_dump(struct state_fixture *fixture,
                         enum ingest_inspect what);

/* A mixed id from a small number; never 0. */
uint64_t fixture_id(uint64_t number);

/* An event of partition 0 with own_ms = apply_ms = event_ms = ms, the
 * next offset, ids derived from `item`. */
struct fixture_event {
    struct ingest_event event;
    uint64_t ids[FIXTURE_FIELDS];
};
void fixture_impression(struct fixture_event *made, int64_t offset, int64_t ms,
                        uint64_t user, uint64_t impression, uint64_t item);
void fixture_click(struct fixture_event *made, int64_t offset, int64_t ms,
                   uint64_t user, uint64_t impression, uint64_t click,
                   uint64_t item);

#endif
