/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the running daemon; see client.h. */
#include "daemon/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/file.h"

enum { TIMEOUT_S = 20, REPLY_MAX = 16 << 20 };

/* More than REPLY_MAX ends the transfer. */
static size_t receive(char *bytes, size_t one, size_t count, void *self)
{
    struct daemon_reply *reply = self;
    size_t size = one * count;
    if (size > REPLY_MAX - reply->size)
        return 0;
    char *larger = realloc(reply->text, reply->size + size + 1);
    if (!larger)
        return 0;
    reply->text = larger;
    memcpy(reply->text + reply->size, bytes, size);
    reply->size += size;
    reply->text[reply->size] = '\0';
    return size;
}

void daemon_client_free(struct daemon_reply *reply)
{
    free(reply->text);
    *reply = (struct daemon_reply){0};
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
                      const char *path, char *url,
                      size_t size)
{
    const char *host = config->http.listen;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    bool six = strchr(host, ':') != NULL;
    snprintf(url, size, "http://%s%s%s:%u/%s", six ? "[" : "", host,
             six ? "]" : "", port, path);
}

/* body NULL: a GET. */
static void set_up(CURL *curl, const char *url, const char *body,
                   struct curl_slist *headers, struct daemon_reply *reply)
{
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* whatever the environment */
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
}

/* body NULL: a GET, which needs no token. */
static enum base_status perform(const char *url, const char *token,
                                const char *body, struct daemon_reply *reply,
                                struct base_error *error)
{
    char header[DAEMON_TOKEN_MAX + 32];
    enum base_status status = BASE_OK;
    snprintf(header, sizeof header, "Authorization: Bearer %s", token);
    struct curl_slist *headers =
        curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *all =
        headers && body ? curl_slist_append(headers, header) : headers;
    CURL *curl = curl_easy_init();
    if (!curl || !headers || !all) {
        status = base_fail(error, BASE_SYSTEM, "curl: no memory");
        goto cleanup;
    }
    set_up(curl, url, body, all, reply);
    CURLcode failed = curl_easy_perform(curl);
    if (failed)
        status = base_fail(error, BASE_UNAVAILABLE, "%s: %s", url,
                           curl_easy_strerror(failed));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->code);
cleanup:
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status;
}

static enum base_status judge(const struct daemon_reply *reply, const char *url,
                              struct base_error *error)
{
    long code = reply->code;
    if (code >= 200 && code < 300)
        return BASE_OK;
    enum base_status status = code == 401 || code == 403 ? BASE_DENIED
                              : code == 400 || code == 413 ? BASE_USAGE
                              : code == 409                ? BASE_AGAIN
                                                           : BASE_UNAVAILABLE;
    return base_fail(error, status, "%s: HTTP status %ld: %.500s", url, code,
                     reply->text ? reply->text : "");
}

static enum base_status ask(const struct daemon_config *config,
                            const char *path, const char *body,
                            struct daemon_reply *reply,
                            struct base_error *error)
{
    char url[200];
    unsigned port = 0;
    enum base_status status = read_port(config, &port, error);
    if (status != BASE_OK)
        return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return base_fail(error, BASE_SYSTEM, "curl: cannot be set up");
    print_url(config, port, path, url, sizeof url);
    status = perform(url, config->http.token, body, reply, error);
    if (status == BASE_OK && body && reply->text)
        reply->text[strcspn(reply->text, "\r\n")] = '\0';
    if (status == BASE_OK)
        status = judge(reply, url, error);
    curl_global_cleanup();
    return status;
}

enum base_status daemon_client_control(const struct daemon_config *config,
                                       const char *path, const char *body,
                                       struct daemon_reply *reply,
                                       struct base_error *error)
{
    char control[120];
    *reply = (struct daemon_reply){0};
    if (!config->http.token[0])
        return base_fail(error, BASE_CONFIG,
                         "%s: http.token is not set: without it the daemon "
                         "refuses every control",
                         config->file);
    snprintf(control, sizeof control, "control/%s", path);
    return ask(config, control, body, reply, error);
}

enum base_status daemon_client_get(const struct daemon_config *config,
                                   const char *path, struct daemon_reply *reply,
                                   struct base_error *error)
{
    *reply = (struct daemon_reply){0};
    return ask(config, path, NULL, reply, error);
}
