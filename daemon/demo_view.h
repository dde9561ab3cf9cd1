/* SPDX-License-Identifier: Apache-2.0 */
/* What the demo knows, and how it is shown: one refreshing view on a
 * terminal, else a line a second, and one JSON object at the end. */
#ifndef DAEMON_DEMO_VIEW_H
#define DAEMON_DEMO_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { DEMO_WINDOWS = 256 };

/* One window of event time: what was learned beside what can be. */
struct demo_window {
    int64_t begin_ms;
    double auc, ceiling; /* not a number: not known (yet) */
};

struct demo_facts {
    uint64_t seconds_asked;
    double seconds; /* since the traffic began */
    const char *phase;
    /* producer */
    uint64_t produced;
    double ceiling_total;
    /* daemon */
    uint64_t events, samples, position, batch_end, journal_end;
    int64_t lag_records, unaccounted, pending, trained_age_ms;
    bool at_end;
    double events_per_second, samples_per_second;
    /* since the start; of the last learner.window_samples */
    double auc_total, auc_recent, log_loss, calibration;
    double rela_impr; /* of the newest 10 s, against the base model; percent */
    uint64_t published;
    /* ranker */
    uint64_t followed, version, refused;
    int64_t version_age_ms, latency_us;
    char version_name[64];
    unsigned window_count;
    struct demo_window windows[DEMO_WINDOWS];
};

/* Newest window of which both are known, or NULL. */
const struct demo_window *demo_best_window(const struct demo_facts *facts);
/* Sets one side of a window; the other keeps its value. */
void demo_set_window(struct demo_facts *facts, int64_t begin_ms,
                     const double *auc, const double *ceiling);

/* The newest window's AUC and ceiling; before there is one, those of all. */
void demo_result(const struct demo_facts *facts, double *auc, double *ceiling);

void demo_print_view(FILE *out, const struct demo_facts *facts, bool first);
void demo_print_line(FILE *out, const struct demo_facts *facts);
void demo_print_json(FILE *out, const struct demo_facts *facts);

#endif
