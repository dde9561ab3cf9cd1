/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles a writer's schema and the targets into the operations of
 * program.h.
 *
 * 1. Records that lead to a target are laid out in place, so that the path
 *    costs nothing at run time; all others are skipped by a subroutine each,
 *    so that the program stays as small as the schema.
 * 2. A union may lead to a target in some branches only; in the others the
 *    target is absent, like null.
 * 3. A target of several values ends at an array: its elements are pushed into
 *    the target's run of slots. Arrays in arrays are refused.
 * 4. The first failure stays in `status` and stops the walk at its next step;
 *    emitting after a failure has no effect.
 * Runs on whichever thread asks; it is slow and it allocates. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/hash.h"
#include "ingest/path.h"
#include "ingest/program.h"
#include "ingest/schema.h"
#include "learner/learner.h"

/* A target still looked for below some node. */
struct want {
    unsigned target;
    const char *rest; /* path from here on, "" at its end */
};

struct compile {
    const struct ingest_schema *schema;
    const struct ingest_target *targets;
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

static void compile_node(struct compile *c, uint32_t index,
                         const struct want *wants, unsigned count);

static const struct ingest_schema_node *node_of(const struct compile *c,
                                                uint32_t index)
{
    return &c->schema->nodes[index];
}

/* Appends an operation and returns its index. */
static uint32_t emit(struct compile *c, struct ingest_op op)
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
static void land(struct compile *c, uint32_t from)
{
    if (!c->status)
        c->ops[from].arg = c->op_count - from - 1;
}

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

static bool any_required(const struct compile *c, const struct want *wants,
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (c->targets[wants[i].target].required)
            return true;
    return false;
}

static void emit_absent(struct compile *c, const struct want *wants,
                        unsigned count)
{
    if (any_required(c, wants, count))
        emit(c, (struct ingest_op){.code = INGEST_OP_MISSING});
}

/* ---- values ------------------------------------------------------------ */

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

static bool is_run(const struct ingest_target *target)
{
    return target->values > 1;
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

enum { NAME_SIZE = 80 };

/* "feature 'hour': ", or nothing. */
static const char *name_of(const struct ingest_target *target,
                           char text[NAME_SIZE])
{
    if (target->name)
        snprintf(text, NAME_SIZE, "feature '%.60s': ", target->name);
    return text;
}

static void refuse(struct compile *c, const struct ingest_target *target,
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
        name_of(target, (char[NAME_SIZE]){0}), target->path,
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

/* The targets that end at this value; those that go on find nothing here. */
static void compile_value(struct compile *c, uint32_t index,
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
            refuse(c, target, node);
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

/* ---- structure --------------------------------------------------------- */

static void compile_loop(struct compile *c, uint32_t index,
                         const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    bool runs = node->type == INGEST_SCHEMA_ARRAY && !c->in_array;
    struct want *ends = calloc(count + 1, sizeof *ends);
    unsigned ending = 0;
    if (!ends) {
        c->status = base_fail(c->error, BASE_SYSTEM, "schema: no memory");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        const struct ingest_target *target = &c->targets[wants[i].target];
        if (*wants[i].rest) {
            emit_absent(c, &wants[i], 1);
        } else if (runs && is_run(target)) {
            ends[ending++] = wants[i];
        } else {
            refuse(c, target, node);
            goto cleanup;
        }
    }
    /* Work 2: a value, or a union's index and a value; calls and loops
     * inside pay for themselves. */
    uint32_t loop =
        emit(c, (struct ingest_op){.code = INGEST_OP_LOOP, .slot = 2});
    if (node->type == INGEST_SCHEMA_MAP)
        emit(c, (struct ingest_op){.code = INGEST_OP_READ_STRING});
    c->in_array = ending > 0;
    compile_node(c, node->children[0], ends, ending);
    c->in_array = false;
    emit(c, (struct ingest_op){.code = INGEST_OP_NEXT});
    land(c, loop);
cleanup:
    free(ends);
}

/* [null, T] or [T, null] with nothing required below: one operation. */
static bool compile_nullable(struct compile *c,
                             const struct ingest_schema_node *node,
                             const struct want *wants, unsigned count)
{
    if (node->count != 2 || any_required(c, wants, count))
        return false;
    unsigned null = 0;
    while (null < 2 &&
           node_of(c, node->children[null])->type != INGEST_SCHEMA_NULL)
        null++;
    if (null == 2)
        return false;
    uint32_t jump = emit(c, (struct ingest_op){.code = INGEST_OP_NULLABLE,
                                               .flag = (uint8_t)null});
    compile_node(c, node->children[!null], wants, count);
    land(c, jump);
    return true;
}

static void compile_union(struct compile *c, uint32_t index,
                          const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    if (compile_nullable(c, node, wants, count))
        return;
    uint32_t ends[INGEST_SCHEMA_BRANCHES_MAX];
    uint32_t first = emit(c, (struct ingest_op){.code = INGEST_OP_UNION,
                                                .arg = node->count}) + 1;
    for (uint32_t i = 0; i < node->count; i++)
        emit(c, (struct ingest_op){.code = INGEST_OP_JUMP});
    for (uint32_t i = 0; i < node->count; i++) {
        land(c, first + i);
        compile_node(c, node->children[i], wants, count);
        ends[i] = emit(c, (struct ingest_op){.code = INGEST_OP_JUMP});
    }
    for (uint32_t i = 0; i < node->count; i++)
        land(c, ends[i]);
}

/* Those of `wants` whose next component is `name`, one component further. */
static unsigned select_wants(const char *name, const struct want *wants,
                             unsigned count, struct want *inner)
{
    unsigned selected = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *rest = ingest_path_behind(wants[i].rest, name);
        if (rest)
            inner[selected++] = (struct want){wants[i].target, rest};
    }
    return selected;
}

static void compile_record(struct compile *c, uint32_t index,
                           const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    struct want *inner = calloc(count + 1, sizeof *inner);
    if (!inner) {
        c->status = base_fail(c->error, BASE_SYSTEM, "schema: no memory");
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!*wants[i].rest) {
            refuse(c, &c->targets[wants[i].target], node);
            goto cleanup;
        }
        if (ingest_path_field(node, wants[i].rest) == node->count)
            emit_absent(c, &wants[i], 1);
    }
    for (uint32_t i = 0; i < node->count && !c->status; i++) {
        unsigned selected = select_wants(node->names[i], wants, count, inner);
        compile_node(c, node->children[i], inner, selected);
    }
cleanup:
    free(inner);
}

static void emit_call(struct compile *c, uint32_t index)
{
    c->wanted[index] = true;
    emit(c, (struct ingest_op){.code = INGEST_OP_CALL,
                               .slot = (uint16_t)(node_of(c, index)->count + 1),
                               .arg = index}); /* linked at the end */
}

static void compile_node(struct compile *c, uint32_t index,
                         const struct want *wants, unsigned count)
{
    if (c->status)
        return;
    switch (node_of(c, index)->type) {
    case INGEST_SCHEMA_UNION: compile_union(c, index, wants, count); break;
    case INGEST_SCHEMA_ARRAY:
    case INGEST_SCHEMA_MAP: compile_loop(c, index, wants, count); break;
    case INGEST_SCHEMA_RECORD:
        if (count)
            compile_record(c, index, wants, count);
        else
            emit_call(c, index);
        break;
    default: compile_value(c, index, wants, count); break;
    }
}

/* Adds subroutines until no call is without one, then links the calls. */
static void compile_subroutines(struct compile *c)
{
    for (bool more = true; more && !c->status;) {
        more = false;
        for (uint32_t i = 0; i < c->schema->count; i++) {
            if (!c->wanted[i] || c->entries[i])
                continue;
            more = true;
            c->entries[i] = c->op_count;
            compile_record(c, i, NULL, 0);
            emit(c, (struct ingest_op){.code = INGEST_OP_RETURN});
        }
    }
    for (uint32_t i = 0; i < c->op_count; i++)
        if (c->ops[i].code == INGEST_OP_CALL)
            c->ops[i].arg = c->entries[c->ops[i].arg];
}

/* ---- boundary ---------------------------------------------------------- */

static enum base_status check_bounds(const struct compile *c,
                                     const struct ingest_target *target)
{
    bool good = target->bound_count > 0 &&
                target->bound_count <= INGEST_BOUNDS_MAX;
    for (unsigned i = 0; good && i < target->bound_count; i++)
        good = target->bounds[i] >= -0x1p53 && target->bounds[i] <= 0x1p53 &&
               (i == 0 || target->bounds[i - 1] < target->bounds[i]);
    return good ? BASE_OK
                : base_fail(c->error, BASE_CONFIG,
                            "%sa bucket needs 1 to %d bounds, each above the "
                            "one before it, within 2^53",
                            name_of(target, (char[NAME_SIZE]){0}),
                            INGEST_BOUNDS_MAX);
}

/* Checks target `number` and gives it its slots. */
static enum base_status check_target(struct compile *c, unsigned number)
{
    const struct ingest_target *target = &c->targets[number];
    unsigned values = is_run(target) ? target->values : 1;
    if (target->kind == INGEST_TARGET_BUCKET && check_bounds(c, target))
        return BASE_CONFIG;
    if (values > 1 && (values > INGEST_VALUES_MAX || target->required ||
                       target->kind != INGEST_TARGET_ID))
        return base_fail(c->error, BASE_CONFIG,
                         "%sat most %d values are taken, of ids that are not "
                         "transformed",
                         name_of(target, (char[NAME_SIZE]){0}),
                         INGEST_VALUES_MAX);
    if (c->slot_count + values > UINT16_MAX)
        return base_fail(c->error, BASE_LIMIT,
                         "schema: more than %d slots", UINT16_MAX);
    c->slots[number] = (uint16_t)c->slot_count;
    c->slot_count += values;
    return ingest_path_check(target->path, c->error);
}

static void compile_all(struct compile *c, unsigned target_count)
{
    struct want *wants = calloc(target_count + 1, sizeof *wants);
    if (!wants) {
        c->status = base_fail(c->error, BASE_SYSTEM, "schema: no memory");
        return;
    }
    for (unsigned i = 0; i < target_count && !c->status; i++) {
        wants[i] = (struct want){i, c->targets[i].path};
        c->status = check_target(c, i);
    }
    if (!c->status)
        compile_record(c, 0, wants, target_count);
    emit(c, (struct ingest_op){.code = INGEST_OP_END});
    compile_subroutines(c);
    for (unsigned i = 0; i < target_count && !c->status; i++)
        if (!c->found[i])
            c->status = ingest_path_unknown(
                c->schema, name_of(&c->targets[i], (char[NAME_SIZE]){0}),
                c->targets[i].path, c->error);
    free(wants);
}

static enum base_status allocate(struct compile *c, unsigned target_count)
{
    c->ops = calloc(INGEST_OPS_MAX, sizeof *c->ops);
    c->ids = calloc(INGEST_IDS_MAX, sizeof *c->ids);
    c->entries = calloc(c->schema->count, sizeof *c->entries);
    c->wanted = calloc(c->schema->count, sizeof *c->wanted);
    c->found = calloc(target_count + 1, sizeof *c->found);
    c->slots = calloc(target_count + 1, sizeof *c->slots);
    if (!c->ops || !c->ids || !c->entries || !c->wanted || !c->found ||
        !c->slots)
        return base_fail(c->error, BASE_SYSTEM, "schema: no memory");
    return BASE_OK;
}

/* Copies what was compiled into memory of just that size. */
static enum base_status pack(const struct compile *c, unsigned target_count,
                             struct ingest_program **program)
{
    struct ingest_program *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(c->error, BASE_SYSTEM, "schema: no memory");
    made->slot_count = c->slot_count;
    made->op_count = c->op_count;
    made->ops = calloc(c->op_count, sizeof *made->ops);
    made->ids = calloc(c->id_count + 1, sizeof *made->ids);
    made->start = calloc(c->slot_count + 1, sizeof *made->start);
    if (!made->ops || !made->ids || !made->start) {
        ingest_program_free(made);
        return base_fail(c->error, BASE_SYSTEM, "schema: no memory");
    }
    memcpy(made->ops, c->ops, c->op_count * sizeof *made->ops);
    memcpy(made->ids, c->ids, c->id_count * sizeof *made->ids);
    for (unsigned i = 0; i < target_count; i++)
        for (unsigned j = 0; is_run(&c->targets[i]) &&
                             j < c->targets[i].values; j++)
            made->start[c->slots[i] + j] = LEARNER_ABSENT;
    *program = made;
    return BASE_OK;
}

enum base_status ingest_program_new(const char *schema_json, size_t size,
                                    const struct ingest_target *targets,
                                    unsigned target_count,
                                    struct ingest_program **program,
                                    struct base_error *error)
{
    struct ingest_schema *schema = NULL;
    struct compile c = {.targets = targets, .error = error};
    if (target_count > UINT16_MAX)
        return base_fail(error, BASE_LIMIT, "schema: %u targets; %d are "
                         "allowed", target_count, UINT16_MAX);
    enum base_status status =
        ingest_schema_new(schema_json, size, &schema, error);
    if (status)
        return status;
    c.schema = schema;
    status = allocate(&c, target_count);
    if (status)
        goto cleanup;
    compile_all(&c, target_count);
    status = c.status;
    if (!status)
        status = pack(&c, target_count, program);
cleanup:
    free(c.ops);
    free(c.ids);
    free(c.entries);
    free(c.wanted);
    free(c.found);
    free(c.slots);
    ingest_schema_free(schema);
    return status;
}

void ingest_program_free(struct ingest_program *program)
{
    if (!program)
        return;
    free(program->ops);
    free(program->ids);
    free(program->start);
    free(program);
}
