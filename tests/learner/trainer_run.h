/* SPDX-License-Identifier: Apache-2.0 */
/* A trainer in a state folder of its own, on a synthetic journal: what the
 * tests of the trainer do with it. One thread; the calls back come on
 * others. */
#ifndef TESTS_LEARNER_TRAINER_RUN_H
#define TESTS_LEARNER_TRAINER_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "learner/checkpoint.h"
#include "learner/learner.h"
#include "stream.h"

enum { RUN_BATCH = 32, RUN_END = 40 * RUN_BATCH };

struct run {
    char folder[256];
    struct stream *stream;
    struct learner_trainer_config config;
    struct learner_trainer *trainer;
    _Atomic uint64_t position, oldest_kept, request; /* checkpointed() */
    _Atomic unsigned calls, failures;
    uint64_t widest; /* between two checkpoints; read after the calls */
    char path[1200], reason[1000]; /* read after the calls counted */
    void *extra; /* the test's */
};

/* A small DIN on the plain stream. */
void run_init(struct run *run, bool fnw);
/* Another stream; its schema and batch size are the configuration's. */
void run_stream(struct run *run, const struct stream_config *stream);
void run_fini(struct run *run);
void run_open(struct run *run);
void run_start(struct run *run, uint64_t limit);
void run_wait(struct run *run, uint64_t position);
void run_stop(struct run *run, bool checkpoint);
/* Trains to `limit` and ends with a checkpoint. */
void run_to(struct run *run, uint64_t limit);

struct learner_checkpoint *run_open_path(const char *path);
/* All that a later weight or metric depends on is in both the same. */
void run_check_same(const char *left, const char *right);

#endif
