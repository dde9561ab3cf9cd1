/* SPDX-License-Identifier: Apache-2.0 */
/* The history that the page draws: one record every DAEMON_HISTORY_STEP_MS in
 * a ring of DAEMON_HISTORY_RECORDS, more than a day, which survives a restart
 * in <state>/history.ring.
 *
 * The file, format 1, native byte order of the machine, fixed size:
 *   record i (0 .. RECORDS - 1) at byte i * 512: struct daemon_history_record
 * A record counts where its `check` is right; which one is the newest says its
 * time. To change the record: raise FORMAT in history.c, which is part of the
 * check, so that older records are passed over and the history starts anew.
 *
 * 1. The ring in memory is the loop's; the file is written by a thread of its
 *    own, which is handed copies: a slow disk delays nothing and a full one
 *    loses history, which is said once, and nothing else.
 * 2. No promise hangs on it: it is not synced, a torn record is passed over.
 * Role loop, where nothing else is said. */
#ifndef DAEMON_HISTORY_H
#define DAEMON_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/status.h"

enum {
    DAEMON_HISTORY_STEP_MS = 10000,
    DAEMON_HISTORY_RECORDS = 8704, /* a day and ten minutes */
    DAEMON_HISTORY_POINTS = 480    /* at most, in an answer */
};

struct daemon_history_model {
    uint32_t name; /* its hash; 0: no model */
    float auc, user_auc, log_loss, calibration, rela_impr; /* NaN: undefined */
};

/* Counters as they stand, for rates are differences. */
struct daemon_history_record {
    uint64_t check;
    int64_t at_ms; /* wall clock; 0: empty */
    uint64_t events, position;
    int64_t lag_records;      /* -1: unknown */
    int64_t published_age_ms; /* of the newest published sample; -1: none */
    uint32_t fresh[DAEMON_FRESH_BUCKETS];
    struct daemon_history_model model[DAEMON_MODELS_MAX];
};

struct daemon_history;

/* Reads what `<folder>/history.ring` holds; makes it where it is not there. A
 * file that cannot be used is said in the log, the history is then kept in
 * memory only. NULL where memory is refused. */
struct daemon_history *daemon_history_open(const char *folder);
void daemon_history_add(struct daemon_history *history,
                        const struct daemon_status *status);
/* The last `minutes` as a JSON object of columns, with at most
 * DAEMON_HISTORY_POINTS places; of the models that run now. NULL where memory
 * is refused; free() it. */
char *daemon_history_json(const struct daemon_history *history,
                          const struct daemon_status *status, unsigned minutes);
/* Waits for the record that is being written. Takes NULL. */
void daemon_history_close(struct daemon_history *history);

/* ---- for history_json.c ---- */

/* The `back`-th newest place, 0 the newest, below DAEMON_HISTORY_RECORDS; it
 * may be empty. */
const struct daemon_history_record *
daemon_history_get(const struct daemon_history *history, unsigned back);
uint32_t daemon_history_name(const char *name);

#endif
