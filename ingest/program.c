/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a compiled decoder over one record; see program.h.
 *
 * 1. No byte outside [at, end) is read; every length is compared with what is
 *    left before it is used. Nothing is allocated and nothing is kept.
 * 2. A read hands back where it ended, or NULL with the reason in `raw`.
 * 3. The first damage found is the reason. A missing required value is only
 *    said of a record that is otherwise whole.
 * 4. A block of an array or a map that gives its size in bytes must have
 *    exactly that size: it is walked, not trusted. */
#include "ingest/program.h"

#include <string.h>

#include "ingest/hash.h"
#include "learner/learner.h"

/* What a read found, and where it ended. */
struct number {
    uint64_t raw;        /* value before zigzag, a length, or the reason */
    const uint8_t *next; /* NULL: nothing could be read */
};

struct frame {
    const struct ingest_op *op;   /* call: the CALL; loop: the LOOP */
    const uint8_t *block_end;     /* where the block says it ends, or NULL */
    uint64_t left;                /* items of the block, this one too */
};

struct loops {
    const struct ingest_op *op; /* in and out: the operation that runs */
    uint64_t budget;
    unsigned depth;
    struct frame frames[INGEST_FRAMES_MAX];
};

static inline struct number fail(enum ingest_reason reason)
{
    return (struct number){.raw = reason};
}

static inline int64_t zigzag(uint64_t raw)
{
    return (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
}

/* Byte by byte: up to ten bytes, of which the last holds one bit. */
static struct number read_varint_slowly(const uint8_t *at, const uint8_t *end)
{
    uint64_t raw = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (at == end)
            return fail(INGEST_REASON_TRUNCATED);
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1)
            return fail(INGEST_REASON_VARINT);
        raw |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (struct number){raw, at};
    }
    return fail(INGEST_REASON_VARINT);
}

/* Two to eight bytes at once: cut behind the first byte without a
 * continuation bit, then close the gaps in pairs, fours and eights. */
static inline struct number read_varint_long(const uint8_t *at,
                                             const uint8_t *end)
{
    if (end - at < 8)
        return read_varint_slowly(at, end);
    uint64_t x;
    memcpy(&x, at, sizeof x);
    uint64_t stops = ~x & 0x8080808080808080u;
    if (!stops)
        return read_varint_slowly(at, end);
    int bits = __builtin_ctzll(stops) + 1;
    x &= ~0ull >> (64 - bits);
    x = (x & 0x007f007f007f007fu) | (x & 0x7f007f007f007f00u) >> 1;
    x = (x & 0x00003fff00003fffu) | (x & 0x3fff00003fff0000u) >> 2;
    x = (x & 0x000000000fffffffu) | (x & 0x0fffffff00000000u) >> 4;
    return (struct number){x, at + bits / 8};
}

static inline struct number read_varint(const uint8_t *at, const uint8_t *end)
{
    if (__builtin_expect(at < end && *at < 0x80, 1))
        return (struct number){*at, at + 1};
    return read_varint_long(at, end);
}

static inline struct number read_int(const uint8_t *at, const uint8_t *end)
{
    struct number n = read_varint(at, end);
    return n.next && n.raw > UINT32_MAX ? fail(INGEST_REASON_VARINT) : n;
}

static inline struct number read_index(const uint8_t *at, const uint8_t *end,
                                       uint32_t count)
{
    struct number n = read_varint(at, end);
    if (!n.next)
        return n;
    if ((n.raw & 1) || n.raw >> 1 >= count)
        return fail(INGEST_REASON_INDEX);
    n.raw >>= 1;
    return n;
}

static inline struct number read_boolean(const uint8_t *at, const uint8_t *end)
{
    if (at == end)
        return fail(INGEST_REASON_TRUNCATED);
    if (*at > 1)
        return fail(INGEST_REASON_BOOLEAN);
    return (struct number){*at, at + 1};
}

/* The next `size` bytes, whatever they are. */
static inline struct number read_span(uint64_t size, const uint8_t *at,
                                      const uint8_t *end)
{
    if (size > (uint64_t)(end - at))
        return fail(INGEST_REASON_TRUNCATED);
    return (struct number){size, at + size};
}

/* A length and that many bytes; `raw` is the length. */
static inline struct number read_string(const uint8_t *at, const uint8_t *end)
{
    struct number n = read_varint(at, end);
    if (!n.next)
        return n;
    if ((n.raw & 1) || n.raw > UINT32_MAX)
        return fail(INGEST_REASON_LENGTH);
    return read_span(n.raw >> 1, n.next, end);
}

/* Starts the next block of the innermost loop, or leaves it. */
static struct number start_block(struct loops *loops, const uint8_t *at,
                                 const uint8_t *end)
{
    struct frame *frame = &loops->frames[loops->depth - 1];
    struct number n = read_varint(at, end);
    if (!n.next)
        return n;
    int64_t count = zigzag(n.raw);
    frame->block_end = NULL;
    if (count < 0) {
        if (count == INT64_MIN)
            return fail(INGEST_REASON_LENGTH);
        count = -count;
        struct number block = read_string(n.next, end);
        if (!block.next)
            return block;
        frame->block_end = block.next;
        n.next = block.next - block.raw;
    }
    loops->op = frame->op;
    if (count == 0) {
        loops->depth--;
        loops->op += frame->op->arg;
        return (struct number){0, n.next};
    }
    uint64_t work = frame->op->slot;
    if ((uint64_t)count > loops->budget / work)
        return fail(INGEST_REASON_LIMITS);
    loops->budget -= (uint64_t)count * work;
    frame->left = (uint64_t)count;
    return (struct number){0, n.next};
}

static struct number enter_loop(struct loops *loops, const uint8_t *at,
                                const uint8_t *end)
{
    if (loops->depth == INGEST_FRAMES_MAX)
        return fail(INGEST_REASON_LIMITS);
    loops->frames[loops->depth++].op = loops->op;
    return start_block(loops, at, end);
}

static struct number next_item(struct loops *loops, const uint8_t *at,
                               const uint8_t *end)
{
    struct frame *frame = &loops->frames[loops->depth - 1];
    if (--frame->left) {
        loops->op = frame->op;
        return (struct number){0, at};
    }
    if (frame->block_end && frame->block_end != at)
        return fail(INGEST_REASON_LENGTH);
    return start_block(loops, at, end);
}

static struct number enter_call(struct loops *loops, const uint8_t *at,
                                const struct ingest_op *ops)
{
    const struct ingest_op *op = loops->op;
    if (loops->depth == INGEST_FRAMES_MAX || op->slot > loops->budget)
        return fail(INGEST_REASON_LIMITS);
    loops->budget -= op->slot;
    loops->frames[loops->depth++].op = op;
    loops->op = ops + op->arg - 1;
    return (struct number){0, at};
}

/* Rounds towards minus infinity. */
static inline int64_t divide(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

static inline int64_t ms_of(int64_t value, const struct ingest_op *op)
{
    return op->seed == 1 ? value : divide(value, (int64_t)op->seed);
}

static inline unsigned hour_of(int64_t ms)
{
    int64_t hour = divide(ms, 3600000) % 24;
    return (unsigned)(hour < 0 ? hour + 24 : hour);
}

/* 0 = Monday; the epoch began on a Thursday. */
static inline unsigned weekday_of(int64_t ms)
{
    int64_t day = (divide(ms, 86400000) + 3) % 7;
    return (unsigned)(day < 0 ? day + 7 : day);
}

/* Id of the number of bounds that are <= value; see STORE_BUCKET. */
static uint64_t bucket_id(const struct ingest_op *op, const uint64_t *ids,
                          int64_t value)
{
    const uint64_t *bounds = ids + op->arg;
    unsigned bucket = 0;
    while (bucket < op->flag && (int64_t)bounds[bucket] <= value)
        bucket++;
    return bounds[op->flag + bucket];
}

static uint64_t real_bucket_id(const struct ingest_op *op,
                               const uint64_t *ids, const uint8_t *end,
                               uint64_t size)
{
    const uint8_t *text = end - size;
    const uint64_t *bounds = ids + op->arg;
    unsigned bucket = 0;
    double value, bound;
    float single;
    memcpy(&single, text, sizeof single);
    value = (double)single;
    if (size == sizeof value)
        memcpy(&value, text, sizeof value);
    if (value != value)
        return 0;
    for (; bucket < op->flag; bucket++) {
        memcpy(&bound, bounds + bucket, sizeof bound);
        if (!(bound <= value))
            break;
    }
    return bounds[op->flag + bucket];
}

/* Of what was read last: `value`, or the `size` bytes before `end`. */
static uint64_t derived_id(const struct ingest_op *op, const uint64_t *ids,
                           int64_t value, const uint8_t *end, uint64_t size)
{
    if (op->code == INGEST_OP_STORE_WEEKDAY)
        return ids[op->arg + weekday_of(ms_of(value, op))];
    return op->code == INGEST_OP_STORE_BUCKET
               ? bucket_id(op, ids, value)
               : real_bucket_id(op, ids, end, size);
}

static uint64_t element_id(const struct ingest_op *op, const uint64_t *ids,
                           int64_t value, const uint8_t *end, uint64_t size)
{
    if (op->code == INGEST_OP_PUSH_TABLE)
        return ids[op->arg + (uint64_t)value];
    if (op->code == INGEST_OP_PUSH_NUMBER)
        return ingest_hash_int(op->seed, value);
    return ingest_hash_bytes(op->seed, end - size, size);
}

/* Into the run's next free place; 1 where there is none. */
static uint32_t push(uint64_t *slots, const struct ingest_op *op, uint64_t id)
{
    uint64_t *run = slots + op->slot;
    if (run[op->flag - 1] != LEARNER_ABSENT) /* the last one is taken */
        return 1;
    while (*run != LEARNER_ABSENT)
        run++;
    *run = id;
    return 0;
}

/* An id of text; an empty required one counts as missing. */
static inline uint64_t text_id(const struct ingest_op *op, const uint8_t *text,
                               size_t size, bool *missing)
{
    *missing |= op->flag && size == 0;
    return ingest_hash_bytes(op->seed, text, size);
}

static inline void start_slots(const struct ingest_program *program,
                               uint64_t *slots)
{
    for (unsigned i = 0; i < program->slot_count; i++)
        slots[i] = program->start[i];
}

static enum ingest_reason end_of(const uint8_t *at, const uint8_t *end,
                                 bool missing)
{
    if (at != end)
        return INGEST_REASON_TRAILING;
    return missing ? INGEST_REASON_MISSING : INGEST_REASON_NONE;
}

unsigned ingest_program_slots(const struct ingest_program *program)
{
    return program->slot_count;
}

enum ingest_reason ingest_program_run(const struct ingest_program *program,
                                      const uint8_t *bytes, size_t size,
                                      uint64_t *slots)
{
    uint32_t cut;
    return ingest_program_run_cut(program, bytes, size, slots, &cut);
}

enum ingest_reason ingest_program_run_cut(const struct ingest_program *program,
                                          const uint8_t *bytes, size_t size,
                                          uint64_t *slots, uint32_t *cut)
{
    static const uint8_t nothing[1];
    const uint8_t *at = bytes ? bytes : nothing;
    const uint8_t *end = at + (bytes ? size : 0);
    const struct ingest_op *op = program->ops;
    const uint64_t *ids = program->ids;
    struct loops loops;
    loops.depth = 0;
    loops.budget = INGEST_WORK_START + INGEST_WORK_BYTE * (uint64_t)size;
    struct number n = {0, at};  /* what the operation read */
    int64_t value = 0;          /* register of numbers */
    bool missing = false;
    *cut = 0;
    start_slots(program, slots);
    for (;; op++) {
        switch ((enum ingest_op_code)op->code) {
        case INGEST_OP_STRING_ID:
            n = read_string(at, end);
            if (n.next)
                slots[op->slot] =
                    text_id(op, n.next - n.raw, n.raw, &missing);
            break;
        case INGEST_OP_NULLABLE:
            n = read_index(at, end, 2);
            if (n.raw == op->flag)
                op += op->arg;
            break;
        case INGEST_OP_READ_STRING: n = read_string(at, end); break;
        case INGEST_OP_READ_FIXED: n = read_span(op->arg, at, end); break;
        case INGEST_OP_READ_INT:
            n = read_int(at, end);
            value = zigzag(n.raw);
            break;
        case INGEST_OP_READ_LONG:
            n = read_varint(at, end);
            value = zigzag(n.raw);
            break;
        case INGEST_OP_READ_BOOLEAN:
            n = read_boolean(at, end);
            value = (int64_t)n.raw;
            break;
        case INGEST_OP_READ_ENUM:
            n = read_index(at, end, op->arg);
            value = (int64_t)n.raw;
            break;
        case INGEST_OP_STORE_TEXT:
            slots[op->slot] = text_id(op, at - n.raw, n.raw, &missing);
            break;
        case INGEST_OP_STORE_NUMBER:
            slots[op->slot] = ingest_hash_int(op->seed, value);
            break;
        case INGEST_OP_STORE_TABLE:
            slots[op->slot] = ids[op->arg + (uint64_t)value];
            break;
        case INGEST_OP_STORE_MS:
            slots[op->slot] = (uint64_t)ms_of(value, op);
            break;
        case INGEST_OP_STORE_HOUR:
            slots[op->slot] = ids[op->arg + hour_of(ms_of(value, op))];
            break;
        case INGEST_OP_STORE_WEEKDAY:
        case INGEST_OP_STORE_BUCKET:
        case INGEST_OP_STORE_BUCKET_REAL:
            slots[op->slot] = derived_id(op, ids, value, at, n.raw);
            break;
        case INGEST_OP_PUSH_TEXT:
        case INGEST_OP_PUSH_NUMBER:
        case INGEST_OP_PUSH_TABLE:
            *cut += push(slots, op, element_id(op, ids, value, at, n.raw));
            break;
        case INGEST_OP_STORE_DEFAULT: slots[op->slot] = op->seed; break;
        case INGEST_OP_MATCH:
            if (ingest_hash_bytes(0, at - n.raw, n.raw) != op->seed)
                op += op->arg;
            break;
        case INGEST_OP_MISSING: missing = true; break;
        case INGEST_OP_UNION:
            n = read_index(at, end, op->arg);
            op += n.next ? n.raw : 0;
            break;
        case INGEST_OP_JUMP: op += op->arg; break;
        case INGEST_OP_LOOP:
            loops.op = op;
            n = enter_loop(&loops, at, end);
            op = loops.op;
            break;
        case INGEST_OP_NEXT:
            n = next_item(&loops, at, end);
            op = loops.op;
            break;
        case INGEST_OP_CALL:
            loops.op = op;
            n = enter_call(&loops, at, program->ops);
            op = loops.op;
            break;
        case INGEST_OP_RETURN: op = loops.frames[--loops.depth].op; break;
        case INGEST_OP_END: return end_of(at, end, missing);
        }
        if (__builtin_expect(!n.next, 0))
            return (enum ingest_reason)n.raw;
        at = n.next;
    }
}
