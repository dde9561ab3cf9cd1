/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd produce`: simulated traffic at a steady rate, with the best AUC
 * that any model could reach on it. Prints one JSON object a second and a
 * last one with "final": true. One thread; SIGINT and SIGTERM end it in
 * order, a second one at once. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"
#include "daemon/simulation.h"
#include "daemon/traffic.h"

enum { WINDOW_MS = 10000, TICK_MS = 5, CLOSE_MAX_MS = 10000 };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    if (stop_asked)
        _exit(1);
    stop_asked = 1;
}

/* Ceilings: of all, and of windows of event time aligned as the learner's. */
struct report {
    int64_t begin_ms; /* of the running window */
    int64_t closed_ms;
    double closed_auc;
    struct simulation_ceiling total, window;
};

struct production {
    struct daemon_config config;
    struct simulation_config simulation;
    uint64_t seconds, rate;
    struct report report;
    struct traffic *traffic;
};

static void count(struct report *report, int64_t event_ms,
                  const double probabilities[SIMULATION_PAGE])
{
    int64_t begin_ms = event_ms - event_ms % WINDOW_MS;
    if (report->begin_ms != begin_ms) {
        if (report->begin_ms) {
            report->closed_ms = report->begin_ms;
            report->closed_auc = simulation_ceiling_auc(&report->window);
        }
        report->begin_ms = begin_ms;
        simulation_ceiling_reset(&report->window);
    }
    for (unsigned i = 0; i < SIMULATION_PAGE; i++) {
        simulation_ceiling_add(&report->window, probabilities[i]);
        simulation_ceiling_add(&report->total, probabilities[i]);
    }
}

/* JSON knows no "not a number". */
static void print_number(const char *name, double value)
{
    if (isnan(value))
        printf(",\"%s\":null", name);
    else
        printf(",\"%s\":%.6f", name, value);
}

static void print_report(const struct production *production, double seconds,
                         bool final)
{
    const struct report *report = &production->report;
    struct traffic_counts counts = traffic_get_counts(production->traffic);
    printf("{\"final\":%s,\"seconds\":%.3f,\"events\":%llu,"
           "\"impressions\":%llu,\"clicks\":%llu,\"failed\":%llu,"
           "\"window_begin_ms\":%lld",
           final ? "true" : "false", seconds, (unsigned long long)counts.events,
           (unsigned long long)counts.impressions,
           (unsigned long long)counts.clicks, (unsigned long long)counts.failed,
           (long long)report->closed_ms);
    print_number("window_auc_ceiling",
                 report->closed_ms ? report->closed_auc : NAN);
    print_number("auc_ceiling", simulation_ceiling_auc(&report->total));
    printf("}\n");
    fflush(stdout);
}

static enum base_status send_page(struct production *production,
                                  struct base_error *error)
{
    double probabilities[SIMULATION_PAGE];
    int64_t now_ms = base_wall_ms();
    enum base_status status =
        traffic_send_page(production->traffic, now_ms, probabilities, error);
    if (status == BASE_OK)
        count(&production->report, now_ms, probabilities);
    return status;
}

static void sleep_tick(void)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
    nanosleep(&tick, NULL);
}

/* Sends at the asked rate, clicks included, until the time is over. */
static enum base_status produce(struct production *production,
                                struct base_error *error)
{
    int64_t start_us = base_monotonic_us(), second = 1;
    enum base_status status = BASE_OK;
    while (status == BASE_OK && !stop_asked) {
        double elapsed = (double)(base_monotonic_us() - start_us) / 1e6;
        if (production->seconds && elapsed >= (double)production->seconds)
            break;
        double due = elapsed * (double)production->rate;
        status =
            traffic_send_clicks(production->traffic, base_wall_ms(), error);
        while (status == BASE_OK &&
               (double)traffic_get_counts(production->traffic).events < due)
            status = send_page(production, error);
        if (elapsed >= (double)second) {
            second = (int64_t)elapsed + 1;
            print_report(production, elapsed, false);
        }
        sleep_tick();
    }
    return status;
}

/* Event time moves only by events: after the last click, one more page when
 * all windows are over lets every label be known. */
static enum base_status close_windows(struct production *production,
                                      struct base_error *error)
{
    const struct ingest_config *ingest = &production->config.ingest;
    int64_t wait_ms = ingest->window_ms + ingest->lateness_ms +
                      ingest->skew_ms + SIMULATION_DELAY_MAX_MS + 100;
    bool closes = wait_ms <= CLOSE_MAX_MS;
    int64_t end_ms =
        base_monotonic_ms() + (closes ? wait_ms : SIMULATION_DELAY_MAX_MS);
    enum base_status status = BASE_OK;
    while (status == BASE_OK && base_monotonic_ms() < end_ms) {
        status =
            traffic_send_clicks(production->traffic, base_wall_ms(), error);
        sleep_tick();
    }
    return status == BASE_OK && closes ? send_page(production, error) : status;
}

static enum base_status produce_all(struct production *production,
                                    struct base_error *error)
{
    struct simulation *simulation = NULL;
    int64_t start_us = base_monotonic_us();
    enum base_status status =
        simulation_new(&production->simulation, &simulation, error);
    if (status != BASE_OK)
        return status;
    /* Impression ids differ from run to run: the time is part of them. */
    status =
        traffic_open(&production->config.ingest, simulation,
                     (uint64_t)base_wall_ms(), &production->traffic, error);
    if (status == BASE_OK)
        status = produce(production, error);
    if (status == BASE_OK)
        status = close_windows(production, error);
    if (status == BASE_OK)
        status = traffic_flush(production->traffic, 20000, error);
    if (production->traffic)
        print_report(production, (double)(base_monotonic_us() - start_us) / 1e6,
                     true);
    traffic_close(production->traffic);
    simulation_free(simulation);
    return status;
}

static enum base_status start(struct production *production, const char *path,
                              const struct option_list *sets,
                              const uint64_t sizes[4], struct base_error *error)
{
    for (unsigned i = 0; i < 4; i++)
        if (sizes[i] > 100000000)
            return base_fail(error, BASE_USAGE,
                             "a catalogue of more than "
                             "100000000 is too large");
    production->simulation.users = (uint32_t)sizes[0];
    production->simulation.goods = (uint32_t)sizes[1];
    production->simulation.shops = (uint32_t)sizes[2];
    production->simulation.cates = (uint32_t)sizes[3];
    enum base_status status = daemon_config_load_with(
        path, sets->values, sets->count, &production->config, error);
    if (status != BASE_OK)
        return status;
    signal(SIGINT, ask_stop);
    signal(SIGTERM, ask_stop);
    return produce_all(production, error);
}

int daemon_produce_main(int argc, char **argv)
{
    struct simulation_config defaults;
    simulation_config_default(&defaults);
    uint64_t sizes[4] = {defaults.users, defaults.goods, defaults.shops,
                         defaults.cates};
    uint64_t seconds = 0, rate = 4000, seed = defaults.seed;
    const char *path = NULL;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true, "the daemon's file"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"seconds", OPTION_UNSIGNED, &seconds, "N", false,
         "end after this; 0: on Ctrl-C"},
        {"rate", OPTION_UNSIGNED, &rate, "N", false, "events a second"},
        {"users", OPTION_UNSIGNED, &sizes[0], "N", false, "shoppers"},
        {"goods", OPTION_UNSIGNED, &sizes[1], "N", false, "catalogue"},
        {"shops", OPTION_UNSIGNED, &sizes[2], "N", false, "shops"},
        {"cates", OPTION_UNSIGNED, &sizes[3], "N", false, "categories"},
        {"seed", OPTION_UNSIGNED, &seed, "N", false, "of all draws"},
    };
    const struct options options = {
        .usage = "interestd produce --config FILE [options]",
        .about = "Sends simulated impressions and clicks to the topics of "
                 "FILE, a JSON line a\nsecond with the best AUC that is "
                 "possible on them.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    struct production *production = calloc(1, sizeof *production);
    if (status == BASE_OK && !production)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK) {
        production->simulation = defaults;
        production->simulation.seed = seed;
        production->seconds = seconds;
        production->rate = rate;
        status = start(production, path, &sets, sizes, &error);
    }
    free(production);
    return options_exit("produce", status, &error);
}
