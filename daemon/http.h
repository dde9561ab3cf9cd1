/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's HTTP: GET / (the page), /history, /manifest, /livez, /readyz,
 * /status, /metrics, and POST /control/... (control.h). libmicrohttpd without a thread of its own, its
 * epoll descriptor inside the libev loop. Bounded connections, time and
 * memory. Role: loop. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include <stdint.h>

#include "base/status.h"
#include "daemon/config.h"
#include "daemon/status.h"

struct ev_loop;
struct daemon_http;
struct daemon_control_hooks;
struct daemon_history;

/* `collect` fills a status when one is asked for. */
enum base_status
daemon_http_open(const struct daemon_http_config *config, struct ev_loop *loop,
                 void (*collect)(void *self, struct daemon_status *status),
                 void *self, struct daemon_http **http,
                 struct base_error *error) BASE_MUST_CHECK;
/* What POST /control/... does; before, and without a token in the
 * configuration, it is refused. BORROWS until close. */
void daemon_http_control(struct daemon_http *http,
                         const struct daemon_control_hooks *hooks);
/* What /history?minutes=N and /manifest?version=NAME tell; before, they are
 * not found. BORROWS both until close. */
void daemon_http_tell(struct daemon_http *http,
                      const struct daemon_history *history,
                      const char *model_folder);
uint16_t daemon_http_port(const struct daemon_http *http);
void daemon_http_close(struct daemon_http *http);

#endif
