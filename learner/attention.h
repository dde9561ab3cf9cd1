/* SPDX-License-Identifier: Apache-2.0 */
/* What attention.c and outer.c share: the pairs of a tile as runs. Both are
 * row phases of one shard (net.h); one thread per shard. */
#ifndef LEARNER_ATTENTION_H
#define LEARNER_ATTENTION_H

#include "learner/net.h"

/* count pairs of one sample with consecutive behaviors */
struct learner_run {
    uint32_t sample, behavior, count;
};

/* h0 (rows,ldA0) += k M of each pair of the runs, M = sum_i q_i Wo_i (K,A0) of
 * its sample. */
void learner_outer_forward(const struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           float *h0);
/* d0 (rows,ldA0), gradient of h0, into dquery, dkey and the shard's dao. */
void learner_outer_backward(struct learner_net *net,
                            const struct learner_shard *shard,
                            const struct learner_run *runs, unsigned count,
                            const float *d0);

#endif
