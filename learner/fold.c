/* SPDX-License-Identifier: Apache-2.0 */
/* The activation unit's first layer for a run of pairs, h0 = qp + k M with M
 * (K,A0) made once a run; qp = q (Wq + Wd) + b0 is the sample's:
 *
 *   unit   M = (Wk - Wd) + diag(q) Wp
 *   outer  M = Wk + sum_i q_i Wo_i       (DIN paper, Fig. 2: q (x) k times
 *                                         Wo (K,K,A0))
 *
 * Backward, with dM^T = d0^T k (A0,K): dk = d0 M^T; Wk - Wd, or Wk, gets dM;
 * Wp diag(q) dM, Wo_i q_i dM; q_i the sum over j of dM_ij Wp_ij, or dM . Wo_i.
 * Wo is larger than a cache: NET_RUNS runs share each pass over it. */
#include <string.h>

#include "learner/attention.h"

static bool is_outer(const struct learner_net *net)
{
    return net->model->config.attention == LEARNER_ATTENTION_OUTER;
}

/* Runs that are worked on together. */
static unsigned part_of(const struct learner_net *net, unsigned left)
{
    unsigned most = is_outer(net) ? NET_RUNS : 1;
    return left < most ? left : most;
}

/* The queries of `part` runs, one behind the other. */
static void take_queries(const struct learner_net *net,
                         const struct learner_shard *shard,
                         const struct learner_run *runs, unsigned part)
{
    size_t ldK = net->model->ldK;
    for (unsigned i = 0; i < part; i++)
        memcpy(shard->fold_query + i * ldK, net->query + runs[i].sample * ldK,
               ldK * sizeof(float));
}

/* M of each run. */
static void make(const struct learner_net *net,
                 const struct learner_shard *shard, unsigned part)
{
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    size_t K = model->K, ldA0 = model->ldA0, size = K * ldA0;
    if (is_outer(net))
        net->kernels->gemm(shard->fold, size, shard->fold_query, model->ldK,
                           pack->ao, size, part, K, size, pack->ak);
    else
        net->kernels->fold_rows(shard->fold, pack->ak, pack->ap,
                                shard->fold_query, ldA0, K, ldA0);
}

/* M^T of each run. */
static void make_turned(const struct learner_net *net,
                        const struct learner_shard *shard, unsigned part)
{
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    size_t A0 = model->A0, ldK = model->ldK, size = A0 * ldK;
    if (is_outer(net))
        net->kernels->gemm(shard->fold_turned, size, shard->fold_query, ldK,
                           pack->ao_turned, size, part, model->K, size,
                           pack->ak_turned);
    else
        net->kernels->fold_columns(shard->fold_turned, pack->ak_turned,
                                   pack->ap_turned, shard->fold_query, ldK,
                                   A0, ldK);
}

void learner_fold_forward(struct learner_net *net,
                          const struct learner_shard *shard,
                          const struct learner_run *runs, unsigned count,
                          float *h0)
{
    const struct learner_model *model = net->model;
    size_t K = model->K, ldK = model->ldK, ldA0 = model->ldA0;
    for (unsigned left = count, part; left > 0; left -= part, runs += part) {
        part = part_of(net, left);
        take_queries(net, shard, runs, part);
        make(net, shard, part);
        for (unsigned i = 0; i < part; i++) {
            net->kernels->gemm(h0, ldA0, net->key + runs[i].behavior * ldK,
                               ldK, shard->fold + i * K * ldA0, ldA0,
                               runs[i].count, K, ldA0,
                               net->qp + runs[i].sample * ldA0);
            h0 += runs[i].count * ldA0;
        }
    }
}

/* dM^T of each run; and through k M to dk, through qp to dqp. */
static void back_to_pairs(struct learner_net *net,
                          const struct learner_shard *shard,
                          const struct learner_run *runs, unsigned part,
                          const float *d0)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    size_t A0 = model->A0, ldK = model->ldK, ldA0 = model->ldA0;
    for (unsigned i = 0; i < part; i++) {
        size_t count = runs[i].count, key = runs[i].behavior * ldK;
        kernels->gemm_tn(shard->dfold + i * A0 * ldK, ldK, d0, ldA0,
                         net->key + key, ldK, A0, count, ldK, net->pack.zero);
        kernels->gemm(net->dkey + key, ldK, d0, ldA0,
                      shard->fold_turned + i * A0 * ldK, ldK, count, A0, ldK,
                      NULL);
        kernels->column_sum(net->dqp + runs[i].sample * ldA0, d0, ldA0, count,
                            ldA0);
        d0 += count * ldA0;
    }
}

/* dM into the outer product's weights and the queries. */
static void back_to_outer(struct learner_net *net,
                          const struct learner_shard *shard,
                          const struct learner_run *runs, unsigned part)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    size_t K = model->K, ldK = model->ldK, size = model->A0 * ldK;
    float dq[NET_RUNS];
    kernels->column_sum(shard->partial.dak, shard->dfold, size, part, size);
    kernels->gemm_tn(shard->partial.dao, size, shard->fold_query, ldK,
                     shard->dfold, size, K, part, size, NULL);
    for (size_t j = 0; j < K; j++) {
        kernels->row_dot(dq, shard->dfold, size, part, size,
                         net->pack.ao_turned + j * size, 0.0f);
        for (unsigned i = 0; i < part; i++)
            net->dquery[runs[i].sample * ldK + j] += dq[i];
    }
}

void learner_fold_backward(struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           const float *d0)
{
    const struct learner_model *model = net->model;
    size_t ldK = model->ldK;
    for (unsigned left = count, part; left > 0; left -= part, runs += part) {
        part = part_of(net, left);
        take_queries(net, shard, runs, part);
        make_turned(net, shard, part);
        back_to_pairs(net, shard, runs, part, d0);
        if (is_outer(net))
            back_to_outer(net, shard, runs, part);
        else
            net->kernels->fold_columns_backward(
                shard->partial.dak, shard->partial.dap,
                net->dquery + runs->sample * ldK, shard->dfold,
                net->pack.ap_turned, shard->fold_query, ldK, model->A0, ldK);
        for (unsigned i = 0; i < part; i++)
            d0 += runs[i].count * model->ldA0;
    }
}
