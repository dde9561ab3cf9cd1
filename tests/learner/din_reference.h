/* SPDX-License-Identifier: Apache-2.0 */
/* DIN in double precision, written for reading: no split of the first layer,
 * no tiles, no padding to vectors, one sample after the other. It shares only
 * the table of tensors with the product. With `authors` it follows the quirks
 * of the authors' code (mouna99/dien, Model_DIN): histories padded with row 0
 * which enters the sum s, softmax(...) + 1e-8, half of the cross-entropy over
 * the batch, Dice's epsilon 1e-9 in two places. */
#ifndef TESTS_LEARNER_DIN_REFERENCE_H
#define TESTS_LEARNER_DIN_REFERENCE_H

#include "tests/learner/din_case.h"

struct din_reference {
    const struct din_case *c; /* structure of the batch; BORROWS */
    const struct learner_model *model;
    double *dense, *rows[DIN_CASE_TABLES]; /* parameters, copied from c */
    bool authors;
    uint32_t padded; /* authors: T of the padded batch */
    double *fixed_weight; /* (B) weights of the loss held still, or NULL */
    /* results */
    double loss, *p /* (B) */, *weight /* (B) */, *attention /* (pairs) */;
    double *ddense, *drows[DIN_CASE_TABLES];
    double *mean[2], *variance[2]; /* of the batch */
    struct din_reference_memory *memory;
};

void din_reference_init(struct din_reference *r, const struct din_case *c);
void din_reference_fini(struct din_reference *r);
/* moving: Dice with the statistics among the tensors, else the batch's. */
void din_reference_forward(struct din_reference *r, bool moving);
/* After forward with the batch's statistics. */
void din_reference_backward(struct din_reference *r);

#endif
