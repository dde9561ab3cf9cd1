/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd forget`: has a running daemon forget users, or the state of one
 * that does not run; with --wait until nothing is left of them, with proof. One
 * thread. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"
#include "daemon/client.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "ingest/ingest.h"

enum {
    WORDS_MAX = 256,       /* users on the command line */
    FILE_SIZE_MAX = 64 << 20,
    BODY_MAX = 3000,       /* bytes of a request, below what a control takes */
    POLL_MS = 100,
    AWAY_MS = 30000,       /* the daemon may restart meanwhile */
};

static const char about[] =
    "Forgets users: in one transaction their sequences, pending impressions,\n"
    "waiting clicks, remembered event ids and the dead letters that hold their "
    "id go;\noffsets that waited move to the ledger's bucket \"forgotten\". "
    "Then the models drop\nthe rows of the users' ids, checkpoints are renewed "
    "one after the other until\nnone that is kept is older, the journal before "
    "goes, and a new version is\npublished. A daemon that is killed on the way "
    "goes on when it starts again.\nUSER is the id as the producers write it; "
    "--ids: 16 hex digits, as inspect\nprints them. Later events of the same "
    "user begin anew.\n\n"
    "Without a running daemon the state forgets at once; models and versions\n"
    "follow when it runs again.\n\n"
    "Stays, and is not promised: what the weights of goods learned; Kafka's "
    "own topics\n(a rebuild from them reads the user again, unless it is given the "
    "decisions);\npages that the store has freed and not written anew; backups "
    "and other copies;\nfolders of models that are no longer configured, and of "
    "shadows that have ended,\nwere refused or detached; the "
    "16 hex digits of the user\nin the decisions, which a rebuild needs.\n\n"
    "Exit status 75: --wait, but no daemon runs that could finish it.";

struct forgetting {
    struct daemon_config *config;
    bool ids, wait, purge, json;
    size_t count;
    const char **users; /* BORROW from words or text */
    char *text;         /* OWNS: of --file */
    uint64_t serial;
};

/* ---- users --------------------------------------------------------------- */

static enum base_status add_user(struct forgetting *forgetting,
                                 const char *user, struct base_error *error)
{
    const char **larger = realloc(forgetting->users,
                                  (forgetting->count + 1) * sizeof *larger);
    if (!larger)
        return base_fail(error, BASE_SYSTEM, "no memory");
    forgetting->users = larger;
    larger[forgetting->count++] = user;
    return BASE_OK;
}

/* One a line; empty lines are left out. */
static enum base_status read_list(struct forgetting *forgetting,
                                  const char *path, struct base_error *error)
{
    size_t size;
    enum base_status status = base_file_read(path, FILE_SIZE_MAX,
                                             &forgetting->text, &size, error);
    char *at = forgetting->text;
    if (!status && strlen(at) != size)
        return base_fail(error, BASE_DATA, "%s holds a NUL", path);
    while (!status && *at) {
        char *end = at + strcspn(at, "\n");
        bool more = *end == '\n';
        *end = '\0';
        if (end > at && end[-1] == '\r')
            end[-1] = '\0';
        if (*at)
            status = add_user(forgetting, at, error);
        at = end + more;
    }
    return status;
}

static enum base_status read_user(const struct forgetting *forgetting,
                                  const char *user,
                                  struct learner_forget *forget,
                                  struct base_error *error)
{
    const struct ingest_config *config = &forgetting->config->ingest;
    return forgetting->ids ? ingest_forget_id(config, user, forget, error)
                           : ingest_forget_name(config, user, forget, error);
}

/* ---- on the state -------------------------------------------------------- */

static enum base_status forget_offline(struct forgetting *forgetting,
                                       struct ingest_forget_status *done,
                                       struct base_error *error)
{
    enum base_status status = BASE_OK;
    struct learner_forget *all = calloc(forgetting->count, sizeof *all);
    if (!all)
        return base_fail(error, BASE_SYSTEM, "no memory");
    for (size_t i = 0; !status && i < forgetting->count; i++)
        status = read_user(forgetting, forgetting->users[i], &all[i], error);
    if (!status)
        status = ingest_forget_offline(&forgetting->config->ingest, all,
                                       (unsigned)forgetting->count,
                                       forgetting->purge, done, error);
    free(all);
    return status;
}

/* ---- with the daemon ----------------------------------------------------- */

static enum base_status post(struct forgetting *forgetting, json_t *users,
                             struct base_error *error)
{
    struct daemon_reply reply = {0};
    json_t *body = json_pack("{s:O,s:b}", forgetting->ids ? "ids" : "users",
                             users, "purge", forgetting->purge);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    enum base_status status =
        text ? daemon_client_control(forgetting->config, "forget", text, &reply,
                                     error)
             : base_fail(error, BASE_DATA, "an id is not UTF-8");
    if (!status) {
        json_t *answer = json_loads(reply.text, 0, NULL);
        forgetting->serial = (uint64_t)json_integer_value(
            json_object_get(answer, "request"));
        json_decref(answer);
    }
    daemon_client_free(&reply);
    free(text);
    json_decref(body);
    json_array_clear(users);
    return status;
}

/* At most: a byte may take six in JSON. */
static size_t json_size(const char *user)
{
    return 6 * strlen(user) + 3;
}

/* All, before the first is sent. */
static enum base_status check_users(const struct forgetting *forgetting,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    struct learner_forget forget;
    for (size_t i = 0; !status && i < forgetting->count; i++) {
        status = read_user(forgetting, forgetting->users[i], &forget, error);
        if (!status && json_size(forgetting->users[i]) > BODY_MAX)
            status = base_fail(error, BASE_LIMIT, "an id of %zu bytes",
                               strlen(forgetting->users[i]));
    }
    return status;
}

/* In requests as large as a control takes. */
static enum base_status ask_daemon(struct forgetting *forgetting,
                                   struct base_error *error)
{
    enum base_status status = check_users(forgetting, error);
    json_t *users = json_array();
    size_t bytes = 0;
    for (size_t i = 0; !status && i < forgetting->count; i++) {
        size_t size = json_size(forgetting->users[i]);
        if (bytes && bytes + size > BODY_MAX) {
            status = post(forgetting, users, error);
            bytes = 0;
        }
        json_t *user = json_string(forgetting->users[i]);
        if (!status && (!user || json_array_append(users, user)))
            status = base_fail(error, BASE_DATA, "user %zu is not UTF-8",
                               i + 1);
        json_decref(user);
        bytes += size;
    }
    if (!status)
        status = post(forgetting, users, error);
    json_decref(users);
    return status;
}

static uint64_t number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* The daemon's status, also through a restart of it. */
static enum base_status look(const struct forgetting *forgetting,
                             json_t **status, struct base_error *error)
{
    int64_t until = base_monotonic_ms() + AWAY_MS;
    for (;;) {
        struct daemon_reply reply;
        enum base_status result =
            daemon_client_get(forgetting->config, "status", &reply, error);
        if (!result && !(*status = json_loads(reply.text, 0, NULL)))
            result = base_fail(error, BASE_DATA, "/status is no JSON");
        daemon_client_free(&reply);
        bool away = result == BASE_UNAVAILABLE || result == BASE_NO_INPUT;
        if (!away || base_monotonic_ms() > until)
            return result;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

static int64_t started_ms(const json_t *status)
{
    return (int64_t)(number(status, "now_ms") - number(status, "uptime_ms"));
}

/* Until the state of the daemon that took the request has it; *again where
 * that daemon ended before, and the request with it. */
static enum base_status await_taken(const struct forgetting *forgetting,
                                    int64_t started, bool *again,
                                    struct base_error *error)
{
    for (bool taken = false; !taken;) {
        json_t *status = NULL;
        if (look(forgetting, &status, error))
            return base_wrap(error, "whether the state has forgotten is not "
                                    "known; ask once more");
        *again = started_ms(status) != started;
        taken = *again || number(json_object_get(status, "forget"),
                                 "serial") >= forgetting->serial;
        json_decref(status);
        if (!taken)
            nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    return BASE_OK;
}

/* A daemon's answer is not yet a commit: asks until one was made. To forget
 * twice is to forget once. */
static enum base_status ask_until_taken(struct forgetting *forgetting,
                                        struct base_error *error)
{
    for (bool again = true; again;) {
        json_t *status = NULL;
        if (look(forgetting, &status, error))
            return error->status;
        int64_t started = started_ms(status);
        json_decref(status);
        if (ask_daemon(forgetting, error) ||
            await_taken(forgetting, started, &again, error))
            return error->status;
        if (again)
            fprintf(stderr, "interestd forget: the daemon was restarted; asks "
                            "once more\n");
    }
    return BASE_OK;
}

/* Until the request and all before it are done; *status is then what the
 * daemon says. */
static enum base_status wait_done(const struct forgetting *forgetting,
                                  json_t **status, struct base_error *error)
{
    char phase[32] = "";
    for (;;) {
        if (look(forgetting, status, error))
            return error->status;
        const json_t *forget = json_object_get(*status, "forget");
        uint64_t wanted = forgetting->serial ? forgetting->serial
                                             : number(forget, "serial");
        if (number(forget, "done") >= wanted)
            return BASE_OK;
        const char *now =
            json_string_value(json_object_get(forget, "phase"));
        if (now && strcmp(now, phase) != 0) {
            snprintf(phase, sizeof phase, "%s", now);
            const json_t *publish = json_object_get(*status, "publish");
            const json_t *gate = json_object_get(publish, "gate");
            fprintf(stderr, "interestd forget: waits: %s%s%s\n", phase,
                    json_is_true(json_object_get(*status, "paused"))
                        ? " (the daemon is paused)"
                        : "",
                    json_is_true(json_object_get(gate, "holding"))
                        ? " (the gate holds versions; interestd publish "
                          "--force publishes one)"
                        : "");
        }
        json_decref(*status);
        *status = NULL;
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

/* ---- what is said -------------------------------------------------------- */

static json_t *list_versions(const struct daemon_config *config)
{
    json_t *list = json_array();
    struct dirent **names = NULL;
    int count = scandir(config->snapshot.folder, &names, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        if ((name[0] == 'v' || name[0] == 'b') && name[1] >= '0' &&
            name[1] <= '9')
            json_array_append_new(list, json_string(name));
        free(names[i]);
    }
    free(names);
    return list;
}

static json_t *gone_of(const json_t *before, const json_t *after)
{
    json_t *gone = json_array(), *name;
    size_t i;
    json_array_foreach(before, i, name)
    {
        bool there = false;
        for (size_t k = 0; k < json_array_size(after); k++)
            there |= json_equal(json_array_get(after, k), name);
        if (!there)
            json_array_append(gone, name);
    }
    return gone;
}

static json_t *models_of(const json_t *status)
{
    json_t *models = json_object();
    size_t i;
    json_t *model;
    json_array_foreach(json_object_get(status, "models"), i, model)
    {
        const char *name = json_string_value(json_object_get(model, "name"));
        json_object_set_new(
            models, name ? name : "",
            json_pack("{s:O?,s:I,s:I}", "state",
                      json_object_get(model, "state"), "oldest_checkpoint",
                      (json_int_t)number(model, "oldest_checkpoint"),
                      "rows_dropped",
                      (json_int_t)number(model, "forgotten_rows")));
    }
    return models;
}

static const char *const counts[] = {"users",       "sequences", "impressions",
                                     "clicks",      "offsets",   "remembered",
                                     "letters"};

static void print_names(const char *what, const json_t *names)
{
    printf("%s", what);
    if (json_array_size(names) == 0)
        printf(" none");
    for (size_t i = 0; i < json_array_size(names); i++)
        printf(" %s", json_string_value(json_array_get(names, i)));
    printf("\n");
}

static void print_text(const json_t *proof)
{
    const json_t *forget = json_object_get(proof, "forget");
    const char *name;
    json_t *model;
    printf("request %" PRIu64 ":", number(forget, "serial"));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        printf(" %s %" PRIu64, counts[i], number(forget, counts[i]));
    printf("\njournal: forgotten at [%" PRIu64 ", %" PRIu64 "), begins at %"
           PRIu64 "\n", number(forget, "first"), number(forget, "position"),
           number(proof, "journal_begin"));
    json_object_foreach(json_object_get(proof, "models"), name, model)
        printf("model %s: oldest checkpoint at %" PRIu64 ", %" PRIu64
               " rows dropped\n", name, number(model, "oldest_checkpoint"),
               number(model, "rows_dropped"));
    printf("published: version %" PRIu64 " at position %" PRIu64 "\n",
           number(proof, "version"), number(proof, "version_position"));
    print_names("versions gone:", json_object_get(proof, "versions_gone"));
    print_names("versions kept:", json_object_get(proof, "versions"));
    printf("ledger: %" PRIu64 " offsets in bucket forgotten, %" PRId64
           " unaccounted\n", number(proof, "bucket_forgotten"),
           (int64_t)number(proof, "unaccounted"));
}

static void print_proof(const struct forgetting *forgetting,
                        const json_t *status, const json_t *before)
{
    const json_t *ingest = json_object_get(status, "ingest");
    const json_t *publish = json_object_get(status, "publish");
    json_t *after = list_versions(forgetting->config);
    json_t *proof = json_pack(
        "{s:O,s:I,s:o,s:I,s:I,s:o,s:o,s:I,s:I}", "forget",
        json_object_get(status, "forget"), "journal_begin",
        (json_int_t)number(ingest, "journal_begin"), "models",
        models_of(status), "version", (json_int_t)number(publish, "version"),
        "version_position", (json_int_t)number(publish, "position"),
        "versions_gone", gone_of(before, after), "versions", after,
        "bucket_forgotten",
        (json_int_t)number(json_object_get(ingest, "buckets"), "forgotten"),
        "unaccounted", (json_int_t)number(ingest, "unaccounted"));
    if (!proof)
        return;
    if (forgetting->json) {
        json_dumpf(proof, stdout, JSON_INDENT(1));
        printf("\n");
    } else {
        print_text(proof);
    }
    json_decref(proof);
}

static void print_offline(const struct forgetting *forgetting,
                          const struct ingest_forget_status *done)
{
    if (forgetting->json)
        printf("{\"request\": %" PRIu64 ", \"offline\": true, \"users\": %"
               PRIu64 ", \"offsets\": %" PRIu64 ", \"position\": %" PRIu64
               "}\n", done->serial, done->users, done->offsets,
               done->position);
    else
        printf("request %" PRIu64 ": the state forgot %" PRIu64 " users: "
               "sequences %" PRIu64 " impressions %" PRIu64 " clicks %" PRIu64
               " offsets %" PRIu64 " remembered %" PRIu64 " letters %" PRIu64
               "\nmodels, journal and versions follow when the daemon runs\n",
               done->serial, done->users, done->sequences, done->impressions,
               done->clicks, done->offsets, done->remembered, done->letters);
}

/* ---- the command --------------------------------------------------------- */

/* journal_keep would keep the user for ever. */
static enum base_status check_keep(const struct forgetting *forgetting,
                                   struct base_error *error)
{
    if (!forgetting->config->ingest.journal_keep)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "%s: ingest.journal_keep keeps the journal, and with it "
                     "every user, for ever; set it to false and restart first",
                     forgetting->config->file);
}

static enum base_status run(struct forgetting *forgetting,
                            struct base_error *error)
{
    struct ingest_forget_status done = {0};
    json_t *status = NULL, *before = list_versions(forgetting->config);
    enum base_status result = check_keep(forgetting, error);
    if (!result && access(forgetting->config->ingest.folder, F_OK))
        result = base_fail(error, BASE_NO_INPUT, "there is no state in %s",
                           forgetting->config->ingest.folder);
    bool running = false;
    if (!result && forgetting->count) {
        result = forget_offline(forgetting, &done, error);
        running = result == BASE_UNAVAILABLE;
        if (!result)
            print_offline(forgetting, &done);
        else if (running)
            result = ask_until_taken(forgetting, error);
    }
    if (!result && forgetting->count && !running && forgetting->wait)
        result = base_fail(error, BASE_AGAIN,
                           "no daemon runs; start it, then `interestd forget "
                           "--wait` waits until it has finished");
    else if (!result && forgetting->wait)
        result = wait_done(forgetting, &status, error);
    else if (!result && running)
        printf("{\"request\": %" PRIu64 "}\n", forgetting->serial);
    if (!result && status)
        print_proof(forgetting, status, before);
    json_decref(status);
    json_decref(before);
    return result;
}

int daemon_forget_main(int argc, char **argv)
{
    const char *file = NULL, *list = NULL, *words[WORDS_MAX] = {NULL};
    struct option_list sets = {0};
    struct forgetting forgetting = {0};
    const struct option table[] = {
        {"config", OPTION_TEXT, &file, "FILE", true,
         "the daemon's file, which names state and models"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's"},
        {"file", OPTION_TEXT, &list, "LIST", false, "more users, one a line"},
        {"ids", OPTION_FLAG, &forgetting.ids, NULL, false,
         "users are given as the 16 hex digits that inspect prints"},
        {"wait", OPTION_FLAG, &forgetting.wait, NULL, false,
         "until nothing is left, then print proof; without USER: of all "
         "requests so far"},
        {"purge", OPTION_FLAG, &forgetting.purge, NULL, false,
         "older versions (pinned ones too) and checkpoints set aside go at "
         "once, not with retention"},
        {"json", OPTION_FLAG, &forgetting.json, NULL, false,
         "the answer as JSON"},
    };
    const struct options options = {
        .usage = "interestd forget USER... --config FILE [--file LIST] [--ids] "
                 "[--wait]\n       [--purge] [--json]",
        .about = about,
        .table = table,
        .count = sizeof table / sizeof table[0],
        .positional_max = WORDS_MAX,
        .positional = words};
    struct base_error error = {.text = ""};
    enum base_status status = options_parse(&options, argc, argv, &error);
    for (unsigned i = 0; !status && i < WORDS_MAX && words[i]; i++)
        status = add_user(&forgetting, words[i], &error);
    if (!status && list)
        status = read_list(&forgetting, list, &error);
    if (!status && !forgetting.count && !forgetting.wait)
        status = base_fail(&error, BASE_USAGE, "name a user, or --wait");
    forgetting.config = calloc(1, sizeof *forgetting.config);
    if (!status && !forgetting.config)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = daemon_config_load_with(file, sets.values, sets.count,
                                         forgetting.config, &error);
    if (!status)
        status = run(&forgetting, &error);
    free(forgetting.config);
    free(forgetting.users);
    free(forgetting.text);
    return options_exit("forget", status, &error);
}
