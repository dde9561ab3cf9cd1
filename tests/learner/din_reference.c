/* SPDX-License-Identifier: Apache-2.0 */
/* See din_reference.h. */
#include "tests/learner/din_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct layer {
    size_t in, out;
    double *z, *gate, *f, *df; /* (B,out) */
    double *sd;                /* (out) */
};

struct din_reference_memory {
    size_t D, P, C, X, B, N, pairs, A0, A1;
    double *q, *dq, *k, *dk;     /* (B,D), (N,D) */
    double *v, *u0, *u1, *da;    /* (pairs,4D), (pairs,A0), (pairs,A1) */
    double *s, *x, *y, *dx;      /* (B,D), (B,X) */
    double *logit, *dlogit;      /* (B,2) */
    struct layer layer[2];
};

static double *zeros(size_t count)
{
    double *memory = calloc(count + 1, sizeof *memory);
    if (!memory)
        abort();
    return memory;
}

static double *widened(const float *from, size_t count)
{
    double *to = zeros(count);
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
    return to;
}

void din_reference_init(struct din_reference *r, const struct din_case *c)
{
    const struct learner_model *model = c->model;
    const struct learner_schema *schema = &model->schema;
    struct din_reference_memory *m = calloc(1, sizeof *m);
    memset(r, 0, sizeof *r);
    r->c = c;
    r->model = model;
    r->memory = m;
    r->dense = widened(c->dense, model->dense_size);
    r->ddense = zeros(model->dense_size);
    for (unsigned t = 0; t < schema->table_count; t++) {
        size_t size = (size_t)c->row_count[t] * schema->tables[t].dimension;
        r->rows[t] = widened(c->rows[t], size);
        r->drows[t] = zeros(size);
    }
    m->D = model->D, m->P = model->P, m->C = model->C, m->X = model->X;
    m->A0 = model->config.attention_hidden[0];
    m->A1 = model->config.attention_hidden[1];
    m->B = c->batch.samples;
    m->N = c->history_begin[c->batch.groups];
    for (uint32_t g = 0; g < c->batch.groups; g++)
        m->pairs += (size_t)(c->group_begin[g + 1] - c->group_begin[g]) *
                    (c->history_begin[g + 1] - c->history_begin[g]);
    m->q = zeros(m->B * m->D), m->dq = zeros(m->B * m->D);
    m->k = zeros(m->N * m->D), m->dk = zeros(m->N * m->D);
    m->v = zeros(m->pairs * 4 * m->D);
    m->u0 = zeros(m->pairs * m->A0), m->u1 = zeros(m->pairs * m->A1);
    m->da = zeros(m->pairs);
    m->s = zeros(m->B * m->D);
    m->x = zeros(m->B * m->X), m->y = zeros(m->B * m->X);
    m->dx = zeros(m->B * m->X);
    m->logit = zeros(m->B * 2), m->dlogit = zeros(m->B * 2);
    r->p = zeros(m->B), r->weight = zeros(m->B);
    r->attention = zeros(m->pairs);
    for (unsigned i = 0; i < 2; i++) {
        struct layer *layer = &m->layer[i];
        layer->in = i ? model->config.mlp_hidden[0] : m->X;
        layer->out = model->config.mlp_hidden[i];
        layer->z = zeros(m->B * layer->out);
        layer->gate = zeros(m->B * layer->out);
        layer->f = zeros(m->B * layer->out);
        layer->df = zeros(m->B * layer->out);
        layer->sd = zeros(layer->out);
        r->mean[i] = zeros(layer->out);
        r->variance[i] = zeros(layer->out);
    }
}

void din_reference_fini(struct din_reference *r)
{
    struct din_reference_memory *m = r->memory;
    double *all[] = {m->q, m->dq, m->k, m->dk, m->v, m->u0, m->u1, m->da,
                     m->s, m->x, m->y, m->dx, m->logit, m->dlogit, r->p,
                     r->weight, r->attention, r->dense, r->ddense};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    for (unsigned i = 0; i < 2; i++) {
        struct layer *layer = &m->layer[i];
        free(layer->z), free(layer->gate), free(layer->f), free(layer->df);
        free(layer->sd), free(r->mean[i]), free(r->variance[i]);
    }
    for (unsigned t = 0; t < DIN_CASE_TABLES; t++) {
        free(r->rows[t]);
        free(r->drows[t]);
    }
    free(m);
}

static double *tensor(const struct din_reference *r, double *slab,
                      unsigned place)
{
    return slab + r->model->tensors[r->model->place[place]].offset;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* out (n) = in (m) W (m,n) + b */
static void product(double *out, const double *in, const double *w,
                    const double *b, size_t m, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        out[j] = b[j];
        for (size_t i = 0; i < m; i++)
            out[j] += in[i] * w[i * n + j];
    }
}

/* din (m) += dout W^T, dw += in^T dout, db += dout */
static void product_backward(double *din, double *dw, double *db,
                             const double *dout, const double *in,
                             const double *w, size_t m, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        db[j] += dout[j];
        for (size_t i = 0; i < m; i++) {
            din[i] += dout[j] * w[i * n + j];
            dw[i * n + j] += in[i] * dout[j];
        }
    }
}

/* Copies (or, backward, adds) the rows that belong to x, q and k. */
static void move_rows(struct din_reference *r, bool backward)
{
    struct din_reference_memory *m = r->memory;
    const struct learner_schema *schema = &r->model->schema;
    for (unsigned f = 0; f < schema->field_count; f++) {
        unsigned table = schema->fields[f].table;
        size_t E = schema->tables[table].dimension;
        size_t offset = r->model->field_offset[f];
        bool item = schema->fields[f].group == LEARNER_ITEM;
        if (schema->fields[f].group == LEARNER_CONTEXT)
            offset += m->P + m->D;
        for (size_t i = 0; i < m->B; i++)
            for (size_t e = 0; e < E; e++) {
                size_t at = r->c->index[i * schema->field_count + f] * E + e;
                size_t to = item ? i * m->D + offset + e
                                 : i * m->X + offset + e;
                if (backward)
                    r->drows[table][at] += item ? m->dq[to] : m->dx[to];
                else
                    *(item ? &m->q[to] : &m->x[to]) = r->rows[table][at];
            }
        for (size_t t = 0; item && t < m->N; t++)
            for (size_t e = 0; e < E; e++) {
                size_t cell = t * schema->item_count +
                              (f - schema->profile_count);
                size_t at = r->c->history_index[cell] * E + e;
                if (backward)
                    r->drows[table][at] += m->dk[t * m->D + offset + e];
                else
                    m->k[t * m->D + offset + e] = r->rows[table][at];
            }
    }
}

/* Element j of the item made of row 0 of every item table, and where its
 * gradient goes. */
static double *pad_cell(const struct din_reference *r, double *const *rows,
                        size_t j)
{
    const struct learner_schema *schema = &r->model->schema;
    unsigned f = schema->profile_count;
    size_t E = schema->tables[schema->fields[f].table].dimension;
    for (; j >= E; E = schema->tables[schema->fields[f].table].dimension) {
        j -= E;
        f++;
    }
    return &rows[schema->fields[f].table][j];
}

/* Scores, weights, s and x of sample i, whose history is k rows [begin, begin
 * + T) and whose pairs start at `pair`. */
static void attend(struct din_reference *r, size_t i, size_t begin, size_t T,
                   size_t pair)
{
    struct din_reference_memory *m = r->memory;
    size_t D = m->D;
    double *w[3], *b[3], *q = m->q + i * D, *s = m->s + i * D;
    double *x = m->x + i * m->X, *part = x + m->P + D + m->C;
    double top = -INFINITY, sum = 0, *a = r->attention + pair;
    for (unsigned l = 0; l < 3; l++) {
        w[l] = tensor(r, r->dense, TENSOR_ATTENTION_0_WEIGHT + 2 * l);
        b[l] = tensor(r, r->dense, TENSOR_ATTENTION_0_BIAS + 2 * l);
    }
    for (size_t t = 0; t < T; t++) {
        const double *k = m->k + (begin + t) * D;
        double *v = m->v + (pair + t) * 4 * D;
        double *u0 = m->u0 + (pair + t) * m->A0;
        double *u1 = m->u1 + (pair + t) * m->A1;
        for (size_t j = 0; j < D; j++) {
            v[j] = q[j], v[D + j] = k[j];
            v[2 * D + j] = q[j] - k[j], v[3 * D + j] = q[j] * k[j];
        }
        product(u0, v, w[0], b[0], 4 * D, m->A0);
        for (size_t j = 0; j < m->A0; j++)
            u0[j] = sigmoid(u0[j]);
        product(u1, u0, w[1], b[1], m->A0, m->A1);
        for (size_t j = 0; j < m->A1; j++)
            u1[j] = sigmoid(u1[j]);
        product(&a[t], u1, w[2], b[2], m->A1, 1);
        top = a[t] > top ? a[t] : top;
    }
    if (r->model->config.attention_softmax) {
        for (size_t t = 0; t < T; t++)
            sum += a[t] = exp(a[t] - top);
        for (size_t t = 0; t < T; t++)
            a[t] /= sum;
    }
    for (size_t j = 0; j < D; j++) {
        double pooled = 0;
        s[j] = r->authors && r->padded > T
                   ? (double)(r->padded - T) * *pad_cell(r, r->rows, j) : 0;
        for (size_t t = 0; t < T; t++) {
            s[j] += m->k[(begin + t) * D + j];
            pooled += a[t] * m->k[(begin + t) * D + j];
        }
        x[m->P + j] = q[j];
        part[j] = s[j], part[D + j] = q[j] * s[j], part[2 * D + j] = pooled;
    }
}

static void attend_backward(struct din_reference *r, size_t i, size_t begin,
                            size_t T, size_t pair)
{
    struct din_reference_memory *m = r->memory;
    size_t D = m->D;
    double *w[3], *dw[3], *db[3];
    const double *q = m->q + i * D, *s = m->s + i * D, *a = r->attention + pair;
    const double *dx = m->dx + i * m->X, *dpart = dx + m->P + D + m->C;
    double *dq = m->dq + i * D, *da = m->da + pair, mixed = 0;
    double *dv = zeros(4 * D), *d0 = zeros(m->A0), *d1 = zeros(m->A1);
    for (unsigned l = 0; l < 3; l++) {
        w[l] = tensor(r, r->dense, TENSOR_ATTENTION_0_WEIGHT + 2 * l);
        dw[l] = tensor(r, r->ddense, TENSOR_ATTENTION_0_WEIGHT + 2 * l);
        db[l] = tensor(r, r->ddense, TENSOR_ATTENTION_0_BIAS + 2 * l);
    }
    for (size_t j = 0; j < D; j++) {
        double ds = dpart[j] + dpart[D + j] * q[j];
        dq[j] += dx[m->P + j] + dpart[D + j] * s[j];
        if (r->authors && r->padded > T)
            *pad_cell(r, r->drows, j) += (double)(r->padded - T) * ds;
        for (size_t t = 0; t < T; t++)
            m->dk[(begin + t) * D + j] += ds + a[t] * dpart[2 * D + j];
    }
    for (size_t t = 0; t < T; t++) {
        da[t] = 0;
        for (size_t j = 0; j < D; j++)
            da[t] += dpart[2 * D + j] * m->k[(begin + t) * D + j];
        mixed += da[t] * a[t];
    }
    for (size_t t = 0; t < T; t++) {
        double score = r->model->config.attention_softmax
                           ? a[t] * (da[t] - mixed) : da[t];
        const double *k = m->k + (begin + t) * D;
        const double *u0 = m->u0 + (pair + t) * m->A0;
        const double *u1 = m->u1 + (pair + t) * m->A1;
        memset(d1, 0, m->A1 * sizeof *d1);
        memset(d0, 0, m->A0 * sizeof *d0);
        memset(dv, 0, 4 * D * sizeof *dv);
        product_backward(d1, dw[2], db[2], &score, u1, w[2], m->A1, 1);
        for (size_t j = 0; j < m->A1; j++)
            d1[j] *= u1[j] * (1 - u1[j]);
        product_backward(d0, dw[1], db[1], d1, u0, w[1], m->A0, m->A1);
        for (size_t j = 0; j < m->A0; j++)
            d0[j] *= u0[j] * (1 - u0[j]);
        product_backward(dv, dw[0], db[0], d0, m->v + (pair + t) * 4 * D,
                         w[0], 4 * D, m->A0);
        for (size_t j = 0; j < D; j++) {
            dq[j] += dv[j] + dv[2 * D + j] + dv[3 * D + j] * k[j];
            m->dk[(begin + t) * D + j] +=
                dv[D + j] - dv[2 * D + j] + dv[3 * D + j] * q[j];
        }
    }
    free(dv), free(d0), free(d1);
}

static void each_sample(struct din_reference *r,
                        void (*visit)(struct din_reference *, size_t, size_t,
                                      size_t, size_t))
{
    size_t pair = 0;
    for (uint32_t g = 0; g < r->c->batch.groups; g++) {
        size_t begin = r->c->history_begin[g];
        size_t T = r->c->history_begin[g + 1] - begin;
        for (size_t i = r->c->group_begin[g]; i < r->c->group_begin[g + 1];
             i++, pair += T)
            visit(r, i, begin, T, pair);
    }
}

static void activate(struct din_reference *r, unsigned l, bool moving)
{
    struct layer *layer = &r->memory->layer[l];
    size_t B = r->memory->B, n = layer->out;
    bool dice = r->model->config.activation == LEARNER_DICE;
    const double *alpha = tensor(r, r->dense, TENSOR_MLP_0_ALPHA + l);
    for (size_t j = 0; j < n; j++) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < B; i++)
            mean += layer->z[i * n + j] / (double)B;
        for (size_t i = 0; i < B; i++)
            variance += pow(layer->z[i * n + j] - mean, 2) / (double)B;
        if (dice && moving) {
            mean = tensor(r, r->dense, TENSOR_MLP_0_MEAN + 2 * l)[j];
            variance = tensor(r, r->dense, TENSOR_MLP_0_VARIANCE + 2 * l)[j];
        }
        r->mean[l][j] = mean;
        r->variance[l][j] = variance;
        layer->sd[j] = sqrt(variance + (r->authors ? 1e-9 : 1e-8));
        for (size_t i = 0; i < B; i++) {
            double z = layer->z[i * n + j], *f = &layer->f[i * n + j];
            double by = layer->sd[j] + (r->authors ? 1e-9 : 0);
            double gate = sigmoid((z - mean) / by);
            layer->gate[i * n + j] = gate;
            *f = dice ? gate * z + alpha[j] * (1 - gate) * z
                      : z > 0 ? z : alpha[j] * z;
        }
    }
}

static void activate_backward(struct din_reference *r, unsigned l)
{
    struct layer *layer = &r->memory->layer[l];
    size_t B = r->memory->B, n = layer->out;
    bool dice = r->model->config.activation == LEARNER_DICE;
    const double *alpha = tensor(r, r->dense, TENSOR_MLP_0_ALPHA + l);
    double *dalpha = tensor(r, r->ddense, TENSOR_MLP_0_ALPHA + l);
    for (size_t j = 0; j < n; j++) {
        double sd = layer->sd[j], by = sd + (r->authors ? 1e-9 : 0);
        double mean = r->mean[l][j], sum = 0, product = 0;
        for (size_t i = 0; i < B; i++) {
            double z = layer->z[i * n + j], gate = layer->gate[i * n + j];
            double g = layer->df[i * n + j];
            double dz = g * z * (1 - alpha[j]) * gate * (1 - gate);
            dalpha[j] += dice ? g * z * (1 - gate) : z > 0 ? 0 : g * z;
            sum += dz;
            product += dz * (z - mean);
        }
        for (size_t i = 0; i < B; i++) {
            double z = layer->z[i * n + j], gate = layer->gate[i * n + j];
            double *d = &layer->df[i * n + j], g = *d;
            double dz = g * z * (1 - alpha[j]) * gate * (1 - gate);
            *d = g * (alpha[j] + (1 - alpha[j]) * gate) +
                 (dz - sum / (double)B) / by -
                 (z - mean) / ((double)B * sd) * product / (by * by);
            if (!dice)
                *d = g * (z > 0 ? 1 : alpha[j]);
        }
    }
}

static double weigh(const struct din_reference *r, size_t i)
{
    if (r->fixed_weight)
        return r->fixed_weight[i];
    double p = r->p[i];
    switch (r->c->kind[i]) {
    case LEARNER_FNW_NEGATIVE: return (1 - p) * (1 + p);
    case LEARNER_FNW_POSITIVE: return 1 + p;
    default: return 1;
    }
}

void din_reference_forward(struct din_reference *r, bool moving)
{
    struct din_reference_memory *m = r->memory;
    const double *gamma = tensor(r, r->dense, TENSOR_BN_GAMMA);
    const double *beta = tensor(r, r->dense, TENSOR_BN_BETA);
    move_rows(r, false);
    each_sample(r, attend);
    for (size_t i = 0; i < m->B * m->X; i++)
        m->y[i] = gamma[i % m->X] * m->x[i] / sqrt(1.001) + beta[i % m->X];
    for (unsigned l = 0; l < 2; l++) {
        struct layer *layer = &m->layer[l];
        const double *in = l ? m->layer[0].f : m->y;
        for (size_t i = 0; i < m->B; i++)
            product(layer->z + i * layer->out, in + i * layer->in,
                    tensor(r, r->dense, TENSOR_MLP_0_WEIGHT + 2 * l),
                    tensor(r, r->dense, TENSOR_MLP_0_BIAS + 2 * l), layer->in,
                    layer->out);
        activate(r, l, moving);
    }
    r->loss = 0;
    for (size_t i = 0; i < m->B; i++) {
        double *z = m->logit + 2 * i;
        size_t n = m->layer[1].out;
        product(z, m->layer[1].f + i * n,
                tensor(r, r->dense, TENSOR_MLP_2_WEIGHT),
                tensor(r, r->dense, TENSOR_MLP_2_BIAS), n, 2);
        r->p[i] = sigmoid(z[0] - z[1]);
        double small = r->authors ? 1e-8 : 0, y = r->c->label[i] ? 1 : 0;
        r->weight[i] = weigh(r, i);
        r->loss -= r->weight[i] * (y * log(r->p[i] + small) +
                                   (1 - y) * log(sigmoid(z[1] - z[0]) + small));
    }
    r->loss /= r->authors ? 2.0 * (double)m->B : r->model->config.batch_size;
}

/* Gradient of the loss in the first logit; the second has the opposite. */
static double output_gradient(const struct din_reference *r, size_t i)
{
    double p = r->p[i], y = r->c->label[i] ? 1 : 0;
    if (!r->authors)
        return r->weight[i] * (p - y) / r->model->config.batch_size;
    double dp = -y / (p + 1e-8) + (1 - y) / (1 - p + 1e-8);
    return dp * p * (1 - p) / (2.0 * (double)r->memory->B);
}

static void clear_gradients(struct din_reference *r)
{
    struct din_reference_memory *m = r->memory;
    const struct learner_schema *schema = &r->model->schema;
    memset(r->ddense, 0, r->model->dense_size * sizeof *r->ddense);
    for (unsigned t = 0; t < schema->table_count; t++)
        memset(r->drows[t], 0, (size_t)r->c->row_count[t] *
                                   schema->tables[t].dimension *
                                   sizeof *r->drows[t]);
    memset(m->dq, 0, m->B * m->D * sizeof *m->dq);
    memset(m->dk, 0, m->N * m->D * sizeof *m->dk);
    memset(m->dx, 0, m->B * m->X * sizeof *m->dx);
    for (unsigned l = 0; l < 2; l++)
        memset(m->layer[l].df, 0, m->B * m->layer[l].out * sizeof(double));
}

void din_reference_backward(struct din_reference *r)
{
    struct din_reference_memory *m = r->memory;
    clear_gradients(r);
    for (size_t i = 0; i < m->B; i++) {
        double g = output_gradient(r, i), d[2] = {g, -g};
        size_t n = m->layer[1].out;
        product_backward(m->layer[1].df + i * n,
                         tensor(r, r->ddense, TENSOR_MLP_2_WEIGHT),
                         tensor(r, r->ddense, TENSOR_MLP_2_BIAS), d,
                         m->layer[1].f + i * n,
                         tensor(r, r->dense, TENSOR_MLP_2_WEIGHT), n, 2);
    }
    for (unsigned l = 2; l-- > 0;) {
        struct layer *layer = &m->layer[l];
        activate_backward(r, l);
        for (size_t i = 0; i < m->B; i++)
            product_backward(
                (l ? m->layer[0].df : m->dx) + i * layer->in,
                tensor(r, r->ddense, TENSOR_MLP_0_WEIGHT + 2 * l),
                tensor(r, r->ddense, TENSOR_MLP_0_BIAS + 2 * l),
                layer->df + i * layer->out,
                (l ? m->layer[0].f : m->y) + i * layer->in,
                tensor(r, r->dense, TENSOR_MLP_0_WEIGHT + 2 * l), layer->in,
                layer->out);
    }
    for (size_t i = 0; i < m->B * m->X; i++) {
        size_t j = i % m->X;
        double factor = 1 / sqrt(1.001);
        tensor(r, r->ddense, TENSOR_BN_GAMMA)[j] += m->dx[i] * m->x[i] * factor;
        tensor(r, r->ddense, TENSOR_BN_BETA)[j] += m->dx[i];
        m->dx[i] *= tensor(r, r->dense, TENSOR_BN_GAMMA)[j] * factor;
    }
    each_sample(r, attend_backward);
    move_rows(r, true);
}
