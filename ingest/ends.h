/* SPDX-License-Identifier: Apache-2.0 */
/* Asks brokers where partitions truly end, on a thread of its own, so that
 * the ingest thread never waits for an answer. One question at a time; an
 * answer carries the moment at which it was asked. */
#ifndef INGEST_ENDS_H
#define INGEST_ENDS_H

#include "ingest/kafka.h"

struct ingest_ends;

/* BORROWS handle (read uncommitted), config and positions for life;
 * event_fd is written when an answer came. */
enum base_status ingest_ends_new(rd_kafka_t *handle,
                                 const struct ingest_config *config,
                                 const struct ingest_position *positions,
                                 unsigned slots, int event_fd,
                                 struct ingest_ends **ends,
                                 struct base_error *error) BASE_MUST_CHECK;
/* Waits for an open question (bounded by its time-out of 6 s). */
void ingest_ends_free(struct ingest_ends *ends);

/* False where a question or an answer not taken yet is under way. */
bool ingest_ends_ask(struct ingest_ends *ends, const unsigned *slots,
                     unsigned count);

/* A finished question: slots and their ends (-1: unknown), BORROWED until
 * ingest_ends_done(). */
struct ingest_ends_answer {
    const unsigned *slots;
    const int64_t *ends;
    unsigned count;
    int64_t asked_ms;      /* monotonic */
    enum base_status status;
    struct base_error error; /* where status is not BASE_OK */
};
bool ingest_ends_answered(struct ingest_ends *ends,
                          struct ingest_ends_answer *answer);
void ingest_ends_done(struct ingest_ends *ends);

#endif
