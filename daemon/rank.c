/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd rank`: scores a JSON request with a published model, through
 * libinterest; the behaviors of a user that it names come from the daemon's
 * state. With --follow it goes on, once a version and once every
 * --every-ms, a JSON line each, until SIGINT or SIGTERM. One thread. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "daemon/rank_history.h"
#include "daemon/request.h"
#include "snapshot/interest.h"

enum { REQUEST_MAX = 64 << 20 };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

struct ranking {
    const char *config; /* the daemon's, for requests that name a user */
    struct interest_model *model;
    struct interest_scorer *scorer;
    struct rank_request request;
    float *scores; /* (candidates) */
    float *attention, *without; /* (candidates, behaviors); NULL: not asked */
    bool explain;
    char *text;    /* of the request */
    size_t size;
    bool json;
    uint64_t versions; /* seen so far */
    uint64_t refused;  /* versions that did not verify */
};

static enum base_status pass(const struct interest_error *from,
                             struct base_error *error)
{
    static const enum base_status statuses[] = {
        [INTEREST_OK] = BASE_OK,           [INTEREST_NO_MODEL] = BASE_NO_INPUT,
        [INTEREST_CORRUPT] = BASE_CORRUPT, [INTEREST_ARGUMENT] = BASE_DATA,
        [INTEREST_LIMIT] = BASE_LIMIT,     [INTEREST_SYSTEM] = BASE_SYSTEM,
        [INTEREST_FORMAT] = BASE_DATA,
    };
    return base_fail(error, statuses[from->status], "%s", from->text);
}

static enum base_status read_standard_input(char **text, size_t *size,
                                            struct base_error *error)
{
    size_t room = 1 << 16, used = 0, got;
    char *data = malloc(room);
    while (data && (got = fread(data + used, 1, room - used, stdin)) > 0) {
        used += got;
        if (used < room)
            continue;
        char *larger = room < REQUEST_MAX ? realloc(data, room *= 2) : NULL;
        if (!larger) {
            free(data);
            return base_fail(error, BASE_LIMIT, "request: too large");
        }
        data = larger;
    }
    *text = data;
    *size = used;
    return data ? BASE_OK : base_fail(error, BASE_SYSTEM, "no memory");
}

static enum base_status read_request(struct ranking *ranking, const char *path,
                                     struct base_error *error)
{
    if (strcmp(path, "-") == 0)
        return read_standard_input(&ranking->text, &ranking->size, error);
    return base_file_read(path, REQUEST_MAX, &ranking->text, &ranking->size,
                          error);
}

static void free_answers(struct ranking *ranking)
{
    free(ranking->scores);
    free(ranking->attention);
    free(ranking->without);
    ranking->scores = ranking->attention = ranking->without = NULL;
}

static enum base_status make_answers(struct ranking *ranking,
                                     struct base_error *error)
{
    const struct interest_request *ids = &ranking->request.ids;
    size_t pairs = ids->candidates * ids->history_size + 1;
    ranking->scores = calloc(ids->candidates, sizeof *ranking->scores);
    if (ranking->explain) {
        ranking->attention = calloc(pairs, sizeof *ranking->attention);
        ranking->without = calloc(pairs, sizeof *ranking->without);
    }
    if (!ranking->scores ||
        (ranking->explain && (!ranking->attention || !ranking->without)))
        return base_fail(error, BASE_SYSTEM, "no memory");
    return BASE_OK;
}

/* Request and scratch for the model as it is now. */
static enum base_status prepare(struct ranking *ranking,
                                struct base_error *error)
{
    struct interest_error why;
    rank_request_fini(&ranking->request);
    interest_scorer_close(ranking->scorer);
    ranking->scorer = NULL;
    free_answers(ranking);
    enum base_status status =
        rank_history_fill(ranking->model, ranking->config, &ranking->text,
                          &ranking->size, error);
    if (status == BASE_OK)
        status = rank_request_parse(ranking->model, ranking->text,
                                    ranking->size, &ranking->request, error);
    if (status != BASE_OK)
        return status;
    const struct interest_request *ids = &ranking->request.ids;
    status = make_answers(ranking, error);
    if (status != BASE_OK)
        return status;
    if (interest_scorer_open(ranking->model, ids->history_size, ids->candidates,
                             &ranking->scorer, &why))
        return pass(&why, error);
    return BASE_OK;
}

static void print_floats(const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%s%.9g", i ? "," : "", (double)values[i]);
}

/* A list a candidate, a number a behavior; nothing where not asked for. */
static void print_pairs(const struct ranking *ranking, const char *name,
                        const float *values)
{
    size_t behaviors = ranking->request.ids.history_size;
    if (!values)
        return;
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < ranking->request.ids.candidates; i++) {
        printf("%s[", i ? "," : "");
        print_floats(values + i * behaviors, behaviors);
        printf("]");
    }
    printf("]");
}

static void print_json(const struct ranking *ranking,
                       const struct interest_version *version, bool changed,
                       int64_t latency_us)
{
    printf("{\"epoch\":%llu,\"version\":%llu,\"name\":\"%s\","
           "\"position\":%llu,\"newest_event_ms\":%lld,\"created_ms\":%lld,"
           "\"now_ms\":%lld,\"latency_us\":%lld,\"changed\":%s,"
           "\"versions\":%llu,\"refused\":%llu,\"scores\":[",
           (unsigned long long)version->epoch,
           (unsigned long long)version->version, version->name,
           (unsigned long long)version->position,
           (long long)version->newest_event_ms, (long long)version->created_ms,
           (long long)base_wall_ms(), (long long)latency_us,
           changed ? "true" : "false", (unsigned long long)ranking->versions,
           (unsigned long long)ranking->refused);
    print_floats(ranking->scores, ranking->request.ids.candidates);
    printf("]");
    print_pairs(ranking, "attention", ranking->attention);
    print_pairs(ranking, "without", ranking->without);
    printf("}\n");
    fflush(stdout);
}

struct line {
    float score;
    size_t candidate;
};

static int by_score(const void *a, const void *b)
{
    float x = ((const struct line *)a)->score;
    float y = ((const struct line *)b)->score;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Below a candidate: what each behavior did to its score, oldest first. */
static void print_behaviors(const struct ranking *ranking, size_t candidate)
{
    const struct rank_request *request = &ranking->request;
    size_t behaviors = request->ids.history_size;
    for (size_t t = 0; t < behaviors; t++) {
        float without = ranking->without[candidate * behaviors + t];
        printf("    %+.6f  attention %.6f  without it %.6f  %s\n",
               (double)(ranking->scores[candidate] - without),
               (double)ranking->attention[candidate * behaviors + t],
               (double)without, request->behaviors[t]);
    }
}

static void print_table(const struct ranking *ranking,
                        const struct interest_version *version,
                        int64_t latency_us)
{
    size_t count = ranking->request.ids.candidates;
    struct line *lines = calloc(count, sizeof *lines);
    printf("version %s, %zu candidates in %lld us\n", version->name, count,
           (long long)latency_us);
    for (size_t i = 0; lines && i < count; i++)
        lines[i] = (struct line){ranking->scores[i], i};
    if (lines)
        qsort(lines, count, sizeof *lines, by_score);
    for (size_t i = 0; lines && i < count; i++) {
        printf("%.6f  %s\n", (double)lines[i].score,
               ranking->request.candidates[lines[i].candidate]);
        if (ranking->explain)
            print_behaviors(ranking, lines[i].candidate);
    }
    free(lines);
}

static enum base_status score(struct ranking *ranking, bool changed,
                              struct base_error *error)
{
    struct interest_version version;
    struct interest_error why;
    int64_t start_us = base_monotonic_us();
    int failed =
        ranking->explain
            ? interest_explain(ranking->scorer, &ranking->request.ids,
                               ranking->scores, ranking->attention,
                               ranking->without, &version, &why)
            : interest_score(ranking->scorer, &ranking->request.ids,
                             ranking->scores, NULL, &version, &why);
    if (failed)
        return pass(&why, error);
    int64_t latency_us = base_monotonic_us() - start_us;
    if (ranking->json)
        print_json(ranking, &version, changed, latency_us);
    else
        print_table(ranking, &version, latency_us);
    return ferror(stdout) ? base_fail_errno(error, errno, "standard output")
                          : BASE_OK;
}

/* Waits for CURRENT to move, at most timeout_ms. */
static void wait_for_version(const struct ranking *ranking, int timeout_ms)
{
    struct pollfd moved = {.fd = interest_descriptor(ranking->model),
                           .events = POLLIN};
    (void)poll(&moved, moved.fd >= 0, timeout_ms);
}

/* Looks for a newer version; one that does not verify is said and the old one
 * goes on. */
static enum base_status refresh(struct ranking *ranking, bool *changed,
                                struct base_error *error)
{
    struct interest_error why;
    int moved = 0;
    *changed = false;
    if (interest_refresh(ranking->model, &moved, &why)) {
        ranking->refused++;
        fprintf(stderr, "interestd rank: kept the old version: %s\n", why.text);
        return BASE_OK;
    }
    if (!moved)
        return BASE_OK;
    *changed = true;
    ranking->versions++;
    return prepare(ranking, error);
}

static enum base_status follow(struct ranking *ranking, int every_ms,
                               struct base_error *error)
{
    int64_t due_ms = base_monotonic_ms() + every_ms;
    enum base_status status = BASE_OK;
    while (!stop_asked && status == BASE_OK) {
        int64_t left_ms = due_ms - base_monotonic_ms();
        bool changed;
        wait_for_version(ranking, left_ms > 0 ? (int)left_ms : 0);
        if (stop_asked)
            break;
        status = refresh(ranking, &changed, error);
        bool due = base_monotonic_ms() >= due_ms;
        if (status == BASE_OK && (changed || due))
            status = score(ranking, changed, error);
        if (due)
            due_ms = base_monotonic_ms() + every_ms;
    }
    return status;
}

/* With --follow a model that is not there yet is waited for. */
static enum base_status open_model(struct ranking *ranking, const char *folder,
                                   bool wait, struct base_error *error)
{
    struct interest_error why;
    while (interest_open(folder, &ranking->model, &why)) {
        if (!wait || why.status != INTEREST_NO_MODEL)
            return pass(&why, error);
        if (stop_asked)
            return base_fail(error, BASE_STOPPED,
                             "stopped before a first version appeared in %s",
                             folder);
        poll(NULL, 0, 100);
    }
    ranking->versions = 1;
    return BASE_OK;
}

static enum base_status rank(struct ranking *ranking, const char *folder,
                             const char *path, bool following,
                             uint64_t every_ms, struct base_error *error)
{
    signal(SIGINT, ask_stop);
    signal(SIGTERM, ask_stop);
    if (every_ms < 1 || every_ms > 3600000)
        return base_fail(error, BASE_USAGE,
                         "--every-ms must be from 1 to 3600000");
    enum base_status status = read_request(ranking, path, error);
    if (status == BASE_OK)
        status = open_model(ranking, folder, following, error);
    if (status == BASE_OK)
        status = prepare(ranking, error);
    if (status == BASE_OK)
        status = score(ranking, true, error);
    if (status == BASE_OK && following)
        status = follow(ranking, (int)every_ms, error);
    interest_scorer_close(ranking->scorer);
    rank_request_fini(&ranking->request);
    interest_close(ranking->model);
    free_answers(ranking);
    free(ranking->text);
    return status;
}

int daemon_rank_main(int argc, char **argv)
{
    const char *folder = NULL, *path = NULL;
    bool json = false, following = false;
    uint64_t every_ms = 1000;
    struct ranking ranking = {0};
    const struct option table[] = {
        {"model", OPTION_TEXT, &folder, "DIR", true, "the model folder"},
        {"request", OPTION_TEXT, &path, "FILE|-", true, "JSON request"},
        {"json", OPTION_FLAG, &json, NULL, false,
         "scores in the order of the candidates"},
        {"config", OPTION_TEXT, &ranking.config, "FILE", false,
         "the daemon's, where a request names a \"user\""},
        {"explain", OPTION_FLAG, &ranking.explain, NULL, false,
         "each behavior's attention, and the score without it"},
        {"follow", OPTION_FLAG, &following, NULL, false,
         "go on with each new version; implies --json"},
        {"every-ms", OPTION_UNSIGNED, &every_ms, "N", false,
         "with --follow: at least this often"},
    };
    const struct options options = {
        .usage = "interestd rank --model DIR --request FILE|- [--json] "
                 "[--explain] [--follow]",
        .about =
            "Scores candidates with the current version of a model folder.\n"
            "A request: {\"profile\": {\"gender\": \"f\"}, \"context\": "
            "{\"pid\": \"p1\"},\n \"behaviors\": [{\"goods\": \"g1\"}, "
            "...], \"candidates\": [{\"goods\": \"g7\"}, ...]};\n"
            "behaviors oldest first, values strings or integers. \"user\": "
            "\"u81\" in place of\nbehaviors takes those that the daemon of "
            "--config knows. \"time_ms\" gives the fields\nthat are taken "
            "from an event's time (hour).",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    enum base_status status = options_parse(&options, argc, argv, &error);
    ranking.json = json || following;
    if (status == BASE_OK)
        status = rank(&ranking, folder, path, following, every_ms, &error);
    return options_exit("rank", status, &error);
}
