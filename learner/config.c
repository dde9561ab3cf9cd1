/* SPDX-License-Identifier: Apache-2.0 */
/* The model's configuration: what the two profiles say, what is allowed, and
 * the hash of what decides whether weights can be carried over. Pure
 * functions; any thread. Does not read configuration files. */
#include <math.h>
#include <string.h>

#include <xxhash.h>

#include "base/bytes.h"
#include "learner/model.h"

void learner_model_config_profile(struct learner_model_config *config,
                                  enum learner_profile profile,
                                  enum learner_kind kind)
{
    bool reference = profile == LEARNER_REFERENCE;
    bool states = kind == LEARNER_GRU_ATT || kind == LEARNER_DIEN;
    bool dice = kind == LEARNER_DIN || states;
    *config = (struct learner_model_config){
        .kind = kind,
        .activation = dice ? LEARNER_DICE : LEARNER_PRELU,
        .pooling = LEARNER_SUM,
        .attention = LEARNER_ATTENTION_UNIT,
        .attention_softmax = reference || states,
        .evolution = reference ? LEARNER_AUGRU_CODE : LEARNER_AUGRU,
        .auxiliary = kind == LEARNER_DIEN ? LEARNER_AUXILIARY_NETWORK
                                          : LEARNER_AUXILIARY_NONE,
        .wide = reference ? LEARNER_WIDE_DENSE : LEARNER_WIDE_CROSSES,
        .optimizer = kind == LEARNER_LR ? LEARNER_FTRL : LEARNER_ADAM,
        .attention_hidden = {80, 40},
        .mlp_hidden = {200, 80},
        .auxiliary_hidden = {100, 50},
        .dice_batch = reference,
        .dice_epsilon = reference ? 1e-9f : 1e-8f,
        .probability_epsilon =
            reference && kind != LEARNER_WIDE_DEEP ? 1e-8f : 0,
        .loss_scale = reference ? 0.5f : 1,
        .auxiliary_weight = reference ? 1 : 2,
        .auxiliary_any = reference,
        .adam_every_row = reference,
        .learning_rate = 0.001f,
        .rate_decay = 1,
        .ftrl_alpha = 0.1f,
        .ftrl_beta = 1,
        .lambda = 0.01f,
        .admission = 2,
        .row_limit = 0.05f,
        .batch_size = 128,
        .shards = 4,
        .seed = 1,
    };
}

void learner_model_config_default(struct learner_model_config *config)
{
    learner_model_config_profile(config, LEARNER_STREAMING, LEARNER_DIN);
}

/* ---- limits -------------------------------------------------------------- */

/* What the arithmetic can take; what a user may write is narrower
 * (settings.c). */

struct choice {
    const char *name;
    unsigned value, count;
};

static enum base_status check_choices(const struct learner_model_config *c,
                                      struct base_error *error)
{
    const struct choice choices[] = {
        {"kind", (unsigned)c->kind, LEARNER_KINDS},
        {"activation", (unsigned)c->activation, LEARNER_RELU + 1},
        {"pooling", (unsigned)c->pooling, LEARNER_MEAN + 1},
        {"attention", (unsigned)c->attention, LEARNER_ATTENTION_INNER + 1},
        {"evolution", (unsigned)c->evolution, LEARNER_AIGRU + 1},
        {"auxiliary", (unsigned)c->auxiliary, LEARNER_AUXILIARY_INNER + 1},
        {"wide", (unsigned)c->wide, LEARNER_WIDE_DENSE + 1},
        {"optimizer", (unsigned)c->optimizer, LEARNER_SGD + 1},
        {"regularizer", (unsigned)c->regularizer, LEARNER_MBA + 1},
    };
    for (unsigned i = 0; i < sizeof choices / sizeof choices[0]; i++)
        if (choices[i].value >= choices[i].count)
            return base_fail(error, BASE_CONFIG, "model: %s %u is unknown",
                             choices[i].name, choices[i].value);
    return BASE_OK;
}

struct range {
    const char *name;
    double value, low, high;
};

static enum base_status check_ranges(const struct learner_model_config *c,
                                     struct base_error *error)
{
    const double small = 1e-30, large = 1e30, hidden = 4096;
    const struct range ranges[] = {
        {"attention_hidden_1", c->attention_hidden[0], 1, hidden},
        {"attention_hidden_2", c->attention_hidden[1], 1, hidden},
        {"mlp_hidden_1", c->mlp_hidden[0], 1, hidden},
        {"mlp_hidden_2", c->mlp_hidden[1], 1, hidden},
        {"auxiliary_hidden_1", c->auxiliary_hidden[0], 1, hidden},
        {"auxiliary_hidden_2", c->auxiliary_hidden[1], 1, hidden},
        {"hidden", c->hidden, 0, hidden},
        {"dimension", c->dimension, 0, LEARNER_DIMENSION_MAX},
        {"dice_epsilon", c->dice_epsilon, small, 1},
        {"probability_epsilon", c->probability_epsilon, 0, (double)0.1f},
        {"loss_scale", c->loss_scale, small, large},
        {"auxiliary_weight", c->auxiliary_weight, 0, large},
        {"learning_rate", c->learning_rate, small, large},
        {"rate_decay", c->rate_decay, small, 1},
        {"ftrl_alpha", c->ftrl_alpha, small, large},
        {"ftrl_beta", c->ftrl_beta, 0, large},
        {"ftrl_l1", c->ftrl_l1, 0, large},
        {"ftrl_l2", c->ftrl_l2, 0, large},
        {"lambda", c->lambda, 0, large},
        {"admission", c->admission, 2, 15},
        {"eviction_ms", (double)c->eviction_ms, 0, 9e18},
        {"row_limit", c->row_limit, 0, large},
        {"batch_size", c->batch_size, 1, 1 << 20},
        {"shards", c->shards, 1, 256},
    };
    for (unsigned i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        const struct range *range = &ranges[i];
        if (!(range->value >= range->low && range->value <= range->high))
            return base_fail(error, BASE_CONFIG,
                             "model: %s is %g; allowed are %g to %g",
                             range->name, range->value, range->low,
                             range->high);
    }
    return BASE_OK;
}

static bool has_states(const struct learner_model_config *config)
{
    return config->kind == LEARNER_GRU_ATT || config->kind == LEARNER_DIEN;
}

/* A step takes at most the whole weight away: more, and it would grow from
 * batch to batch until it is not a number. The other optimizers' steps do not
 * grow with the gradient. */
static enum base_status check_pull(const struct learner_model_config *config,
                                   struct base_error *error)
{
    double pull = (double)config->lambda * (double)config->learning_rate;
    bool pulls = config->regularizer == LEARNER_L2 ||
                 config->regularizer == LEARNER_DIFACTO ||
                 config->regularizer == LEARNER_MBA;
    if (config->optimizer != LEARNER_SGD || !pulls || pull <= 1)
        return BASE_OK;
    return base_fail(error, BASE_CONFIG,
                     "model: lambda times learning_rate is %g; with sgd at "
                     "most 1", pull);
}

enum base_status
learner_config_check(const struct learner_model_config *config,
                     struct base_error *error)
{
    enum base_status status = check_choices(config, error);
    if (!status)
        status = check_ranges(config, error);
    if (status)
        return status;
    if (config->optimizer == LEARNER_FTRL && config->kind != LEARNER_LR)
        return base_fail(error, BASE_CONFIG,
                         "model: optimizer ftrl is for kind lr only");
    if (config->auxiliary != LEARNER_AUXILIARY_NONE && !has_states(config))
        return base_fail(error, BASE_CONFIG,
                         "model: the auxiliary loss needs the states of kind "
                         "dien or gru_att");
    return check_pull(config, error);
}

/* ---- hash ---------------------------------------------------------------- */

static uint64_t add_number(uint64_t hash, uint64_t value)
{
    uint8_t bytes[8];
    base_put_u64(bytes, value);
    return XXH3_64bits_withSeed(bytes, sizeof bytes, hash);
}

static uint64_t add_name(uint64_t hash, const char *name)
{
    return XXH3_64bits_withSeed(name, strlen(name), hash);
}

static uint64_t add_schema(uint64_t hash, const struct learner_schema *schema)
{
    hash = add_number(hash, schema->field_count);
    for (unsigned i = 0; i < schema->field_count; i++) {
        const struct learner_field *field = &schema->fields[i];
        hash = add_name(hash, field->name);
        hash = add_number(hash, (uint64_t)field->group);
        hash = add_number(hash, field->table);
        hash = add_number(hash, field->more);
        hash = add_number(hash, field->continues);
    }
    hash = add_number(hash, schema->table_count);
    for (unsigned t = 0; t < schema->table_count; t++) {
        hash = add_name(hash, schema->tables[t].name);
        hash = add_number(hash, schema->tables[t].dimension);
    }
    return hash;
}

/* The switches that the kind looks at; another's are 0, so that they may
 * change. The optimizer decides what lies beside each weight. What a weight
 * means does not depend on how fast, on what share of which loss or on how
 * many samples at once it was trained: rates, losses, regularizers, seed,
 * batch size and shards may differ where weights are only read. To train on,
 * all switches must be the same (restore.c). */
uint64_t learner_config_hash(const struct learner_schema *schema,
                             const struct learner_model_config *config)
{
    bool mlp = config->kind != LEARNER_LR, states = has_states(config);
    bool attention = states || config->kind == LEARNER_DIN;
    bool unit = attention && config->attention != LEARNER_ATTENTION_INNER;
    bool dice = mlp && config->activation == LEARNER_DICE;
    bool network = states && config->auxiliary == LEARNER_AUXILIARY_NETWORK;
    const uint64_t numbers[] = {
        (uint64_t)config->kind,
        (uint64_t)config->optimizer,
        config->fields_off,
        mlp ? config->dimension : 0,
        mlp ? (uint64_t)config->activation : 0,
        mlp ? (uint64_t)config->pooling : 0,
        mlp ? config->mlp_hidden[0] : 0,
        mlp ? config->mlp_hidden[1] : 0,
        dice ? config->dice_batch : 0,
        attention ? (uint64_t)config->attention : 0,
        attention ? config->attention_softmax : 0,
        unit ? config->attention_hidden[0] : 0,
        unit ? config->attention_hidden[1] : 0,
        states ? config->hidden : 0,
        states ? (uint64_t)config->auxiliary : 0,
        network ? config->auxiliary_hidden[0] : 0,
        network ? config->auxiliary_hidden[1] : 0,
        config->kind == LEARNER_DIEN ? (uint64_t)config->evolution : 0,
        config->kind == LEARNER_WIDE_DEEP ? (uint64_t)config->wide : 0,
    };
    uint64_t hash = add_schema(0, schema);
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        hash = add_number(hash, numbers[i]);
    float epsilon = dice ? config->dice_epsilon : 0;
    return XXH3_64bits_withSeed(&epsilon, sizeof epsilon, hash);
}
