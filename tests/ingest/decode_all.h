/* SPDX-License-Identifier: Apache-2.0 */
/* One schema with every type of Avro in it, a record of it, and targets. Used
 * by the decoder's tests and as a seed of its fuzzer. */
#ifndef TESTS_INGEST_DECODE_ALL_H
#define TESTS_INGEST_DECODE_ALL_H

#include "ingest/decode.h"
#include "tests/ingest/wire.h"

#define ALL_FIELD(name, type) "{\"name\": \"" name "\", \"type\": " type "}"

static const char all_schema[] =
    "{\"type\": \"record\", \"name\": \"All\", \"namespace\": \"test\","
    " \"fields\": ["
    ALL_FIELD("text", "\"string\"") ","
    ALL_FIELD("raw", "\"bytes\"") ","
    ALL_FIELD("five", "{\"type\": \"fixed\", \"name\": \"Five\", \"size\": 5}")
    "," ALL_FIELD("color", "{\"type\": \"enum\", \"name\": \"Color\","
                  " \"symbols\": [\"RED\", \"GREEN\", \"BLUE\"]}") ","
    ALL_FIELD("small", "\"int\"") ","
    ALL_FIELD("large", "\"long\"") ","
    ALL_FIELD("flag", "\"boolean\"") ","
    ALL_FIELD("single", "\"float\"") ","
    ALL_FIELD("twice", "\"double\"") ","
    ALL_FIELD("nothing", "\"null\"") ","
    ALL_FIELD("millis", "{\"type\": \"long\","
              " \"logicalType\": \"timestamp-millis\"}") ","
    ALL_FIELD("micros", "{\"type\": \"long\","
              " \"logicalType\": \"timestamp-micros\"}") ","
    ALL_FIELD("either", "[\"string\", \"null\", \"long\", \"boolean\"]") ","
    ALL_FIELD("user", "[\"null\", {\"type\": \"record\", \"name\": \"User\","
              " \"fields\": ["
              ALL_FIELD("id", "\"string\"") ","
              ALL_FIELD("tags", "{\"type\": \"array\","
                        " \"items\": \"string\"}") ","
              ALL_FIELD("home", "[\"null\", {\"type\": \"record\","
                        " \"name\": \"Place\", \"fields\": ["
                        ALL_FIELD("city", "[\"null\", \"string\"]")
                        "]}]") "]}]") ","
    ALL_FIELD("voids", "{\"type\": \"array\", \"items\": \"null\"}") ","
    ALL_FIELD("table", "{\"type\": \"map\", \"values\": [\"null\", \"User\"]}")
    ","
    ALL_FIELD("chain", "[\"null\", {\"type\": \"record\", \"name\": \"Node\","
              " \"fields\": ["
              ALL_FIELD("value", "\"int\"") ","
              ALL_FIELD("next", "[\"null\", \"Node\"]") ","
              ALL_FIELD("kids", "{\"type\": \"array\", \"items\": \"Node\"}")
              "]}]") ","
    ALL_FIELD("last", "\"Color\"")
    "]}";

enum {
    ALL_TEXT, ALL_RAW, ALL_FIVE, ALL_COLOR, ALL_SMALL, ALL_LARGE, ALL_FLAG,
    ALL_NOTHING, ALL_MILLIS, ALL_MILLIS_ID, ALL_MILLIS_HOUR, ALL_MICROS,
    ALL_MICROS_HOUR, ALL_EITHER, ALL_USER, ALL_CITY, ALL_CHAIN, ALL_LAST,
    ALL_TARGETS
};

static const struct ingest_target all_targets[ALL_TARGETS] = {
    [ALL_TEXT] = {"text", INGEST_TARGET_ID, true, .seed = 1},
    [ALL_RAW] = {"raw", INGEST_TARGET_ID, false, .seed = 2},
    [ALL_FIVE] = {"five", INGEST_TARGET_ID, false, .seed = 3},
    [ALL_COLOR] = {"color", INGEST_TARGET_ID, false, .seed = 4},
    [ALL_SMALL] = {"small", INGEST_TARGET_ID, false, .seed = 5},
    [ALL_LARGE] = {"large", INGEST_TARGET_ID, false, .seed = 6},
    [ALL_FLAG] = {"flag", INGEST_TARGET_ID, false, .seed = 7},
    [ALL_NOTHING] = {"nothing", INGEST_TARGET_ID, false, .seed = 8},
    [ALL_MILLIS] = {"millis", INGEST_TARGET_MS, true, .seed = 0},
    [ALL_MILLIS_ID] = {"millis", INGEST_TARGET_ID, false, .seed = 9},
    [ALL_MILLIS_HOUR] = {"millis", INGEST_TARGET_HOUR, false, .seed = 10},
    [ALL_MICROS] = {"micros", INGEST_TARGET_MS, false, .seed = 0},
    [ALL_MICROS_HOUR] = {"micros", INGEST_TARGET_HOUR, false, .seed = 11},
    [ALL_EITHER] = {"either", INGEST_TARGET_ID, false, .seed = 12},
    [ALL_USER] = {"user.id", INGEST_TARGET_ID, false, .seed = 13},
    [ALL_CITY] = {"user.home.city", INGEST_TARGET_ID, false, .seed = 14},
    [ALL_CHAIN] = {"chain.next.value", INGEST_TARGET_ID, false, .seed = 15},
    [ALL_LAST] = {"last", INGEST_TARGET_ID, false, .seed = 16},
};

/* A User whose home is in `city`, with two blocks of tags. */
static inline void all_write_user(struct wire *wire, const char *id,
                                  const char *city)
{
    wire_string(wire, id);
    wire_long(wire, 1);
    wire_string(wire, "early");
    wire_long(wire, -2); /* two tags in 4 bytes */
    wire_long(wire, 4);
    wire_string(wire, "x");
    wire_string(wire, "y");
    wire_long(wire, 0);
    wire_long(wire, 1);
    wire_branch(wire, 1, city);
}

static inline void all_write_leaf(struct wire *wire, int64_t value)
{
    wire_long(wire, value);
    wire_long(wire, 0);
    wire_long(wire, 0);
}

static inline void all_write(struct wire *wire)
{
    wire_string(wire, "gr\xc3\xbc\xc3\x9f");
    wire_long(wire, 3);
    wire_bytes(wire, "a\0\xff", 3);
    wire_bytes(wire, "12345", 5);
    wire_long(wire, 1);
    wire_long(wire, -2147483647 - 1);
    wire_long(wire, INT64_MIN);
    wire_byte(wire, 1);
    wire_bytes(wire, "\0\0\x80\x3f", 4);
    wire_bytes(wire, "\0\0\0\0\0\0\xf0\x3f", 8);
    wire_long(wire, 1763788000123);
    wire_long(wire, -1);
    wire_long(wire, 2);
    wire_long(wire, 42);
    wire_long(wire, 1);
    all_write_user(wire, "u7", "Oslo");
    wire_long(wire, 3); /* voids: three nulls, then a sized block of two */
    wire_long(wire, -2);
    wire_long(wire, 0);
    wire_long(wire, 0);
    wire_long(wire, 2); /* table */
    wire_string(wire, "none");
    wire_long(wire, 0);
    wire_string(wire, "some");
    wire_long(wire, 1);
    all_write_user(wire, "other", "Rome");
    wire_long(wire, 0);
    wire_long(wire, 1); /* chain: 1 -> 2, with two kids below 1 */
    wire_long(wire, 1);
    wire_long(wire, 1);
    all_write_leaf(wire, 2);
    wire_long(wire, 2);
    all_write_leaf(wire, 3);
    all_write_leaf(wire, 4);
    wire_long(wire, 0);
    wire_long(wire, 2);
}

#endif
