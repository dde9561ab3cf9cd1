/* SPDX-License-Identifier: Apache-2.0 */
/* Reads what the demo's children say: the daemon's /status, the producer's
 * and the ranker's JSON lines. Unknown or broken text changes nothing. */
#ifndef DAEMON_DEMO_STATUS_H
#define DAEMON_DEMO_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/demo_view.h"

/* GET /status from 127.0.0.1:port, at most a second. True where facts are
 * new. */
bool demo_fetch_status(uint16_t port, struct demo_facts *facts);
bool demo_parse_status(const char *text, struct demo_facts *facts);
void demo_parse_producer(const char *line, struct demo_facts *facts);
void demo_parse_ranker(const char *line, struct demo_facts *facts);

#endif
