/* SPDX-License-Identifier: Apache-2.0 */
/* What attention.c, fold.c and pairs.c share: the pairs of a tile as runs. All are
 * row phases of one shard (net.h); one thread per shard. */
#ifndef LEARNER_ATTENTION_H
#define LEARNER_ATTENTION_H

#include "learner/net.h"

/* count pairs of one sample with consecutive behaviors */
struct learner_run {
    uint32_t sample, behavior, count;
};

/* h0 (rows,ldA0), the first layer's sums of the runs' pairs one behind the
 * other, from query, key and qp. */
void learner_fold_forward(struct learner_net *net,
                          const struct learner_shard *shard,
                          const struct learner_run *runs, unsigned count,
                          float *h0);
/* d0 (rows,ldA0), gradient of h0: added to dquery, dkey, dqp and the shard's
 * dak, dap, dao. */
void learner_fold_backward(struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           const float *d0);

/* As the two above, where the runs are short histories; never outer. */
void learner_pairs_forward(struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           float *h0);
void learner_pairs_backward(struct learner_net *net,
                            const struct learner_shard *shard,
                            const struct learner_run *runs, unsigned count,
                            const float *d0);

#endif
