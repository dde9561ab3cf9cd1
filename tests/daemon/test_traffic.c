/* SPDX-License-Identifier: Apache-2.0 */
/* The producer's Avro bytes, against records written out by hand. */
#include "daemon/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct simulation_impression shown = {.user = 12,
                                                   .goods = 3,
                                                   .shop = 4,
                                                   .cate = 5,
                                                   .gender = 1,
                                                   .age_level = 6,
                                                   .pid = 2};

static void test_impression(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        4,    'i',  '9',              /* impression_id, 2 bytes */
        6,    'u',  '1',  '2',        /* user_id */
        0x80, 0x80, 0x80, 0x80, 0x20, /* 2^32 in zigzag */
        2,    2,    'f',              /* branch 1, gender */
        2,    12,                     /* branch 1, age_level 6 */
        4,    'g',  '3',  4,    's',  '4', 4,
        'c',  '5',  2,    4,    'p',  '2', /* branch 1, pid */
    };
    uint8_t record[TRAFFIC_RECORD_MAX];
    size_t size =
        traffic_encode_impression(record, "i9", (int64_t)1 << 32, &shown);
    assert_int_equal(size, sizeof expected);
    assert_memory_equal(record, expected, size);
}

static void test_click(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        2,    4,    'i', '9', /* branch 1, impression_id */
        6,    'u',  '1', '2', /* user_id */
        0x80, 0x02,           /* 128 */
        4,    'g',  '3', 4,   's', '4', 4, 'c', '5',
    };
    uint8_t record[TRAFFIC_RECORD_MAX];
    size_t size = traffic_encode_click(record, "i9", 128, &shown);
    assert_int_equal(size, sizeof expected);
    assert_memory_equal(record, expected, size);
}

static void test_negative_time(void **state)
{
    (void)state;
    uint8_t record[TRAFFIC_RECORD_MAX];
    size_t size = traffic_encode_click(record, "i", -1, &shown);
    /* branch, id (2), user (4), then -1 as 1. */
    assert_true(size > 7);
    assert_int_equal(record[7], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_impression),
        cmocka_unit_test(test_click),
        cmocka_unit_test(test_negative_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
