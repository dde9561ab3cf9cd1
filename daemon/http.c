/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP in the event loop; see http.h.
 *
 * Invariants: 1. MHD_run is called when its descriptor is readable or its
 * time-out is over, never by another thread; 2. answers are whole texts made
 * before they are queued; 3. nothing a client sends is logged, or kept beyond
 * its answer; 4. of a control's body at most DAEMON_CONTROL_BODY_MAX bytes are
 * kept, who sends more than BODY_END is hung up on. */
#include "daemon/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <ev.h>
#include <microhttpd.h>

#include "daemon/control.h"
#include "daemon/history.h"
#include "daemon/page.h"

enum { BODY_END = 1 << 20, MINUTES = 60, MINUTES_MAX = 1450 };
enum { IDLE_SECONDS = 5, CONNECTION_MEMORY = 16384, PER_ADDRESS = 32 };

struct daemon_http {
    struct MHD_Daemon *daemon;
    struct ev_loop *loop;
    ev_io readable;
    ev_timer timeout;
    uint16_t port;
    void (*collect)(void *self, struct daemon_status *status);
    void *self;
    struct daemon_status *status; /* scratch, too large for the stack */
    const struct daemon_control_hooks *control; /* NULL: refused */
    const struct daemon_history *history;       /* NULL: none */
    const char *model_folder;                   /* likewise */
    char token[DAEMON_TOKEN_MAX];
};

/* A control's body while it comes; *context of its connection. */
struct upload {
    size_t size; /* of all that came */
    char body[DAEMON_CONTROL_BODY_MAX];
};

static enum MHD_Result queue(struct MHD_Connection *connection, unsigned code,
                             const char *type, const char *allow,
                             struct MHD_Response *response)
{
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL,
                            "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    if (code == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                "Bearer");
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code,
                              const char *type, char *text,
                              enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, mode);
    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(text);
        return MHD_NO;
    }
    return queue(connection, code, type, "GET, HEAD", response);
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned code,
                           const char *text)
{
    /* Persistent: MHD only reads it. */
    return answer(connection, code, "text/plain; charset=utf-8", (char *)text,
                  MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result answer_made(struct MHD_Connection *connection,
                                   const char *type, char *text)
{
    if (!text)
        return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory\n");
    return answer(connection, MHD_HTTP_OK, type, text, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result get_livez(struct daemon_http *http,
                                 struct MHD_Connection *connection)
{
    (void)http;
    return say(connection, MHD_HTTP_OK, "alive\n");
}

static enum MHD_Result get_readyz(struct daemon_http *http,
                                  struct MHD_Connection *connection)
{
    http->collect(http->self, http->status);
    if (daemon_status_ready(http->status))
        return say(connection, MHD_HTTP_OK, "ready\n");
    char *text = NULL;
    const char *why = http->status->ingest.broker_error;
    if (asprintf(&text, "not ready%s%s\n", *why ? ": " : "", why) < 0)
        return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not ready\n");
    return answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                  "text/plain; charset=utf-8", text, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result get_status(struct daemon_http *http,
                                  struct MHD_Connection *connection)
{
    http->collect(http->self, http->status);
    return answer_made(connection, "application/json",
                       daemon_status_json(http->status));
}

static enum MHD_Result get_metrics(struct daemon_http *http,
                                   struct MHD_Connection *connection)
{
    http->collect(http->self, http->status);
    return answer_made(connection, "text/plain; version=0.0.4; charset=utf-8",
                       daemon_status_metrics(http->status));
}

/* ---- the page ---- */

static enum MHD_Result get_history(struct daemon_http *http,
                                   struct MHD_Connection *connection)
{
    const char *asked = MHD_lookup_connection_value(
        connection, MHD_GET_ARGUMENT_KIND, "minutes");
    long minutes = asked ? strtol(asked, NULL, 10) : MINUTES;
    if (!http->history)
        return say(connection, MHD_HTTP_NOT_FOUND, "no history\n");
    if (minutes < 1 || minutes > MINUTES_MAX)
        return say(connection, MHD_HTTP_BAD_REQUEST,
                   "minutes is 1 to 1450\n");
    http->collect(http->self, http->status);
    return answer_made(connection, "application/json",
                       daemon_history_json(http->history, http->status,
                                           (unsigned)minutes));
}

static enum MHD_Result get_manifest(struct daemon_http *http,
                                    struct MHD_Connection *connection)
{
    const char *name = MHD_lookup_connection_value(
        connection, MHD_GET_ARGUMENT_KIND, "version");
    struct base_error error;
    char *text = NULL;
    if (!http->model_folder)
        return say(connection, MHD_HTTP_NOT_FOUND, "no model folder\n");
    enum base_status status = daemon_page_manifest(
        http->model_folder, name ? name : "", &text, &error);
    if (status == BASE_USAGE)
        return say(connection, MHD_HTTP_BAD_REQUEST,
                   "wants version=v<epoch>-<version>\n");
    if (status != BASE_OK)
        return say(connection, MHD_HTTP_NOT_FOUND,
                   "that version is not in the model folder (any more)\n");
    return answer_made(connection, "application/json", text);
}

static enum MHD_Result answer_page(struct MHD_Connection *connection,
                                   const struct daemon_page_file *file)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        file->size, (void *)file->data, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Security-Policy",
                            daemon_page_policy);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    return queue(connection, MHD_HTTP_OK, file->type, NULL, response);
}

static const struct {
    const char *path;
    enum MHD_Result (*get)(struct daemon_http *, struct MHD_Connection *);
} paths[] = {
    {"/livez", get_livez},
    {"/readyz", get_readyz},
    {"/status", get_status},
    {"/metrics", get_metrics},
    {"/history", get_history},
    {"/manifest", get_manifest},
};

/* ---- controls ---- */

static enum MHD_Result count_argument(void *self, enum MHD_ValueKind kind,
                                      const char *key, const char *value)
{
    (void)kind, (void)key, (void)value;
    ++*(unsigned *)self;
    return MHD_YES;
}

static enum MHD_Result answer_control(struct daemon_http *http,
                                      struct MHD_Connection *connection,
                                      const char *name,
                                      const struct upload *upload)
{
    struct daemon_control_answer made;
    struct daemon_control_request request = {
        .name = name,
        .authorization = MHD_lookup_connection_value(
            connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION),
        .force = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND,
                                             "force"),
        .body = upload->body,
        .body_size = upload->size,
    };
    (void)MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND,
                                    count_argument, &request.arguments);
    daemon_control_answer(http->control, http->token, &request, &made);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(made.text), made.text, MHD_RESPMEM_MUST_COPY);
    return response ? queue(connection, made.code, "application/json", NULL,
                            response)
                    : MHD_NO;
}

static enum MHD_Result refuse_method(struct MHD_Connection *connection)
{
    static char text[] = "{\"error\": \"only POST\"}\n";
    struct MHD_Response *response = MHD_create_response_from_buffer(
        sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    return response ? queue(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                            "application/json", "POST", response)
                    : MHD_NO;
}

/* Called with the headers, for each part of the body, and at its end. */
static enum MHD_Result take_control(struct daemon_http *http,
                                    struct MHD_Connection *connection,
                                    const char *name, const char *part,
                                    size_t *part_size, void **context)
{
    struct upload *upload = *context;
    if (!upload) {
        *context = calloc(1, sizeof *upload);
        return *context ? MHD_YES : MHD_NO;
    }
    if (!*part_size)
        return answer_control(http, connection, name, upload);
    if (upload->size < sizeof upload->body) {
        size_t room = sizeof upload->body - upload->size;
        memcpy(upload->body + upload->size, part,
               *part_size < room ? *part_size : room);
    }
    upload->size += *part_size;
    *part_size = 0;
    return upload->size > BODY_END ? MHD_NO : MHD_YES;
}

static void forget(void *self, struct MHD_Connection *connection,
                   void **context, enum MHD_RequestTerminationCode code)
{
    (void)connection, (void)code;
    if (*context != self)
        free(*context);
    *context = NULL;
}

static const char control_prefix[] = "/control/";

static enum MHD_Result handle(void *self, struct MHD_Connection *connection,
                              const char *url, const char *method,
                              const char *version, const char *upload,
                              size_t *upload_size, void **context)
{
    struct daemon_http *http = self;
    bool control = strncmp(url, control_prefix, sizeof control_prefix - 1) == 0;
    (void)version;
    if (control && strcmp(method, "POST") == 0)
        return take_control(http, connection, url + sizeof control_prefix - 1,
                            upload, upload_size, context);
    /* A body is not wanted: read over, then answered. */
    if (*upload_size) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (!*context) {
        *context = http;
        if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0)
            return MHD_YES;
    }
    if (control)
        return refuse_method(connection);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(paths[i].path, url) == 0)
            return paths[i].get(http, connection);
    struct daemon_page_file file;
    if (daemon_page_find(url, &file))
        return answer_page(connection, &file);
    return say(connection, MHD_HTTP_NOT_FOUND,
               "not found; there is / /history /manifest /livez /readyz /status /metrics\n");
}

static void run_once(struct daemon_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    /* At its limit of connections MHD forgets the listening socket. A dead
     * connection is dropped two runs after its time-out, the socket is taken
     * up again in the third: all at once, or nobody would wake it. */
    for (int i = 0; i < 3; i++)
        MHD_run(http->daemon);
    ev_timer_stop(http->loop, &http->timeout);
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES) {
        ev_timer_set(&http->timeout, (double)wait_ms / 1000 + 0.001, 0);
        ev_timer_start(http->loop, &http->timeout);
    }
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop, (void)events;
    run_once(watcher->data);
}

static void on_timeout(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)events;
    run_once(watcher->data);
}

static enum base_status parse_address(const struct daemon_http_config *config,
                                      struct sockaddr_storage *address,
                                      struct base_error *error)
{
    struct sockaddr_in *four = (struct sockaddr_in *)address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, config->listen, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(config->port);
        return BASE_OK;
    }
    if (inet_pton(AF_INET6, config->listen, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(config->port);
        return BASE_OK;
    }
    return base_fail(error, BASE_CONFIG,
                     "http.listen: \"%s\" is not a numeric address",
                     config->listen);
}

static enum base_status start_daemon(struct daemon_http *http,
                                     const struct daemon_http_config *config,
                                     struct base_error *error)
{
    struct sockaddr_storage address;
    enum base_status status = parse_address(config, &address, error);
    if (status != BASE_OK)
        return status;
    unsigned flags = MHD_USE_EPOLL;
    if (address.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    errno = 0;
    http->daemon = MHD_start_daemon(
        flags, config->port, NULL, NULL, handle, http, MHD_OPTION_SOCK_ADDR,
        &address, MHD_OPTION_CONNECTION_LIMIT, config->connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PER_ADDRESS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_NOTIFY_COMPLETED, forget, http, MHD_OPTION_END);
    if (!http->daemon)
        return base_fail(error, BASE_UNAVAILABLE,
                         "http: cannot listen on %s port %u (http.listen, "
                         "http.port): %s",
                         config->listen, config->port,
                         errno ? strerror(errno) : "unknown reason");
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
    http->port = info ? info->port : config->port;
    return BASE_OK;
}

enum base_status
daemon_http_open(const struct daemon_http_config *config, struct ev_loop *loop,
                 void (*collect)(void *self, struct daemon_status *status),
                 void *self, struct daemon_http **out, struct base_error *error)
{
    struct daemon_http *http = calloc(1, sizeof *http);
    *out = NULL;
    if (http)
        http->status = calloc(1, sizeof *http->status);
    if (!http || !http->status) {
        free(http);
        return base_fail(error, BASE_SYSTEM, "http: no memory");
    }
    http->loop = loop;
    http->collect = collect;
    http->self = self;
    memcpy(http->token, config->token, sizeof http->token);
    enum base_status status = start_daemon(http, config, error);
    const union MHD_DaemonInfo *info =
        status == BASE_OK
            ? MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)
            : NULL;
    if (status == BASE_OK && !info)
        status = base_fail(error, BASE_SYSTEM, "http: no epoll descriptor");
    ev_init(&http->timeout, on_timeout);
    http->timeout.data = http;
    ev_init(&http->readable, on_readable);
    if (status != BASE_OK) {
        daemon_http_close(http);
        return status;
    }
    ev_io_set(&http->readable, info->epoll_fd, EV_READ);
    http->readable.data = http;
    ev_io_start(loop, &http->readable);
    *out = http;
    return BASE_OK;
}

void daemon_http_control(struct daemon_http *http,
                         const struct daemon_control_hooks *hooks)
{
    http->control = hooks;
}

void daemon_http_tell(struct daemon_http *http,
                      const struct daemon_history *history,
                      const char *model_folder)
{
    http->history = history;
    http->model_folder = model_folder;
}

uint16_t daemon_http_port(const struct daemon_http *http)
{
    return http->port;
}

void daemon_http_close(struct daemon_http *http)
{
    if (!http)
        return;
    ev_io_stop(http->loop, &http->readable);
    ev_timer_stop(http->loop, &http->timeout);
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    free(http->status);
    free(http);
}
