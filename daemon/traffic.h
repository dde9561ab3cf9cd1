/* SPDX-License-Identifier: Apache-2.0 */
/* Simulated shoppers as Avro records (schemas/impression.avsc, click.avsc) on
 * Kafka: pages now, their clicks when their delay is over, keyed by user.
 *
 * Invariants: 1. event_ms is the wall clock at sending; 2. a click is sent
 * after its impression, to the same partition number; 3. at most
 * TRAFFIC_CLICKS_MAX clicks wait. One thread; librdkafka has its own. */
#ifndef DAEMON_TRAFFIC_H
#define DAEMON_TRAFFIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "daemon/simulation.h"
#include "ingest/ingest.h"

enum { TRAFFIC_RECORD_MAX = 256 };

/* The Avro bytes of one impression or click; `id` is the impression's. Returns
 * the size. */
size_t traffic_encode_impression(uint8_t record[TRAFFIC_RECORD_MAX],
                                 const char *id, int64_t event_ms,
                                 const struct simulation_impression *shown);
size_t traffic_encode_click(uint8_t record[TRAFFIC_RECORD_MAX], const char *id,
                            int64_t event_ms,
                            const struct simulation_impression *shown);

struct traffic_counts {
    uint64_t events, impressions, clicks; /* handed to librdkafka */
    uint64_t failed;                      /* not delivered */
};

struct traffic;

/* Uses brokers, topics and security properties of `config`. */
enum base_status traffic_open(const struct ingest_config *config,
                              struct simulation *simulation, uint64_t seed,
                              struct traffic **traffic,
                              struct base_error *error) BASE_MUST_CHECK;
/* Sends one page at now_ms; probabilities (SIMULATION_PAGE) go out. */
enum base_status traffic_send_page(struct traffic *traffic, int64_t now_ms,
                                   double probabilities[SIMULATION_PAGE],
                                   struct base_error *error) BASE_MUST_CHECK;
/* Sends the clicks that are due at now_ms and serves delivery reports. */
enum base_status traffic_send_clicks(struct traffic *traffic, int64_t now_ms,
                                     struct base_error *error) BASE_MUST_CHECK;
size_t traffic_waiting_clicks(const struct traffic *traffic);
/* Waits until everything is delivered; BASE_UNAVAILABLE where it is not. */
enum base_status traffic_flush(struct traffic *traffic, int timeout_ms,
                               struct base_error *error) BASE_MUST_CHECK;
struct traffic_counts traffic_get_counts(const struct traffic *traffic);
void traffic_close(struct traffic *traffic);

#endif
