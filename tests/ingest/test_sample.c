/* SPDX-License-Identifier: Apache-2.0 */
/* The journal's bytes: parsing never leaves the bytes it is given, blocks
 * tell any damage, the chain is what sample.h says. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/random.h"
#include "ingest/sample.h"

enum { FIELDS = 3, ITEMS = 2 };

/* A sample with `count` behaviors; its size. */
static size_t put_sample(uint8_t *at, uint8_t fresh, uint32_t count)
{
    size_t size = ingest_sample_max(FIELDS, ITEMS, count);
    memset(at, 0x11, size);
    at[0] = INGEST_RECORD_SAMPLE;
    at[1] = LEARNER_FNW_POSITIVE;
    at[2] = 1;
    at[3] = fresh;
    base_put_u32(at + 4, count);
    base_put_i64(at + 8, -5);
    base_put_u64(at + 16, 77);
    return size;
}

static bool parse(const uint8_t *at, size_t size, struct ingest_record *record)
{
    return ingest_record_parse(at, at + size, FIELDS, ITEMS, record);
}

static void a_sample_is_read_back(void **unused)
{
    uint8_t bytes[400];
    struct ingest_record record;
    size_t size = put_sample(bytes, 1, 4);
    (void)unused;
    assert_int_equal(size, 24 + 8 * (FIELDS + 4 * ITEMS));
    assert_true(parse(bytes, sizeof bytes, &record));
    assert_int_equal(record.type, INGEST_RECORD_SAMPLE);
    assert_int_equal(record.size, size);
    assert_int_equal(record.kind, LEARNER_FNW_POSITIVE);
    assert_int_equal(record.label, 1);
    assert_int_equal(record.count, 4);
    assert_int_equal(record.event_ms, -5);
    assert_int_equal(record.number, 77);
    assert_ptr_equal(record.ids, bytes + 24);
    assert_ptr_equal(record.history, bytes + 24 + 8 * FIELDS);
}

static void marks_are_read_back(void **unused)
{
    uint8_t bytes[INGEST_MARK_SIZE] = {INGEST_RECORD_FINAL, 1};
    struct ingest_record record;
    (void)unused;
    base_put_u64(bytes + 8, 1234);
    assert_true(parse(bytes, sizeof bytes, &record));
    assert_int_equal(record.type, INGEST_RECORD_FINAL);
    assert_int_equal(record.label, 1);
    assert_int_equal(record.number, 1234);
    bytes[0] = INGEST_RECORD_BATCH_END;
    base_put_u32(bytes + 4, 9);
    assert_true(parse(bytes, sizeof bytes, &record));
    assert_int_equal(record.count, 9);
    assert_int_equal(record.size, INGEST_MARK_SIZE);
}

static void nothing_cut_short_is_a_record(void **unused)
{
    uint8_t bytes[400];
    struct ingest_record record;
    size_t size = put_sample(bytes, 1, 4);
    (void)unused;
    for (size_t shorter = 0; shorter < size; shorter++) {
        /* On the heap, so that a sanitizer sees a read behind the end. */
        uint8_t *copy = malloc(shorter ? shorter : 1);
        memcpy(copy, bytes, shorter);
        assert_false(parse(copy, shorter, &record));
        free(copy);
    }
}

static void values_out_of_range_are_no_records(void **unused)
{
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{0, 0}, {0, 4}, {1, 3}, {2, 2}, {3, 2}, {3, 0}, {6, 1}};
    uint8_t bytes[400];
    struct ingest_record record;
    (void)unused;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_sample(bytes, 1, 4);
        assert_true(parse(bytes, sizeof bytes, &record));
        bytes[cases[i].at] = cases[i].value;
        assert_false(parse(bytes, sizeof bytes, &record));
    }
    put_sample(bytes, 0, 0); /* as before */
    assert_true(parse(bytes, sizeof bytes, &record));
    assert_false(record.fresh);
}

static void random_bytes_stay_in_their_bounds(void **unused)
{
    struct ingest_record record;
    unsigned parsed = 0;
    (void)unused;
    for (uint64_t i = 0; i < 200000; i++) {
        uint64_t bits = base_random_u64(1, 0, i, 0);
        size_t size = bits % 120;
        uint8_t *bytes = malloc(size ? size : 1);
        for (size_t k = 0; k < size; k++) {
            uint64_t more = base_random_u64(1, 1, i, k / 8);
            bytes[k] = (uint8_t)(more >> k % 8 * 8);
        }
        if (size > 4) { /* close to a record */
            bytes[0] = 1 + bits / 128 % 3;
            bytes[1] &= 3;
            bytes[2] = bytes[3] = bits / 512 % 2;
        }
        if (size > 8)
            base_put_u32(bytes + 4, (uint32_t)(bits / 1024 % 6));
        if (parse(bytes, size, &record)) {
            assert_true(record.size <= size);
            assert_true(record.size >= INGEST_MARK_SIZE);
            parsed++;
        }
        free(bytes);
    }
    assert_true(parsed > 1000);
}

static void the_chain_covers_every_byte_and_the_order(void **unused)
{
    struct ingest_digest zero = {0, 0}, one, other;
    uint8_t record[24] = {1, 2, 3}, joined[40] = {0};
    (void)unused;
    memcpy(joined + 16, record, sizeof record);
    one = ingest_record_chain(zero, record, sizeof record);
    other = ingest_digest_128(joined, sizeof joined);
    assert_int_equal(one.low, other.low);
    assert_int_equal(one.high, other.high);
    base_put_u64(base_put_u64(joined, one.low), one.high);
    other = ingest_digest_128(joined, sizeof joined);
    one = ingest_record_chain(one, record, sizeof record);
    assert_int_equal(one.low, other.low);
    assert_int_equal(one.high, other.high);
    record[23] ^= 1;
    assert_int_not_equal(
        ingest_record_chain(zero, record, sizeof record).low, other.low);
}

static void a_block_tells_any_damage(void **unused)
{
    uint8_t value[INGEST_JOURNAL_HEAD + 100], key[INGEST_JOURNAL_KEY];
    struct ingest_journal_block wrote = {.records = 3, .position = 40,
                                         .number = 6, .chain = {8, 9}},
                                read;
    struct base_error error;
    (void)unused;
    memset(value, 0x22, sizeof value);
    ingest_journal_block_close(value, sizeof value, &wrote);
    ingest_journal_block_key(key, 40, 6);
    struct ingest_bytes k = {key, sizeof key}, v = {value, sizeof value};
    assert_int_equal(ingest_journal_block_open(k, v, &read, &error), BASE_OK);
    assert_int_equal(read.records, 3);
    assert_int_equal(read.position, 40);
    assert_int_equal(read.number, 6);
    assert_int_equal(read.chain.high, 9);
    assert_int_equal(read.end - read.at, 100);
    for (size_t bit = 0; bit < sizeof value * 8; bit++) {
        value[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(ingest_journal_block_open(k, v, &read, &error),
                         BASE_CORRUPT);
        value[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (v.size = 0; v.size < sizeof value; v.size++)
        assert_int_equal(ingest_journal_block_open(k, v, &read, &error),
                         BASE_CORRUPT);
    v.size = sizeof value;
    key[15] = 7; /* under another block's key */
    assert_int_equal(ingest_journal_block_open(k, v, &read, &error),
                     BASE_CORRUPT);
    assert_non_null(strstr(error.text, "block 7 at position 40"));
}

static void keys_sort_by_position_then_number(void **unused)
{
    uint8_t low[INGEST_JOURNAL_KEY], high[INGEST_JOURNAL_KEY];
    static const uint64_t pairs[][2] = {
        {0, 0}, {0, 1}, {1, 2}, {255, 3}, {256, 3}, {256, 300},
        {UINT32_MAX, 0}, {(uint64_t)1 << 40, 0}, {UINT64_MAX, 1}};
    (void)unused;
    for (unsigned i = 1; i < sizeof pairs / sizeof *pairs; i++) {
        ingest_journal_block_key(low, pairs[i - 1][0], pairs[i - 1][1]);
        ingest_journal_block_key(high, pairs[i][0], pairs[i][1]);
        assert_true(memcmp(low, high, sizeof low) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sample_is_read_back),
        cmocka_unit_test(marks_are_read_back),
        cmocka_unit_test(nothing_cut_short_is_a_record),
        cmocka_unit_test(values_out_of_range_are_no_records),
        cmocka_unit_test(random_bytes_stay_in_their_bounds),
        cmocka_unit_test(the_chain_covers_every_byte_and_the_order),
        cmocka_unit_test(a_block_tells_any_damage),
        cmocka_unit_test(keys_sort_by_position_then_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
