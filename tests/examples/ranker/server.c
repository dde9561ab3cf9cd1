/* SPDX-License-Identifier: Apache-2.0 */
/* A ranker behind HTTP: follows the published model, swaps, scores.
 *
 *   server FOLDER PORT [THREADS]
 *   curl 'localhost:PORT/rank?history=shoe7,sport;&candidates=shoe8,sport;pan,'
 *   curl 'localhost:PORT/metrics'
 *
 * An item is its values, in the order of the model's item fields; profile and
 * context are left unknown here. One scorer a thread of libmicrohttpd's pool;
 * the library's own thread loads and frees. Stops at SIGINT and SIGTERM. */
#include <interest.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ITEMS = 500, FIELDS = 64, TEXT = 16384 };

/* What one thread scores with. */
struct desk {
    struct interest_scorer *scorer;
    struct desk *next;
    uint64_t history[ITEMS * FIELDS], items[ITEMS * FIELDS];
    float probability[ITEMS];
    char text[TEXT];
};

static struct interest_model *model;
static _Thread_local struct desk *desk;
static struct desk *desks; /* under lock: to be closed at the end */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct desk *my_desk(void)
{
    if (desk)
        return desk;
    struct desk *made = calloc(1, sizeof *made);
    if (!made || interest_scorer_open(model, ITEMS, ITEMS, &made->scorer,
                                      NULL) != INTEREST_OK) {
        free(made);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    made->next = desks;
    desks = made;
    pthread_mutex_unlock(&lock);
    return desk = made;
}

/* "a,b;c,d" -> ids (items, fields); returns the number of items. */
static size_t parse(const char *text, uint64_t *ids)
{
    unsigned fields = interest_field_count(model, 1);
    size_t items = 0;
    while (text && *text && items < ITEMS) {
        for (unsigned i = 0; i < fields; i++) {
            size_t size = strcspn(text, ",;");
            ids[items * fields + i] =
                size ? interest_id(model, 1, i, text, size) : 0;
            text += size;
            text += *text == ',';
        }
        text += strcspn(text, ";");
        text += *text == ';';
        items++;
    }
    return items;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code,
                              const char *type, const char *text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
    if (!response || !MHD_add_response_header(response, "Content-Type", type))
        return MHD_NO;
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static const char *argument(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result rank(struct MHD_Connection *connection,
                            struct desk *own)
{
    static const uint64_t unknown[FIELDS];
    struct interest_version version;
    struct interest_error error;
    struct interest_request request = {.profile = unknown, .context = unknown,
                                       .history = own->history,
                                       .items = own->items};
    request.history_size = parse(argument(connection, "history"), own->history);
    request.candidates = parse(argument(connection, "candidates"), own->items);
    if (interest_score(own->scorer, &request, own->probability, NULL, &version,
                       &error))
        return answer(connection, 400, "text/plain", error.text);
    size_t size = (size_t)snprintf(
        own->text, TEXT, "{\"version\":\"%s\",\"history_hash\":\"%016" PRIx64
        "\",\"scores\":[", version.name,
        interest_history_hash(model, &request, &version, NULL));
    for (size_t i = 0; i < request.candidates; i++)
        size += (size_t)snprintf(own->text + size, TEXT - size, "%s%.9g",
                                 i ? "," : "", (double)own->probability[i]);
    snprintf(own->text + size, TEXT - size, "]}\n");
    return answer(connection, 200, "application/json", own->text);
}

static enum MHD_Result metrics(struct MHD_Connection *connection,
                               struct desk *own)
{
    struct interest_state now;
    interest_get_state(model, &now);
    snprintf(own->text, TEXT,
             "ranker_version %" PRIu64 "\n"
             "ranker_newest_event_seconds %.3f\n"
             "ranker_cut_seconds %.3f\n"
             "ranker_served_since_seconds %.3f\n"
             "ranker_resyncs_total %" PRIu64 "\n"
             "ranker_refresh_errors_total %" PRIu64 "\n",
             now.version.version, (double)now.version.newest_event_ms / 1000,
             (double)now.version.cut_ms / 1000,
             (double)now.version.served_ms / 1000, now.resyncs, now.errors);
    return answer(connection, 200, "text/plain; version=0.0.4", own->text);
}

static enum MHD_Result handle(void *self, struct MHD_Connection *connection,
                              const char *url, const char *method,
                              const char *http, const char *upload,
                              size_t *upload_size, void **context)
{
    (void)self, (void)http, (void)upload, (void)upload_size, (void)context;
    struct desk *own = my_desk();
    if (!own)
        return answer(connection, 503, "text/plain", "no memory\n");
    if (strcmp(method, "GET") != 0)
        return answer(connection, 405, "text/plain", "only GET\n");
    if (strcmp(url, "/rank") == 0)
        return rank(connection, own);
    if (strcmp(url, "/metrics") == 0)
        return metrics(connection, own);
    return answer(connection, 404, "text/plain", "/rank or /metrics\n");
}

static void on_failed(void *self, const struct interest_error *error)
{
    (void)self;
    fprintf(stderr, "server: kept the old version: %s\n", error->text);
}

int main(int argc, char **argv)
{
    struct interest_following how = {.failed = on_failed};
    struct interest_error error;
    struct sockaddr_in address = {.sin_family = AF_INET};
    sigset_t ends;
    int number, threads = argc > 3 ? atoi(argv[3]) : 2;
    if (argc < 3) {
        fprintf(stderr, "usage: server FOLDER PORT [THREADS]\n");
        return 64;
    }
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* in all threads */
    if (interest_open(argv[1], &model, &error) ||
        interest_follow(model, &how, &error)) {
        fprintf(stderr, "server: %s\n", error.text);
        return 1;
    }
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, NULL,
        MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)threads, MHD_OPTION_END);
    if (!daemon) {
        fprintf(stderr, "server: cannot listen on port %s\n", argv[2]);
        interest_close(model);
        return 1;
    }
    sigwait(&ends, &number);
    MHD_stop_daemon(daemon);
    for (struct desk *next; desks; desks = next) {
        next = desks->next;
        interest_scorer_close(desks->scorer);
        free(desks);
    }
    interest_close(model);
    return 0;
}
