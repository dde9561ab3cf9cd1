/* SPDX-License-Identifier: Apache-2.0 */
/* The simulation: reproducible, clicks drawn with the reported probability,
 * and a ceiling that equals the expected AUC counted pair by pair. */
#include "daemon/simulation.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"

static struct simulation *make(uint64_t seed)
{
    struct simulation_config config;
    struct simulation *simulation = NULL;
    struct base_error error;
    simulation_config_default(&config);
    config.seed = seed;
    assert_int_equal(simulation_new(&config, &simulation, &error), BASE_OK);
    return simulation;
}

static void test_reproducible(void **state)
{
    (void)state;
    struct simulation *a = make(7), *b = make(7), *other = make(8);
    unsigned differences = 0;
    for (int page = 0; page < 500; page++) {
        struct simulation_impression x[SIMULATION_PAGE], y[SIMULATION_PAGE],
            z[SIMULATION_PAGE];
        memset(x, 0, sizeof x);
        memset(y, 0, sizeof y);
        memset(z, 0, sizeof z);
        simulation_page(a, 1000 + page, x);
        simulation_page(b, 1000 + page, y);
        simulation_page(other, 1000 + page, z);
        assert_memory_equal(x, y, sizeof x);
        differences += memcmp(x, z, sizeof x) != 0;
    }
    assert_true(differences > 490);
    simulation_free(a);
    simulation_free(b);
    simulation_free(other);
}

static void test_ranges(void **state)
{
    (void)state;
    struct simulation_config config;
    struct simulation *simulation = make(1);
    simulation_config_default(&config);
    for (int page = 0; page < 2000; page++) {
        struct simulation_impression shown[SIMULATION_PAGE];
        simulation_page(simulation, 1700000000000 + page, shown);
        for (int i = 0; i < SIMULATION_PAGE; i++) {
            assert_true(shown[i].user == shown[0].user);
            assert_true(shown[i].user < config.users);
            assert_true(shown[i].goods < config.goods);
            assert_true(shown[i].shop < config.shops);
            assert_true(shown[i].cate < config.cates);
            assert_in_range(shown[i].pid, 1, SIMULATION_PAGE);
            assert_in_range(shown[i].age_level, 1, 6);
            assert_true(shown[i].gender <= 1);
            assert_true(shown[i].probability > 0 && shown[i].probability < 1);
            assert_in_range(shown[i].delay_ms, 1, SIMULATION_DELAY_MAX_MS);
        }
    }
    simulation_free(simulation);
}

/* By tenths of probability, clicks are as many as expected, within 5 sigma. */
static void test_clicks_have_their_probability(void **state)
{
    (void)state;
    double expected[10] = {0}, variance[10] = {0}, clicks[10] = {0};
    struct simulation *simulation = make(3);
    for (int page = 0; page < 40000; page++) {
        struct simulation_impression shown[SIMULATION_PAGE];
        simulation_page(simulation, 1700000000000 + page, shown);
        for (int i = 0; i < SIMULATION_PAGE; i++) {
            double p = shown[i].probability;
            int bin = (int)(p * 10);
            expected[bin] += p;
            variance[bin] += p * (1 - p);
            clicks[bin] += shown[i].clicked;
        }
    }
    for (int bin = 0; bin < 10; bin++)
        assert_true(fabs(clicks[bin] - expected[bin]) <=
                    5 * sqrt(variance[bin]) + 1);
    assert_true(expected[0] > 100 && expected[7] > 100);
    simulation_free(simulation);
}

static void test_ceiling_is_the_sum_over_pairs(void **state)
{
    (void)state;
    enum { N = 400 };
    static struct simulation_ceiling ceiling;
    double p[N], won = 0, pairs = 0;
    simulation_ceiling_reset(&ceiling);
    assert_true(isnan(simulation_ceiling_auc(&ceiling)));
    for (int i = 0; i < N; i++) {
        /* Centres of bins, some of them equal. */
        uint64_t bin = base_random_below(base_random_u64(5, 1, (uint64_t)i, 0),
                                         SIMULATION_CEILING_BINS / 32);
        p[i] = ((double)bin * 32 + 0.5) / SIMULATION_CEILING_BINS;
        simulation_ceiling_add(&ceiling, p[i]);
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double weight = p[i] * (1 - p[j]);
            won += weight * (p[i] > p[j] ? 1 : p[i] == p[j] ? 0.5 : 0);
            pairs += weight;
        }
    assert_int_equal(ceiling.samples, N);
    assert_true(fabs(simulation_ceiling_auc(&ceiling) - won / pairs) < 1e-12);
}

static void test_ceiling_of_extremes(void **state)
{
    (void)state;
    static struct simulation_ceiling ceiling;
    simulation_ceiling_reset(&ceiling);
    simulation_ceiling_add(&ceiling, 0.0);
    simulation_ceiling_add(&ceiling, 1.0);
    assert_true(simulation_ceiling_auc(&ceiling) == 1.0);
    simulation_ceiling_reset(&ceiling);
    for (int i = 0; i < 10; i++)
        simulation_ceiling_add(&ceiling, 0.3);
    assert_true(simulation_ceiling_auc(&ceiling) == 0.5);
}

static void test_bad_sizes(void **state)
{
    (void)state;
    struct base_error error;
    struct simulation *simulation;
    struct simulation_config config;
    simulation_config_default(&config);
    config.cates = config.goods + 1;
    assert_int_equal(simulation_new(&config, &simulation, &error), BASE_USAGE);
    simulation_config_default(&config);
    config.users = 0;
    assert_int_equal(simulation_new(&config, &simulation, &error), BASE_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_clicks_have_their_probability),
        cmocka_unit_test(test_ceiling_is_the_sum_over_pairs),
        cmocka_unit_test(test_ceiling_of_extremes),
        cmocka_unit_test(test_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
