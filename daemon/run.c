/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd run`: wires ingest, models, publisher and HTTP together around
 * one libev loop in the main thread.
 *
 * Invariants: 1. signals are blocked before the first thread is made; the loop
 * takes them from a signalfd; 2. the loop never waits for a disk or a broker
 * while it runs; 3. a thread that ends by itself ends the daemon, in order and
 * with its own exit status; 4. the stop is bounded: after STOP_SECONDS, or at
 * a second signal, the process leaves at once, which every file here survives.
 *
 * Stop: ingest pauses, each model writes a last checkpoint, the published one's
 * becomes the last version, its announcement is committed and sent by
 * ingest's stop. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ev.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include "daemon/budget.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/control.h"
#include "daemon/forget.h"
#include "daemon/history.h"
#include "daemon/http.h"
#include "daemon/models.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/publisher.h"

enum { STOP_SECONDS = 60, TICK_MS = 20, FORGET_TICKS = 10 };

struct run {
    struct daemon_config config;
    struct ev_loop *loop;
    struct ingest *ingest;
    struct daemon_models *models;
    struct daemon_publisher *publisher;
    struct daemon_http *http;
    struct daemon_history *history;
    ev_signal terminate, interrupt, hangup;
    ev_async failure;
    ev_timer tick, watchdog, step; /* step: of the history */
    const char *phase;
    int64_t started_ms, tick_us, lag_us;
    bool ingest_started;
    bool paused; /* by an operator */
    struct daemon_forget forget;
    struct daemon_status *looked; /* OWNS: scratch of the above */
    unsigned ticks;
    struct daemon_control_hooks control;

    pthread_mutex_t mutex; /* of failed and error */
    bool failed;
    struct base_error error;
};

/* ---- the loop's events ---- */

static void on_stop(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)events;
    base_log(BASE_LOG_INFO, "event=stopping signal=%d", watcher->signum);
    ev_break(loop, EVBREAK_ALL);
}

static void on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
    base_log(BASE_LOG_INFO,
             "event=hangup_ignored hint=\"settings are read at start\"");
}

static void on_failure(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)watcher, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

/* Any thread: the first error is kept, the loop is woken. */
static void note_failure(void *self, const struct base_error *error)
{
    struct run *run = self;
    base_log(BASE_LOG_ERROR, "event=thread_failed status=%s error=\"%s\"",
             base_status_name(error->status), error->text);
    pthread_mutex_lock(&run->mutex);
    if (!run->failed)
        run->error = *error;
    run->failed = true;
    pthread_mutex_unlock(&run->mutex);
    ev_async_send(run->loop, &run->failure);
}

static void collect(void *self, struct daemon_status *status);

/* Goes on with what users who are forgotten still want (forget.h). */
static void tend_forget(struct run *run)
{
    struct daemon_forget_view view;
    if (!ingest_forget_open(run->ingest)) {
        run->forget = (struct daemon_forget){.phase = DAEMON_FORGET_NOTHING};
        return;
    }
    if (run->ticks++ % FORGET_TICKS)
        return;
    collect(run, run->looked);
    daemon_forget_look(run->looked, &view);
    switch (daemon_forget_next(&run->forget, &view)) {
    case DAEMON_FORGET_WAIT: break;
    case DAEMON_FORGET_CHECKPOINT:
        daemon_models_checkpoint(run->models);
        break;
    case DAEMON_FORGET_MARK: ingest_forget_mark(run->ingest); break;
    case DAEMON_FORGET_PUBLISH:
        daemon_publisher_base(run->publisher);
        break;
    case DAEMON_FORGET_PURGE:
        daemon_publisher_purge(run->publisher, view.forget.serial);
        break;
    case DAEMON_FORGET_DONE:
        base_log(BASE_LOG_INFO, "event=forgotten request=%llu position=%llu",
                 (unsigned long long)view.forget.serial,
                 (unsigned long long)view.forget.position);
        ingest_forget_done(run->ingest, view.forget.serial);
        break;
    }
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct run *run = watcher->data;
    int64_t now_us = base_monotonic_us();
    (void)loop, (void)events;
    if (run->tick_us)
        run->lag_us = now_us - run->tick_us - TICK_MS * 1000;
    if (run->lag_us < 0)
        run->lag_us = 0;
    run->tick_us = now_us;
    ingest_trainer_idle(run->ingest,
                        learner_trainer_idle(daemon_models_main(run->models)));
    tend_forget(run);
}

static void on_watchdog(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
    daemon_notify("WATCHDOG=1");
}

static void on_step(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct run *run = watcher->data;
    (void)loop, (void)events;
    collect(run, run->looked);
    daemon_history_add(run->history, run->looked);
}

/* A published model that has ended: nothing newer will come. */
static void note_ended(struct daemon_status *status)
{
    for (unsigned i = 0; i < status->model_count; i++) {
        const struct daemon_model_status *model = &status->models[i];
        if (model->published && model->state != DAEMON_MODEL_TRAINING)
            snprintf(status->publish.last_error,
                     sizeof status->publish.last_error,
                     "model %s of publish.model is %s: %.900s", model->name,
                     daemon_model_state_words[model->state], model->reason);
    }
}

static void collect(void *self, struct daemon_status *status)
{
    struct run *run = self;
    status->phase = run->phase;
    status->config_file = run->config.ingest.file;
    status->started_ms = run->started_ms;
    status->now_ms = base_wall_ms();
    status->loop_lag_us = run->lag_us;
    status->paused = run->paused;
    status->forget_phase = run->forget.phase;
    ingest_get_status(run->ingest, &status->ingest);
    daemon_models_status(run->models, status);
    daemon_publisher_status(run->publisher, &status->publish);
    note_ended(status);
    daemon_usage_read(&run->config, &status->usage);
}

/* Ingest applies nothing, so that the journal does not fill meanwhile. */
static void control_pause(void *self, bool paused)
{
    struct run *run = self;
    run->paused = paused;
    ingest_pause(run->ingest, paused);
    daemon_models_pause(run->models, paused);
}

static void control_checkpoint(void *self)
{
    struct run *run = self;
    daemon_models_checkpoint(run->models);
}

static bool control_publish(void *self, bool force)
{
    struct run *run = self;
    return daemon_publisher_publish(run->publisher, force);
}

static uint64_t control_forget(void *self, const struct learner_forget *forgets,
                               unsigned count, bool purge)
{
    struct run *run = self;
    return ingest_forget(run->ingest, forgets, count, purge);
}

static uint64_t control_rollback(void *self, const char *version, bool learner)
{
    struct run *run = self;
    return daemon_publisher_rollback(run->publisher, version, learner);
}

static void watch(struct run *run)
{
    ev_signal_init(&run->terminate, on_stop, SIGTERM);
    ev_signal_init(&run->interrupt, on_stop, SIGINT);
    ev_signal_init(&run->hangup, on_hangup, SIGHUP);
    ev_async_init(&run->failure, on_failure);
    ev_timer_init(&run->tick, on_tick, TICK_MS / 1e3, TICK_MS / 1e3);
    run->tick.data = run;
    ev_signal_start(run->loop, &run->terminate);
    ev_signal_start(run->loop, &run->interrupt);
    ev_signal_start(run->loop, &run->hangup);
    ev_async_start(run->loop, &run->failure);
    ev_timer_start(run->loop, &run->tick);
    run->control = (struct daemon_control_hooks){
        run,
        &run->config.ingest,
        control_pause,
        control_checkpoint,
        control_publish,
        control_forget,
        control_rollback};
    daemon_http_control(run->http, &run->control);
    daemon_http_tell(run->http, run->history, run->config.snapshot.folder);
    ev_timer_init(&run->step, on_step, 1, DAEMON_HISTORY_STEP_MS / 1e3);
    run->step.data = run;
    ev_timer_start(run->loop, &run->step);
    double interval = daemon_notify_interval();
    if (interval > 0) {
        ev_timer_init(&run->watchdog, on_watchdog, interval, interval);
        ev_timer_start(run->loop, &run->watchdog);
    }
}

/* ---- start ---- */

static void pass_checkpoint(void *self, const char *path, uint64_t position,
                            uint64_t request)
{
    struct run *run = self;
    daemon_publisher_checkpointed(run->publisher, path, position, request);
}

static void pass_delta(void *self, struct learner_delta *delta)
{
    struct run *run = self;
    daemon_publisher_changed(run->publisher, delta);
}

static enum base_status open_models(struct run *run, struct base_error *error)
{
    struct daemon_models_hooks hooks = {.self = run,
                                        .checkpointed = pass_checkpoint,
                                        .changed = pass_delta,
                                        .failed = note_failure};
    const struct snapshot_announcement *version =
        daemon_publisher_version(run->publisher);
    hooks.has_version = version != NULL;
    if (version) {
        hooks.version_position = version->position;
        hooks.version_samples = version->samples;
        memcpy(hooks.version_hash, version->journal_hash,
               sizeof hooks.version_hash);
    }
    return daemon_models_open(&run->config, run->ingest, &hooks, &run->models,
                              error);
}

static enum base_status write_port(const struct run *run,
                                   struct base_error *error)
{
    char path[1100], text[16];
    int size = snprintf(text, sizeof text, "%u\n", daemon_http_port(run->http));
    enum base_status status = base_file_join(
        path, sizeof path, run->config.state, "http.port", error);
    if (status != BASE_OK)
        return status;
    return base_file_replace(path, text, (size_t)size, error);
}

static enum base_status open_all(struct run *run, struct base_error *error)
{
    struct daemon_budget budget;
    enum base_status status = base_file_make_folder(run->config.state, error);
    if (status == BASE_OK)
        status = daemon_budget_check(&run->config, &budget, error);
    if (status == BASE_OK)
        status = ingest_open(&run->config.ingest, &run->ingest, error);
    if (status == BASE_OK)
        status = daemon_publisher_open(&run->config, run->ingest,
                                       &run->publisher, error);
    if (status == BASE_OK)
        status = open_models(run, error);
    if (status == BASE_OK)
        status = daemon_http_open(&run->config.http, run->loop, collect, run,
                                  &run->http, error);
    if (status == BASE_OK &&
        !(run->history = daemon_history_open(run->config.state)))
        status = base_fail(error, BASE_SYSTEM, "history: no memory");
    return status;
}

static enum base_status start_all(struct run *run, struct base_error *error)
{
    enum base_status status =
        ingest_start(run->ingest, note_failure, run, error);
    run->ingest_started = status == BASE_OK;
    if (status == BASE_OK)
        status = daemon_models_start(run->models, error);
    if (status == BASE_OK)
        status = daemon_publisher_start(
            run->publisher, daemon_models_published(run->models), error);
    /* Last: who waits for the port finds a running daemon. */
    if (status == BASE_OK)
        status = write_port(run, error);
    return status;
}

/* ---- stop ---- */

static void leave(int signal_number)
{
    static const char text[] = "interestd: left at once; what was committed "
                               "is safe\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(signal_number == SIGALRM ? base_status_exit(BASE_AGAIN)
                                   : 128 + signal_number);
}

/* From here on a signal, or the alarm, ends the process as it is. */
static void bound_stop(struct run *run)
{
    sigset_t signals;
    ev_signal_stop(run->loop, &run->terminate);
    ev_signal_stop(run->loop, &run->interrupt);
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    signal(SIGALRM, leave);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    alarm(STOP_SECONDS);
}

/* Keeps the first error of the way down. */
static void note(enum base_status *result, struct base_error *error,
                 enum base_status status, const struct base_error *next)
{
    if (status == BASE_OK)
        return;
    base_log(BASE_LOG_ERROR, "event=stop_failed status=%s error=\"%s\"",
             base_status_name(status), next->text);
    if (*result == BASE_OK) {
        *result = status;
        *error = *next;
    }
}

/* A state that a thread found broken gets no further checkpoint. */
static void stop_all(struct run *run, enum base_status *result,
                     struct base_error *error)
{
    struct base_error next;
    bool sound = *result == BASE_OK;
    run->phase = "stopping";
    daemon_notify("STOPPING=1");
    bound_stop(run);
    if (run->ingest_started)
        ingest_pause(run->ingest, true);
    note(result, error, daemon_models_stop(run->models, sound, &next), &next);
    daemon_publisher_finish(run->publisher);
    if (run->ingest_started)
        note(result, error, ingest_stop(run->ingest, &next), &next);
    daemon_models_stop_rest(run->models, sound);
}

static void free_all(struct run *run)
{
    daemon_http_close(run->http);
    daemon_history_close(run->history);
    daemon_publisher_free(run->publisher);
    daemon_models_free(run->models);
    ingest_free(run->ingest);
    ev_loop_destroy(run->loop);
    free(run->looked);
    pthread_mutex_destroy(&run->mutex);
}

static void block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* The learner, a library, ignores a value that it cannot use. */
static void check_kernels(void)
{
    const char *asked = getenv("INTERESTD_KERNELS");
    if (asked && strcmp(asked, learner_kernels()) != 0)
        base_log(BASE_LOG_WARN,
                 "event=kernels_not_usable asked=\"%.40s\" used=%s "
                 "hint=\"INTERESTD_KERNELS is avx512, avx2 or plain, as far "
                 "as the processor has it\"",
                 asked, learner_kernels());
}

static enum base_status run_daemon(struct run *run, struct base_error *error)
{
    base_role_enter(&base_role_loop);
    block_signals();
    check_kernels();
    run->started_ms = base_wall_ms();
    run->phase = "starting";
    run->loop = ev_loop_new(EVFLAG_SIGNALFD | EVFLAG_NOENV);
    if (!run->loop)
        return base_fail(error, BASE_SYSTEM, "no event loop");
    pthread_mutex_init(&run->mutex, NULL);
    run->looked = calloc(1, sizeof *run->looked);
    enum base_status status =
        run->looked ? open_all(run, error)
                    : base_fail(error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        watch(run);
    if (status == BASE_OK)
        status = start_all(run, error);
    if (status == BASE_OK) {
        run->phase = "running";
        base_log(BASE_LOG_INFO,
                 "event=running http=%s:%u position=%llu kernels=%s",
                 run->config.http.listen, daemon_http_port(run->http),
                 (unsigned long long)learner_trainer_position(
                     daemon_models_main(run->models)),
                 learner_kernels());
        daemon_notify("READY=1");
        ev_run(run->loop, 0);
    }
    pthread_mutex_lock(&run->mutex);
    if (run->failed && status == BASE_OK) {
        *error = run->error;
        status = error->status;
    }
    pthread_mutex_unlock(&run->mutex);
    if (run->models)
        stop_all(run, &status, error);
    free_all(run);
    alarm(0);
    return status;
}

int daemon_run_main(int argc, char **argv)
{
    const char *path = NULL;
    struct option_list sets = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true, "configuration file"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
    };
    const struct options options = {
        .usage = "interestd run --config FILE [--set KEY=VALUE]...",
        .about = "Learns from Kafka and publishes models until SIGTERM or "
                 "SIGINT, then writes\na last checkpoint and version. A "
                 "second signal leaves at once.",
        .table = table,
        .count = sizeof table / sizeof table[0],
    };
    struct base_error error;
    struct run *run = calloc(1, sizeof *run);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !run)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(path, sets.values, sets.count,
                                         &run->config, &error);
    if (status == BASE_OK) {
        base_log_set_level(run->config.log_level);
        status = run_daemon(run, &error);
        if (status == BASE_OK)
            base_log(BASE_LOG_INFO, "event=stopped");
    }
    free(run);
    return options_exit("run", status, &error);
}
