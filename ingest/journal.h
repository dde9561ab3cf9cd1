/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's writer: samples get dense positions, batches end after every
 * batch_size-th sample (or when asked), records go into blocks (sample.h).
 *
 * 1. The open block is rewritten whole at each commit until it is full.
 * 2. What the writer knows (open group, open batch, chain) is in
 *    struct ingest_journal_mark, stored with the commit, so a restart goes on
 *    with the same bytes.
 * 3. Finals between two batch ends belong to the batch that ends next.
 * 4. A forget starts a block. So with one of nobody behind it, all that holds
 *    the user, the forget too, goes once positions behind both are kept alone.
 * Thread: store. Readers are in feed.c. */
#ifndef INGEST_JOURNAL_H
#define INGEST_JOURNAL_H

#include "ingest/ingest.h"
#include "ingest/sample.h"

/* Stored in the state's record; all fields 8 bytes. */
struct ingest_journal_mark {
    uint64_t position;    /* of the next sample */
    uint64_t batch_first; /* position at which the open batch starts */
    uint64_t begin;       /* first position of the oldest kept block */
    uint64_t bytes;       /* of all kept blocks, the open one included */
    struct ingest_digest chain;
    uint64_t group_user, group_size; /* 0: no open group */
    struct ingest_digest group_history;
    uint64_t block_position, block_number; /* the open block's key */
    uint64_t block_records, block_size;    /* size with its head */
    struct ingest_digest block_chain;
};

struct ingest_journal_writer {
    struct ingest_store *store;
    unsigned field_count, item_count;
    uint32_t batch_size, history_max;
    uint64_t max_bytes;
    bool keep;
    struct ingest_journal_mark mark;
    int64_t open_since_ms; /* monotonic, of the oldest sample in the open
                              batch; 0: none */
    uint8_t *block;        /* OWNS */
    uint8_t *record;       /* OWNS: one record */
    bool dirty;
};

struct ingest_sample {
    enum learner_sample_kind kind;
    uint8_t label;
    uint64_t user;
    int64_t event_ms;
    const uint64_t *ids;     /* (F) */
    const uint64_t *history; /* (T, f) */
    uint32_t history_count;  /* T */
};

enum base_status ingest_journal_init(struct ingest_journal_writer *journal,
                                     struct ingest_store *store,
                                     const struct ingest_config *config,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_journal_fini(struct ingest_journal_writer *journal);
/* Reads the open block that journal->mark names and verifies the chain. */
enum base_status ingest_journal_load(struct ingest_journal_writer *journal,
                                     struct base_error *error) BASE_MUST_CHECK;

/* BASE_AGAIN where the records of one event might pass the cap. */
enum base_status
ingest_journal_room(const struct ingest_journal_writer *journal,
                    struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_journal_sample(struct ingest_journal_writer *journal,
                                       const struct ingest_sample *sample,
                                       struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_journal_final(struct ingest_journal_writer *journal,
                                      uint64_t position, uint8_t label,
                                      struct base_error *error) BASE_MUST_CHECK;
/* Ends the open batch where a sample waits in it. */
enum base_status ingest_journal_end_batch(struct ingest_journal_writer *journal,
                                          struct base_error *error)
    BASE_MUST_CHECK;
/* Ends the open batch; the forget is the next one. */
enum base_status ingest_journal_forget(struct ingest_journal_writer *journal,
                                       const struct learner_forget *forget,
                                       struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_journal_trim(struct ingest_journal_writer *journal,
                                     uint64_t position,
                                     struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_journal_flush(struct ingest_journal_writer *journal,
                                      struct base_error *error) BASE_MUST_CHECK;

#endif
