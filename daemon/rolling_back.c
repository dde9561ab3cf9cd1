/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd rollback`: says what it will do, asks the running daemon for it
 * (client.h) and waits for what comes of it. See rollback.h. One thread. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "base/clock.h"
#include "daemon/client.h"
#include "daemon/commands.h"
#include "daemon/options.h"
#include "daemon/rollback.h"

enum { POLL_MS = 100, WAIT_MS = 600 * 1000 };

static uint64_t number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* On standard error, for standard output has the answer. */
static void say(const struct snapshot_listed *version, bool learner)
{
    fprintf(stderr, "rolling back to %s (%s, journal position %" PRIu64 "): "
            "its content is published again as a newer version of a new epoch; "
            "nothing else is published until `interestd publish --force`\n",
            version->name, version->delta ? "delta" : "base",
            version->position);
    if (learner)
        fprintf(stderr, "the learner goes back to the newest checkpoint at or "
                "before that position; what it has trained since is skipped, "
                "for good\n");
    else
        fprintf(stderr, "training goes on; with --learner the learner would go "
                "back too\n");
}

static enum base_status ask(const struct daemon_config *config,
                            const struct daemon_rollback *rollback,
                            uint64_t *serial, struct base_error *error)
{
    char body[128];
    struct daemon_reply reply;
    snprintf(body, sizeof body, "{\"version\": \"%s\", \"learner\": %s}",
             rollback->version, rollback->learner ? "true" : "false");
    enum base_status status =
        daemon_client_control(config, "rollback", body, &reply, error);
    if (!status) {
        json_t *root = json_loads(reply.text, 0, NULL);
        *serial = number(root, "request");
        json_decref(root);
    }
    daemon_client_free(&reply);
    return status;
}

/* The answer of a daemon that has done it, or the reason why it has not. */
static enum base_status look(const struct daemon_config *config,
                             uint64_t serial, bool json,
                             struct base_error *error)
{
    struct daemon_reply reply;
    enum base_status status =
        daemon_client_get(config, "status", &reply, error);
    json_t *root = status ? NULL : json_loads(reply.text, 0, NULL);
    const json_t *publish = json_object_get(root, "publish");
    const json_t *rollback = json_object_get(publish, "rollback");
    const char *why = json_string_value(json_object_get(rollback, "error"));
    if (!status && number(rollback, "done") < serial)
        status = BASE_AGAIN;
    else if (!status && why && why[0])
        status = base_fail(error, BASE_DATA, "%s", why);
    else if (!status)
        printf(json ? "{\"name\": \"v%" PRIu64 "-%" PRIu64 "\", \"rollback_of\""
                      ": \"v%" PRIu64 "-%" PRIu64 "\", \"position\": %" PRIu64
                      "}\n"
                    : "published v%" PRIu64 "-%" PRIu64 ", the content of v%"
                      PRIu64 "-%" PRIu64 " at position %" PRIu64 "; publishing "
                      "holds\n",
               number(publish, "epoch"), number(publish, "version"),
               number(rollback, "of_epoch"), number(rollback, "of_version"),
               number(publish, "position"));
    json_decref(root);
    daemon_client_free(&reply);
    return status;
}

static enum base_status wait_done(const struct daemon_config *config,
                                  uint64_t serial, bool json,
                                  struct base_error *error)
{
    int64_t until_ms = base_monotonic_ms() + WAIT_MS;
    enum base_status status = look(config, serial, json, error);
    while (status == BASE_AGAIN && base_monotonic_ms() < until_ms) {
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        status = look(config, serial, json, error);
    }
    return status == BASE_AGAIN
               ? base_fail(error, BASE_AGAIN, "not done after %d s; see "
                           "publish.rollback in /status", WAIT_MS / 1000)
               : status;
}

static enum base_status run(const struct daemon_config *config,
                            const char *name, bool learner, bool json,
                            struct base_error *error)
{
    const struct learner_trainer_config *model = &config->learner;
    struct daemon_rollback rollback = {.learner = learner};
    struct snapshot_listed version;
    uint64_t serial = 0;
    for (unsigned i = 0; i < config->shadow_count; i++)
        if (strcmp(config->shadows[i].name, config->publish.model) == 0)
            model = &config->shadows[i];
    snprintf(rollback.version, sizeof rollback.version, "%s", name);
    enum base_status status =
        daemon_rollback_check(config, model, &rollback, &version, error);
    if (status)
        return status;
    snprintf(rollback.version, sizeof rollback.version, "%s", version.name);
    say(&version, learner);
    status = ask(config, &rollback, &serial, error);
    return status ? status : wait_done(config, serial, json, error);
}

int daemon_rollback_main(int argc, char **argv)
{
    const char *path = NULL, *name[1] = {NULL};
    struct option_list sets = {0};
    bool learner = false, json = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true,
         "configuration of the running daemon"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"learner", OPTION_FLAG, &learner, NULL, false,
         "the learner goes back too, to a kept checkpoint at or before it; "
         "what it trained since is skipped"},
        {"json", OPTION_FLAG, &json, NULL, false, "the answer as JSON"},
    };
    const struct options options = {
        .usage = "interestd rollback VERSION --config FILE [--learner] "
                 "[--set KEY=VALUE]...\n       [--json]",
        .about = "Has the running daemon publish an older version's content "
                 "again, as a newer\nversion, and nothing else until "
                 "`interestd publish --force`. VERSION is a name\n"
                 "v<epoch>-<version>, or its number; interestd versions lists "
                 "them.",
        .table = table,
        .count = sizeof table / sizeof table[0],
        .positional_max = 1,
        .positional = name};
    struct base_error error;
    struct daemon_config *config = calloc(1, sizeof *config);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (!status && !name[0])
        status = base_fail(&error, BASE_USAGE,
                           "name a version; interestd versions lists them");
    if (!status && !config)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (!status)
        status = daemon_config_load_with(path, sets.values, sets.count, config,
                                         &error);
    if (!status)
        status = run(config, name[0], learner, json, &error);
    free(config);
    return options_exit("rollback", status, &error);
}
