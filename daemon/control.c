/* SPDX-License-Identifier: Apache-2.0 */
/* Controls; see control.h. */
#include "daemon/control.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/log.h"
#include "daemon/config.h"
#include "ingest/ingest.h"

/* Every answer's text is one of ours, so nothing needs an escape. */
static void refuse(struct daemon_control_answer *answer, unsigned code,
                   const char *why)
{
    answer->code = code;
    snprintf(answer->text, sizeof answer->text, "{\"error\": \"%s\"}\n", why);
}

static void accept(struct daemon_control_answer *answer, unsigned code,
                   const char *action, const char *effect)
{
    base_log(BASE_LOG_INFO, "event=control action=%s", action);
    answer->code = code;
    snprintf(answer->text, sizeof answer->text,
             "{\"action\": \"%s\", \"effect\": \"%s\"}\n", action, effect);
}

/* Reads DAEMON_TOKEN_MAX bytes of both, whatever they are. */
static bool equal(const char *token, const char *given)
{
    uint8_t a[DAEMON_TOKEN_MAX] = {0}, b[DAEMON_TOKEN_MAX] = {0};
    size_t size = strlen(given);
    volatile uint8_t different = size >= sizeof b;
    memcpy(a, token, strlen(token));
    memcpy(b, given, size < sizeof b ? size : sizeof b);
    for (size_t i = 0; i < sizeof a; i++)
        different |= a[i] ^ b[i];
    return !different;
}

static bool allowed(const char *token, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    return authorization &&
           strncmp(authorization, scheme, sizeof scheme - 1) == 0 &&
           equal(token, authorization + sizeof scheme - 1);
}

/* {"force": true} for those that know it, else nothing. */
static bool read_body(const struct daemon_control_request *request,
                      bool may_force, bool *force)
{
    if (!request->body_size)
        return true;
    json_t *body = json_loadb(request->body, request->body_size,
                              JSON_REJECT_DUPLICATES, NULL);
    const json_t *value = json_object_get(body, "force");
    bool good = json_is_object(body) &&
                json_object_size(body) == (value ? 1u : 0u) &&
                (!value || (may_force && json_is_boolean(value)));
    if (good && json_is_true(value))
        *force = true;
    json_decref(body);
    return good;
}

static bool read_arguments(const struct daemon_control_request *request,
                           bool may_force, bool *force)
{
    if (request->arguments != (request->force ? 1u : 0u))
        return false;
    if (!request->force)
        return true;
    if (!may_force ||
        (strcmp(request->force, "0") != 0 && strcmp(request->force, "1") != 0))
        return false;
    *force = request->force[0] == '1';
    return true;
}

static void act_pause(const struct daemon_control_hooks *hooks, bool force,
                      struct daemon_control_answer *answer)
{
    (void)force;
    hooks->pause(hooks->self, true);
    accept(answer, 200, "pause",
           "nothing is applied or trained until resume; Kafka keeps what "
           "comes");
}

static void act_resume(const struct daemon_control_hooks *hooks, bool force,
                       struct daemon_control_answer *answer)
{
    (void)force;
    hooks->pause(hooks->self, false);
    accept(answer, 200, "resume", "applying and training go on");
}

static void act_checkpoint(const struct daemon_control_hooks *hooks, bool force,
                           struct daemon_control_answer *answer)
{
    (void)force;
    hooks->checkpoint(hooks->self);
    accept(answer, 202, "checkpoint",
           "each model writes one at its next batch end; see "
           "checkpoint_position in /status");
}

static void act_publish(const struct daemon_control_hooks *hooks, bool force,
                        struct daemon_control_answer *answer)
{
    if (!hooks->publish(hooks->self, force))
        refuse(answer, 409, "the model of publish.model is not trained");
    else if (force)
        accept(answer, 202, "publish",
               "what was trained since the newest version becomes one, "
               "whatever the gate says, but for weights that are not finite; "
               "see publish in /status");
    else
        accept(answer, 202, "publish",
               "what was trained since the newest version becomes one if the "
               "gate lets it pass; see publish in /status");
}

/* ---- forget -------------------------------------------------------------- */

enum { FORGETS_MAX = DAEMON_CONTROL_BODY_MAX / 3 };

/* One list of the body: names as the producers write them, or ids. */
static enum base_status
read_users(const struct ingest_config *config, json_t *list,
           enum base_status (*read)(const struct ingest_config *config,
                                    const char *text,
                                    struct learner_forget *forget,
                                    struct base_error *error),
           struct learner_forget *forgets, unsigned *count,
           struct base_error *error)
{
    size_t i;
    json_t *user;
    if (list && !json_is_array(list))
        return base_fail(error, BASE_USAGE, "users and ids are lists");
    json_array_foreach(list, i, user)
    {
        const char *text = json_string_value(user);
        if (!text || strlen(text) != json_string_length(user))
            return base_fail(error, BASE_USAGE,
                             "users and ids are strings without a NUL");
        if (*count == FORGETS_MAX)
            return base_fail(error, BASE_LIMIT, "too many users");
        if (read(config, text, &forgets[*count], error))
            return error->status;
        ++*count;
    }
    return BASE_OK;
}

static enum base_status read_forget(const struct ingest_config *config,
                                    json_t *body,
                                    struct learner_forget *forgets,
                                    unsigned *count, bool *purge,
                                    struct base_error *error)
{
    json_t *users = json_object_get(body, "users");
    json_t *ids = json_object_get(body, "ids");
    json_t *also = json_object_get(body, "purge");
    size_t known = (users != NULL) + (ids != NULL) + (also != NULL);
    if (!json_is_object(body) || json_object_size(body) != known ||
        (also && !json_is_boolean(also)))
        return base_fail(error, BASE_USAGE,
                         "wants {'users': [..], 'ids': [..], 'purge': false}");
    *purge = json_is_true(also);
    if (read_users(config, users, ingest_forget_name, forgets, count, error) ||
        read_users(config, ids, ingest_forget_id, forgets, count, error))
        return error->status;
    return *count ? BASE_OK : base_fail(error, BASE_USAGE, "names no user");
}

/* What the client sent is not in the answer but for what is wrong with it. */
static void act_forget(const struct daemon_control_hooks *hooks,
                       const struct daemon_control_request *request,
                       struct daemon_control_answer *answer)
{
    struct learner_forget *forgets = calloc(FORGETS_MAX, sizeof *forgets);
    struct base_error error = {.text = ""};
    unsigned count = 0;
    bool purge = false;
    json_t *body = json_loadb(request->body, request->body_size,
                              JSON_REJECT_DUPLICATES, NULL);
    enum base_status status =
        !forgets ? base_fail(&error, BASE_SYSTEM, "no memory")
        : request->arguments
            ? base_fail(&error, BASE_USAGE, "wants no argument")
            : read_forget(hooks->ingest, body, forgets, &count, &purge, &error);
    if (status == BASE_OK) {
        uint64_t serial = hooks->forget(hooks->self, forgets, count, purge);
        base_log(BASE_LOG_INFO, "event=control action=forget users=%u "
                 "request=%llu", count, (unsigned long long)serial);
        answer->code = 202;
        snprintf(answer->text, sizeof answer->text,
                 "{\"action\": \"forget\", \"request\": %llu, \"users\": %u, "
                 "\"effect\": \"the state forgets next: it has when "
                 "forget.serial in /status says so; checkpoints, journal and "
                 "versions follow\"}\n",
                 (unsigned long long)serial, count);
    } else {
        json_t *text = json_pack("{s:s}", "error", error.text);
        char *dumped = text ? json_dumps(text, 0) : NULL;
        answer->code = 400;
        snprintf(answer->text, sizeof answer->text, "%s\n",
                 dumped && strlen(dumped) < sizeof answer->text - 1
                     ? dumped
                     : "{\"error\": \"a user's id is not usable\"}");
        free(dumped);
        json_decref(text);
    }
    json_decref(body);
    free(forgets);
}

/* ---- rollback ------------------------------------------------------------ */

/* The name of a version, which is all that goes on from here. */
static bool is_name(const char *text)
{
    size_t size = text ? strlen(text) : 0;
    return size > 3 && size < 64 && text[0] == 'v' &&
           strspn(text + 1, "0123456789-") == size - 1;
}

static void act_rollback(const struct daemon_control_hooks *hooks,
                         const struct daemon_control_request *request,
                         struct daemon_control_answer *answer)
{
    json_t *body = json_loadb(request->body, request->body_size,
                              JSON_REJECT_DUPLICATES, NULL);
    const json_t *learner = json_object_get(body, "learner");
    const char *version =
        json_string_value(json_object_get(body, "version"));
    if (request->arguments || !is_name(version) ||
        json_object_size(body) != (learner ? 2u : 1u) ||
        (learner && !json_is_boolean(learner))) {
        refuse(answer, 400,
               "wants {'version': 'v<epoch>-<version>', 'learner': false}");
    } else {
        uint64_t serial =
            hooks->rollback(hooks->self, version, json_is_true(learner));
        base_log(BASE_LOG_INFO, "event=control action=rollback version=%s "
                 "request=%llu", version, (unsigned long long)serial);
        if (!serial)
            refuse(answer, 409, "another rollback is under way");
        else
            answer->code = 202;
        if (serial)
            snprintf(answer->text, sizeof answer->text,
                     "{\"action\": \"rollback\", \"request\": %llu, "
                     "\"effect\": \"the content of %s becomes a newer version; "
                     "nothing else is published until publish --force; see "
                     "publish.rollback in /status\"}\n",
                     (unsigned long long)serial, version);
    }
    json_decref(body);
}

static const struct {
    const char *name;
    bool may_force;
    void (*act)(const struct daemon_control_hooks *hooks, bool force,
                struct daemon_control_answer *answer);
} actions[] = {
    {"pause", false, act_pause},
    {"resume", false, act_resume},
    {"checkpoint", false, act_checkpoint},
    {"publish", true, act_publish},
};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

void daemon_control_answer(const struct daemon_control_hooks *hooks,
                           const char *token,
                           const struct daemon_control_request *request,
                           struct daemon_control_answer *answer)
{
    bool force = false, asked = false;
    unsigned i = 0;
    if (!hooks || !token[0]) {
        refuse(answer, 403, "controls are off: http.token is not set");
        return;
    }
    if (!allowed(token, request->authorization)) {
        refuse(answer, 401,
               "wants the header Authorization: Bearer with the token of "
               "http.token");
        return;
    }
    bool forget = strcmp(request->name, "forget") == 0;
    bool rollback = strcmp(request->name, "rollback") == 0;
    while (i < ACTIONS && strcmp(actions[i].name, request->name) != 0)
        i++;
    if (i == ACTIONS && !forget && !rollback)
        refuse(answer, 404,
               "no such control; there is pause, resume, checkpoint, publish, "
               "forget, rollback");
    else if (request->body_size > DAEMON_CONTROL_BODY_MAX)
        refuse(answer, 413, "the body is longer than 4096 bytes");
    else if (forget)
        act_forget(hooks, request, answer);
    else if (rollback)
        act_rollback(hooks, request, answer);
    else if (!read_arguments(request, actions[i].may_force, &asked) ||
             !read_body(request, actions[i].may_force, &force))
        refuse(answer, 400,
               "wants no body or a JSON object, and no argument; publish "
               "knows force=1 and {'force': true}");
    else
        actions[i].act(hooks, force || asked, answer);
}
