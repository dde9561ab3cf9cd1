/* SPDX-License-Identifier: Apache-2.0 */
/* The learner's boundary: feature schema, model, sample, training, scoring,
 * metrics, checkpoint. Knows no Kafka, Avro, LMDB or libev.
 *
 * Symbols: B samples of a batch, G groups (samples that share user and
 * history), T behaviors of a history, F fields of a sample, f item fields (a
 * behavior remembers exactly these), E dimension of one embedding.
 *
 * Equations: DIN, arXiv 1706.06978; DIEN, arXiv 1809.03672; constants and
 * choices in the comment of each file. */
#ifndef LEARNER_LEARNER_H
#define LEARNER_LEARNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* ---- feature schema ---------------------------------------------------- */

enum {
    LEARNER_NAME_MAX = 32,   /* with its NUL */
    LEARNER_FIELDS_MAX = 64, /* F */
    LEARNER_TABLES_MAX = 32,
    LEARNER_DIMENSION_MAX = 128,
    LEARNER_HISTORY_MAX = 1024,
    LEARNER_GROUP_MAX = 64, /* samples of a group */
};

/* Groups in the order in which they enter x (MODEL 9 in DESIGN's terms):
 * profile, item, context. */
enum learner_group {
    LEARNER_PROFILE, /* of the user: gender, age_level */
    LEARNER_ITEM,    /* of the candidate, and of each behavior: goods, shop */
    LEARNER_CONTEXT, /* of the scene: pid, time */
};

struct learner_table_spec {
    char name[LEARNER_NAME_MAX];
    uint16_t dimension; /* E */
};

struct learner_field {
    char name[LEARNER_NAME_MAX];
    enum learner_group group;
    uint16_t table; /* index into tables[]; fields may share a table */
    /* A multi-hot field (genres) is a run of fields of one group and table:
     * the first, then `more` that continue it. Its embedding is the mean of
     * the rows that are present; LEARNER_ABSENT fills the places not used. */
    uint16_t more;
    bool continues;
};

/* An id that says "no value here", in a multi-hot field only. Where all
 * places are absent the field is unknown, id 0. */
#define LEARNER_ABSENT UINT64_MAX

/* Fields stand sorted by group: profile, item, context. A sample's ids stand
 * in this order; id 0 is "unknown" and uses the table's OOV row. */
struct learner_schema {
    uint16_t field_count; /* F */
    uint16_t profile_count, item_count /* f */, context_count;
    uint16_t table_count;
    struct learner_field fields[LEARNER_FIELDS_MAX];
    struct learner_table_spec tables[LEARNER_TABLES_MAX];
};

/* Seed of a table's ids: XXH3-64 of the table's name. An id is
 * XXH3-64(seed, canonical bytes): a string's UTF-8, an integer's decimal
 * digits, so 42 and "42" share a row; a result of 0 becomes 1. */
uint64_t learner_table_seed(const char *table_name);
uint64_t learner_id(uint64_t table_seed, const void *bytes, size_t size);
uint64_t learner_id_of_int(uint64_t table_seed, int64_t value);
/* Key of the cross of a behavior and a candidate, in the table
 * LEARNER_CROSS_TABLE: XXH3-64 of their ids (of the model's first item field)
 * under that table's seed; 0 where either is 0 or LEARNER_ABSENT. */
uint64_t learner_cross_id(uint64_t behavior, uint64_t candidate);
/* What a ranker logs of the history that it used, and the daemon compares with
 * that of the sample: XXH3-64 without seed over the ids, each 8 bytes,
 * little-endian, behaviors oldest first, of each the `fields` ids of the
 * model's item fields in their order. Of no behaviors: 0. */
uint64_t learner_history_hash(const uint64_t *history, size_t behaviors,
                              size_t fields);

/* ---- model ------------------------------------------------------------- */

/* The systems of the seeds. e_a embedding of the candidate, e_t of behavior
 * t, s their pooling, interest what the kind makes of the history. */
enum learner_kind {
    LEARNER_DIN,       /* [..; e_a; ..; s; e_a . s; attention-pooled e_t] */
    LEARNER_LR,        /* one weight an id; the history is a bag */
    LEARNER_BASE,      /* [profile; e_a; context; s] */
    LEARNER_WIDE_DEEP, /* base + LR + one weight a (behavior, candidate) */
    LEARNER_PNN,       /* base + e_a . s */
    LEARNER_DEEPFM,    /* base + LR + second-order factorization machine */
    LEARNER_GRU_ATT,   /* two GRUs, attention-pooled states of the second */
    LEARNER_DIEN,      /* GRU, attention, evolving GRU's last state */
    LEARNER_KINDS
};
enum learner_activation { /* of the MLP */
    LEARNER_PRELU,
    LEARNER_DICE,
    LEARNER_SIGMOID,
    LEARNER_RELU
};
enum learner_pooling { LEARNER_SUM, LEARNER_MEAN }; /* of s */
/* Score of query q and key k (k: e_t, or a state h_t). */
enum learner_attention {
    LEARNER_ATTENTION_UNIT,  /* MLP of [q; k; q - k; q . k], as the code */
    LEARNER_ATTENTION_OUTER, /* MLP of [q; q (x) k; k], DIN paper Fig. 2 */
    LEARNER_ATTENTION_INNER, /* q . k; states: k W e_a, DIEN paper eq. 5 */
};
enum learner_evolution { /* of DIEN's second GRU; MODEL 1.7, 1.14 */
    LEARNER_AUGRU,      /* paper: keep = 1 - a z */
    LEARNER_AUGRU_CODE, /* authors' code: keep = (1 - a) u */
    LEARNER_AGRU,
    LEARNER_AIGRU
};
enum learner_auxiliary { /* next-behavior loss of DIEN and gru_att */
    LEARNER_AUXILIARY_NONE,
    LEARNER_AUXILIARY_NETWORK, /* of [h_t; e_t+1], as the code */
    LEARNER_AUXILIARY_INNER,   /* sigma(h_t . e_t+1), DIEN paper eq. 4 */
};
enum learner_wide { /* of wide_deep */
    LEARNER_WIDE_CROSSES, /* LR terms and hashed crosses (Cheng 2016) */
    LEARNER_WIDE_DENSE, /* dense layer of [e_a; s; e_a . s], as the code */
};
enum learner_optimizer {
    LEARNER_ADAM,
    LEARNER_ADAGRAD,
    LEARNER_ROW_ADAGRAD, /* rows; the dense part uses Adagrad */
    LEARNER_FTRL,        /* LR only */
    LEARNER_SGD
};
enum learner_regularizer { /* of rows, MODEL 4 and 9 */
    LEARNER_REGULARIZER_NONE,
    LEARNER_L2,
    LEARNER_DROPOUT, /* of ids, one half */
    LEARNER_FILTER,  /* admission after k occurrences */
    LEARNER_DIFACTO, /* admission, and lambda / n_j at each occurrence */
    LEARNER_MBA,     /* mini-batch aware, DIN paper 5.1 */
};
enum learner_profile {
    LEARNER_STREAMING, /* what a daemon should do */
    LEARNER_REFERENCE  /* the authors' code as it is */
};

struct learner_model_config {
    enum learner_kind kind;
    enum learner_activation activation;
    enum learner_pooling pooling;
    enum learner_attention attention;
    bool attention_softmax;
    enum learner_evolution evolution;
    enum learner_auxiliary auxiliary;
    enum learner_wide wide;
    enum learner_optimizer optimizer;
    enum learner_regularizer regularizer;
    uint16_t attention_hidden[2]; /* 80, 40 */
    uint16_t mlp_hidden[2];       /* 200, 80 */
    uint16_t auxiliary_hidden[2]; /* 100, 50 */
    uint16_t hidden;    /* H of the GRUs; 0: width of the item embedding */
    uint16_t dimension; /* E of every table in this model; 0: the schema's */
    uint64_t fields_off; /* bit i: field i of the schema is not used; a
                            multi-hot field by its first; not all of item */

    /* The differences between the authors' code and this project. */
    bool dice_batch;           /* Dice's batch statistics when scoring too */
    float dice_epsilon;        /* 1e-8; code 1e-9 */
    float probability_epsilon; /* added to p in the losses: 0; code 1e-8 */
    float loss_scale;          /* of the CTR loss: 1; code one half */
    float auxiliary_weight;    /* 2; code 1, for the same balance */
    bool auxiliary_any;        /* a negative may be in the user's sequence,
                                  only not the next behavior itself */
    bool adam_every_row;       /* rows without gradient move on, TF 1.x */

    float learning_rate; /* 0.001 */
    float rate_decay;    /* learning_rate *= this, 1: never .. */
    uint64_t rate_decay_samples; /* .. after each so many journal positions */
    float ftrl_alpha, ftrl_beta, ftrl_l1, ftrl_l2; /* 0.1, 1, 0, 0 */
    float lambda;         /* of L2, DiFacto, MBA: 0.01 */
    uint16_t admission;   /* k of filter and DiFacto, 2 .. 15 */
    int64_t eviction_ms;  /* rows untouched for so long in event time go; 0:
                             never */
    float row_limit;      /* rows start uniform in +-row_limit, 0.05 .. */
    uint32_t row_vocabulary; /* .. or +-sqrt(6 / (this + E)) where not 0 */
    uint32_t batch_size;  /* divisor of the loss, 128 */
    uint16_t shards; /* fixed partition of a batch; bits depend on it */
    uint64_t seed;
};

/* Fills what `profile` says for `kind`. */
void learner_model_config_profile(struct learner_model_config *config,
                                  enum learner_profile profile,
                                  enum learner_kind kind);
/* Profile `streaming`, DIN. */
void learner_model_config_default(struct learner_model_config *config);

/* Hash over schema and model configuration; changes when weights cannot be
 * carried over. */
uint64_t learner_config_hash(const struct learner_schema *schema,
                             const struct learner_model_config *config);
/* The same, and over all switches: two models of one such hash, one begin, one
 * arithmetic and one journal position have the same weights. `fields_off` does
 * not enter: the schema says it. */
uint64_t learner_training_hash(const struct learner_schema *schema,
                               const struct learner_model_config *config);

/* Name of the arithmetic in use: "fma-v1" (AVX2 and AVX-512, identical bits)
 * or "plain-v1". Chosen once by cpuid; the environment variable
 * INTERESTD_KERNELS=avx512|avx2|plain forces one that the machine has. */
const char *learner_arithmetic(void);
const char *learner_kernels(void); /* "avx512", "avx2", "plain" */

/* ---- samples ----------------------------------------------------------- */

enum learner_sample_kind {
    LEARNER_WINDOW,       /* final label */
    LEARNER_FNW_NEGATIVE, /* trained at the impression (Ktena 2019) */
    LEARNER_FNW_POSITIVE, /* trained again at the click */
};

/* The final label of an fnw impression, known at its close: metrics count the
 * prediction made at `position` with it, once. */
struct learner_final {
    uint64_t position;
    uint8_t label;
};

/* A user to be forgotten, with the rows that its id has: of the stream's
 * tables that a field with the user's id feeds. user 0: nobody; the position
 * moves on, that is all. */
enum { LEARNER_FORGET_ROWS = 8 };
struct learner_forget {
    uint64_t user; /* as in learner_batch.user */
    uint32_t rows;
    struct {
        uint32_t table; /* of the stream's schema */
        uint64_t key;
    } row[LEARNER_FORGET_ROWS];
};

/* One journal batch: positions [first, end), whole groups in order. All
 * pointers BORROW from the source until the next call on it. Each forget takes
 * a position too: end - first = samples + forgets, which is 1 at least. They
 * take effect at the batch's end; where samples is 0 the arrays of samples and
 * groups may be NULL. */
struct learner_batch {
    uint64_t first, end;
    uint64_t journal_hash[2]; /* XXH3-128 chain up to `end`, low, high */
    uint32_t samples;         /* B */
    uint32_t groups;          /* G; none is without samples */
    const uint64_t *ids;      /* (B,F) */
    const uint64_t *user;     /* (B) user id hash, for user-weighted AUC */
    const int64_t *event_ms;  /* (B) */
    const uint8_t *label;     /* (B) 0 or 1 */
    const uint8_t *kind;      /* (B) enum learner_sample_kind */
    const uint32_t *group_begin;   /* (G+1) first sample of each group */
    const uint32_t *history_begin; /* (G+1) first behavior of each group */
    const uint64_t *history; /* (sum of T, f) oldest behavior first */
    uint32_t finals;
    const struct learner_final *final;
    uint32_t forgets;
    const struct learner_forget *forget; /* in the journal's order */
};

/* Where batches come from: the committed journal. Called by the train
 * thread only. */
struct learner_source {
    void *self;
    /* The batch that starts at journal position `position` (the end of the
     * one before). BASE_AGAIN when none is committed within timeout_ms. */
    enum base_status (*next)(void *self, uint64_t position, int timeout_ms,
                             struct learner_batch *batch,
                             struct base_error *error);
};

/* ---- parameters and scoring (trainer and ranker share this code) -------- */

/* The weights that a score needs, wherever they lie. BORROWS. */
struct learner_parameters {
    const float *dense; /* the model's tensors, learner_tensor() */
    const void *tables;
    /* Puts the row of `key` in `table`, or its OOV row, into `row`: as many
     * floats as learner_model_table() says. */
    void (*row)(const void *tables, unsigned table, uint64_t key, float *row);
};

/* The model's dense tensors, one after the other in one slab. Statistics
 * (Dice's moving mean and variance) are tensors too, with trained = false. */
struct learner_tensor {
    const char *name; /* "attention.0.weight" */
    uint32_t shape[2];
    uint8_t dimensions; /* 1 or 2 */
    bool trained;
    size_t offset; /* floats from the start of the slab; 16-aligned */
};
struct learner_model; /* schema + config + tensor list; immutable */
/* A model may use a part of the stream's fields (config.fields_off): its own
 * schema holds that part, in the same order, and learner_model_column() says
 * where each of them stands in the stream's. A model's own tables are the
 * schema's (those in use) and, for wide_deep, one more of crosses, named
 * LEARNER_CROSS_TABLE. A row of the model is as wide as
 * learner_model_table()'s dimension: embedding first, then the first-order
 * weight where the kind has one (lr: that alone). */
#define LEARNER_CROSS_TABLE "cross"

enum base_status learner_model_new(const struct learner_schema *schema,
                                   const struct learner_model_config *config,
                                   struct learner_model **model,
                                   struct base_error *error) BASE_MUST_CHECK;
void learner_model_free(struct learner_model *model);
/* The model's own schema: fields and tables in use, dimensions as in the
 * stream's or config.dimension. */
const struct learner_schema *
learner_model_schema(const struct learner_model *model);
/* Place of the model's field `field` among the fields given to
 * learner_model_new(). */
unsigned learner_model_column(const struct learner_model *model,
                              unsigned field);
unsigned learner_model_tables(const struct learner_model *model);
/* Name, and floats of a row's parameters. */
const struct learner_table_spec *
learner_model_table(const struct learner_model *model, unsigned table);
const struct learner_model_config *
learner_model_get_config(const struct learner_model *model);
unsigned learner_tensor_count(const struct learner_model *model);
const struct learner_tensor *learner_tensor(const struct learner_model *model,
                                            unsigned index);
size_t learner_dense_size(const struct learner_model *model); /* floats */
size_t learner_dense_trained(const struct learner_model *model); /* count of
    trained parameters without padding, tables excluded */

/* One user, N candidates. Fields, counts and f are those of the model's own
 * schema. In a multi-hot field LEARNER_ABSENT fills the places not used. */
struct learner_request {
    const uint64_t *profile;    /* (profile_count) */
    const uint64_t *history;    /* (T, f) oldest first */
    uint32_t history_size;      /* T; more than history_max: newest are used */
    uint32_t candidates;        /* N */
    const uint64_t *items;      /* (N, f) */
    const uint64_t *context;    /* (context_count), the same for all */
};

struct learner_scorer; /* scratch of one thread; OWNS */
/* Afterwards scoring up to these sizes does not allocate. */
enum base_status learner_scorer_new(const struct learner_model *model,
                                    uint32_t history_max,
                                    uint32_t candidates_max,
                                    struct learner_scorer **scorer,
                                    struct base_error *error) BASE_MUST_CHECK;
void learner_scorer_free(struct learner_scorer *scorer);
/* probability (N): p(click) of each candidate, with Dice's moving statistics:
 * the very numbers that progressive validation predicts with. attention
 * (N, T) or NULL: the attention's weight of each behavior that was used, T
 * being at most history_max, oldest first; 0 for kinds without attention.
 * BASE_LIMIT where N exceeds candidates_max. Bits do not depend on N or on
 * neighbours, but with dice_batch, whose statistics are the candidates'. */
enum base_status learner_score(struct learner_scorer *scorer,
                               const struct learner_parameters *parameters,
                               const struct learner_request *request,
                               float *probability, float *attention,
                               struct base_error *error) BASE_MUST_CHECK;

/* ---- metrics ------------------------------------------------------------ */

/* Progressive validation over one window; not a number where undefined. */
struct learner_window {
    int64_t begin_ms; /* event-time windows: start; else newest event */
    uint64_t samples, positives;
    uint64_t users;   /* only in sample windows, else 0 */
    double auc;         /* mid-ranks */
    double user_auc;    /* weighted by impressions, one-class users skipped;
                           only in sample windows */
    double log_loss;
    double calibration; /* sum of predictions / sum of labels */
};

enum { LEARNER_WINDOWS_KEPT = 1024 };

/* Pauses of the train thread: between two batches, the time in which it copied
 * for a checkpoint or a delta, or waited to be able to. */
enum { LEARNER_PAUSE_BUCKETS = 11 };
extern const double learner_pause_bounds[LEARNER_PAUSE_BUCKETS - 1]; /* s */
struct learner_pauses {
    uint64_t count[LEARNER_PAUSE_BUCKETS]; /* at most the bound; the last: more
                                              than all */
    double seconds; /* sum */
};

struct learner_status {
    uint64_t begin;         /* a fresh model started here */
    uint64_t position;      /* trained up to here */
    uint64_t samples, batches, rejected; /* rejected: not finite, or a
                                            gradient too large for Adam */
    uint64_t forgets; /* positions of forgets: begin + samples + rejected +
                         forgets + skipped = position */
    /* Positions of samples that rollbacks left out, and the range of the
     * newest one: the state at skip_from is that at skip_to, but for users who
     * are forgotten between. 0, 0: none. */
    uint64_t skipped, skip_from, skip_to;
    uint64_t forgotten_rows; /* dropped for them by this process */
    /* By this process; of the newest one what was not finite: "loss", a dense
     * tensor's name, a table's, or "prediction"; and its first position, or
     * that of the first prediction that was not. */
    uint64_t rejected_batches, rejected_position;
    char rejected_for[LEARNER_NAME_MAX];
    int64_t newest_event_ms;             /* of a trained sample */
    uint64_t rows[LEARNER_TABLES_MAX];   /* of the model's tables */
    uint64_t evicted;                    /* rows, since the beginning */
    uint64_t admission_waiting; /* ids counted but not admitted, about */
    /* Means over the newest closed window of `window_samples` trained
     * samples, the open one where none has closed; not a number where there
     * was nothing: the training loss of a sample, the auxiliary loss. */
    double loss, auxiliary_loss;
    uint64_t table_bytes, dense_bytes;
    uint64_t checkpoints;   /* written by this process */
    uint64_t checkpoint_position, oldest_checkpoint; /* kept; 0: none */
    uint64_t cut_waits;     /* times the trainer waited for a full buffer */
    struct learner_pauses pauses; /* by this process */
    uint64_t deltas, delta_rows;  /* handed over by this process */
    uint64_t delta_bytes;         /* memory that copies hold now */
    double busy_seconds;    /* in training steps */
    struct learner_window last_samples; /* newest closed sample window */
    struct learner_window last_time;    /* newest closed event-time window */
    struct learner_window total;        /* since the beginning of the model;
                                           user_auc not a number */
};

/* ---- deltas: what changed since the newest published version -------------- */

struct learner_delta_info {
    uint64_t position; /* as of this batch end */
    uint64_t journal_hash[2];
    int64_t cut_ms; /* wall clock of the copy */
    struct learner_status status;
    const struct learner_model *model; /* BORROWS from the trainer */
    /* The version's batch end, and whether the delta holds all that changed
     * since. Where it does not, it has no rows: a base must be next. */
    uint64_t since, since_hash[2];
    bool complete;
    /* A checkpoint of the same position comes too, by checkpointed(). */
    bool checkpoint;
    uint64_t rows[LEARNER_TABLES_MAX]; /* of the model by then */
};

struct learner_delta; /* the trainer's; read by one thread */
const struct learner_delta_info *
learner_delta_get_info(const struct learner_delta *delta);
/* (learner_dense_size) floats. BORROWS from the delta. */
const float *learner_delta_dense(const struct learner_delta *delta);
/* Once, before the next two are called. */
enum base_status learner_delta_sort(struct learner_delta *delta,
                                    struct base_error *error) BASE_MUST_CHECK;
/* As learner_checkpoint_rows: the rows that changed, and the OOV row. */
enum base_status learner_delta_rows(
    const struct learner_delta *delta, unsigned table,
    enum base_status (*each)(void *self, uint64_t key, const float *weights),
    void *self, struct base_error *error) BASE_MUST_CHECK;
/* Keys that the version has and the model no longer, ascending. */
const uint64_t *learner_delta_keys_gone(const struct learner_delta *delta,
                                        unsigned table, uint64_t *count);

/* ---- trainer: the train thread, tables, optimizer, checkpoints ----------- */

struct learner_trainer_config {
    char name[LEARNER_NAME_MAX]; /* of the model, in log lines */
    struct learner_schema schema; /* the stream's */
    struct learner_model_config model;
    bool frozen; /* predicts and measures, trains nothing, writes nothing */
    uint64_t begin; /* journal position, a batch end, where a model starts that
                       has no checkpoint */
    uint16_t threads;         /* workers of a step; does not change a bit */
    char folder[1024];        /* checkpoints live here; made if missing */
    int64_t window_ms;        /* event-time metric windows */
    uint32_t window_samples;  /* sample metric windows */
    uint32_t checkpoint_seconds; /* at least this far apart; 0: only on
                                    request and at stop */
    /* Bytes of journal trained since the newest checkpoint at which the next
     * one begins; until it is written nothing is trained as far again. So the
     * journal behind the older of two never fills its cap. 0: no bound. */
    uint64_t checkpoint_bytes;
    uint16_t checkpoints_kept;   /* 2 */
    struct learner_source source;
    void *hook_self;
    /* NULL, or: the predictions of a batch, made before it was trained; by
     * the train thread. A rejected batch has none. */
    void (*predicted)(void *self, const struct learner_batch *batch,
                      const float *probability);
    /* A checkpoint is durable at position, in `path`: tells the store what it
     * may trim (the older kept one). Train thread's writer thread. */
    void (*checkpointed)(void *self, const char *path, uint64_t position,
                         uint64_t oldest_kept_position, uint64_t request);
    /* NULL: no note is taken of what changes. Or: the delta that was asked
     * for; BORROWS until learner_trainer_settle(). Train thread. */
    void (*changed)(void *self, struct learner_delta *delta);
    /* The newest published version is of this batch end (as its manifest
     * says), by which it is found out at start what has changed since. */
    bool has_version;
    uint64_t version_position, version_hash[2];
    uint64_t version_samples; /* trained by then: so it began where it did */
    /* The trainer ended by itself; error says why. */
    void (*failed)(void *self, const struct base_error *error);
};

struct learner_trainer;

/* Loads the newest checkpoint that verifies (a damaged one is said in the log
 * and skipped), or starts fresh at config->begin. */
enum base_status
learner_trainer_open(const struct learner_trainer_config *config,
                     struct learner_trainer **trainer,
                     struct base_error *error) BASE_MUST_CHECK;
uint64_t learner_trainer_position(const struct learner_trainer *trainer);
/* Starts the train thread. */
enum base_status learner_trainer_start(struct learner_trainer *trainer,
                                       struct base_error *error)
    BASE_MUST_CHECK;
/* Asks for a checkpoint at the next batch end; the number, or a higher one
 * where several were asked for, comes back in checkpointed(). Any thread.
 * Where nothing was trained since the newest checkpoint, that one is named
 * again at once, by the train thread. One that cannot be written is said in
 * the log and tried again; training goes on, within checkpoint_bytes. */
uint64_t learner_trainer_checkpoint(struct learner_trainer *trainer);
/* Asks for a delta as of the first batch end at due_ms (base_monotonic_ms; in
 * the past: as soon as may be) or later by which something was trained since
 * the newest version; changed() gets it. With `checkpoint` also for a
 * checkpoint of that same position; where none can be begun just then the
 * delta comes without, unless it could not have rows. One stands at a time: a
 * newer one takes an older one's place. Any thread. */
void learner_trainer_delta(struct learner_trainer *trainer, int64_t due_ms,
                           bool checkpoint);
/* Gives the delta back. `committed`: it, or a base of its position, is the
 * newest published version now. Otherwise what changed stays changed. Any
 * thread, once for each call of changed(). */
void learner_trainer_settle(struct learner_trainer *trainer, bool committed);
/* What is published is no longer what this trainer learned: the next delta is
 * of kind "must be a base" (complete is false), and due even where nothing was
 * trained. Any thread. */
void learner_trainer_lose(struct learner_trainer *trainer);
/* Goes back to the newest kept checkpoint at or before `most` and on from where
 * it stood: the journal between is skipped (status: skipped). Waits until that
 * is durable. BASE_NO_INPUT where no such checkpoint is kept; then nothing has
 * changed. No delta is in the caller's hands. Any thread but its own; one at a
 * time. */
enum base_status learner_trainer_rollback(struct learner_trainer *trainer,
                                          uint64_t most,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* Stops after the current batch; with `checkpoint` writes one first, and where
 * changed() is given hands over a delta of the same position. Waits. */
enum base_status learner_trainer_stop(struct learner_trainer *trainer,
                                      bool checkpoint,
                                      struct base_error *error);
void learner_trainer_free(struct learner_trainer *trainer);
/* Pauses and resumes training. Any thread. */
void learner_trainer_pause(struct learner_trainer *trainer, bool paused);
/* True when the trainer has asked its source and found nothing to train. Any
 * thread. */
bool learner_trainer_idle(const struct learner_trainer *trainer);
/* A consistent copy as of the last batch end. Any thread. */
void learner_trainer_status(struct learner_trainer *trainer,
                            struct learner_status *status);
/* Copies the closed event-time windows, oldest first, at most `max`; returns
 * how many. Any thread. */
unsigned learner_trainer_windows(struct learner_trainer *trainer,
                                 struct learner_window *windows, unsigned max);

/* ---- checkpoints as files ------------------------------------------------ */

struct learner_checkpoint; /* one checkpoint folder, verified; read only */

enum base_status learner_checkpoint_open(const char *path,
                                         struct learner_checkpoint **checkpoint,
                                         struct base_error *error)
    BASE_MUST_CHECK;
void learner_checkpoint_free(struct learner_checkpoint *checkpoint);

/* "ck-00000000000000001234" in name[LEARNER_CHECKPOINT_NAME]. */
enum { LEARNER_CHECKPOINT_NAME = 32 };
void learner_checkpoint_name(char *name, uint64_t position);

/* Positions of the checkpoint folders in `folder`, ascending, at most `max`
 * of the newest; *count is set. A folder that is not there has none. */
enum base_status learner_checkpoint_list(const char *folder,
                                         uint64_t *positions, unsigned max,
                                         unsigned *count,
                                         struct base_error *error)
    BASE_MUST_CHECK;

struct learner_checkpoint_info {
    uint64_t position;
    uint64_t journal_hash[2];
    uint64_t config_hash;
    char arithmetic[32];
    struct learner_schema schema; /* the stream's */
    struct learner_model_config model;
    struct learner_status status;
    unsigned table_count; /* the model's tables, as learner_model_table() */
    struct learner_table_spec tables[LEARNER_TABLES_MAX];
    uint16_t row_state[LEARNER_TABLES_MAX]; /* floats of a row behind them */
    uint64_t rows[LEARNER_TABLES_MAX];
    /* XXH3-128 over the dense weights and the optimizer's state of them, all
     * rows (key, step, count, weights, state) in ascending order of key, and
     * the pool of negatives and admission cells where there are: equal for
     * equal state, whatever the slots. */
    uint64_t digest[2];
};
const struct learner_checkpoint_info *
learner_checkpoint_get_info(const struct learner_checkpoint *checkpoint);
/* (learner_dense_size) floats. BORROWS from the checkpoint. */
const float *
learner_checkpoint_dense(const struct learner_checkpoint *checkpoint);
/* Calls `each` for every row of a table as of the position (slices with their
 * undo records applied), ascending by key; the OOV row has key 0 and comes
 * first. `weights` has W floats (tables[table].dimension) and BORROWS for the
 * call. A status other than BASE_OK from `each` ends the walk and is
 * returned. */
enum base_status learner_checkpoint_rows(
    const struct learner_checkpoint *checkpoint, unsigned table,
    enum base_status (*each)(void *self, uint64_t key, const float *weights),
    void *self, struct base_error *error) BASE_MUST_CHECK;

#endif
