/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded decisions that came between two records: what an operator or a fault
 * did to the state (stops, skips, forgets). Where decisions are given, each is
 * repeated behind the record that it came behind, in the same transaction.
 *
 * A stop is repeated as what it did to what was waiting; where the partition
 * never went on, a rebuild reads what the log still holds. A skipped range is
 * passed over, also where the brokers still have it. The list is immutable once
 * read: any thread; applying: role store. */
#ifndef INGEST_REPEAT_H
#define INGEST_REPEAT_H

#include "ingest/event.h"
#include "ingest/state.h"

enum { INGEST_REPEAT_TEXT = 200 };

struct ingest_repeat {
    uint8_t kind;               /* enum ingest_decision_kind */
    struct ingest_event behind; /* order fields only */
    uint8_t topic;
    int32_t partition;
    int64_t from, to; /* of a skip */
    struct learner_forget forget;
    char text[INGEST_REPEAT_TEXT];
};

struct ingest_repeats {
    size_t count, room;
    struct ingest_repeat *items; /* OWNS; as they stand in the file */
};

/* A line of `inspect decisions`; `at` has its place and times, text and behind
 * are NULL where it has none. The text of what is wrong with it, or NULL. */
struct ingest_repeat_line {
    uint8_t kind;
    struct ingest_event at;
    const char *text, *behind;
};
const char *ingest_repeats_add(struct ingest_repeats *repeats,
                               const struct ingest_repeat_line *line);
void ingest_repeats_fini(struct ingest_repeats *repeats);

/* Whether the record lies in a range that was given up. */
bool ingest_repeats_passed(const struct ingest_repeats *repeats, uint8_t topic,
                           int32_t partition, int64_t offset);
/* How many of them a state has whose last applied record is this. */
size_t ingest_repeats_done(const struct ingest_repeats *repeats,
                           const struct ingest_event *last);
/* Does it again, within a begun transaction. */
enum base_status ingest_repeat_apply(const struct ingest_repeat *repeat,
                                     struct ingest_state *state,
                                     struct base_error *error) BASE_MUST_CHECK;

/* The place as `behind` has it, with a mark before it that no text holds; ""
 * where nothing was applied. */
enum { INGEST_BEHIND = '\n', INGEST_BEHIND_TEXT = 64 };
void ingest_repeat_place(const struct ingest_event *last,
                         char text[INGEST_BEHIND_TEXT]);

#endif
