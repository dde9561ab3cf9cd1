/* SPDX-License-Identifier: Apache-2.0 */
/* A program while it is compiled, shared by compile.c (which follows the
 * schema) and emit.c (which reads and stores one value) and by nobody else.
 * The first failure stays in `status`; emitting after it has no effect. */
#ifndef INGEST_EMIT_H
#define INGEST_EMIT_H

#include "ingest/program.h"
#include "ingest/schema.h"

/* A target still looked for below some node. */
struct want {
    unsigned target;
    const char *rest; /* path from here on, "" at its end */
    uint32_t reader;  /* the same place in the reader's schema, or NO_NODE */
};

struct compile {
    const struct ingest_schema *schema, *reader; /* reader may be NULL */
    const struct ingest_target *targets;
    unsigned target_count;
    struct ingest_op *ops; /* (INGEST_OPS_MAX) OWNS */
    uint64_t *ids;         /* (INGEST_IDS_MAX) OWNS */
    uint32_t *entries; /* (nodes) OWNS; subroutine of a record, 0: none */
    bool *wanted;      /* (nodes) OWNS; a subroutine is called for */
    bool *found;       /* (targets) OWNS */
    uint16_t *slots;   /* (targets) first slot of each; OWNS */
    unsigned slot_count;
    bool in_array; /* what is compiled now are elements for a run */
    uint32_t op_count, id_count;
    enum base_status status;
    struct base_error *error;
};

static inline const struct ingest_schema_node *
node_of(const struct compile *c, uint32_t index)
{
    return &c->schema->nodes[index];
}

/* Appends an operation and returns its index. */
static inline uint32_t emit(struct compile *c, struct ingest_op op)
{
    if (c->status)
        return 0;
    if (c->op_count == INGEST_OPS_MAX) {
        c->status = base_fail(c->error, BASE_LIMIT,
                              "schema: more than %d operations are needed",
                              INGEST_OPS_MAX);
        return 0;
    }
    c->ops[c->op_count] = op;
    return c->op_count++;
}

/* Lets the jump at `from` land on the operation emitted next. */
static inline void land(struct compile *c, uint32_t from)
{
    if (!c->status)
        c->ops[from].arg = c->op_count - from - 1;
}

static inline bool any_required(const struct compile *c,
                                const struct want *wants, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (c->targets[wants[i].target].required)
            return true;
    return false;
}

static inline void emit_absent(struct compile *c, const struct want *wants,
                               unsigned count)
{
    if (any_required(c, wants, count))
        emit(c, (struct ingest_op){.code = INGEST_OP_MISSING});
}

static inline bool is_run(const struct ingest_target *target)
{
    return target->values > 1;
}

static inline unsigned slots_of(const struct ingest_target *target)
{
    return is_run(target) ? target->values : 1;
}

enum { INGEST_EMIT_NAME = 80 };

/* "feature 'hour': ", or nothing. */
const char *ingest_emit_name(const struct ingest_target *target,
                             char text[INGEST_EMIT_NAME]);
/* The target cannot take what its path leads to. */
void ingest_emit_refuse(struct compile *c, const struct ingest_target *target,
                        const struct ingest_schema_node *node);
/* The targets that end at this value; those that go on find nothing here. */
void ingest_emit_value(struct compile *c, uint32_t index,
                       const struct want *wants, unsigned count);

#endif
