/* SPDX-License-Identifier: Apache-2.0 */
/* Progressive validation; see metrics.h.
 *
 * Bytes of the saved state, little-endian; a change of them needs a new
 * format number in checkpoint.c:
 *   1. struct head as it lies in memory
 *   2. closed event-time windows, `closed` x struct learner_window, oldest
 *      first
 *   3. open sample window, `filled` x struct prediction
 *   4. bins of the open event-time window: (65536,2) u32, negatives first
 *   5. bins of the total: (65536,2) u64
 *   6. predictions that may still get a final: `waits` x struct wait, of the
 *      positions from wait_begin on */
#include "learner/metrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BINS = 65536 };

struct sums {
    uint64_t samples, positives;
    double log_loss, prediction;
};

/* Sums of losses, each weighted by its samples. */
struct losses {
    uint64_t samples;
    double loss, auxiliary;
};

struct prediction {
    uint64_t user;
    float probability;
    uint32_t label;
};

struct wait {
    uint64_t user;
    int64_t event_ms;
    float probability;
    uint32_t waiting; /* 0: nothing, or counted already */
};

struct head {
    int64_t window_ms;
    uint64_t window_samples;
    struct learner_window last_samples;
    struct sums open_samples, open_time, total;
    struct losses open_losses, last_losses;
    int64_t sample_newest_ms, total_newest_ms;
    int64_t time_begin_ms; /* of the open event-time window */
    uint64_t time_open;    /* 1: there is one */
    uint64_t closed, filled, waits, wait_begin;
};

struct learner_metrics {
    struct head head;
    struct learner_window *closed; /* (LEARNER_WINDOWS_KEPT) a ring */
    unsigned closed_first;
    struct prediction *open, *sorted; /* (window_samples) */
    uint32_t (*time_bins)[2];
    uint64_t (*total_bins)[2];
    struct wait *waits; /* a ring by position; room a power of two */
    uint64_t wait_room;
};

/* ---- numbers ------------------------------------------------------------- */

/* ln x = e ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), m in [0.7, 1.42). */
double learner_metrics_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    bits = (bits & 0xfffffffffffffu) | 0x3ff0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        exponent++;
    }
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0.0;
    for (int k = 21; k >= 3; k -= 2)
        sum = (sum + 1.0 / k) * s2;
    return exponent * 0.69314718055994530942 + 2.0 * (s + s * sum);
}

static const double SMALLEST = 1e-7; /* below this p and 1 - p are clipped */

static double clip(float probability)
{
    double p = probability;
    if (p < SMALLEST)
        return SMALLEST;
    return p > 1.0 - SMALLEST ? 1.0 - SMALLEST : p;
}

static unsigned bin_of(float probability)
{
    double p = clip(probability);
    double logit = learner_metrics_log(p / (1.0 - p));
    double at = (logit + 16.0) * (BINS / 32.0);
    if (!(at > 0.0))
        return 0;
    return at < BINS - 1 ? (unsigned)at : BINS - 1;
}

static void sums_add(struct sums *sums, float probability, unsigned label)
{
    double p = clip(probability);
    sums->samples++;
    sums->positives += label;
    sums->prediction += (double)probability;
    sums->log_loss -= learner_metrics_log(label ? p : 1.0 - p);
}

static void sums_window(const struct sums *sums,
                        struct learner_window *window)
{
    *window = (struct learner_window){
        .samples = sums->samples,
        .positives = sums->positives,
        .auc = NAN,
        .user_auc = NAN,
        .log_loss = sums->samples ? sums->log_loss / (double)sums->samples
                                  : NAN,
        .calibration = sums->positives
                           ? sums->prediction / (double)sums->positives
                           : NAN,
    };
}

/* (sum of mid-ranks of positives - P (P + 1) / 2) / (P N), counted as pairs:
 * each positive beats the negatives below it and half of those beside. */
struct pairs {
    double won;
    uint64_t positives, negatives;
};

static void pairs_add(struct pairs *pairs, uint64_t negatives,
                      uint64_t positives)
{
    pairs->won += (double)positives *
                  ((double)pairs->negatives + 0.5 * (double)negatives);
    pairs->positives += positives;
    pairs->negatives += negatives;
}

static double pairs_auc(const struct pairs *pairs)
{
    if (!pairs->positives || !pairs->negatives)
        return NAN;
    return pairs->won /
           ((double)pairs->positives * (double)pairs->negatives);
}

/* ---- sample windows ------------------------------------------------------ */

static int by_probability(const void *left, const void *right)
{
    const struct prediction *a = left, *b = right;
    return (a->probability > b->probability) -
           (a->probability < b->probability);
}

static int by_user(const void *left, const void *right)
{
    const struct prediction *a = left, *b = right;
    if (a->user != b->user)
        return a->user > b->user ? 1 : -1;
    return by_probability(left, right);
}

/* Predictions sorted by probability. */
static struct pairs count_pairs(const struct prediction *sorted, size_t n)
{
    struct pairs pairs = {0};
    for (size_t i = 0; i < n;) {
        uint64_t classes[2] = {0, 0};
        size_t first = i;
        for (; i < n && sorted[i].probability == sorted[first].probability;
             i++)
            classes[sorted[i].label]++;
        pairs_add(&pairs, classes[0], classes[1]);
    }
    return pairs;
}

/* Predictions sorted by user, then probability. */
static double user_auc(const struct prediction *sorted, size_t n,
                       uint64_t *users)
{
    double sum = 0.0;
    uint64_t weight = 0;
    *users = 0;
    for (size_t i = 0; i < n;) {
        size_t first = i;
        while (i < n && sorted[i].user == sorted[first].user)
            i++;
        ++*users;
        struct pairs pairs = count_pairs(sorted + first, i - first);
        if (!pairs.positives || !pairs.negatives)
            continue;
        sum += (double)(i - first) * pairs_auc(&pairs);
        weight += i - first;
    }
    return weight ? sum / (double)weight : NAN;
}

static void close_samples(struct learner_metrics *metrics)
{
    struct head *head = &metrics->head;
    struct learner_window *window = &head->last_samples;
    size_t n = head->filled;
    sums_window(&head->open_samples, window);
    window->begin_ms = head->sample_newest_ms;
    memcpy(metrics->sorted, metrics->open, n * sizeof *metrics->open);
    qsort(metrics->sorted, n, sizeof *metrics->sorted, by_probability);
    struct pairs pairs = count_pairs(metrics->sorted, n);
    window->auc = pairs_auc(&pairs);
    qsort(metrics->sorted, n, sizeof *metrics->sorted, by_user);
    window->user_auc = user_auc(metrics->sorted, n, &window->users);
    head->open_samples = (struct sums){0};
    head->filled = 0;
}

/* ---- event-time windows and total ---------------------------------------- */

static void close_time(struct learner_metrics *metrics)
{
    struct head *head = &metrics->head;
    struct learner_window window;
    sums_window(&head->open_time, &window);
    window.begin_ms = head->time_begin_ms;
    struct pairs pairs = {0};
    for (unsigned i = 0; i < BINS; i++)
        pairs_add(&pairs, metrics->time_bins[i][0], metrics->time_bins[i][1]);
    window.auc = pairs_auc(&pairs);
    unsigned at = metrics->closed_first;
    if (head->closed < LEARNER_WINDOWS_KEPT)
        at += (unsigned)head->closed++;
    else
        metrics->closed_first = (at + 1) % LEARNER_WINDOWS_KEPT;
    metrics->closed[at % LEARNER_WINDOWS_KEPT] = window;
    memset(metrics->time_bins, 0, BINS * sizeof *metrics->time_bins);
    head->open_time = (struct sums){0};
}

static int64_t window_begin(int64_t event_ms, int64_t window_ms)
{
    int64_t rest = event_ms % window_ms;
    return event_ms - (rest < 0 ? rest + window_ms : rest);
}

static void count(struct learner_metrics *metrics, uint64_t user,
                  int64_t event_ms, float probability, unsigned label)
{
    struct head *head = &metrics->head;
    int64_t begin = window_begin(event_ms, head->window_ms);
    if (head->time_open && begin > head->time_begin_ms)
        close_time(metrics);
    if (!head->time_open || begin > head->time_begin_ms)
        head->time_begin_ms = begin;
    head->time_open = 1;
    unsigned bin = bin_of(probability);
    metrics->time_bins[bin][label]++;
    metrics->total_bins[bin][label]++;
    if (!head->total.samples || event_ms > head->total_newest_ms)
        head->total_newest_ms = event_ms;
    sums_add(&head->open_time, probability, label);
    sums_add(&head->total, probability, label);
    if (!head->filled || event_ms > head->sample_newest_ms)
        head->sample_newest_ms = event_ms;
    sums_add(&head->open_samples, probability, label);
    metrics->open[head->filled++] =
        (struct prediction){user, probability, label};
    if (head->filled == head->window_samples)
        close_samples(metrics);
}

/* ---- waiting for the final label ----------------------------------------- */

static struct wait *wait_at(const struct learner_metrics *metrics,
                            uint64_t position)
{
    return &metrics->waits[position & (metrics->wait_room - 1)];
}

/* Room for the positions [wait_begin, end). */
static enum base_status grow_waits(struct learner_metrics *metrics,
                                   uint64_t end, struct base_error *error)
{
    struct head *head = &metrics->head;
    uint64_t room = metrics->wait_room ? metrics->wait_room : 1024;
    while (room < end - head->wait_begin)
        room *= 2;
    if (room == metrics->wait_room)
        return BASE_OK;
    struct wait *waits = calloc(room, sizeof *waits);
    if (!waits)
        return base_fail(error, BASE_SYSTEM, "metrics: no memory for %llu "
                         "predictions that wait for their label",
                         (unsigned long long)room);
    for (uint64_t i = 0; i < head->waits; i++)
        waits[(head->wait_begin + i) & (room - 1)] =
            *wait_at(metrics, head->wait_begin + i);
    free(metrics->waits);
    metrics->waits = waits;
    metrics->wait_room = room;
    return BASE_OK;
}

static void drop_first(struct head *head)
{
    head->wait_begin++;
    head->waits--;
}

static void forget_waits(struct learner_metrics *metrics, uint64_t end)
{
    struct head *head = &metrics->head;
    while (head->waits && end - head->wait_begin > LEARNER_METRICS_WAITS)
        drop_first(head);
    if (!head->waits && end - head->wait_begin > LEARNER_METRICS_WAITS)
        head->wait_begin = end - LEARNER_METRICS_WAITS;
}

static bool has_negatives(const struct learner_batch *batch)
{
    for (uint32_t i = 0; i < batch->samples; i++)
        if (batch->kind[i] == LEARNER_FNW_NEGATIVE)
            return true;
    return false;
}

enum base_status learner_metrics_reserve(struct learner_metrics *metrics,
                                         const struct learner_batch *batch,
                                         struct base_error *error)
{
    if (!metrics->head.waits) {
        if (!has_negatives(batch))
            return BASE_OK;
        metrics->head.wait_begin = batch->first;
    }
    forget_waits(metrics, batch->end);
    return grow_waits(metrics, batch->end, error);
}

static void remember(struct learner_metrics *metrics,
                     const struct learner_batch *batch, uint32_t i,
                     float probability)
{
    struct head *head = &metrics->head;
    uint64_t position = batch->first + i;
    if (!head->waits)
        head->wait_begin = position;
    while (head->wait_begin + head->waits <= position)
        *wait_at(metrics, head->wait_begin + head->waits++) =
            (struct wait){0};
    *wait_at(metrics, position) =
        (struct wait){batch->user[i], batch->event_ms[i], probability, 1};
}

static void resolve(struct learner_metrics *metrics,
                    const struct learner_final *final)
{
    struct head *head = &metrics->head;
    if (final->position < head->wait_begin ||
        final->position >= head->wait_begin + head->waits)
        return; /* its batch was rejected */
    struct wait *wait = wait_at(metrics, final->position);
    if (!wait->waiting)
        return;
    count(metrics, wait->user, wait->event_ms, wait->probability,
          final->label != 0);
    wait->waiting = 0;
    while (head->waits && !wait_at(metrics, head->wait_begin)->waiting)
        drop_first(head);
}

void learner_metrics_add(struct learner_metrics *metrics,
                         const struct learner_batch *batch,
                         const float *probability)
{
    for (uint32_t i = 0; probability && i < batch->samples; i++) {
        if (batch->kind[i] == LEARNER_WINDOW)
            count(metrics, batch->user[i], batch->event_ms[i],
                  probability[i], batch->label[i] != 0);
        else if (batch->kind[i] == LEARNER_FNW_NEGATIVE)
            remember(metrics, batch, i, probability[i]);
    }
    for (uint32_t i = 0; i < batch->finals; i++)
        resolve(metrics, &batch->final[i]);
}

void learner_metrics_forget(struct learner_metrics *metrics, uint64_t user)
{
    struct head *head = &metrics->head;
    for (uint64_t i = 0; i < head->filled; i++)
        if (metrics->open[i].user == user)
            metrics->open[i].user = 0;
    for (uint64_t i = 0; i < head->waits; i++) {
        struct wait *wait = wait_at(metrics, head->wait_begin + i);
        if (wait->user == user)
            *wait = (struct wait){0};
    }
    while (head->waits && !wait_at(metrics, head->wait_begin)->waiting)
        drop_first(head);
}

uint64_t learner_metrics_waiting(const struct learner_metrics *metrics)
{
    uint64_t waiting = 0;
    for (uint64_t i = 0; i < metrics->head.waits; i++)
        waiting += wait_at(metrics, metrics->head.wait_begin + i)->waiting;
    return waiting;
}

/* ---- losses -------------------------------------------------------------- */

void learner_metrics_loss(struct learner_metrics *metrics, uint32_t samples,
                          double loss, double auxiliary)
{
    struct losses *open = &metrics->head.open_losses;
    open->samples += samples;
    open->loss += samples * loss;
    open->auxiliary += samples * auxiliary;
    if (open->samples < metrics->head.window_samples)
        return;
    metrics->head.last_losses = *open;
    *open = (struct losses){0};
}

void learner_metrics_losses(const struct learner_metrics *metrics,
                            double *loss, double *auxiliary)
{
    const struct losses *losses = metrics->head.last_losses.samples
                                      ? &metrics->head.last_losses
                                      : &metrics->head.open_losses;
    double n = (double)losses->samples;
    *loss = n > 0 ? losses->loss / n : NAN;
    *auxiliary = n > 0 ? losses->auxiliary / n : NAN;
}

/* ---- reading ------------------------------------------------------------- */

void learner_metrics_last(const struct learner_metrics *metrics,
                          struct learner_window *samples,
                          struct learner_window *time)
{
    *samples = metrics->head.last_samples;
    if (!metrics->head.closed)
        sums_window(&(struct sums){0}, time);
    else
        *time = metrics->closed[(metrics->closed_first +
                                 metrics->head.closed - 1) %
                                LEARNER_WINDOWS_KEPT];
}

void learner_metrics_total(const struct learner_metrics *metrics,
                           struct learner_window *total)
{
    struct pairs pairs = {0};
    for (unsigned i = 0; i < BINS; i++)
        pairs_add(&pairs, metrics->total_bins[i][0],
                  metrics->total_bins[i][1]);
    sums_window(&metrics->head.total, total);
    total->begin_ms = metrics->head.total_newest_ms;
    total->auc = pairs_auc(&pairs);
}

unsigned learner_metrics_windows(const struct learner_metrics *metrics,
                                 struct learner_window *windows, unsigned max)
{
    unsigned closed = (unsigned)metrics->head.closed;
    unsigned n = closed < max ? closed : max;
    for (unsigned i = 0; i < n; i++)
        windows[i] = metrics->closed[(metrics->closed_first + closed - n + i) %
                                     LEARNER_WINDOWS_KEPT];
    return n;
}

/* ---- new, save, load ----------------------------------------------------- */

enum base_status learner_metrics_new(struct learner_metrics **metrics,
                                     int64_t window_ms,
                                     uint32_t window_samples,
                                     struct base_error *error)
{
    if (window_ms <= 0 || window_samples == 0)
        return base_fail(error, BASE_CONFIG,
                         "learner.window_ms is %lld and window_samples %u; "
                         "both must be at least 1", (long long)window_ms,
                         window_samples);
    struct learner_metrics *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "metrics: no memory");
    made->closed = calloc(LEARNER_WINDOWS_KEPT, sizeof *made->closed);
    made->open = calloc(window_samples, sizeof *made->open);
    made->sorted = calloc(window_samples, sizeof *made->sorted);
    made->time_bins = calloc(BINS, sizeof *made->time_bins);
    made->total_bins = calloc(BINS, sizeof *made->total_bins);
    if (!made->closed || !made->open || !made->sorted || !made->time_bins ||
        !made->total_bins) {
        learner_metrics_free(made);
        return base_fail(error, BASE_SYSTEM,
                         "metrics: no memory for windows of %u samples",
                         window_samples);
    }
    made->head.window_ms = window_ms;
    made->head.window_samples = window_samples;
    sums_window(&(struct sums){0}, &made->head.last_samples);
    *metrics = made;
    return BASE_OK;
}

void learner_metrics_free(struct learner_metrics *metrics)
{
    if (!metrics)
        return;
    free(metrics->closed);
    free(metrics->open);
    free(metrics->sorted);
    free(metrics->time_bins);
    free(metrics->total_bins);
    free(metrics->waits);
    free(metrics);
}

static size_t state_size(const struct head *head)
{
    return sizeof *head + head->closed * sizeof(struct learner_window) +
           head->filled * sizeof(struct prediction) +
           BINS * 2 * (sizeof(uint32_t) + sizeof(uint64_t)) +
           head->waits * sizeof(struct wait);
}

size_t learner_metrics_size(const struct learner_metrics *metrics)
{
    return state_size(&metrics->head);
}

static uint8_t *put(uint8_t *at, const void *from, size_t size)
{
    memcpy(at, from, size);
    return at + size;
}

void learner_metrics_save(const struct learner_metrics *metrics, void *bytes)
{
    const struct head *head = &metrics->head;
    uint8_t *at = put(bytes, head, sizeof *head);
    for (uint64_t i = 0; i < head->closed; i++)
        at = put(at, &metrics->closed[(metrics->closed_first + i) %
                                      LEARNER_WINDOWS_KEPT],
                 sizeof *metrics->closed);
    at = put(at, metrics->open, head->filled * sizeof *metrics->open);
    at = put(at, metrics->time_bins, BINS * sizeof *metrics->time_bins);
    at = put(at, metrics->total_bins, BINS * sizeof *metrics->total_bins);
    for (uint64_t i = 0; i < head->waits; i++)
        at = put(at, wait_at(metrics, head->wait_begin + i),
                 sizeof *metrics->waits);
}

static const uint8_t *get(void *to, const uint8_t *at, size_t size)
{
    memcpy(to, at, size);
    return at + size;
}

static bool plausible(const struct head *head, size_t size)
{
    return head->window_ms > 0 && head->window_samples > 0 &&
           head->window_samples <= UINT32_MAX &&
           head->closed <= LEARNER_WINDOWS_KEPT &&
           head->filled < head->window_samples &&
           head->waits < SIZE_MAX / 2 / sizeof(struct wait) &&
           state_size(head) == size;
}

enum base_status learner_metrics_load(struct learner_metrics *metrics,
                                      const void *bytes, size_t size,
                                      struct base_error *error)
{
    struct head head;
    if (size < sizeof head)
        return base_fail(error, BASE_CORRUPT, "metrics: %zu bytes", size);
    const uint8_t *at = get(&head, bytes, sizeof head);
    if (!plausible(&head, size))
        return base_fail(error, BASE_CORRUPT,
                         "metrics: %zu bytes do not fit their own counts",
                         size);
    int64_t window_ms = metrics->head.window_ms;
    uint64_t window_samples = metrics->head.window_samples;
    bool same_samples = window_samples == head.window_samples;
    uint64_t waits = head.waits, filled = head.filled;
    head.waits = 0;
    metrics->head = head;
    enum base_status status =
        grow_waits(metrics, head.wait_begin + waits, error);
    if (status)
        return status;
    metrics->head.waits = waits;
    metrics->closed_first = 0;
    at = get(metrics->closed, at, head.closed * sizeof *metrics->closed);
    if (same_samples)
        get(metrics->open, at, filled * sizeof *metrics->open);
    at += filled * sizeof *metrics->open;
    at = get(metrics->time_bins, at, BINS * sizeof *metrics->time_bins);
    at = get(metrics->total_bins, at, BINS * sizeof *metrics->total_bins);
    for (uint64_t i = 0; i < waits; i++)
        at = get(wait_at(metrics, head.wait_begin + i), at,
                 sizeof *metrics->waits);
    if (!same_samples) {
        metrics->head.filled = 0;
        metrics->head.open_samples = (struct sums){0};
        metrics->head.open_losses = (struct losses){0};
    }
    if (window_ms != head.window_ms) {
        memset(metrics->time_bins, 0, BINS * sizeof *metrics->time_bins);
        metrics->head.open_time = (struct sums){0};
        metrics->head.time_open = 0;
    }
    metrics->head.window_ms = window_ms;
    metrics->head.window_samples = window_samples;
    return BASE_OK;
}
