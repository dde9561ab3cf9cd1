/* SPDX-License-Identifier: Apache-2.0 */
/* Compiles a writer's schema and the targets into the operations of
 * program.h.
 *
 * 1. Records that lead to a target are laid out in place, so that the path
 *    costs nothing at run time; all others are skipped by a subroutine each,
 *    so that the program stays as small as the schema.
 * 2. A union may lead to a target in some branches only; in the others the
 *    target is absent, like null.
 * 3. A target of several values leads through an array, or ends at one: what
 *    its elements have there is pushed into the target's run of slots. Arrays
 *    in arrays are refused.
 * 4. In a map a path's component is a key.
 * 5. What the writer's schema lacks has the default of the reader's schema,
 *    where there is one: it is decoded once, here, from its own bytes.
 * Runs on whichever thread asks; it is slow and it allocates. */
#include <stdlib.h>
#include <string.h>

#include "ingest/emit.h"
#include "ingest/hash.h"
#include "ingest/path.h"
#include "ingest/resolve.h"
#include "learner/learner.h"

static void compile_node(struct compile *c, uint32_t index,
                         const struct want *wants, unsigned count);

/* ---- structure --------------------------------------------------------- */

static struct want *new_wants(struct compile *c, unsigned count)
{
    struct want *wants = calloc(count + 1, sizeof *wants);
    if (!wants && !c->status)
        c->status = base_fail(c->error, BASE_SYSTEM, "schema: no memory");
    return wants;
}

/* Those that lead into an array's elements or to a map's keys; the others find
 * nothing here. Nothing required can be there: it might not be. */
static unsigned select_inner(struct compile *c,
                             const struct ingest_schema_node *node,
                             const struct want *wants, unsigned count,
                             struct want *inner)
{
    bool map = node->type == INGEST_SCHEMA_MAP;
    unsigned selected = 0;
    for (unsigned i = 0; i < count && !c->status; i++) {
        const struct ingest_target *target = &c->targets[wants[i].target];
        if (map ? *wants[i].rest && !target->required
                : is_run(target) && !c->in_array)
            inner[selected++] = (struct want){
                wants[i].target, wants[i].rest,
                ingest_resolve_item(c->reader, wants[i].reader, node->type)};
        else if (*wants[i].rest)
            emit_absent(c, &wants[i], 1);
        else
            ingest_emit_refuse(c, target, node);
    }
    return selected;
}

static const char *next_component(const char *path)
{
    path += strcspn(path, ".");
    return path + (*path == '.');
}

/* The value of one key of a map. wants[0] and all others that name this key
 * are taken out of wants; returns how many are left. */
static unsigned compile_key(struct compile *c,
                            const struct ingest_schema_node *node,
                            struct want *wants, unsigned count)
{
    struct want *inner = new_wants(c, count);
    const char *key = wants[0].rest;
    size_t size = strcspn(key, ".");
    unsigned selected = 0, left = 0;
    if (!inner)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        if (strcspn(wants[i].rest, ".") != size ||
            strncmp(wants[i].rest, key, size) != 0) {
            wants[left++] = wants[i];
            continue;
        }
        inner[selected] = wants[i];
        inner[selected++].rest = next_component(wants[i].rest);
    }
    uint32_t match = emit(c, (struct ingest_op){
                                 .code = INGEST_OP_MATCH,
                                 .seed = ingest_hash_bytes(0, key, size)});
    compile_node(c, node->children[0], inner, selected);
    emit(c, (struct ingest_op){.code = INGEST_OP_NEXT});
    land(c, match);
    free(inner);
    return left;
}

static void compile_round(struct compile *c,
                          const struct ingest_schema_node *node,
                          struct want *wants, unsigned count)
{
    bool outer = c->in_array;
    if (node->type == INGEST_SCHEMA_MAP) {
        emit(c, (struct ingest_op){.code = INGEST_OP_READ_STRING});
        while (count && !c->status)
            count = compile_key(c, node, wants, count);
    } else {
        c->in_array = outer || count > 0;
    }
    compile_node(c, node->children[0], wants, count);
    c->in_array = outer;
    emit(c, (struct ingest_op){.code = INGEST_OP_NEXT});
}

static void compile_loop(struct compile *c, uint32_t index,
                         const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    struct want *inner = new_wants(c, count);
    if (!inner)
        return;
    unsigned selected = select_inner(c, node, wants, count, inner);
    uint32_t loop = emit(c, (struct ingest_op){.code = INGEST_OP_LOOP});
    compile_round(c, node, inner, selected);
    land(c, loop);
    /* Work 2 of a round without targets: a value, or a union's index and a
     * value; calls and loops inside pay for themselves. */
    uint32_t work = selected ? c->op_count - loop : 2;
    if (!c->status)
        c->ops[loop].slot = (uint16_t)(work < UINT16_MAX ? work : UINT16_MAX);
    free(inner);
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

static enum base_status compile_program(struct compile *c, uint32_t start,
                                        struct ingest_program **program);

/* The reader's default for a field that the writer lacks: its slots are
 * constants from here on. */
static void emit_default(struct compile *c, const struct want *want,
                         const struct ingest_resolve_field *field)
{
    struct ingest_target target = c->targets[want->target];
    target.path = next_component(want->rest);
    struct compile inner = {.schema = c->reader, .targets = &target,
                            .target_count = 1, .error = c->error};
    struct ingest_program *program = NULL;
    uint64_t values[INGEST_VALUES_MAX];
    char *bytes = NULL;
    size_t size;
    c->status = ingest_resolve_default(c->reader, field, &bytes, &size,
                                       c->error);
    if (!c->status)
        c->status =
            compile_program(&inner, ingest_resolve_node(field), &program);
    if (c->status)
        goto cleanup;
    enum ingest_reason reason = ingest_program_run(
        program, (const uint8_t *)bytes, size, values);
    if (reason == INGEST_REASON_MISSING)
        emit_absent(c, want, 1);
    for (unsigned i = 0; !reason && i < slots_of(&target); i++)
        if (values[i] != program->start[i])
            emit(c, (struct ingest_op){
                        .code = INGEST_OP_STORE_DEFAULT,
                        .slot = (uint16_t)(c->slots[want->target] + i),
                        .seed = values[i]});
    c->found[want->target] = true;
cleanup:
    ingest_program_free(program);
    free(bytes);
}

/* Which field each want goes on with (at[]; node->count: none), and its place
 * in the reader's schema (below[]). */
static void resolve_wants(struct compile *c,
                          const struct ingest_schema_node *node,
                          const struct want *wants, unsigned count,
                          uint32_t *at, uint32_t *below)
{
    for (unsigned i = 0; i < count && !c->status; i++) {
        if (!*wants[i].rest) {
            ingest_emit_refuse(c, &c->targets[wants[i].target], node);
            return;
        }
        struct ingest_resolve_field known = ingest_resolve_reader(
            c->reader, wants[i].reader, wants[i].rest);
        at[i] = ingest_resolve_writer(node, wants[i].rest, &known);
        below[i] = ingest_resolve_node(&known);
        if (at[i] == node->count && ingest_resolve_has_default(&known))
            emit_default(c, &wants[i], &known);
        else if (at[i] == node->count)
            emit_absent(c, &wants[i], 1);
    }
}

static void compile_record(struct compile *c, uint32_t index,
                           const struct want *wants, unsigned count)
{
    const struct ingest_schema_node *node = node_of(c, index);
    struct want *inner = new_wants(c, count);
    uint32_t *at = calloc(2 * count + 1, sizeof *at);
    if (!inner || !at) {
        c->status = base_fail(c->error, BASE_SYSTEM, "schema: no memory");
        goto cleanup;
    }
    resolve_wants(c, node, wants, count, at, at + count);
    for (uint32_t i = 0; i < node->count && !c->status; i++) {
        unsigned selected = 0;
        for (unsigned k = 0; k < count; k++)
            if (at[k] == i)
                inner[selected++] = (struct want){
                    wants[k].target, next_component(wants[k].rest),
                    at[count + k]};
        compile_node(c, node->children[i], inner, selected);
    }
cleanup:
    free(inner);
    free(at);
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
    default: ingest_emit_value(c, index, wants, count); break;
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
                            ingest_emit_name(target,
                                             (char[INGEST_EMIT_NAME]){0}),
                            INGEST_BOUNDS_MAX);
}

/* Checks target `number` and gives it its slots. */
static enum base_status check_target(struct compile *c, unsigned number)
{
    const struct ingest_target *target = &c->targets[number];
    unsigned values = slots_of(target);
    if (target->kind == INGEST_TARGET_BUCKET && check_bounds(c, target))
        return BASE_CONFIG;
    if (values > 1 && (values > INGEST_VALUES_MAX || target->required ||
                       target->kind != INGEST_TARGET_ID))
        return base_fail(c->error, BASE_CONFIG,
                         "%sat most %d values are taken, of ids that are not "
                         "transformed",
                         ingest_emit_name(target, (char[INGEST_EMIT_NAME]){0}),
                         INGEST_VALUES_MAX);
    if (c->slot_count + values > UINT16_MAX)
        return base_fail(c->error, BASE_LIMIT,
                         "schema: more than %d slots", UINT16_MAX);
    c->slots[number] = (uint16_t)c->slot_count;
    c->slot_count += values;
    return BASE_OK;
}

/* From node `start`, where all paths begin. */
static void compile_all(struct compile *c, uint32_t start)
{
    struct want *wants = new_wants(c, c->target_count);
    if (!wants)
        return;
    for (unsigned i = 0; i < c->target_count && !c->status; i++) {
        wants[i] = (struct want){i, c->targets[i].path,
                                 c->reader ? 0 : INGEST_NO_NODE};
        c->status = check_target(c, i);
    }
    if (start == 0)
        compile_record(c, 0, wants, c->target_count); /* no call */
    else
        compile_node(c, start, wants, c->target_count);
    emit(c, (struct ingest_op){.code = INGEST_OP_END});
    compile_subroutines(c);
    free(wants);
}

static enum base_status check_found(const struct compile *c)
{
    for (unsigned i = 0; i < c->target_count; i++)
        if (!c->found[i])
            return ingest_path_unknown(
                c->schema, ingest_emit_name(&c->targets[i],
                                 (char[INGEST_EMIT_NAME]){0}),
                c->targets[i].path, c->error);
    return BASE_OK;
}

static enum base_status allocate(struct compile *c)
{
    unsigned target_count = c->target_count;
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
static enum base_status pack(const struct compile *c,
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
    for (unsigned i = 0; i < c->target_count; i++)
        for (unsigned j = 0; is_run(&c->targets[i]) &&
                             j < c->targets[i].values; j++)
            made->start[c->slots[i] + j] = LEARNER_ABSENT;
    *program = made;
    return BASE_OK;
}

static enum base_status compile_program(struct compile *c, uint32_t start,
                                        struct ingest_program **program)
{
    enum base_status status = allocate(c);
    if (!status) {
        compile_all(c, start);
        status = c->status;
    }
    if (!status && start == 0)
        status = check_found(c);
    if (!status)
        status = pack(c, program);
    free(c->ops);
    free(c->ids);
    free(c->entries);
    free(c->wanted);
    free(c->found);
    free(c->slots);
    return status;
}

enum base_status ingest_program_resolve(const struct ingest_program_wish *wish,
                                        struct ingest_program **program,
                                        struct base_error *error)
{
    struct ingest_schema *schema = NULL;
    struct compile c = {.targets = wish->targets, .error = error,
                        .target_count = wish->target_count,
                        .reader = wish->reader};
    if (wish->target_count > UINT16_MAX)
        return base_fail(error, BASE_LIMIT, "schema: %u targets; %d are "
                         "allowed", wish->target_count, UINT16_MAX);
    for (unsigned i = 0; i < wish->target_count; i++)
        if (ingest_path_check(wish->targets[i].path, error))
            return error->status;
    if (ingest_schema_new(wish->schema_json, wish->size, &schema, error))
        return error->status;
    c.schema = schema;
    enum base_status status = compile_program(&c, 0, program);
    ingest_schema_free(schema);
    return status;
}

enum base_status ingest_program_new(const char *schema_json, size_t size,
                                    const struct ingest_target *targets,
                                    unsigned target_count,
                                    struct ingest_program **program,
                                    struct base_error *error)
{
    const struct ingest_program_wish wish = {schema_json, size, NULL, targets,
                                             target_count};
    return ingest_program_resolve(&wish, program, error);
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
