/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd demo`: the whole pipeline on this machine for a minute. Broker,
 * daemon, ranker and producer are processes of their own, started from this
 * executable; this one watches, shows, and ends them in order:
 *
 *   broker -> run -> rank --follow -> produce          (start)
 *   produce ends -> all applied and trained -> run stops with a last version
 *   -> the ranker has it -> rank -> broker             (stop)
 *
 * Invariants: 1. every child's exit status is looked at; one that ends before
 * its turn ends the demo with an error; 2. every wait is bounded; 3. the
 * folder goes unless --keep was said or something went wrong. One thread. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/child.h"
#include "daemon/commands.h"
#include "daemon/demo_status.h"
#include "daemon/demo_view.h"
#include "daemon/embedded.h"
#include "daemon/options.h"

enum {
    START_MS = 20000,
    DRAIN_MS = 25000,
    STOP_MS = 30000,
    /* of the refreshing view */
    VIEW_ROWS = 12,
    VIEW_COLUMNS = 72,
};

enum { BROKER, DAEMON, RANKER, PRODUCER, CHILDREN };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

struct demo {
    uint64_t seconds, rate;
    bool json, keep, terminal, shown;
    char folder[512];
    char set_brokers[300]; /* kafka.brokers=HOST:PORT */
    uint16_t port;
    FILE *out; /* of progress */
    int64_t begin_ms, second_ms;
    uint64_t last_events, last_samples;
    struct demo_facts facts;
    struct child children[CHILDREN];
};

/* ---- the folder ---- */

static const char request_text[] =
    "{\"profile\": {\"gender\": \"f\", \"age_level\": 3},\n"
    " \"context\": {\"pid\": \"p1\"},\n"
    " \"behaviors\": [{\"goods\": \"g3\", \"cate\": \"c3\"},\n"
    "               {\"goods\": \"g7\", \"cate\": \"c7\"}],\n"
    " \"candidates\": [{\"goods\": \"g3\", \"cate\": \"c3\"},\n"
    "                {\"goods\": \"g4\", \"cate\": \"c4\"},\n"
    "                {\"goods\": \"g5\", \"cate\": \"c5\"},\n"
    "                {\"goods\": \"g7\", \"cate\": \"c7\"}]}\n";

static enum base_status write_file(const struct demo *demo, const char *name,
                                   const void *data, size_t size,
                                   struct base_error *error)
{
    char path[800];
    snprintf(path, sizeof path, "%s/%s", demo->folder, name);
    return base_file_replace(path, data, size, error);
}

static enum base_status make_folder(struct demo *demo, struct base_error *error)
{
    const char *root = getenv("TMPDIR");
    int used = snprintf(demo->folder, sizeof demo->folder,
                        "%s/interestd-demo-XXXXXX", root ? root : "/tmp");
    if (used < 0 || (size_t)used >= sizeof demo->folder ||
        !mkdtemp(demo->folder)) {
        base_fail_errno(error, errno, "%s", demo->folder);
        demo->folder[0] = '\0';
        return error->status;
    }
    enum base_status status = BASE_OK;
    for (const struct daemon_embedded *file = daemon_embedded;
         file->name && status == BASE_OK; file++)
        status = write_file(demo, file->name, file->data, file->size, error);
    if (status == BASE_OK)
        status = write_file(demo, "request.json", request_text,
                            sizeof request_text - 1, error);
    return status;
}

/* ---- children ---- */

static void in_folder(const struct demo *demo, const char *name, char *path,
                      size_t size)
{
    snprintf(path, size, "%s/%s", demo->folder, name);
}

static enum base_status start(struct demo *demo, unsigned which,
                              const char *const *arguments,
                              struct base_error *error)
{
    char name[64], log[800];
    snprintf(name, sizeof name, "%s.log", arguments[0]);
    in_folder(demo, name, log, sizeof log);
    return child_start(&demo->children[which], log, arguments, error);
}

/* The end of a child's log, for an error's text. */
static void tail_log(const struct demo *demo, const struct child *child,
                     char *text, size_t size)
{
    char name[64], path[800], *data = NULL;
    size_t length;
    struct base_error ignored;
    text[0] = '\0';
    snprintf(name, sizeof name, "%s.log", child->name);
    in_folder(demo, name, path, sizeof path);
    if (base_file_read(path, 64 << 20, &data, &length, &ignored) != BASE_OK)
        return;
    size_t from = length > size - 1 ? length - (size - 1) : 0;
    snprintf(text, size, "%s", data + from);
    free(data);
}

static enum base_status ended_early(const struct demo *demo,
                                    const struct child *child,
                                    struct base_error *error)
{
    char log[500];
    tail_log(demo, child, log, sizeof log);
    return base_fail(error, BASE_BROKEN,
                     "`interestd %s` ended with exit status %d; its log "
                     "(%s/%s.log) ends:\n%s",
                     child->name, child->exit_status, demo->folder, child->name,
                     log);
}

static void read_lines(struct demo *demo)
{
    char line[CHILD_LINE_MAX];
    while (child_read_line(&demo->children[RANKER], line))
        demo_parse_ranker(line, &demo->facts);
    while (child_read_line(&demo->children[PRODUCER], line))
        demo_parse_producer(line, &demo->facts);
}

/* All that should run still runs (the producer may have ended well). */
static enum base_status check_children(struct demo *demo,
                                       struct base_error *error)
{
    for (unsigned i = 0; i < CHILDREN; i++) {
        struct child *child = &demo->children[i];
        if (!child->pid || !child_wait(child, 0))
            continue;
        if (i != PRODUCER || child->exit_status != 0)
            return ended_early(demo, child, error);
    }
    return BASE_OK;
}

static enum base_status start_broker(struct demo *demo,
                                     struct base_error *error)
{
    static const char *const arguments[] = {
        "broker", "--topics", "impressions:4,clicks:4,model-announcements:1",
        NULL};
    char line[CHILD_LINE_MAX];
    struct child *broker = &demo->children[BROKER];
    int64_t end_ms = base_monotonic_ms() + START_MS;
    enum base_status status = start(demo, BROKER, arguments, error);
    while (status == BASE_OK && !stop_asked) {
        if (child_read_line(broker, line) &&
            strncmp(line, "bootstrap=", 10) == 0) {
            snprintf(demo->set_brokers, sizeof demo->set_brokers,
                     "kafka.brokers=%.250s", line + 10);
            return BASE_OK;
        }
        status = check_children(demo, error);
        if (status == BASE_OK && base_monotonic_ms() > end_ms)
            status = base_fail(error, BASE_UNAVAILABLE,
                               "the broker did not come up in %d s",
                               START_MS / 1000);
        poll(NULL, 0, 20);
    }
    return status;
}

static bool read_port(struct demo *demo)
{
    char path[800], *text = NULL;
    size_t size;
    struct base_error ignored;
    in_folder(demo, "state/http.port", path, sizeof path);
    if (base_file_read(path, 64, &text, &size, &ignored) != BASE_OK)
        return false;
    demo->port = (uint16_t)strtoul(text, NULL, 10);
    free(text);
    return demo->port != 0;
}

static enum base_status start_daemon(struct demo *demo,
                                     struct base_error *error)
{
    char config[800];
    const char *const arguments[] = {"run",   "--config",        config,
                                     "--set", demo->set_brokers, NULL};
    int64_t end_ms = base_monotonic_ms() + START_MS;
    in_folder(demo, "demo.yaml", config, sizeof config);
    enum base_status status = start(demo, DAEMON, arguments, error);
    while (status == BASE_OK && !stop_asked && !read_port(demo)) {
        status = check_children(demo, error);
        if (status == BASE_OK && base_monotonic_ms() > end_ms)
            status = base_fail(error, BASE_UNAVAILABLE,
                               "the daemon did not come up in %d s",
                               START_MS / 1000);
        poll(NULL, 0, 20);
    }
    return status;
}

static enum base_status start_ranker(struct demo *demo,
                                     struct base_error *error)
{
    char model[800], request[800];
    const char *const arguments[] = {"rank",  "--model",  model, "--request",
                                     request, "--follow", NULL};
    in_folder(demo, "model", model, sizeof model);
    in_folder(demo, "request.json", request, sizeof request);
    return start(demo, RANKER, arguments, error);
}

static enum base_status start_producer(struct demo *demo,
                                       struct base_error *error)
{
    char config[800], seconds[32], rate[32];
    const char *const arguments[] = {
        "produce", "--config", config,      "--set", demo->set_brokers,
        "--rate",  rate,       "--seconds", seconds, NULL};
    in_folder(demo, "demo.yaml", config, sizeof config);
    snprintf(seconds, sizeof seconds, "%" PRIu64, demo->seconds);
    snprintf(rate, sizeof rate, "%" PRIu64, demo->rate);
    return start(demo, PRODUCER, arguments, error);
}

/* ---- watching ---- */

static void update_rates(struct demo *demo, int64_t now_ms)
{
    struct demo_facts *facts = &demo->facts;
    double elapsed = (double)(now_ms - demo->second_ms) / 1e3;
    facts->events_per_second =
        (double)(facts->events - demo->last_events) / elapsed;
    facts->samples_per_second =
        (double)(facts->samples - demo->last_samples) / elapsed;
    demo->last_events = facts->events;
    demo->last_samples = facts->samples;
    demo->second_ms = now_ms;
}

static void show(struct demo *demo, int64_t now_ms)
{
    demo->facts.seconds = (double)(now_ms - demo->begin_ms) / 1e3;
    update_rates(demo, now_ms);
    if (demo->terminal)
        demo_print_view(demo->out, &demo->facts, !demo->shown);
    else
        demo_print_line(demo->out, &demo->facts);
    demo->shown = true;
}

/* One short turn: lines, status and view once a second, children. */
static enum base_status turn(struct demo *demo, struct base_error *error)
{
    int64_t now_ms = base_monotonic_ms();
    read_lines(demo);
    if (now_ms - demo->second_ms >= 1000) {
        demo_fetch_status(demo->port, &demo->facts);
        show(demo, now_ms);
    }
    poll(NULL, 0, 50);
    return check_children(demo, error);
}

static enum base_status watch(struct demo *demo, struct base_error *error)
{
    struct child *producer = &demo->children[PRODUCER];
    enum base_status status = BASE_OK;
    demo->facts.phase = "learning";
    while (status == BASE_OK && !producer->ended && !stop_asked)
        status = turn(demo, error);
    if (status != BASE_OK || producer->ended)
        return status;
    demo->facts.phase = "ending";
    child_signal(producer, SIGINT);
    int64_t end_ms = base_monotonic_ms() + STOP_MS;
    while (status == BASE_OK && !producer->ended) {
        status = turn(demo, error);
        if (status == BASE_OK && base_monotonic_ms() > end_ms)
            status =
                base_fail(error, BASE_UNAVAILABLE,
                          "the producer did not end in %d s", STOP_MS / 1000);
    }
    return status;
}

/* Everything that was produced is applied, everything applied that has a
 * label is trained. Not reached in time: the facts say how far it came. */
static enum base_status drain(struct demo *demo, struct base_error *error)
{
    int64_t end_ms = base_monotonic_ms() + DRAIN_MS;
    struct demo_facts *facts = &demo->facts;
    facts->phase = "draining";
    read_lines(demo);
    for (;;) {
        enum base_status status = turn(demo, error);
        if (status != BASE_OK)
            return status;
        demo_fetch_status(demo->port, facts);
        if (facts->events >= facts->produced && facts->lag_records <= 0 &&
            facts->position >= facts->journal_end)
            return BASE_OK;
        if (base_monotonic_ms() > end_ms)
            return base_fail(error, BASE_UNAVAILABLE,
                             "not all was applied and trained %d s after the "
                             "last event: %" PRIu64 " of %" PRIu64
                             " events, position %" PRIu64 " of %" PRIu64,
                             DRAIN_MS / 1000, facts->events, facts->produced,
                             facts->position, facts->journal_end);
    }
}

/* ---- the end ---- */

static enum base_status stop_child(struct demo *demo, unsigned which,
                                   struct base_error *error)
{
    struct child *child = &demo->children[which];
    if (!child->pid)
        return BASE_OK;
    child_signal(child, SIGTERM);
    if (!child_wait(child, STOP_MS))
        return base_fail(error, BASE_UNAVAILABLE,
                         "`interestd %s` did not stop in %d s", child->name,
                         STOP_MS / 1000);
    /* A ranker that never saw a model says so with its own exit status. */
    /* Nor does one that was stopped before it listened for signals fail. */
    bool fine = child->exit_status == 0 ||
                child->exit_status == 128 + SIGTERM ||
                (which == RANKER &&
                 child->exit_status == base_status_exit(BASE_STOPPED));
    return fine ? BASE_OK : ended_early(demo, child, error);
}

/* Versions that the daemon committed, the last one included: they count from
 * 1 in a new folder. */
static void count_versions(struct demo *demo)
{
    char path[800], *text = NULL;
    size_t size;
    struct base_error ignored;
    unsigned long long count = 0;
    in_folder(demo, "model/CURRENT", path, sizeof path);
    if (base_file_read(path, 1024, &text, &size, &ignored) != BASE_OK)
        return;
    if (sscanf(text, "v%*u-%llu", &count) == 1)
        demo->facts.published = count;
    free(text);
}

static enum base_status stop(struct demo *demo, struct base_error *error)
{
    demo->facts.phase = "stopping";
    enum base_status status = stop_child(demo, DAEMON, error);
    count_versions(demo);
    /* The ranker is given a moment for the last version. */
    int64_t end_ms = base_monotonic_ms() + 3000;
    while (status == BASE_OK && demo->facts.followed &&
           demo->facts.version < demo->facts.published &&
           base_monotonic_ms() < end_ms) {
        read_lines(demo);
        poll(NULL, 0, 20);
    }
    if (status == BASE_OK)
        status = stop_child(demo, RANKER, error);
    read_lines(demo);
    if (status == BASE_OK)
        status = stop_child(demo, BROKER, error);
    return status;
}

static void print_hints(const struct demo *demo)
{
    if (demo->json)
        return;
    const char *brokers = strchr(demo->set_brokers, '=') + 1;
    fprintf(demo->out,
            "While it runs, look further from another terminal:\n"
            "  kcat -b %s -C -t impressions -o -1 -c 1 | xxd\n"
            "  curl http://127.0.0.1:%u/status      (or /metrics)\n"
            "  interestd rank --model %s/model --request %s/request.json\n\n",
            brokers, demo->port, demo->folder, demo->folder);
    fflush(demo->out);
}

static void print_end(struct demo *demo)
{
    double auc, ceiling;
    struct demo_facts *facts = &demo->facts;
    int64_t now_ms = base_monotonic_ms();
    demo->second_ms = now_ms - 1000;
    show(demo, now_ms);
    if (demo->json) {
        demo_print_json(stdout, facts);
        return;
    }
    demo_result(facts, &auc, &ceiling);
    fprintf(demo->out, "\n%" PRIu64 " events, %" PRIu64 " samples; ",
            facts->events, facts->samples);
    if (isfinite(auc) && isfinite(ceiling))
        fprintf(demo->out,
                "AUC %.4f of %.4f possible (%.0f %% of the way from 0.5);\n",
                auc, ceiling, 100 * (auc - 0.5) / (ceiling - 0.5));
    else
        fprintf(demo->out, "too few for an AUC;\n");
    fprintf(demo->out,
            "%" PRIu64 " versions published, %" PRIu64
            " followed by the ranker; %" PRId64 " offsets unaccounted for.\n",
            facts->published, facts->followed, facts->unaccounted);
    if (demo->keep)
        fprintf(demo->out,
                "Kept: %s; go on with\n  interestd rank --model %s/model "
                "--request %s/request.json\n  interestd inspect ledger "
                "--config %s/demo.yaml\n",
                demo->folder, demo->folder, demo->folder, demo->folder);
    fflush(demo->out);
}

static enum base_status start_all(struct demo *demo, struct base_error *error)
{
    enum base_status status = make_folder(demo, error);
    if (status == BASE_OK)
        status = start_broker(demo, error);
    if (status == BASE_OK && !stop_asked)
        status = start_daemon(demo, error);
    if (status == BASE_OK && !stop_asked)
        status = start_ranker(demo, error);
    if (status == BASE_OK && !stop_asked) {
        print_hints(demo);
        status = start_producer(demo, error);
    }
    return status;
}

static enum base_status check_ledger(const struct demo *demo,
                                     struct base_error *error)
{
    if (demo->facts.unaccounted == 0)
        return BASE_OK;
    return base_fail(error, BASE_BROKEN, "%" PRId64 " offsets in no bucket",
                     demo->facts.unaccounted);
}

static enum base_status run_demo(struct demo *demo, struct base_error *error)
{
    enum base_status status = start_all(demo, error);
    demo->begin_ms = demo->second_ms = base_monotonic_ms();
    bool produced = demo->children[PRODUCER].pid != 0;
    if (status == BASE_OK && produced)
        status = watch(demo, error);
    if (status == BASE_OK && produced)
        status = drain(demo, error);
    if (status == BASE_OK)
        status = stop(demo, error);
    if (status == BASE_OK)
        status = check_ledger(demo, error);
    if (status == BASE_OK)
        print_end(demo);
    for (unsigned i = CHILDREN; i-- > 0;)
        child_fini(&demo->children[i]);
    struct base_error ignored;
    if (status == BASE_OK && !demo->keep && demo->folder[0])
        (void)!base_file_remove(demo->folder, &ignored);
    return status;
}

/* The view is drawn over itself: that takes a terminal which can go up, and
 * on which every line of it has room. */
static bool can_refresh(void)
{
    struct winsize size;
    const char *kind = getenv("TERM");
    if (!isatty(STDOUT_FILENO) || !kind || !*kind || strcmp(kind, "dumb") == 0)
        return false;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return true;
    /* Nothing is known of a size of 0. */
    return (!size.ws_row || size.ws_row > VIEW_ROWS) &&
           (!size.ws_col || size.ws_col >= VIEW_COLUMNS);
}

static void set_up(struct demo *demo)
{
    struct sigaction action = {.sa_handler = ask_stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL); /* its terminal went away */
    demo->out = demo->json ? stderr : stdout;
    demo->terminal = !demo->json && can_refresh();
    demo->facts.seconds_asked = demo->seconds;
    demo->facts.phase = "starting";
    demo->facts.auc_total = demo->facts.ceiling_total = NAN;
    demo->facts.auc_recent = demo->facts.rela_impr = NAN;
    for (unsigned i = 0; i < CHILDREN; i++)
        demo->children[i].output = -1;
}

int daemon_demo_main(int argc, char **argv)
{
    uint64_t seconds = 60, rate = 5000;
    bool json = false, keep = false;
    const struct option table[] = {
        {"seconds", OPTION_UNSIGNED, &seconds, "N", false,
         "of traffic, 60; Ctrl-C ends it earlier"},
        {"rate", OPTION_UNSIGNED, &rate, "N", false, "events a second, 5000"},
        {"json", OPTION_FLAG, &json, NULL, false,
         "one JSON object at the end; progress on standard error"},
        {"keep", OPTION_FLAG, &keep, NULL, false,
         "leave state, model and logs where they are"},
    };
    const struct options options = {
        .usage = "interestd demo [--seconds N] [--json] [--keep]",
        .about = "Runs broker, simulated shoppers, daemon and ranker on this "
                 "machine and shows how\nthe model's AUC climbs to the best "
                 "that is possible on this traffic.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    struct demo *demo = calloc(1, sizeof *demo);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !demo)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK && seconds == 0)
        status = base_fail(&error, BASE_USAGE, "--seconds must be at least 1");
    if (status == BASE_OK) {
        demo->seconds = seconds;
        demo->rate = rate;
        demo->json = json;
        demo->keep = keep;
        set_up(demo);
        status = run_demo(demo, &error);
    }
    free(demo);
    return options_exit("demo", status, &error);
}
