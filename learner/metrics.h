/* SPDX-License-Identifier: Apache-2.0 */
/* Progressive validation: what each sample was predicted before it trained.
 *
 * Two kinds of windows and a total. A sample window holds the next
 * `window_samples` predictions: exact AUC by mid-ranks and user-weighted AUC
 * (MODEL 6: each user's AUC weighted by impressions, users with one class
 * skipped). An event-time window closes when a sample of a later window
 * arrives; samples of older windows count into the open one. Its AUC, and the
 * total's, come from 65,536 bins over the logit clipped to +-16, with ties
 * inside a bin as mid-ranks. An fnw impression counts once, with its final
 * label and the prediction made as a negative; its wait is kept here.
 *
 * All is a function of the order of calls: plain double arithmetic and an own
 * logarithm, so a restart goes on with the same bits. Owner: train thread;
 * others under the trainer's lock. */
#ifndef LEARNER_METRICS_H
#define LEARNER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"

struct learner_metrics; /* OWNS */

/* Predictions wait for their final label at most this many positions; what is
 * older leaves uncounted (24 bytes each; a final always comes in order). */
enum { LEARNER_METRICS_WAITS = 1 << 24 };

enum base_status learner_metrics_new(struct learner_metrics **metrics,
                                     int64_t window_ms,
                                     uint32_t window_samples,
                                     struct base_error *error) BASE_MUST_CHECK;
void learner_metrics_free(struct learner_metrics *metrics);

/* Makes room, so that the next learner_metrics_add() of this batch cannot
 * fail; to be called before the batch is trained. */
enum base_status learner_metrics_reserve(struct learner_metrics *metrics,
                                         const struct learner_batch *batch,
                                         struct base_error *error)
    BASE_MUST_CHECK;
/* probability (B), or NULL for a rejected batch, of which only the finals
 * count. */
void learner_metrics_add(struct learner_metrics *metrics,
                         const struct learner_batch *batch,
                         const float *probability);

/* No open window and no waiting prediction names the user any more: its
 * predictions in the open sample window become those of user 0, which counts
 * as one user; what waits for a final label leaves uncounted. */
void learner_metrics_forget(struct learner_metrics *metrics, uint64_t user);

/* Training losses of `samples` samples: their mean, and the auxiliary loss. */
void learner_metrics_loss(struct learner_metrics *metrics, uint32_t samples,
                          double loss, double auxiliary);
/* Means over the newest `window_samples` or some more that make a closed
 * window; where none has closed, over the open one; else not a number. */
void learner_metrics_losses(const struct learner_metrics *metrics,
                            double *loss, double *auxiliary);

/* Newest closed windows and the running total; not a number where undefined,
 * samples 0 where none has closed. */
void learner_metrics_last(const struct learner_metrics *metrics,
                          struct learner_window *samples,
                          struct learner_window *time);
/* Goes through all bins: some 100 us. */
void learner_metrics_total(const struct learner_metrics *metrics,
                           struct learner_window *total);
/* Closed event-time windows, oldest first, at most `max`: the newest. */
unsigned learner_metrics_windows(const struct learner_metrics *metrics,
                                 struct learner_window *windows, unsigned max);
/* Predictions that wait for their final label. */
uint64_t learner_metrics_waiting(const struct learner_metrics *metrics);

/* The whole state as bytes for a checkpoint; save writes exactly size bytes. */
size_t learner_metrics_size(const struct learner_metrics *metrics);
void learner_metrics_save(const struct learner_metrics *metrics, void *bytes);
/* BASE_CORRUPT where the bytes are no such state. Where window sizes were
 * configured anew, the open windows start empty; the rest is kept. */
enum base_status learner_metrics_load(struct learner_metrics *metrics,
                                      const void *bytes, size_t size,
                                      struct base_error *error)
    BASE_MUST_CHECK;

/* Natural logarithm of a normal x > 0, error below 2e-16 relative or absolute;
 * the same bits on every machine. */
double learner_metrics_log(double x);

#endif
