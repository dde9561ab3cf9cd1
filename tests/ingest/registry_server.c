/* SPDX-License-Identifier: Apache-2.0 */
/* The tests' own schema registry; see registry_server.h. */
#include "registry_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void say(int fd, const char *status, const char *body, size_t size)
{
    char head[200];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n", status, size);
    if (send(fd, head, (size_t)n, MSG_NOSIGNAL) < 0)
        return;
    for (size_t at = 0; at < size;) {
        ssize_t sent = send(fd, body + at, size - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        at += (size_t)sent;
    }
}

static void answer(struct registry_server *server, int fd, unsigned id)
{
    static const char foreign[] =
        "{\"schema\":\"syntax\",\"schemaType\":\"PROTOBUF\"}";
    while (atomic_load(&server->slow) && !atomic_load(&server->ending))
        usleep(10000);
    if (atomic_load(&server->broken)) {
        say(fd, "500 Trouble", "{}", 2);
    } else if (atomic_load(&server->busy)) {
        say(fd, "429 Too Many Requests\r\nRetry-After: 2", "{}", 2);
    } else if (id < 100) {
        say(fd, "200 OK", server->body, strlen(server->body));
    } else if (id < 200 || id >= 100000) {
        say(fd, "404 Not Found", "{\"error_code\":40403}", 20);
    } else if (id < 210) {
        say(fd, "404 Not Found", "{\"error_code\":404}", 18);
    } else if (id < 220) {
        say(fd, "404 Not Found", "<html>", 6);
    } else if (id < 300) {
        say(fd, "200 OK", "<html>", 6);
    } else if (id < 400) {
        size_t size = 8 << 20;
        char *huge = malloc(size);
        memset(huge, ' ', size);
        say(fd, "200 OK", huge, size);
        free(huge);
    } else if (id < 500) {
        say(fd, "200 OK", foreign, sizeof foreign - 1);
    } else {
        const char cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{";
        (void)!send(fd, cut, sizeof cut - 1, MSG_NOSIGNAL);
    }
}

static void *serve(void *self)
{
    struct registry_server *server = self;
    while (!atomic_load(&server->ending)) {
        struct pollfd ready = {.fd = server->listener, .events = POLLIN};
        if (poll(&ready, 1, 20) <= 0)
            continue;
        int fd = accept(server->listener, NULL, NULL);
        char text[2000] = "";
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        const char *id = strstr(text, "/registry/schemas/ids/");
        atomic_fetch_add(&server->requests, 1);
        if (n > 0 && id)
            answer(server, fd, (unsigned)strtoul(id + 22, NULL, 10));
        close(fd);
    }
    return NULL;
}

/* Quotes of `schema` are escaped, line ends left out. */
static void put_body(struct registry_server *server, const char *schema)
{
    char *to = server->body;
    to += sprintf(to, "{\"schema\":\"");
    for (; *schema; schema++) {
        assert_true(to < server->body + sizeof server->body - 32);
        if (*schema == '"' || *schema == '\\')
            *to++ = '\\';
        if (*schema != '\n')
            *to++ = *schema;
    }
    sprintf(to, "\",\"references\":[]}");
}

void registry_server_start(struct registry_server *server, const char *schema)
{
    put_body(server, schema);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    server->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(server->listener, (void *)&at, sizeof at), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    assert_int_equal(getsockname(server->listener, (void *)&at, &size), 0);
    server->port = ntohs(at.sin_port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

void registry_server_stop(struct registry_server *server)
{
    atomic_store(&server->ending, true);
    pthread_join(server->thread, NULL);
    close(server->listener);
}
