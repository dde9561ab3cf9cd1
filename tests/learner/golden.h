/* SPDX-License-Identifier: Apache-2.0 */
/* The golden files of tests/golden/models as inputs of a step: the case's
 * model, weights, rows and batches. Names of tensors are in tests/golden's
 * README. Compiled with learner_double too, where float is double.
 *
 * A row's number in a file is its place in rows[]; row 0 stands for id 0. */
#ifndef TESTS_LEARNER_GOLDEN_H
#define TESTS_LEARNER_GOLDEN_H

#include "learner/model.h"
#include "learner/step.h"
#include "tests/learner/safetensors.h"

enum { GOLDEN_STEPS = 20, GOLDEN_CASES = 48 };

/* Each file, and what of the models it is there for. */
struct golden_line {
    const char *name, *covers;
};
extern const struct golden_line golden_lines[GOLDEN_CASES];

struct golden_case {
    struct safetensors file, stream;
    struct learner_schema schema; /* the stream's */
    uint32_t schema_rows[LEARNER_TABLES_MAX];
    struct learner_model *model; /* OWNS */
    uint32_t padded_to; /* behaviors, of the first batch's values; or 0 */
    uint32_t padding[LEARNER_FIELDS_MAX];

    float *dense, *ddense;
    unsigned tables; /* the model's */
    uint32_t row_count[LEARNER_TABLES_MAX];
    float *rows[LEARNER_TABLES_MAX], *drows[LEARNER_TABLES_MAX];

    /* Of the batch loaded last; ids of the stream as golden_key() says */
    struct learner_batch batch;
    uint64_t *ids, *history, *user, *negatives; /* of the model: (N,f) */
    int64_t *event_ms;
    uint8_t *label, *kind;
    uint32_t *group_begin, *history_begin;
    uint32_t *index, *history_index, *negative_index, *cross_index;
    struct learner_step_input input;
    struct learner_step_output output;
};

/* The case with its first batch; aborts where a file is missing or the model
 * is refused. */
void golden_open(struct golden_case *c, const char *name);
void golden_close(struct golden_case *c);
/* Batch `number`, padded where the case is and `padded`. */
void golden_load(struct golden_case *c, unsigned number, bool padded);

/* Id of a row of the stream's tables, and the row of an id. */
uint64_t golden_key(uint32_t row);
uint32_t golden_row(uint64_t key, uint32_t rows);
/* Crosses are numbered behavior x this + candidate. */
uint32_t golden_goods(const struct golden_case *c);

/* Floats of 64-byte aligned memory, all 0. */
float *golden_memory(size_t floats);
size_t golden_size(const struct learner_tensor *tensor);
/* Floats of a table's rows. */
size_t golden_rows_size(const struct golden_case *c, unsigned table);
/* Softmax sees no shift: a gradient of 0, and rounding noise around it. */
bool golden_noise(const struct learner_model *model, const char *tensor);

/* False, with a line on stderr, where max |values - TITLE.NAME of the file|
 * exceeds tolerance x max |TITLE.NAME|. name NULL: TITLE alone. */
bool golden_agrees(const struct safetensors *file, const char *title,
                   const char *name, const float *values, size_t count,
                   double tolerance);

#endif
