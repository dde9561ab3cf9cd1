/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd pause | resume | checkpoint | publish`: asks the running daemon
 * of a configuration, found by <state>/http.port, with the token of http.token,
 * and prints its answer. Does not touch the state. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/file.h"
#include "daemon/commands.h"
#include "daemon/config.h"
#include "daemon/options.h"

enum { TIMEOUT_S = 20, REPLY_MAX = 4096 };

struct reply {
    size_t size;
    char text[REPLY_MAX + 1];
};

/* More than REPLY_MAX ends the transfer. */
static size_t receive(char *bytes, size_t one, size_t count, void *self)
{
    struct reply *reply = self;
    size_t size = one * count;
    if (size > REPLY_MAX - reply->size)
        return 0;
    memcpy(reply->text + reply->size, bytes, size);
    reply->size += size;
    reply->text[reply->size] = '\0';
    return size;
}

static enum base_status read_port(const struct daemon_config *config,
                                  unsigned *port, struct base_error *error)
{
    char path[1100], *text = NULL, *end;
    size_t size;
    enum base_status status =
        base_file_join(path, sizeof path, config->state, "http.port", error);
    if (status == BASE_OK)
        status = base_file_read(path, 32, &text, &size, error);
    if (status != BASE_OK)
        return base_wrap(error, "no daemon has run on this state");
    unsigned long value = strtoul(text, &end, 10);
    bool good = end > text && *end == '\n' && value > 0 && value <= 65535;
    free(text);
    if (!good)
        return base_fail(error, BASE_CORRUPT, "%s: not a port", path);
    *port = (unsigned)value;
    return BASE_OK;
}

/* An address that means "all" is asked on this machine. */
static void print_url(const struct daemon_config *config, unsigned port,
                      const char *path, char *url, size_t size)
{
    const char *host = config->http.listen;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    bool six = strchr(host, ':') != NULL;
    snprintf(url, size, "http://%s%s%s:%u/control/%s", six ? "[" : "", host,
             six ? "]" : "", port, path);
}

static void set_up(CURL *curl, const char *url, struct curl_slist *headers,
                   struct reply *reply)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment */
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
}

static enum base_status post(const char *url, const char *token,
                             struct reply *reply, long *code,
                             struct base_error *error)
{
    char header[DAEMON_TOKEN_MAX + 32];
    enum base_status status = BASE_OK;
    snprintf(header, sizeof header, "Authorization: Bearer %s", token);
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *all = curl_slist_append(headers, header);
    CURL *curl = curl_easy_init();
    if (!curl || !headers || !all) {
        status = base_fail(error, BASE_SYSTEM, "curl: no memory");
        goto cleanup;
    }
    set_up(curl, url, all, reply);
    CURLcode failed = curl_easy_perform(curl);
    if (failed)
        status = base_fail(error, BASE_UNAVAILABLE, "%s: %s", url,
                           curl_easy_strerror(failed));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, code);
cleanup:
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}

static enum base_status judge(long code, const char *url, struct reply *reply,
                              struct base_error *error)
{
    reply->text[strcspn(reply->text, "\r\n")] = '\0';
    if (code >= 200 && code < 300) {
        printf("%s\n", reply->text);
        return BASE_OK;
    }
    enum base_status status = code == 401 || code == 403 ? BASE_DENIED
                              : code == 409              ? BASE_AGAIN
                                                         : BASE_UNAVAILABLE;
    return base_fail(error, status, "%s: HTTP status %ld: %.500s", url, code,
                     reply->text);
}

static enum base_status ask(const struct daemon_config *config,
                            const char *path, struct base_error *error)
{
    static struct reply reply;
    char url[200];
    unsigned port = 0;
    long code = 0;
    if (!config->http.token[0])
        return base_fail(error, BASE_CONFIG,
                         "%s: http.token is not set: without it the daemon "
                         "refuses every control",
                         config->file);
    enum base_status status = read_port(config, &port, error);
    if (status != BASE_OK)
        return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return base_fail(error, BASE_SYSTEM, "curl: cannot be set up");
    print_url(config, port, path, url, sizeof url);
    status = post(url, config->http.token, &reply, &code, error);
    if (status == BASE_OK)
        status = judge(code, url, &reply, error);
    curl_global_cleanup();
    return status;
}

struct remote {
    const char *name, *usage, *about;
    bool may_force;
};

static int run_remote(const struct remote *remote, int argc, char **argv)
{
    const char *path = NULL;
    struct option_list sets = {0};
    bool force = false;
    const struct option table[] = {
        {"config", OPTION_TEXT, &path, "FILE", true,
         "configuration of the running daemon"},
        {"set", OPTION_LIST, &sets, "KEY=VALUE", false,
         "a setting over the file's; may be repeated"},
        {"force", OPTION_FLAG, &force, NULL, false,
         "once, whatever the gate says"},
    };
    const struct options options = {.usage = remote->usage,
                                    .about = remote->about,
                                    .table = table,
                                    .count = remote->may_force ? 3 : 2};
    struct base_error error;
    struct daemon_config *config = calloc(1, sizeof *config);
    enum base_status status = options_parse(&options, argc, argv, &error);
    if (status == BASE_OK && !config)
        status = base_fail(&error, BASE_SYSTEM, "no memory");
    if (status == BASE_OK)
        status = daemon_config_load_with(path, sets.values, sets.count, config,
                                         &error);
    if (status == BASE_OK)
        status = ask(config, force ? "publish?force=1" : remote->name, &error);
    free(config);
    return options_exit(remote->name, status, &error);
}

int daemon_pause_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "pause",
        .usage = "interestd pause --config FILE [--set KEY=VALUE]...",
        .about = "Has the running daemon apply and train nothing until "
                 "resume, or until it is\nstarted again. Kafka keeps what "
                 "comes; what is published stays."};
    return run_remote(&remote, argc, argv);
}

int daemon_resume_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "resume",
        .usage = "interestd resume --config FILE [--set KEY=VALUE]...",
        .about = "Has a paused daemon go on."};
    return run_remote(&remote, argc, argv);
}

int daemon_checkpoint_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "checkpoint",
        .usage = "interestd checkpoint --config FILE [--set KEY=VALUE]...",
        .about = "Has each model of the running daemon write a checkpoint; "
                 "does not wait for it."};
    return run_remote(&remote, argc, argv);
}

int daemon_publish_main(int argc, char **argv)
{
    static const struct remote remote = {
        .name = "publish",
        .usage = "interestd publish [--force] --config FILE "
                 "[--set KEY=VALUE]...",
        .about = "Has the running daemon publish what was trained since the "
                 "newest version,\nif the gate (publish.gate_...) lets it "
                 "pass; with --force also if not, once.\nWeights that are "
                 "not finite are never published. Does not wait for it.",
        .may_force = true};
    return run_remote(&remote, argc, argv);
}
