/* SPDX-License-Identifier: Apache-2.0 */
/* The activation unit's first layer where histories are short: a matrix for
 * each sample (fold.c) would cost more than it saves, so a tile's pairs are
 * laid out as rows [k; q . k] and go through the weights together:
 *
 *   h0 = qp + k (Wk - Wd) + (q . k) Wp
 *
 * Each product adds its inner index in order, as everywhere (kernel.h). */
#include <string.h>

#include "learner/attention.h"

static void lay_out(const struct learner_net *net,
                    const struct learner_shard *shard,
                    const struct learner_run *runs, unsigned count)
{
    size_t ldK = net->model->ldK;
    float *pair = shard->pair;
    for (unsigned i = 0; i < count; i++) {
        net->kernels->pair_rows(pair, net->query + runs[i].sample * ldK,
                                net->key + runs[i].behavior * ldK, ldK,
                                runs[i].count, ldK);
        pair += runs[i].count * 2 * ldK;
    }
}

void learner_pairs_forward(struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_run *runs, unsigned count,
                           float *h0)
{
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    size_t ldK = model->ldK, ldA0 = model->ldA0, rows = 0;
    for (unsigned i = 0; i < count; i++)
        for (uint32_t t = 0; t < runs[i].count; t++, rows++)
            memcpy(h0 + rows * ldA0, net->qp + runs[i].sample * ldA0,
                   ldA0 * sizeof *h0);
    lay_out(net, shard, runs, count);
    net->kernels->gemm(h0, ldA0, shard->pair, 2 * ldK, pack->ak, ldA0, rows,
                       model->K, ldA0, NULL);
    net->kernels->gemm(h0, ldA0, shard->pair + ldK, 2 * ldK, pack->ap, ldA0,
                       rows, model->K, ldA0, NULL);
}

void learner_pairs_backward(struct learner_net *net,
                            const struct learner_shard *shard,
                            const struct learner_run *runs, unsigned count,
                            const float *d0)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    const struct learner_partial *partial = &shard->partial;
    size_t A0 = model->A0, ldK = model->ldK, ldA0 = model->ldA0, rows = 0;
    lay_out(net, shard, runs, count);
    for (unsigned i = 0; i < count; rows += runs[i++].count)
        kernels->column_sum(net->dqp + runs[i].sample * ldA0, d0 + rows * ldA0,
                            ldA0, runs[i].count, ldA0);
    kernels->gemm_tn(partial->dak, ldK, d0, ldA0, shard->pair, 2 * ldK, A0,
                     rows, ldK, NULL);
    kernels->gemm_tn(partial->dap, ldK, d0, ldA0, shard->pair + ldK, 2 * ldK,
                     A0, rows, ldK, NULL);
    kernels->gemm(shard->dpair, 2 * ldK, d0, ldA0, pack->ak_turned, ldK, rows,
                  A0, ldK, pack->zero);
    kernels->gemm(shard->dpair + ldK, 2 * ldK, d0, ldA0, pack->ap_turned, ldK,
                  rows, A0, ldK, pack->zero);
    const float *dpair = shard->dpair;
    for (unsigned i = 0; i < count; i++) {
        size_t query = runs[i].sample * ldK, key = runs[i].behavior * ldK;
        kernels->pair_rows_backward(net->dquery + query, net->dkey + key,
                                    dpair, net->query + query, net->key + key,
                                    ldK, runs[i].count, ldK);
        dpair += runs[i].count * 2 * ldK;
    }
}
