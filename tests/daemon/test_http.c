/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP inside the event loop: paths, methods, garbage, controls, half-open
 * connections, a busy port. The client runs on a thread of its own. */
#include "daemon/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>
#include <ev.h>

#include "daemon/control.h"

struct server {
    struct ev_loop *loop;
    struct daemon_http *http;
    ev_async stop;
    pthread_t thread;
    bool ready;
    unsigned paused; /* times; read while the loop waits for us */
};

static void collect(void *self, struct daemon_status *status)
{
    struct server *server = self;
    memset(status, 0, sizeof *status);
    status->phase = server->ready ? "running" : "starting";
    status->ingest.partition_count = 1;
    status->ingest.events = 42;
}

static void on_stop(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)watcher, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void *serve(void *self)
{
    ev_run(((struct server *)self)->loop, 0);
    return NULL;
}

static void do_pause(void *self, bool paused)
{
    struct server *server = self;
    server->paused += paused;
}

static int start(void **state)
{
    static struct server server;
    static const struct daemon_control_hooks hooks = {.self = &server,
                                                      .pause = do_pause};
    static const struct daemon_http_config config = {.listen = "127.0.0.1",
                                                     .port = 0,
                                                     .connections_max = 8,
                                                     .token =
                                                         "sixteen-and-more"};
    struct base_error error;
    server.loop = ev_loop_new(EVFLAG_AUTO);
    if (daemon_http_open(&config, server.loop, collect, &server, &server.http,
                         &error))
        return 1;
    daemon_http_control(server.http, &hooks);
    ev_async_init(&server.stop, on_stop);
    ev_async_start(server.loop, &server.stop);
    *state = &server;
    return pthread_create(&server.thread, NULL, serve, &server);
}

static int stop(void **state)
{
    struct server *server = *state;
    ev_async_send(server->loop, &server->stop);
    pthread_join(server->thread, NULL);
    daemon_http_close(server->http);
    ev_loop_destroy(server->loop);
    return 0;
}

static int open_socket(const struct server *server)
{
    const struct timeval limit = {.tv_sec = 20};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port =
                                      htons(daemon_http_port(server->http)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address),
                     0);
    return fd;
}

/* Sends the bytes and reads until the server closes. */
static void ask(const struct server *server, const void *bytes, size_t size,
                char answer[65536])
{
    int fd = open_socket(server);
    size_t used = 0;
    ssize_t got;
    (void)!send(fd, bytes, size, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    while ((got = recv(fd, answer + used, 65535 - used, 0)) > 0)
        used += (size_t)got;
    answer[used] = '\0';
    close(fd);
}

static void ask_text(const struct server *server, const char *text,
                     char answer[65536])
{
    ask(server, text, strlen(text), answer);
}

#define REQUEST(method, path)                                                  \
    method " " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

static void test_paths(void **state)
{
    struct server *server = *state;
    static char answer[65536];
    server->ready = false;
    ask_text(server, REQUEST("GET", "/livez") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    ask_text(server, REQUEST("GET", "/readyz") "\r\n", answer);
    assert_non_null(strstr(answer, " 503 "));
    server->ready = true;
    ask_text(server, REQUEST("GET", "/readyz") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    ask_text(server, REQUEST("GET", "/status?x=1") "\r\n", answer);
    assert_non_null(strstr(answer, "application/json"));
    assert_non_null(strstr(answer, "\"events\": 42"));
    ask_text(server, REQUEST("GET", "/metrics") "\r\n", answer);
    assert_non_null(strstr(answer, "version=0.0.4"));
    assert_non_null(strstr(answer, "\ninterestd_ingest_events_total 42\n"));
    ask_text(server, REQUEST("HEAD", "/livez") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_null(strstr(answer, "alive"));
    ask_text(server, REQUEST("GET", "/../etc/passwd") "\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
}

/* The page and all that it asks for come from here; what it may load is said. */
static void test_page(void **state)
{
    struct server *server = *state;
    static char answer[65536];
    ask_text(server, REQUEST("GET", "/") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_non_null(strstr(answer, "text/html"));
    assert_non_null(strstr(answer, "default-src 'none'"));
    assert_null(strstr(answer, "https://"));
    ask_text(server, REQUEST("GET", "/page/page.js") "\r\n", answer);
    assert_non_null(strstr(answer, "text/javascript"));
    ask_text(server, REQUEST("GET", "/page/nothing.js") "\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
    ask_text(server, REQUEST("GET", "/page/../status") "\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
    /* Nothing was told. */
    ask_text(server, REQUEST("GET", "/history") "\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
    ask_text(server, REQUEST("GET", "/manifest?version=v1-1") "\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
}

static void test_methods(void **state)
{
    static char answer[65536];
    ask_text(*state, REQUEST("POST", "/status") "Content-Length: 3\r\n\r\nabc",
             answer);
    assert_non_null(strstr(answer, " 405 "));
    assert_non_null(strstr(answer, "Allow: GET, HEAD"));
    ask_text(*state, REQUEST("DELETE", "/status") "\r\n", answer);
    assert_non_null(strstr(answer, " 405 "));
}

static void test_garbage(void **state)
{
    static char answer[65536], large[40000];
    memset(large, 'a', sizeof large);
    memcpy(large, "GET /", 5);
    ask(*state, large, sizeof large, answer); /* a URL beyond the memory */
    assert_null(strstr(answer, " 200 "));
    ask(*state, "\0\xff\x16\x03\x01\r\n\r\n", 9, answer);
    assert_null(strstr(answer, " 200 "));
    ask_text(*state, "GET\r\n\r\n", answer);
    assert_null(strstr(answer, " 200 "));
    ask_text(*state, REQUEST("POST", "/status") "Content-Length: -5\r\n\r\n",
             answer);
    assert_null(strstr(answer, " 200 "));
    ask_text(*state, "", answer);
    ask_text(*state, REQUEST("GET", "/livez") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
}

#define CONTROL(name)                                                          \
    REQUEST("POST", "/control/" name)                                          \
    "Authorization: Bearer sixteen-and-more\r\n"

/* control.h's rules, through HTTP. */
static void test_controls(void **state)
{
    struct server *server = *state;
    static char answer[65536], large[70000];
    ask_text(server, REQUEST("GET", "/control/pause") "\r\n", answer);
    assert_non_null(strstr(answer, " 405 "));
    assert_non_null(strstr(answer, "Allow: POST"));
    ask_text(server,
             REQUEST("PUT", "/control/pause") "Content-Length: 2\r\n"
                                              "\r\n{}",
             answer);
    assert_non_null(strstr(answer, " 405 "));
    ask_text(server,
             REQUEST("POST", "/control/pause") "Content-Length: 0\r\n"
                                               "\r\n",
             answer);
    assert_non_null(strstr(answer, " 401 "));
    assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
    assert_int_equal(server->paused, 0);
    ask_text(server, CONTROL("pause") "Content-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_non_null(strstr(answer, "{\"action\": \"pause\""));
    assert_non_null(strstr(answer, "application/json"));
    assert_int_equal(server->paused, 1);
    ask_text(server,
             CONTROL("pause") "Transfer-Encoding: chunked\r\n\r\n"
                              "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
             answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_int_equal(server->paused, 2);
    ask_text(server,
             CONTROL("pause?force=1&force=1") "Content-Length: 0\r\n"
                                              "\r\n",
             answer);
    assert_non_null(strstr(answer, " 400 "));
    ask_text(server, CONTROL("pause?x") "Content-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, " 400 "));
    ask_text(server, CONTROL("nothing") "Content-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, " 404 "));
    int head = snprintf(large, sizeof large, "%sContent-Length: 60000\r\n\r\n",
                        CONTROL("pause"));
    memset(large + head, ' ', 60000);
    ask(server, large, (size_t)head + 60000, answer);
    assert_non_null(strstr(answer, " 413 "));
    assert_int_equal(server->paused, 2);
}

/* A body that never ends, and one that ends early. */
static void test_control_bodies(void **state)
{
    struct server *server = *state;
    static char answer[65536], part[65536];
    static const char request[] =
        CONTROL("pause") "Content-Length: 1000000000\r\n\r\n";
    unsigned before = server->paused;
    int fd = open_socket(server), parts = 0;
    assert_true(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    while (parts < 1000 && send(fd, part, sizeof part, MSG_NOSIGNAL) > 0)
        parts++;
    assert_in_range(parts, 1, 999); /* hung up on */
    close(fd);
    ask_text(server, CONTROL("pause") "Content-Length: 10\r\n\r\n{}", answer);
    assert_null(strstr(answer, " 200 "));
    ask_text(server, REQUEST("GET", "/livez") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_int_equal(server->paused, before);
}

/* Connections that say nothing take all places; they are thrown out after
 * their time and the next one is served. */
static void test_half_open(void **state)
{
    static char answer[65536];
    int idle[8];
    for (int i = 0; i < 8; i++) {
        idle[i] = open_socket(*state);
        (void)!send(idle[i], "GET /", 5, MSG_NOSIGNAL);
    }
    char byte;
    for (int i = 0; i < 8; i++) /* closed by the server, within 20 s */
        assert_true(recv(idle[i], &byte, 1, 0) >= 0);
    for (int i = 0; i < 8; i++)
        close(idle[i]);
    ask_text(*state, REQUEST("GET", "/livez") "\r\n", answer);
    assert_non_null(strstr(answer, " 200 "));
}

static void test_errors(void **state)
{
    struct server *server = *state;
    struct base_error error;
    struct daemon_http *http;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct daemon_http_config config = {.listen = "127.0.0.1",
                                        .connections_max = 8};
    config.port = daemon_http_port(server->http);
    assert_int_equal(
        daemon_http_open(&config, loop, collect, server, &http, &error),
        BASE_UNAVAILABLE);
    assert_non_null(strstr(error.text, "in use"));
    strcpy(config.listen, "localhost");
    assert_int_equal(
        daemon_http_open(&config, loop, collect, server, &http, &error),
        BASE_CONFIG);
    assert_string_equal(error.text, "http.listen: \"localhost\" is not a "
                                    "numeric address");
    ev_loop_destroy(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),          cmocka_unit_test(test_methods),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_garbage),        cmocka_unit_test(test_controls),
        cmocka_unit_test(test_control_bodies), cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
