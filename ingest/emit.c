/* SPDX-License-Identifier: Apache-2.0 */
/* Operations that read one value and store it where its targets want it; see
 * emit.h. */
#include "ingest/emit.h"

#include <stdio.h>
#include <string.h>

#include "ingest/hash.h"

static uint32_t add_id(struct compile *c, uint64_t id)
{
    if (c->status)
        return 0;
    if (c->id_count == INGEST_IDS_MAX) {
        c->status = base_fail(c->error, BASE_LIMIT,
                              "schema: more than %d ids of enum symbols",
                              INGEST_IDS_MAX);
        return 0;
    }
    c->ids[c->id_count] = id;
    return c->id_count++;
}

static bool is_text(enum ingest_schema_type type)
{
    return type == INGEST_SCHEMA_STRING || type == INGEST_SCHEMA_BYTES ||
           type == INGEST_SCHEMA_FIXED;
}

static bool is_number(enum ingest_schema_type type)
{
    return type == INGEST_SCHEMA_INT || type == INGEST_SCHEMA_LONG;
}

static bool is_real(enum ingest_schema_type type)
{
    return type == INGEST_SCHEMA_FLOAT || type == INGEST_SCHEMA_DOUBLE;
}

static bool fits(const struct ingest_schema_node *node,
                 enum ingest_target_kind kind)
{
    if (node->type == INGEST_SCHEMA_NULL)
        return true;
    if (kind == INGEST_TARGET_BUCKET)
        return is_number(node->type) || is_real(node->type);
    if (kind != INGEST_TARGET_ID)
        return is_number(node->type) &&
               node->logical != INGEST_SCHEMA_OTHER_TIME;
    return is_text(node->type) || is_number(node->type) ||
           node->type == INGEST_SCHEMA_ENUM ||
           node->type == INGEST_SCHEMA_BOOLEAN;
}

const char *ingest_emit_name(const struct ingest_target *target,
                             char text[INGEST_EMIT_NAME])
{
    if (target->name)
        snprintf(text, INGEST_EMIT_NAME, "feature '%.60s': ", target->name);
    return text;
}

void ingest_emit_refuse(struct compile *c, const struct ingest_target *target,
                        const struct ingest_schema_node *node)
{
    static const char *const uses[] = {
        [INGEST_TARGET_ID] = "an id is made of string, bytes, fixed, enum, "
                             "int, long or boolean",
        [INGEST_TARGET_MS] = "a time is an int or a long, plain or a "
                             "timestamp in millis or micros",
        [INGEST_TARGET_HOUR] = "an hour is taken from an int or a long, "
                               "plain or a timestamp in millis or micros",
        [INGEST_TARGET_WEEKDAY] = "a weekday is taken from an int or a long, "
                                  "plain or a timestamp in millis or micros",
        [INGEST_TARGET_BUCKET] = "a bucket is taken from int, long, float or "
                                 "double",
    };
    static const char several[] = "several values are taken from an array of "
                                  "string, bytes, fixed, enum, int, long or "
                                  "boolean, or from one of these";
    bool time = node->logical == INGEST_SCHEMA_OTHER_TIME;
    c->status = base_fail(
        c->error, BASE_CONFIG, "%spath '%s' leads to %s%s%s; %s",
        ingest_emit_name(target, (char[INGEST_EMIT_NAME]){0}), target->path,
        c->in_array && is_run(target) ? "an array of " : "",
        ingest_schema_type_name(node->type),
        time ? " of another time unit" : "",
        is_run(target) ? several : uses[target->kind]);
}

/* What leaves one value in a register, or checks and drops it. */
static void emit_read(struct compile *c, const struct ingest_schema_node *node)
{
    static const uint8_t codes[] = {
        [INGEST_SCHEMA_BOOLEAN] = INGEST_OP_READ_BOOLEAN,
        [INGEST_SCHEMA_INT] = INGEST_OP_READ_INT,
        [INGEST_SCHEMA_LONG] = INGEST_OP_READ_LONG,
        [INGEST_SCHEMA_FLOAT] = INGEST_OP_READ_FIXED,
        [INGEST_SCHEMA_DOUBLE] = INGEST_OP_READ_FIXED,
        [INGEST_SCHEMA_BYTES] = INGEST_OP_READ_STRING,
        [INGEST_SCHEMA_STRING] = INGEST_OP_READ_STRING,
        [INGEST_SCHEMA_FIXED] = INGEST_OP_READ_FIXED,
        [INGEST_SCHEMA_ENUM] = INGEST_OP_READ_ENUM,
    };
    struct ingest_op op = {.code = codes[node->type]};
    if (node->type == INGEST_SCHEMA_FLOAT)
        op.arg = 4;
    else if (node->type == INGEST_SCHEMA_DOUBLE)
        op.arg = 8;
    else if (node->type == INGEST_SCHEMA_FIXED)
        op.arg = node->size;
    else if (node->type == INGEST_SCHEMA_ENUM)
        op.arg = node->count;
    emit(c, op);
}

/* Ids of "false" and "true", or of an enum's symbols. */
static uint32_t add_value_ids(struct compile *c,
                              const struct ingest_schema_node *node,
                              uint64_t seed)
{
    static const char *const booleans[] = {"false", "true"};
    bool is_enum = node->type == INGEST_SCHEMA_ENUM;
    const char *const *names = is_enum ? node->names : booleans;
    uint32_t first = c->id_count;
    for (uint32_t i = 0; i < (is_enum ? node->count : 2); i++)
        add_id(c, ingest_hash_bytes(seed, names[i], strlen(names[i])));
    return first;
}

/* Ids of the numbers 0 .. count - 1. */
static uint32_t add_number_ids(struct compile *c, uint64_t seed,
                               unsigned count)
{
    uint32_t first = c->id_count;
    for (unsigned i = 0; i < count; i++)
        add_id(c, ingest_hash_int(seed, i));
    return first;
}

/* The least integer that is not below the bound. */
static int64_t whole_bound(double bound)
{
    int64_t whole = (int64_t)bound;
    return whole + ((double)whole < bound);
}

/* The bounds as the value's type compares them, then the ids. */
static uint32_t add_buckets(struct compile *c,
                            const struct ingest_schema_node *node,
                            const struct ingest_target *target)
{
    uint32_t first = c->id_count;
    for (unsigned i = 0; i < target->bound_count; i++) {
        uint64_t bits;
        memcpy(&bits, &target->bounds[i], sizeof bits);
        if (!is_real(node->type))
            bits = (uint64_t)whole_bound(target->bounds[i]);
        add_id(c, bits);
    }
    add_number_ids(c, target->seed, target->bound_count + 1);
    return first;
}

/* What kinds other than ID make of the value. */
static void emit_derived(struct compile *c,
                         const struct ingest_schema_node *node,
                         const struct ingest_target *target,
                         struct ingest_op op)
{
    op.seed = node->logical == INGEST_SCHEMA_MICROS ? 1000 : 1;
    switch (target->kind) {
    case INGEST_TARGET_HOUR:
        op.code = INGEST_OP_STORE_HOUR;
        op.arg = add_number_ids(c, target->seed, 24);
        break;
    case INGEST_TARGET_WEEKDAY:
        op.code = INGEST_OP_STORE_WEEKDAY;
        op.arg = add_number_ids(c, target->seed, 7);
        break;
    case INGEST_TARGET_BUCKET:
        op.code = is_real(node->type) ? INGEST_OP_STORE_BUCKET_REAL
                                      : INGEST_OP_STORE_BUCKET;
        op.flag = (uint8_t)target->bound_count;
        op.arg = add_buckets(c, node, target);
        break;
    default: op.code = INGEST_OP_STORE_MS; break;
    }
    emit(c, op);
}

static void emit_store(struct compile *c,
                       const struct ingest_schema_node *node, unsigned number)
{
    const struct ingest_target *target = &c->targets[number];
    bool run = is_run(target);
    struct ingest_op op = {.slot = c->slots[number],
                           .flag = run ? (uint8_t)target->values
                                       : target->required,
                           .seed = target->seed};
    if (target->kind != INGEST_TARGET_ID) {
        emit_derived(c, node, target, op);
        return;
    }
    if (is_text(node->type)) {
        op.code = run ? INGEST_OP_PUSH_TEXT : INGEST_OP_STORE_TEXT;
    } else if (is_number(node->type)) {
        op.code = run ? INGEST_OP_PUSH_NUMBER : INGEST_OP_STORE_NUMBER;
    } else {
        op.code = run ? INGEST_OP_PUSH_TABLE : INGEST_OP_STORE_TABLE;
        op.arg = add_value_ids(c, node, target->seed);
    }
    emit(c, op);
}

void ingest_emit_value(struct compile *c, uint32_t index,
                       const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    unsigned ends = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct ingest_target *target = &c->targets[wants[i].target];
        if (*wants[i].rest) {
            emit_absent(c, &wants[i], 1);
            continue;
        }
        if (!fits(node, target->kind)) {
            ingest_emit_refuse(c, target, node);
            return;
        }
        c->found[wants[i].target] = true;
        ends++;
    }
    if (node->type == INGEST_SCHEMA_NULL) {
        emit_absent(c, wants, count);
        return;
    }
    uint32_t read = c->op_count;
    emit_read(c, node);
    for (unsigned i = 0; i < count; i++)
        if (!*wants[i].rest)
            emit_store(c, node, wants[i].target);
    /* One target of one string is by far the most frequent: one operation. */
    if (!c->status && ends == 1 &&
        c->ops[read].code == INGEST_OP_READ_STRING &&
        c->ops[read + 1].code == INGEST_OP_STORE_TEXT) {
        c->ops[read] = c->ops[read + 1];
        c->ops[read].code = INGEST_OP_STRING_ID;
        c->op_count--;
    }
}
