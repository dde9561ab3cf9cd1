/* SPDX-License-Identifier: Apache-2.0 */
/* Progressive validation against sums over all pairs, fnw's single count, and
 * a saved state that goes on with the same bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/metrics.h"

enum { B = 32, MOST = 8192 };

/* A batch over arrays of one stream. */
struct stream {
    uint64_t user[MOST];
    int64_t event_ms[MOST];
    uint8_t label[MOST], kind[MOST];
    float probability[MOST];
};

static struct stream *make_stream(uint64_t seed)
{
    struct stream *stream = calloc(1, sizeof *stream);
    for (unsigned i = 0; i < MOST; i++) {
        float unit = base_random_unit(base_random_u64(seed, 1, i, 0));
        stream->user[i] = base_random_u64(seed, 2, i, 0) % 97;
        stream->event_ms[i] = 1000000 + (int64_t)i * 10;
        /* coarse, so that there are ties */
        stream->probability[i] = floorf(unit * 50.0f) / 50.0f + 0.01f;
        stream->label[i] =
            base_random_unit(base_random_u64(seed, 3, i, 0)) <
            stream->probability[i] * 0.7f;
    }
    return stream;
}

static struct learner_batch cut_batch(struct stream *stream, unsigned first,
                                      unsigned n)
{
    return (struct learner_batch){
        .first = first,
        .end = first + n,
        .samples = n,
        .user = stream->user + first,
        .event_ms = stream->event_ms + first,
        .label = stream->label + first,
        .kind = stream->kind + first,
    };
}

static struct learner_metrics *make(int64_t window_ms, uint32_t samples)
{
    struct learner_metrics *metrics;
    struct base_error error;
    assert_int_equal(
        learner_metrics_new(&metrics, window_ms, samples, &error), BASE_OK);
    return metrics;
}

static void add(struct learner_metrics *metrics,
                const struct learner_batch *batch, const float *probability)
{
    struct base_error error;
    assert_int_equal(learner_metrics_reserve(metrics, batch, &error),
                     BASE_OK);
    learner_metrics_add(metrics, batch, probability);
}

static void add_all(struct learner_metrics *metrics, struct stream *stream,
                    unsigned begin, unsigned end)
{
    for (unsigned i = begin; i < end; i += B) {
        struct learner_batch batch = cut_batch(stream, i, B);
        add(metrics, &batch, stream->probability + i);
    }
}

/* Over all pairs of one user, or of all with user = -1. */
static double slow_auc(const struct stream *stream, unsigned begin,
                       unsigned end, int64_t user)
{
    double won = 0.0, pairs = 0.0;
    for (unsigned i = begin; i < end; i++)
        for (unsigned j = begin; j < end; j++) {
            if (!stream->label[i] || stream->label[j] ||
                (user >= 0 && (stream->user[i] != (uint64_t)user ||
                               stream->user[j] != (uint64_t)user)))
                continue;
            pairs += 1.0;
            if (stream->probability[i] > stream->probability[j])
                won += 1.0;
            else if (stream->probability[i] == stream->probability[j])
                won += 0.5;
        }
    return pairs > 0.0 ? won / pairs : NAN;
}

static double slow_user_auc(const struct stream *stream, unsigned begin,
                            unsigned end)
{
    double sum = 0.0, weight = 0.0;
    for (int64_t user = 0; user < 97; user++) {
        double auc = slow_auc(stream, begin, end, user), n = 0.0;
        for (unsigned i = begin; i < end; i++)
            n += stream->user[i] == (uint64_t)user;
        if (isnan(auc))
            continue;
        sum += n * auc;
        weight += n;
    }
    return sum / weight;
}

static void check_losses(const struct stream *stream, unsigned begin,
                         unsigned end, const struct learner_window *window)
{
    double loss = 0.0, predicted = 0.0;
    uint64_t positives = 0;
    for (unsigned i = begin; i < end; i++) {
        double p = (double)stream->probability[i];
        loss -= stream->label[i] ? log(p) : log(1.0 - p);
        predicted += p;
        positives += stream->label[i];
    }
    assert_int_equal(window->samples, end - begin);
    assert_int_equal(window->positives, positives);
    assert_true(fabs(window->log_loss - loss / (end - begin)) < 1e-12);
    assert_true(fabs(window->calibration - predicted / (double)positives) <
                1e-12);
}

static void sample_windows_are_exact(void **state)
{
    (void)state;
    struct stream *stream = make_stream(1);
    struct learner_metrics *metrics = make(INT64_C(1) << 40, 500);
    struct learner_window samples, time;
    add_all(metrics, stream, 0, 480);
    learner_metrics_last(metrics, &samples, &time);
    assert_int_equal(samples.samples, 0);
    assert_true(isnan(samples.auc) && isnan(time.auc));
    add_all(metrics, stream, 480, 1024);
    learner_metrics_last(metrics, &samples, &time);
    check_losses(stream, 500, 1000, &samples);
    assert_true(fabs(samples.auc - slow_auc(stream, 500, 1000, -1)) < 1e-12);
    assert_true(
        fabs(samples.user_auc - slow_user_auc(stream, 500, 1000)) < 1e-12);
    uint64_t users = 0;
    for (uint64_t user = 0, seen = 0; user < 97; user++, users += seen)
        for (unsigned i = 500 + (unsigned)(seen = 0); i < 1000; i++)
            seen |= stream->user[i] == user;
    assert_int_equal(samples.users, users);
    assert_true(samples.begin_ms == stream->event_ms[999]);
    learner_metrics_free(metrics);
    free(stream);
}

static void time_windows_close_by_event_time(void **state)
{
    (void)state;
    struct stream *stream = make_stream(2);
    struct learner_metrics *metrics = make(5000, 1 << 20);
    struct learner_window windows[8], total;
    /* 500 samples a window; one of an older window comes late, and counts
     * into the open one. */
    stream->event_ms[700] = 1000001;
    add_all(metrics, stream, 0, 1536);
    assert_int_equal(learner_metrics_windows(metrics, windows, 8), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(windows[i].begin_ms == 1000000 + 5000 * (int64_t)i);
        check_losses(stream, i * 500, i * 500 + 500, &windows[i]);
        assert_true(fabs(windows[i].auc - slow_auc(stream, i * 500,
                                                   i * 500 + 500, -1)) <
                    1e-12); /* ties fall into the same bins here */
        assert_true(isnan(windows[i].user_auc));
    }
    assert_int_equal(learner_metrics_windows(metrics, windows, 2), 2);
    assert_true(windows[0].begin_ms == 1005000);
    learner_metrics_total(metrics, &total);
    check_losses(stream, 0, 1536, &total);
    assert_true(fabs(total.auc - slow_auc(stream, 0, 1536, -1)) < 1e-12);
    learner_metrics_free(metrics);
    free(stream);
}

static void old_windows_make_room(void **state)
{
    (void)state;
    struct stream *stream = make_stream(3);
    struct learner_metrics *metrics = make(40, 64); /* 4 samples a window */
    static struct learner_window windows[2000];
    add_all(metrics, stream, 0, MOST);
    assert_int_equal(learner_metrics_windows(metrics, windows, 2000),
                     LEARNER_WINDOWS_KEPT);
    int64_t last = 1000000 + 40 * (MOST / 4 - 2);
    assert_true(windows[LEARNER_WINDOWS_KEPT - 1].begin_ms == last);
    assert_true(windows[0].begin_ms ==
                last - 40 * (LEARNER_WINDOWS_KEPT - 1));
    learner_metrics_free(metrics);
    free(stream);
}

static void extreme_predictions_stay_finite(void **state)
{
    (void)state;
    struct learner_metrics *metrics = make(1000000000, 4);
    uint64_t user[4] = {1, 1, 2, 2};
    int64_t event_ms[4] = {-5, 5, 5, 5};
    uint8_t label[4] = {1, 0, 1, 0}, kind[4] = {0};
    float probability[4] = {0.0f, 1.0f, 1.0f, 1e-30f};
    struct learner_batch batch = {.end = 4, .samples = 4, .user = user,
                                  .event_ms = event_ms, .label = label,
                                  .kind = kind};
    struct learner_window samples, time, total;
    add(metrics, &batch, probability);
    learner_metrics_last(metrics, &samples, &time);
    learner_metrics_total(metrics, &total);
    double clipped = -log(1e-7), sure = -log(1.0 - 1e-7);
    assert_true(fabs(samples.log_loss - (clipped + sure) / 2.0) < 1e-9);
    assert_true(samples.auc == 0.375); /* of 4 pairs: 1 won, 1 tied */
    assert_true(samples.user_auc == 0.5);
    assert_true(time.begin_ms == -1000000000);
    assert_true(total.auc == 0.5); /* 0 and 1e-30 share a bin: 1 + 2 / 2 */
    learner_metrics_free(metrics);
}

/* fnw: the prediction made at the negative, with the final label, once. */
static void fnw_counts_once_with_the_final_label(void **state)
{
    (void)state;
    struct stream *stream = make_stream(4), *expected = make_stream(4);
    struct learner_metrics *fnw = make(INT64_C(1) << 40, 1 << 20);
    struct learner_metrics *plain = make(INT64_C(1) << 40, 1 << 20);
    struct learner_final finals[2 * MOST];
    unsigned n = 0;
    for (unsigned i = 0; i < 4096; i++) {
        stream->kind[i] =
            i % 3 == 2 ? LEARNER_FNW_POSITIVE : LEARNER_FNW_NEGATIVE;
        if (i % 3 == 2)
            continue;
        finals[n++] = (struct learner_final){i, stream->label[i]};
        stream->label[i] = 0;
    }
    /* Labels come 100 impressions later, some of them twice. */
    unsigned sent = 0;
    for (unsigned i = 0; i < 4096; i += B) {
        struct learner_batch batch = cut_batch(stream, i, B);
        unsigned ready = i < 200 ? 0 : (i - 200) / 3 * 2;
        batch.final = finals + (sent ? sent - 1 : 0);
        batch.finals = ready - (sent ? sent - 1 : 0);
        if (ready <= sent)
            batch.finals = 0;
        else
            sent = ready;
        add(fnw, &batch, stream->probability + i);
    }
    for (unsigned k = 0; k < sent; k++) {
        struct learner_batch one =
            cut_batch(expected, (unsigned)finals[k].position, 1);
        add(plain, &one, expected->probability + finals[k].position);
    }
    struct learner_window a, b;
    learner_metrics_total(fnw, &a);
    learner_metrics_total(plain, &b);
    assert_int_equal(a.samples, sent);
    assert_memory_equal(&a, &b, sizeof a);
    assert_int_equal(learner_metrics_waiting(fnw), n - sent);
    learner_metrics_free(fnw);
    learner_metrics_free(plain);
    free(stream);
    free(expected);
}

static void finals_of_a_rejected_batch_count_nothing(void **state)
{
    (void)state;
    struct stream *stream = make_stream(5);
    struct learner_metrics *metrics = make(INT64_C(1) << 40, 1 << 20);
    memset(stream->kind, LEARNER_FNW_NEGATIVE, sizeof stream->kind);
    struct learner_batch batch = cut_batch(stream, 0, B);
    add(metrics, &batch, NULL);
    batch = cut_batch(stream, B, B);
    add(metrics, &batch, stream->probability + B);
    struct learner_final finals[3] = {{5, 1}, {B + 5, 1}, {B + 6, 0}};
    batch = cut_batch(stream, 2 * B, B);
    batch.final = finals;
    batch.finals = 3;
    add(metrics, &batch, NULL);
    struct learner_window total;
    learner_metrics_total(metrics, &total);
    assert_int_equal(total.samples, 2);
    assert_int_equal(total.positives, 1);
    learner_metrics_free(metrics);
    free(stream);
}

static void predictions_do_not_wait_for_ever(void **state)
{
    (void)state;
    struct stream *stream = make_stream(8);
    struct learner_metrics *metrics = make(INT64_C(1) << 40, 1 << 20);
    memset(stream->kind, LEARNER_FNW_NEGATIVE, sizeof stream->kind);
    struct learner_batch batch = cut_batch(stream, 0, B);
    add(metrics, &batch, stream->probability);
    assert_int_equal(learner_metrics_waiting(metrics), B);
    batch.first += LEARNER_METRICS_WAITS - B / 2;
    batch.end = batch.first + B;
    struct learner_final finals[2] = {{3, 1}, {B / 2 + 3, 1}};
    batch.final = finals;
    batch.finals = 2;
    add(metrics, &batch, stream->probability);
    /* The older half of the first batch has left, one was counted. */
    assert_int_equal(learner_metrics_waiting(metrics), B + B / 2 - 1);
    struct learner_window total;
    learner_metrics_total(metrics, &total);
    assert_int_equal(total.samples, 1);
    learner_metrics_free(metrics);
    free(stream);
}

static void *save(const struct learner_metrics *metrics, size_t *size)
{
    *size = learner_metrics_size(metrics);
    void *bytes = malloc(*size);
    learner_metrics_save(metrics, bytes);
    return bytes;
}

static void mix_kinds(struct stream *stream)
{
    for (unsigned i = 0; i < MOST; i++)
        stream->kind[i] = i % 2 ? LEARNER_FNW_NEGATIVE : LEARNER_WINDOW;
}

static void a_loaded_state_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    struct stream *stream = make_stream(6);
    struct learner_metrics *one = make(300, 333);
    struct base_error error;
    mix_kinds(stream);
    for (unsigned at = 0; at < 2048; at += 512) {
        struct learner_metrics *two = make(300, 333);
        size_t size, size1, size2;
        void *bytes = save(one, &size);
        assert_int_equal(learner_metrics_load(two, bytes, size, &error),
                         BASE_OK);
        struct learner_final finals[256];
        for (unsigned i = 0; i < 256; i++)
            finals[i] = (struct learner_final){at + i, i % 5 == 0};
        add_all(one, stream, at, at + 512);
        add_all(two, stream, at, at + 512);
        struct learner_batch last = cut_batch(stream, at + 512, 0);
        last.final = finals;
        last.finals = 256;
        add(one, &last, NULL);
        add(two, &last, NULL);
        void *bytes1 = save(one, &size1), *bytes2 = save(two, &size2);
        assert_int_equal(size1, size2);
        assert_memory_equal(bytes1, bytes2, size1);
        free(bytes);
        free(bytes1);
        free(bytes2);
        learner_metrics_free(two);
    }
    learner_metrics_free(one);
    free(stream);
}

static void wrong_sizes_do_not_load(void **state)
{
    (void)state;
    struct stream *stream = make_stream(7);
    struct learner_metrics *metrics = make(300, 333);
    struct base_error error;
    size_t size;
    add_all(metrics, stream, 0, 1024);
    void *bytes = save(metrics, &size);
    struct learner_metrics *other = make(300, 333);
    assert_int_equal(learner_metrics_load(other, bytes, size - 1, &error),
                     BASE_CORRUPT);
    assert_int_equal(learner_metrics_load(other, bytes, 8, &error),
                     BASE_CORRUPT);
    learner_metrics_free(other);
    /* Another window size: totals stay, the open window starts anew. */
    other = make(777, 50);
    assert_int_equal(learner_metrics_load(other, bytes, size, &error),
                     BASE_OK);
    struct learner_window a, b;
    learner_metrics_total(metrics, &a);
    learner_metrics_total(other, &b);
    assert_memory_equal(&a, &b, sizeof a);
    add_all(other, stream, 1024, 1088);
    learner_metrics_last(other, &a, &b);
    assert_int_equal(a.samples, 50);
    learner_metrics_free(other);
    learner_metrics_free(metrics);
    free(bytes);
    free(stream);
}

static void the_logarithm_is_one(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200000; i++) {
        double x = ldexp(1.0 + (double)base_random_unit(
                                   base_random_u64(8, 8, i, 0)),
                         (int)(base_random_u64(8, 8, i, 1) % 60) - 40);
        double mine = learner_metrics_log(x), libm = log(x);
        assert_true(fabs(mine - libm) <= 4e-16 * fmax(1.0, fabs(libm)));
    }
    assert_true(learner_metrics_log(1.0) == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sample_windows_are_exact),
        cmocka_unit_test(time_windows_close_by_event_time),
        cmocka_unit_test(old_windows_make_room),
        cmocka_unit_test(extreme_predictions_stay_finite),
        cmocka_unit_test(fnw_counts_once_with_the_final_label),
        cmocka_unit_test(finals_of_a_rejected_batch_count_nothing),
        cmocka_unit_test(predictions_do_not_wait_for_ever),
        cmocka_unit_test(a_loaded_state_goes_on_with_the_same_bits),
        cmocka_unit_test(wrong_sizes_do_not_load),
        cmocka_unit_test(the_logarithm_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
