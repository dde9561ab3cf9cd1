/* SPDX-License-Identifier: Apache-2.0 */
/* Every kind of model, every optimizer, every regularizer and the other
 * switches: the weights are the same bit for bit for 1, 2 and 4 threads, for
 * a run that is stopped at checkpoints and goes on from them, and under
 * AVX2 and AVX-512. And each switch does change them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "learner/settings.h"
#include "trainer_run.h"

enum { B = 16, END = 144 * B };

/* Words of learner/settings.h, and profile=reference; what is not said is the
 * kind's default in profile `streaming`, in small. */
static const char *const cases[] = {
    "kind=lr",
    "kind=base",
    "kind=base pooling=mean activation=relu",
    "kind=base activation=sigmoid",
    "kind=wide_deep",
    "kind=wide_deep wide=dense pooling=mean",
    "kind=pnn",
    "kind=pnn pooling=mean activation=dice",
    "kind=deepfm",
    "kind=din",
    "kind=din activation=prelu attention_softmax=true",
    "kind=din attention=outer",
    "kind=din attention=inner",
    "kind=din dimension=6 seed=7",
    "kind=din profile=reference",
    "kind=gru_att",
    "kind=gru_att auxiliary=network attention=inner",
    "kind=dien",
    "kind=dien evolution=augru_code",
    "kind=dien evolution=agru",
    "kind=dien evolution=aigru",
    "kind=dien auxiliary=none",
    "kind=dien auxiliary=inner auxiliary_negatives=any",
    "kind=dien attention=inner hidden=5",
    "kind=dien profile=reference",
    "kind=dien optimizer=adagrad",
    "kind=dien optimizer=row_adagrad",
    "kind=dien optimizer=sgd",
    "kind=dien regularizer=dropout",
    "kind=dien regularizer=difacto eviction_ms=30000",
    "kind=dien fields_off=32", /* without genres */
    "kind=din optimizer=adagrad",
    "kind=din optimizer=row_adagrad",
    "kind=din optimizer=sgd",
    "kind=lr optimizer=adam",
    "kind=lr optimizer=row_adagrad",
    "kind=deepfm optimizer=adagrad",
    "kind=din adam_rows=every",
    "kind=din rate_decay=0.5 rate_decay_samples=500",
    "kind=din regularizer=l2",
    "kind=din regularizer=dropout",
    "kind=din regularizer=filter",
    "kind=din regularizer=difacto admission=3",
    "kind=din regularizer=mba",
    "kind=wide_deep regularizer=filter",
    "kind=din eviction_ms=30000",
    "kind=lr eviction_ms=30000 regularizer=mba",
    "kind=din fields_off=4",  /* without goods */
    "kind=base fields_off=3858", /* gender, shop, cate, genres alone */
};
enum { CASES = sizeof cases / sizeof cases[0] };
/* ThreadSanitizer takes ten times as long: it sees a part of the cases. */
#ifdef __SANITIZE_THREAD__
enum { STEP = 6 };
#else
enum { STEP = 1 };
#endif

/* Value of `key` in the case's words, or NULL. */
static const char *word(const char *words, const char *key, char *value)
{
    size_t size = strlen(key);
    for (const char *at = words; at; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, key, size) == 0 && at[size] == '=') {
            snprintf(value, 32, "%.*s", (int)strcspn(at + size + 1, " "),
                     at + size + 1);
            return value;
        }
    }
    return NULL;
}

static void configure(struct learner_model_config *config, const char *words)
{
    const struct base_settings *settings = &learner_model_settings;
    struct base_setting_place place = {.file = "case"};
    struct base_error error;
    char value[32];
    enum learner_profile profile = word(words, "profile", value)
                                       ? LEARNER_REFERENCE
                                       : LEARNER_STREAMING;
    int kind = base_settings_find(settings, "kind");
    assert_int_equal(base_settings_set(settings, (unsigned)kind,
                                       word(words, "kind", value), &place,
                                       config, &error),
                     BASE_OK);
    learner_model_config_profile(config, profile, config->kind);
    config->attention_hidden[0] = config->auxiliary_hidden[0] = 8;
    config->attention_hidden[1] = config->auxiliary_hidden[1] = 4;
    config->mlp_hidden[0] = 12;
    config->mlp_hidden[1] = 6;
    config->learning_rate = 0.01f;
    config->lambda = 0.001f;
    config->batch_size = B;
    for (unsigned i = 0; i < settings->count; i++)
        if (word(words, settings->table[i].name, value) &&
            base_settings_set(settings, i, value, &place, config, &error))
            fail_msg("%s", error.text);
}

static void make(struct run *run, const char *words)
{
    const struct stream_config stream = {
        .seed = 11, .batch_size = B, .group_max = 5,
        .lengths = STREAM_GEOMETRIC, .history_mean = 5, .history_max = 12,
        .users = 200, .goods = 200, .cates = 20, .interests = 4,
        .rich = true, .fashion = 10,
    };
    run_init(run, false);
    run_stream(run, &stream);
    configure(&run->config.model, words);
}

/* Stops at three places on the way, the first without waiting for its
 * checkpoint. */
static void train_in_pieces(struct run *run, uint64_t draw)
{
    for (unsigned i = 0; i < 3; i++) {
        uint64_t bits = base_random_u64(1, 2, draw, i);
        uint64_t to = (i * 48 + 1 + bits % 46) * B;
        run_start(run, to);
        run_wait(run, to);
        if (i == 0)
            learner_trainer_checkpoint(run->trainer);
        run_stop(run, i != 0);
    }
    run_to(run, END);
}

/* That the case did what it is there for. */
static void check_status(struct run *run, const char *words)
{
    struct learner_status status;
    char value[32];
    run_open(run);
    learner_trainer_status(run->trainer, &status);
    assert_int_equal(status.samples, END);
    assert_int_equal(status.rejected, 0);
    assert_true(isfinite(status.loss) && status.loss > 0.0);
    assert_true(isfinite(status.total.log_loss));
    if (run->config.model.auxiliary)
        assert_true(status.auxiliary_loss > 0.1);
    else
        assert_true(status.auxiliary_loss == 0.0);
    if (word(words, "eviction_ms", value))
        assert_true(status.evicted > 10);
    learner_trainer_free(run->trainer);
    run->trainer = NULL;
}

static char program[4096], elsewhere[300];
static uint64_t digests[CASES][2];

static void note_digest(unsigned index, const char *path)
{
    struct learner_checkpoint *checkpoint = run_open_path(path);
    memcpy(digests[index], learner_checkpoint_get_info(checkpoint)->digest,
           16);
    for (unsigned i = 0; i < index; i += STEP)
        if (memcmp(digests[i], digests[index], 16) == 0)
            fail_msg("'%s' is no other than '%s'", cases[index], cases[i]);
    learner_checkpoint_free(checkpoint);
}

static void check_case(unsigned index)
{
    struct run straight, pieces;
    char path[700];
    make(&straight, cases[index]);
    run_to(&straight, END);
    check_status(&straight, cases[index]);
    note_digest(index, straight.path);
    for (uint16_t threads = 2; threads <= 4; threads += 2) {
        make(&pieces, cases[index]);
        pieces.config.threads = threads;
        train_in_pieces(&pieces, index * 8 + threads);
        run_check_same(straight.path, pieces.path);
        run_fini(&pieces);
    }
    if (elsewhere[0]) {
        char name[LEARNER_CHECKPOINT_NAME];
        learner_checkpoint_name(name, END);
        snprintf(path, sizeof path, "%s/%u/%s", elsewhere, index, name);
        run_check_same(straight.path, path);
    }
    run_fini(&straight);
}

static void no_case_depends_on_threads_restarts_or_kernels(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CASES; i += STEP) {
        print_message("%s\n", cases[i]);
        check_case(i);
    }
}

/* As called by set_up() in another process: all cases at once, each in a
 * folder of its number. */
static int train_all(const char *folder)
{
    for (unsigned i = 0; i < CASES; i += STEP) {
        struct run run;
        make(&run, cases[i]);
        rmdir(run.folder);
        snprintf(run.config.folder, sizeof run.config.folder, "%s/%u", folder,
                 i);
        run.config.threads = 2;
        run_to(&run, END);
        stream_free(run.stream);
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    char command[6000];
    const char *base = getenv("TMPDIR");
    if (strcmp(learner_kernels(), "avx512") != 0)
        return 0; /* there is no other with the same arithmetic */
    snprintf(elsewhere, sizeof elsewhere, "%s/test_determinism.XXXXXX",
             base ? base : "/tmp");
    if (!mkdtemp(elsewhere))
        return 1;
    snprintf(command, sizeof command, "INTERESTD_KERNELS=avx2 '%s' train '%s'",
             program, elsewhere);
    return system(command) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    struct base_error error;
    return elsewhere[0] && base_file_remove(elsewhere, &error) != BASE_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return train_all(argv[2]);
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_case_depends_on_threads_restarts_or_kernels),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
