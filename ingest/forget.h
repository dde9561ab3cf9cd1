/* SPDX-License-Identifier: Apache-2.0 */
/* Users that are forgotten (STATE g), in the state: within one transaction
 *   their sequences go,
 *   what waits of them leaves for bucket `forgotten`, in fnw impressions, which
 *   are counted already, go without a final label,
 *   ids of theirs that are remembered go, so a repeated event is a new one,
 *   dead letters that hold their id go,
 *   each is a decision and a journal record, which the learner obeys.
 * A mark of nobody follows them (see below), and a record of how far it came:
 * the rest, checkpoints and versions, takes longer than a transaction and must
 * be finished after a kill.
 *
 * Meta database, key "forget", struct ingest_forget_status behind its XXH3-64;
 * it names no user. Thread: store. */
#ifndef INGEST_FORGET_H
#define INGEST_FORGET_H

#include "ingest/ingest.h"
#include "ingest/store.h"

enum { INGEST_FORGET_FORMAT = 1 };

/* As at first where there is none. Within a transaction. */
enum base_status ingest_forget_load(struct ingest_store *store,
                                    struct ingest_forget_status *status,
                                    struct base_error *error) BASE_MUST_CHECK;
/* The decision's text, and back; false where it is none. */
enum { INGEST_FORGET_TEXT = 24 + LEARNER_FORGET_ROWS * 24 };
void ingest_forget_print(const struct learner_forget *forget,
                         char text[INGEST_FORGET_TEXT]);
bool ingest_forget_parse(const char *text, struct learner_forget *forget);

#endif
