/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a compiled decoder: made by compile.c, run by program.c.
 *
 * 1. The main program starts at ops[0] and ends at END. Behind it stands one
 *    subroutine for each record type that is skipped somewhere.
 * 2. Jumps are relative: `arg` more operations than to the next one.
 * 3. Only CALL and LOOP go backwards or deeper, and both pay from a budget of
 *    work that grows with the record's size; the rest runs straight on.
 * 4. Slots are 0 before the first operation, those of runs LEARNER_ABSENT, so
 *    an absent value needs none.
 *
 * READ_x leave a value in the registers `text` or `value`; STORE_x take it
 * from there, several of them where a path has several targets. */
#ifndef INGEST_PROGRAM_H
#define INGEST_PROGRAM_H

#include <stdint.h>

#include "ingest/decode.h"

enum {
    INGEST_OPS_MAX = 1 << 16,
    INGEST_IDS_MAX = 1 << 16,   /* precomputed ids of symbols, hours, ... */
    INGEST_FRAMES_MAX = 32,     /* calls and loops inside each other */
    INGEST_WORK_START = 1 << 16, /* budget: START + BYTE * size */
    INGEST_WORK_BYTE = 16,
};

enum ingest_op_code {
    INGEST_OP_STRING_ID,    /* slot, seed, flag: required */
    INGEST_OP_NULLABLE,     /* flag: index of null; arg: jump when null */
    INGEST_OP_READ_STRING,  /* text */
    INGEST_OP_READ_FIXED,   /* text; arg: bytes */
    INGEST_OP_READ_INT,     /* value */
    INGEST_OP_READ_LONG,    /* value */
    INGEST_OP_READ_BOOLEAN, /* value */
    INGEST_OP_READ_ENUM,    /* value; arg: number of symbols */
    INGEST_OP_STORE_TEXT,   /* slot, seed, flag: required */
    INGEST_OP_STORE_NUMBER, /* slot, seed */
    INGEST_OP_STORE_TABLE,  /* slot; arg: ids[arg + value] */
    INGEST_OP_STORE_MS,     /* slot; seed: units in a millisecond */
    INGEST_OP_STORE_HOUR,   /* as STORE_MS; arg: ids[arg + hour] */
    INGEST_OP_STORE_WEEKDAY, /* as STORE_MS; arg: ids[arg + day] */
    INGEST_OP_STORE_BUCKET, /* of `value`; flag: bounds b; arg: at ids[arg]
                               stand b bounds (int64_t), then b + 1 ids */
    INGEST_OP_STORE_BUCKET_REAL, /* of `text`, 4 or 8 bytes; bounds: double */
    INGEST_OP_PUSH_TEXT,    /* as STORE_TEXT, into the next free place of the */
    INGEST_OP_PUSH_NUMBER,  /* .. run of slots that begins at slot; flag: its */
    INGEST_OP_PUSH_TABLE,   /* .. places */
    INGEST_OP_STORE_DEFAULT, /* slot, seed: the value */
    INGEST_OP_MISSING,      /* a required target has no value here */
    INGEST_OP_UNION,        /* arg: branches; that many JUMPs follow */
    INGEST_OP_JUMP,
    INGEST_OP_LOOP, /* array or map: body, then NEXT; arg: behind NEXT;
                       slot: work of one round */
    INGEST_OP_NEXT,  /* also from within the body: the next round */
    INGEST_OP_MATCH, /* of text, a map's key; seed: its hash; arg: jump where
                        it is another */
    INGEST_OP_CALL, /* arg: operation called; slot: its work */
    INGEST_OP_RETURN,
    INGEST_OP_END
};

struct ingest_op {
    uint8_t code; /* enum ingest_op_code */
    uint8_t flag;
    uint16_t slot;
    uint32_t arg;
    uint64_t seed;
};

struct ingest_program {
    unsigned slot_count;
    uint64_t *start; /* (slot_count) of the slots before a run; OWNS */
    uint32_t op_count;
    struct ingest_op *ops; /* (op_count) OWNS */
    uint64_t *ids;         /* OWNS */
};

#endif
