/* SPDX-License-Identifier: Apache-2.0 */
/* The outer product in the activation unit (DIN paper, Fig. 2): q (x) k times
 * Wo (K,K,A0) as k M with M = sum_i q_i Wo_i, so that the K K A0 products are
 * made once a sample, not once a pair. Wo is larger than a cache; NET_RUNS
 * samples share each pass over it. */
#include <string.h>

#include "learner/attention.h"

/* The queries of some runs, one behind the other in shard->outer_query. */
static void take_queries(const struct learner_net *net,
                         const struct learner_shard *shard,
                         const struct learner_run *runs, unsigned count)
{
    size_t ldK = net->model->ldK;
    for (unsigned i = 0; i < count; i++)
        memcpy(shard->outer_query + i * ldK,
               net->query + runs[i].sample * ldK, ldK * sizeof(float));
}

static unsigned part_of(unsigned left)
{
    return left < NET_RUNS ? left : NET_RUNS;
}

void learner_outer_forward(const struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           float *h0)
{
    const struct learner_model *model = net->model;
    size_t K = model->K, ldK = model->ldK, ldA0 = model->ldA0;
    size_t size = K * ldA0;
    for (unsigned left = count; left > 0;) {
        unsigned part = part_of(left);
        take_queries(net, shard, runs, part);
        net->kernels->gemm(shard->outer, size, shard->outer_query, ldK,
                           net->pack.ao, size, part, K, size, net->pack.zero);
        for (unsigned i = 0; i < part; i++) {
            net->kernels->gemm(h0, ldA0, net->key + runs[i].behavior * ldK,
                               ldK, shard->outer + i * size, ldA0,
                               runs[i].count, K, ldA0, NULL);
            h0 += runs[i].count * ldA0;
        }
        runs += part;
        left -= part;
    }
}

/* With dM = k^T d0 of each run: dWo_i += q_i dM, dq_i += dM . Wo_i */
static void back_to_queries(struct learner_net *net,
                            const struct learner_shard *shard,
                            const struct learner_run *runs, unsigned part,
                            const float *d0)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    size_t K = model->K, ldK = model->ldK, ldA0 = model->ldA0;
    size_t size = K * ldA0;
    float dq[NET_RUNS];
    for (unsigned i = 0; i < part; i++) {
        kernels->gemm_tn(shard->douter + i * size, ldA0,
                         net->key + runs[i].behavior * ldK, ldK, d0, ldA0, K,
                         runs[i].count, ldA0, net->pack.zero);
        d0 += runs[i].count * ldA0;
    }
    kernels->gemm_tn(shard->partial.dao, size, shard->outer_query, ldK,
                     shard->douter, size, K, part, size, NULL);
    for (size_t j = 0; j < K; j++) {
        kernels->row_dot(dq, shard->douter, size, part, size,
                         net->pack.ao + j * size, 0.0f);
        for (unsigned i = 0; i < part; i++)
            net->dquery[runs[i].sample * ldK + j] += dq[i];
    }
}

/* dk += d0 M^T */
static void back_to_keys(struct learner_net *net,
                         const struct learner_shard *shard,
                         const struct learner_run *runs, unsigned part,
                         const float *d0)
{
    const struct learner_model *model = net->model;
    size_t K = model->K, A0 = model->A0, ldK = model->ldK, ldA0 = model->ldA0;
    size_t size = A0 * ldK;
    net->kernels->gemm(shard->outer_turned, size, shard->outer_query, ldK,
                       net->pack.ao_turned, size, part, K, size,
                       net->pack.zero);
    for (unsigned i = 0; i < part; i++) {
        net->kernels->gemm(net->dkey + runs[i].behavior * ldK, ldK, d0, ldA0,
                           shard->outer_turned + i * size, ldK, runs[i].count,
                           A0, ldK, NULL);
        d0 += runs[i].count * ldA0;
    }
}

void learner_outer_backward(struct learner_net *net,
                            const struct learner_shard *shard,
                            const struct learner_run *runs, unsigned count,
                            const float *d0)
{
    for (unsigned left = count; left > 0;) {
        unsigned part = part_of(left);
        take_queries(net, shard, runs, part);
        back_to_queries(net, shard, runs, part, d0);
        back_to_keys(net, shard, runs, part, d0);
        for (unsigned i = 0; i < part; i++)
            d0 += runs[i].count * net->model->ldA0;
        runs += part;
        left -= part;
    }
}
