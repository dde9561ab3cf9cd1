/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a model's switches, see settings.h, and the hash over all of
 * them. */
#include "learner/settings.h"

#include <xxhash.h>

#include "base/setting_lines.h"

#define AT(member) BASE_SETTING_MEMBER(struct learner_model_config, member)

#define INTEGER_MAX 9007199254740992.0 /* exact as a double */

const char *const learner_kind_words[] = {
    [LEARNER_DIN] = "din",         [LEARNER_LR] = "lr",
    [LEARNER_BASE] = "base",       [LEARNER_WIDE_DEEP] = "wide_deep",
    [LEARNER_PNN] = "pnn",         [LEARNER_DEEPFM] = "deepfm",
    [LEARNER_GRU_ATT] = "gru_att", [LEARNER_DIEN] = "dien",
    [LEARNER_KINDS] = NULL,
};
const char *const learner_profile_words[] = {
    [LEARNER_STREAMING] = "streaming",
    [LEARNER_REFERENCE] = "reference",
    NULL,
};
static const char *const activation_words[] = {
    [LEARNER_PRELU] = "prelu",
    [LEARNER_DICE] = "dice",
    [LEARNER_SIGMOID] = "sigmoid",
    [LEARNER_RELU] = "relu",
    NULL,
};
static const char *const pooling_words[] = {
    [LEARNER_SUM] = "sum",
    [LEARNER_MEAN] = "mean",
    NULL,
};
static const char *const attention_words[] = {
    [LEARNER_ATTENTION_UNIT] = "unit",
    [LEARNER_ATTENTION_OUTER] = "outer",
    [LEARNER_ATTENTION_INNER] = "inner",
    NULL,
};
static const char *const evolution_words[] = {
    [LEARNER_AUGRU] = "augru",
    [LEARNER_AUGRU_CODE] = "augru_code",
    [LEARNER_AGRU] = "agru",
    [LEARNER_AIGRU] = "aigru",
    NULL,
};
static const char *const auxiliary_words[] = {
    [LEARNER_AUXILIARY_NONE] = "none",
    [LEARNER_AUXILIARY_NETWORK] = "network",
    [LEARNER_AUXILIARY_INNER] = "inner",
    NULL,
};
static const char *const wide_words[] = {
    [LEARNER_WIDE_CROSSES] = "crosses",
    [LEARNER_WIDE_DENSE] = "dense",
    NULL,
};
static const char *const optimizer_words[] = {
    [LEARNER_ADAM] = "adam",
    [LEARNER_ADAGRAD] = "adagrad",
    [LEARNER_ROW_ADAGRAD] = "row_adagrad",
    [LEARNER_FTRL] = "ftrl",
    [LEARNER_SGD] = "sgd",
    NULL,
};
static const char *const regularizer_words[] = {
    [LEARNER_REGULARIZER_NONE] = "none",
    [LEARNER_L2] = "l2",
    [LEARNER_DROPOUT] = "dropout",
    [LEARNER_FILTER] = "filter",
    [LEARNER_DIFACTO] = "difacto",
    [LEARNER_MBA] = "mba",
    NULL,
};
/* Of flags that choose between two behaviors: false, true. */
static const char *const statistics_words[] = {"moving", "batch", NULL};
static const char *const negatives_words[] = {"unseen", "any", NULL};
static const char *const rows_words[] = {"lazy", "every", NULL};

static const struct base_setting settings[] = {
    CHOICE("kind", AT(kind), "din", learner_kind_words,
           "Model. The defaults of what follows depend on kind and profile; "
           "shown are those of din, streaming."),
    CHOICE("activation", AT(activation), "dice", activation_words,
           "Activation of the MLP."),
    CHOICE("pooling", AT(pooling), "sum", pooling_words,
           "Of the behaviors' embeddings in x."),
    CHOICE("attention", AT(attention), "unit", attention_words,
           "Score of candidate and behavior: an MLP of their difference and "
           "product (unit) or of their outer product, or the inner product."),
    FLAG("attention_softmax", AT(attention_softmax), "false",
         "Normalize attention weights over the history."),
    CHOICE("evolution", AT(evolution), "augru", evolution_words,
           "Second GRU of dien."),
    CHOICE("auxiliary", AT(auxiliary), "none", auxiliary_words,
           "Next-behavior loss of dien and gru_att."),
    REAL("auxiliary_weight", AT(auxiliary_weight), "2", 0, 1e6,
         "Its weight beside the loss of clicks; on news clicks 0.5 did better "
         "than 2 (tests/quality)."),
    CHOICE("auxiliary_negatives", AT(auxiliary_any), "unseen", negatives_words,
           "Negatives are items that are not in the user's sequence, or any "
           "but the next behavior."),
    CHOICE("wide", AT(wide), "crosses", wide_words,
           "Wide part of wide_deep: first order and crosses of behavior and "
           "candidate, or a dense layer."),
    CHOICE("optimizer", AT(optimizer), "adam", optimizer_words,
           "Of all parameters; ftrl: lr only."),
    CHOICE("regularizer", AT(regularizer), "none", regularizer_words,
           "Of embedding rows: none, L2, dropout of ids, admission after "
           "several occurrences (filter), DiFacto, mini-batch aware."),
    REAL("lambda", AT(lambda), "0.01", 0, 1e6,
         "Strength of l2, difacto and mba."),
    COUNT("admission", AT(admission), "2", 2, 15, "occurrences",
          "An id gets its row at this occurrence (filter, difacto)."),
    TIME("eviction_ms", AT(eviction_ms), "0", 0, 3650 * 86400e3,
         "Rows that were not trained for so long in event time go; 0: never."),
    COUNT("attention_hidden_1", AT(attention_hidden[0]), "80", 1, 4096, "units",
          "First layer of the activation unit."),
    COUNT("attention_hidden_2", AT(attention_hidden[1]), "40", 1, 4096, "units",
          "Second layer of the activation unit."),
    COUNT("mlp_hidden_1", AT(mlp_hidden[0]), "200", 1, 4096, "units",
          "First layer of the MLP."),
    COUNT("mlp_hidden_2", AT(mlp_hidden[1]), "80", 1, 4096, "units",
          "Second layer of the MLP."),
    COUNT("auxiliary_hidden_1", AT(auxiliary_hidden[0]), "100", 1, 4096,
          "units", "First layer of the auxiliary network."),
    COUNT("auxiliary_hidden_2", AT(auxiliary_hidden[1]), "50", 1, 4096, "units",
          "Second layer of the auxiliary network."),
    COUNT("hidden", AT(hidden), "0", 0, 4096, "units",
          "State of the GRUs; 0: as wide as an item's embedding."),
    COUNT("dimension", AT(dimension), "0", 0, LEARNER_DIMENSION_MAX, "floats",
          "Embedding of every feature in this model; 0: each feature's own."),
    CHOICE("dice_statistics", AT(dice_batch), "moving", statistics_words,
           "Mean and variance of Dice when scoring: moving, or of the batch "
           "(scores then depend on neighbours)."),
    REAL("dice_epsilon", AT(dice_epsilon), "1e-8", 1e-30, 1,
         "Added to Dice's variance."),
    REAL("probability_epsilon", AT(probability_epsilon), "0", 0, 0.1,
         "Added to probabilities in the losses."),
    REAL("loss_scale", AT(loss_scale), "1", 1e-6, 1e6,
         "Of the loss of clicks."),
    CHOICE("adam_rows", AT(adam_every_row), "lazy", rows_words,
           "Adam moves the rows of the batch, or every row at every step."),
    REAL("learning_rate", AT(learning_rate), "0.001", 1e-9, 100,
         "Step of the optimizer (ftrl has ftrl_alpha)."),
    REAL("rate_decay", AT(rate_decay), "1", 1e-6, 1,
         "Factor on learning_rate; 1: never."),
    COUNT("rate_decay_samples", AT(rate_decay_samples), "0", 0, INTEGER_MAX,
          "samples", "It applies each time so many were trained."),
    REAL("ftrl_alpha", AT(ftrl_alpha), "0.1", 1e-9, 1e6, "FTRL's step."),
    REAL("ftrl_beta", AT(ftrl_beta), "1", 0, 1e6, "FTRL's smoothing."),
    REAL("ftrl_l1", AT(ftrl_l1), "0", 0, 1e6, "FTRL's L1."),
    REAL("ftrl_l2", AT(ftrl_l2), "0", 0, 1e6, "FTRL's L2."),
    REAL("row_limit", AT(row_limit), "0.05", 0, 1,
         "New embedding rows are uniform within plus and minus this."),
    COUNT("row_vocabulary", AT(row_vocabulary), "0", 0, UINT32_MAX, "rows",
          "Not 0: within plus and minus sqrt(6 / (this + dimension))."),
    COUNT("batch_size", AT(batch_size), "128", 1, 65536, "samples",
          "Samples of a training step."),
    COUNT("shards", AT(shards), "4", 1, 256, NULL,
          "Fixed partition of a batch; the bits of the weights depend on it."),
    COUNT("seed", AT(seed), "1", 0, INTEGER_MAX, NULL,
          "Seed of the initial weights and of every draw."),
    COUNT("fields_off", AT(fields_off), "0", 0, 18446744073709551615.0, NULL,
          "Bits of the features that the model does not use."),
};

enum { ALL = sizeof settings / sizeof settings[0] };

const struct base_settings learner_model_settings = {settings, ALL};
const struct base_settings learner_model_switches = {settings, ALL - 1};

uint64_t learner_training_hash(const struct learner_schema *schema,
                               const struct learner_model_config *config)
{
    const struct base_settings *switches = &learner_model_switches;
    struct learner_model_config own = *config;
    own.fields_off = 0;
    uint64_t hash = learner_config_hash(schema, &own);
    for (unsigned i = 0; i < switches->count; i++)
        hash = XXH3_64bits_withSeed(
            (const char *)config + switches->table[i].offset,
            switches->table[i].size, hash);
    return hash;
}
