/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated shoppers; see simulation.h.
 *
 * A click's log-odds: a base, a large part for a category that the user is
 * interested in, a part for the interest's own shop, the goods' quality,
 * tastes of gender and age by category, the position on the page, and a
 * category's ebb and flow over the hours of the day. */
#include "daemon/simulation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

enum { INTERESTS = 2, GENDERS = 2, AGES = 6, CATES_MAX = 256 };

/* Purposes of the random numbers. */
enum {
    OF_CATALOGUE = 1,
    OF_TASTE,
    OF_USER,
    OF_VISITOR,
    OF_PAGE,
    OF_CLICK,
};

static const double BASE_ODDS = -3.3, INTEREST_ODDS = 3.2, SHOP_ODDS = 0.7,
                    QUALITY_ODDS = 1.0, TASTE_ODDS = 0.5, HOUR_ODDS = 0.2;
/* This much of a page is chosen for the user, as by a retrieval stage. */
static const double CHOSEN_SHARE = 0.4;

struct goods {
    uint32_t shop, cate;
    float quality;
};

struct interest {
    uint32_t cate, shop;
};

struct user {
    uint8_t gender, age_level;
    uint64_t pages;
    struct interest interests[INTERESTS];
};

struct simulation {
    struct simulation_config config;
    struct goods *goods;
    struct user *users;
    float *taste;        /* (GENDERS + AGES, cates) */
    uint32_t *order;     /* goods sorted by category */
    uint32_t *cate_from; /* (cates + 1) into order */
    uint64_t pages;
};

void simulation_config_default(struct simulation_config *config)
{
    *config = (struct simulation_config){.users = 600,
                                         .goods = 240,
                                         .shops = 30,
                                         .cates = 10,
                                         .drift_pages = 400,
                                         .seed = 1};
}

static double unit(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

static double draw_unit(const struct simulation *s, unsigned purpose,
                        uint64_t position, uint64_t draw)
{
    return unit(base_random_u64(s->config.seed, purpose, position, draw));
}

static uint32_t draw_below(const struct simulation *s, unsigned purpose,
                           uint64_t position, uint64_t draw, uint32_t n)
{
    return (uint32_t)base_random_below(
        base_random_u64(s->config.seed, purpose, position, draw), n);
}

/* Nearly normal, variance 1: the sum of twelve uniforms. */
static double draw_normal(const struct simulation *s, unsigned purpose,
                          uint64_t position)
{
    double sum = -6;
    for (unsigned i = 0; i < 12; i++)
        sum += draw_unit(s, purpose, position, 100 + i);
    return sum;
}

/* Counting sort of goods by category, for draws within one. */
static void sort_goods(struct simulation *s)
{
    uint32_t cates = s->config.cates, at[CATES_MAX];
    memset(s->cate_from, 0, (cates + 1) * sizeof *s->cate_from);
    for (uint32_t g = 0; g < s->config.goods; g++)
        s->cate_from[s->goods[g].cate + 1]++;
    for (uint32_t c = 0; c < cates; c++)
        s->cate_from[c + 1] += s->cate_from[c];
    memcpy(at, s->cate_from, cates * sizeof *at);
    for (uint32_t g = 0; g < s->config.goods; g++)
        s->order[at[s->goods[g].cate]++] = g;
}

/* A goods' category follows from its shop mostly: a shop deals in three. */
static void make_catalogue(struct simulation *s)
{
    for (uint32_t g = 0; g < s->config.goods; g++) {
        struct goods *goods = &s->goods[g];
        uint32_t kind = draw_below(s, OF_CATALOGUE, g, 1, 3);
        goods->shop = draw_below(s, OF_CATALOGUE, g, 0, s->config.shops);
        /* Every category has goods: the first ones are dealt out. */
        goods->cate = g < s->config.cates
                          ? g
                          : (goods->shop * 3 + kind * 5) % s->config.cates;
        goods->quality =
            (float)(QUALITY_ODDS * draw_normal(s, OF_CATALOGUE, g));
    }
    sort_goods(s);
    for (uint32_t i = 0; i < (GENDERS + AGES) * s->config.cates; i++)
        s->taste[i] = (float)(TASTE_ODDS * draw_normal(s, OF_TASTE, i));
}

static void pick_interest(struct simulation *s, uint32_t user, unsigned slot)
{
    struct user *u = &s->users[user];
    uint64_t draw = (u->pages << 8) + slot * 16;
    uint32_t cate = draw_below(s, OF_USER, user, draw, s->config.cates);
    uint32_t from = s->cate_from[cate], count = s->cate_from[cate + 1] - from;
    uint32_t liked = draw_below(s, OF_USER, user, draw + 1, count);
    u->interests[slot].cate = cate;
    u->interests[slot].shop = s->goods[s->order[from + liked]].shop;
}

static void make_users(struct simulation *s)
{
    for (uint32_t i = 0; i < s->config.users; i++) {
        struct user *user = &s->users[i];
        user->gender = (uint8_t)draw_below(s, OF_USER, i, 200, GENDERS);
        user->age_level = (uint8_t)(1 + draw_below(s, OF_USER, i, 201, AGES));
        for (unsigned k = 0; k < INTERESTS; k++)
            pick_interest(s, i, k);
    }
}

enum base_status simulation_new(const struct simulation_config *config,
                                struct simulation **simulation,
                                struct base_error *error)
{
    if (!config->users || !config->shops || !config->cates ||
        config->cates > CATES_MAX || config->goods < config->cates ||
        !config->drift_pages)
        return base_fail(error, BASE_USAGE,
                         "simulation: users, shops and drift must be at least "
                         "1, goods at least the categories (1 to %d)",
                         CATES_MAX);
    struct simulation *s = calloc(1, sizeof *s);
    *simulation = s;
    if (!s)
        return base_fail(error, BASE_SYSTEM, "simulation: no memory");
    s->config = *config;
    s->goods = calloc(config->goods, sizeof *s->goods);
    s->users = calloc(config->users, sizeof *s->users);
    s->order = calloc(config->goods, sizeof *s->order);
    s->cate_from = calloc(config->cates + 1, sizeof *s->cate_from);
    s->taste = calloc((GENDERS + AGES) * config->cates, sizeof *s->taste);
    if (!s->goods || !s->users || !s->order || !s->cate_from || !s->taste) {
        simulation_free(s);
        *simulation = NULL;
        return base_fail(error, BASE_SYSTEM, "simulation: no memory");
    }
    make_catalogue(s);
    make_users(s);
    return BASE_OK;
}

void simulation_free(struct simulation *s)
{
    if (!s)
        return;
    free(s->goods);
    free(s->users);
    free(s->order);
    free(s->cate_from);
    free(s->taste);
    free(s);
}

/* Probability of a click, the model that a learner has to find. */
static double probability(const struct simulation *s, const struct user *user,
                          const struct simulation_impression *shown,
                          int64_t event_ms)
{
    const struct goods *goods = &s->goods[shown->goods];
    uint32_t cates = s->config.cates;
    double odds = BASE_ODDS + goods->quality;
    double best = 0;
    for (unsigned k = 0; k < INTERESTS; k++) {
        const struct interest *interest = &user->interests[k];
        double match = (interest->cate == goods->cate ? INTEREST_ODDS : 0) +
                       (interest->shop == goods->shop ? SHOP_ODDS : 0);
        best = match > best ? match : best;
    }
    odds += best;
    odds += s->taste[user->gender * cates + goods->cate];
    odds += s->taste[(GENDERS + user->age_level - 1u) * cates + goods->cate];
    odds += 0.2 * (3 - shown->pid);
    double hour = (double)(event_ms % 86400000) / 3600e3;
    odds += HOUR_ODDS * sin(6.283185307 * (hour / 24 + goods->cate / 7.0));
    return 1 / (1 + exp(-odds));
}

static uint32_t pick_goods(const struct simulation *s, const struct user *user,
                           uint64_t page, unsigned slot)
{
    uint64_t draw = slot * 8;
    if (draw_unit(s, OF_PAGE, page, draw) >= CHOSEN_SHARE)
        return draw_below(s, OF_PAGE, page, draw + 1, s->config.goods);
    uint32_t k = draw_below(s, OF_PAGE, page, draw + 2, INTERESTS);
    uint32_t cate = user->interests[k].cate;
    uint32_t from = s->cate_from[cate], count = s->cate_from[cate + 1] - from;
    return s->order[from + draw_below(s, OF_PAGE, page, draw + 3, count)];
}

void simulation_page(struct simulation *s, int64_t event_ms,
                     struct simulation_impression page[SIMULATION_PAGE])
{
    uint64_t number = s->pages++;
    uint32_t who = draw_below(s, OF_VISITOR, number, 0, s->config.users);
    struct user *user = &s->users[who];
    user->pages++;
    for (unsigned k = 0; k < INTERESTS; k++)
        if (draw_below(s, OF_VISITOR, number, 1 + k, s->config.drift_pages) ==
            0)
            pick_interest(s, who, k);
    for (unsigned i = 0; i < SIMULATION_PAGE; i++) {
        struct simulation_impression *shown = &page[i];
        shown->user = who;
        shown->goods = pick_goods(s, user, number, i);
        shown->shop = s->goods[shown->goods].shop;
        shown->cate = s->goods[shown->goods].cate;
        shown->gender = user->gender;
        shown->age_level = user->age_level;
        shown->pid = (uint8_t)(i + 1);
        shown->probability = probability(s, user, shown, event_ms);
        shown->clicked =
            draw_unit(s, OF_CLICK, number, i * 2) < shown->probability;
        shown->delay_ms = 100 + draw_below(s, OF_CLICK, number, i * 2 + 1,
                                           SIMULATION_DELAY_MAX_MS - 100);
    }
}

void simulation_ceiling_reset(struct simulation_ceiling *ceiling)
{
    memset(ceiling, 0, sizeof *ceiling);
}

void simulation_ceiling_add(struct simulation_ceiling *ceiling, double p)
{
    unsigned bin = (unsigned)(p * SIMULATION_CEILING_BINS);
    if (bin >= SIMULATION_CEILING_BINS)
        bin = SIMULATION_CEILING_BINS - 1;
    ceiling->samples++;
    ceiling->positive[bin] += p;
    ceiling->negative[bin] += 1 - p;
}

double simulation_ceiling_auc(const struct simulation_ceiling *ceiling)
{
    double below = 0, won = 0, positives = 0;
    for (unsigned i = 0; i < SIMULATION_CEILING_BINS; i++) {
        won += ceiling->positive[i] * (below + 0.5 * ceiling->negative[i]);
        below += ceiling->negative[i];
        positives += ceiling->positive[i];
    }
    return positives > 0 && below > 0 ? won / (positives * below) : NAN;
}
