/* SPDX-License-Identifier: Apache-2.0 */
/* What a row regularizer adds to the row's gradient ahead of the optimizer:
 * g += factor w, over all W parameters, with n_j the row's running count of
 * occurrences, those of this batch included:
 *   L2       factor = lambda, once a batch
 *   MBA      factor = lambda / n_j, once a batch (DIN, arXiv 1706.06978, 5.1)
 *   DiFacto  factor = lambda / n_j at each occurrence in the batch (Li 2016;
 *            with admission, which admission.h does)
 * An id that a batch has only as a negative of the auxiliary loss does not
 * occur in it: factor 0. Filter and id dropout change which rows a batch uses
 * (gather.c), not their gradients. Pure functions. */
#ifndef LEARNER_REGULARIZER_H
#define LEARNER_REGULARIZER_H

#include "learner/learner.h"

/* count: n_j; occurrences: of them in this batch. */
float learner_regularizer_factor(const struct learner_model_config *config,
                                 uint32_t count, uint32_t occurrences);
/* g (W) += factor w (W) */
void learner_regularizer_add(float *g, const float *w, size_t W,
                             float factor);
/* True where ids need admission (filter, DiFacto). */
bool learner_regularizer_admits(const struct learner_model_config *config);

#endif
