/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated shoppers: users with a few drifting interests look at pages of
 * goods and click with a known probability. Who has seen enough of a user's
 * clicks can guess the interests; who knows them has the best possible AUC,
 * which simulation_ceiling tells.
 *
 * Invariants: 1. all draws are counter-based: (seed, user, page) decide a page
 * whatever was drawn before for others; 2. a click is drawn with exactly the
 * probability that is reported. One thread. Knows no Kafka. */
#ifndef DAEMON_SIMULATION_H
#define DAEMON_SIMULATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
    SIMULATION_PAGE = 5, /* impressions of a page */
    SIMULATION_DELAY_MAX_MS = 1500,
};

struct simulation_config {
    uint32_t users, goods, shops, cates;
    uint32_t drift_pages; /* an interest lasts this many pages, on average */
    uint64_t seed;
};

void simulation_config_default(struct simulation_config *config);

struct simulation_impression {
    uint32_t user, goods, shop, cate;
    uint8_t gender, age_level, pid; /* 0..1, 1..6, 1..SIMULATION_PAGE */
    double probability;
    bool clicked;
    uint32_t delay_ms; /* from impression to click */
};

struct simulation;

enum base_status simulation_new(const struct simulation_config *config,
                                struct simulation **simulation,
                                struct base_error *error) BASE_MUST_CHECK;
void simulation_free(struct simulation *simulation);

/* The next page: some user's, at event_ms. */
void simulation_page(struct simulation *simulation, int64_t event_ms,
                     struct simulation_impression page[SIMULATION_PAGE]);

/* AUC of the true probability as score, in expectation over the labels:
 * sum of p(i) (1 - p(j)) [p(i) > p(j)] over pairs, ties count half, divided by
 * the sum of all p(i) (1 - p(j)). Bounded memory: probabilities within
 * 1/CEILING_BINS count as tied. */
enum { SIMULATION_CEILING_BINS = 8192 };
struct simulation_ceiling {
    uint64_t samples;
    double positive[SIMULATION_CEILING_BINS];
    double negative[SIMULATION_CEILING_BINS];
};
void simulation_ceiling_reset(struct simulation_ceiling *ceiling);
void simulation_ceiling_add(struct simulation_ceiling *ceiling,
                            double probability);
/* Not a number where it is not defined. */
double simulation_ceiling_auc(const struct simulation_ceiling *ceiling);

#endif
