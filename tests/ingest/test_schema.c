/* SPDX-License-Identifier: Apache-2.0 */
/* Writer's schemas: what a good one becomes, that hostile ones are refused
 * with a text that names the place, and that paths which lead nowhere are
 * explained. The project's own schemas must compile with their usual paths. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/file.h"
#include "ingest/decode.h"
#include "ingest/schema.h"
#include "tests/ingest/decode_all.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define RECORD(fields) \
    "{\"type\": \"record\", \"name\": \"R\", \"fields\": [" fields "]}"
#define ONE(type) RECORD("{\"name\": \"x\", \"type\": " type "}")

/* libavro forgets memory when it refuses a schema; that is not ours to free.
 * Leaks of this project's own code are still reported. */
__attribute__((visibility("default"))) const char *
__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libavro.so\n";
}

static const struct ingest_schema_node *child(const struct ingest_schema *s,
                                              uint32_t index, uint32_t i)
{
    return &s->nodes[s->nodes[index].children[i]];
}

static void test_tree(void **state)
{
    (void)state;
    struct ingest_schema *schema;
    struct base_error error;
    assert_int_equal(ingest_schema_new(all_schema, strlen(all_schema), &schema,
                                       &error),
                     BASE_OK);
    const struct ingest_schema_node *top = &schema->nodes[0];
    static const enum ingest_schema_type types[] = {
        INGEST_SCHEMA_STRING, INGEST_SCHEMA_BYTES, INGEST_SCHEMA_FIXED,
        INGEST_SCHEMA_ENUM,   INGEST_SCHEMA_INT,   INGEST_SCHEMA_LONG,
        INGEST_SCHEMA_BOOLEAN, INGEST_SCHEMA_FLOAT, INGEST_SCHEMA_DOUBLE,
        INGEST_SCHEMA_NULL,   INGEST_SCHEMA_LONG,  INGEST_SCHEMA_LONG,
        INGEST_SCHEMA_UNION,  INGEST_SCHEMA_UNION, INGEST_SCHEMA_ARRAY,
        INGEST_SCHEMA_MAP,    INGEST_SCHEMA_UNION, INGEST_SCHEMA_ENUM};
    assert_int_equal(top->type, INGEST_SCHEMA_RECORD);
    assert_int_equal(top->count, COUNT(types));
    for (uint32_t i = 0; i < COUNT(types); i++)
        assert_int_equal(child(schema, 0, i)->type, types[i]);
    assert_string_equal(top->names[3], "color");
    assert_int_equal(child(schema, 0, 2)->size, 5);
    assert_int_equal(child(schema, 0, 3)->count, 3);
    assert_string_equal(child(schema, 0, 3)->names[2], "BLUE");
    assert_int_equal(child(schema, 0, 5)->logical, INGEST_SCHEMA_PLAIN);
    assert_int_equal(child(schema, 0, 10)->logical, INGEST_SCHEMA_MILLIS);
    assert_int_equal(child(schema, 0, 11)->logical, INGEST_SCHEMA_MICROS);
    /* A name stands for the very node: the enum, and the recursive record. */
    assert_int_equal(top->children[3], top->children[17]);
    uint32_t chain = child(schema, 0, 16)->children[1];
    const struct ingest_schema_node *node = &schema->nodes[chain];
    assert_int_equal(schema->nodes[node->children[1]].children[1], chain);
    assert_int_equal(schema->nodes[node->children[2]].children[0], chain);
    ingest_schema_free(schema);
}

static void expect(const char *text, size_t size, enum base_status status,
                   const char *part)
{
    struct ingest_schema *schema = NULL;
    struct base_error error = {.text = ""};
    enum base_status got = ingest_schema_new(text, size, &schema, &error);
    if (got != status || (got && !strstr(error.text, part)))
        fail_msg("%.200s: %s: '%s' instead of %s with '%s'", text,
                 base_status_name(got), error.text, base_status_name(status),
                 part);
    ingest_schema_free(schema);
}

static void test_wrong_schemas(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "line 1"},
        {"garbage", "garbage"},
        {"{\"type\": \"record\"", "line 1"},
        {"\xff\xfe{}", "line 1"},
        {"{}", "type"},
        {"[]", "schema: "},
        {"3", "schema: "},
        {"\"string\"", "line 1"},
        {"[\"null\", \"string\"]", "must be a record"},
        {"{\"type\": \"array\", \"items\": \"int\"}", "must be a record"},
        {"{\"type\": \"record\", \"type\": \"enum\"}", "duplicate"},
        {"{\"type\": \"record\", \"fields\": []}", "name"},
        {"{\"type\": \"record\", \"name\": \"R\"}", "fields"},
        {ONE("\"Nowhere\""), "Nowhere"},
        {ONE("{\"type\": \"array\"}"), "items"},
        {ONE("[]"), "branch"},
        {ONE("[\"int\", [\"null\"]]"), "directly in a union"},
        {ONE("[\"null\", \"null\"]"), "null twice"},
        {ONE("[\"int\", \"string\", \"int\"]"), "int twice"},
        {ONE("[{\"type\": \"array\", \"items\": \"int\"},"
             " {\"type\": \"array\", \"items\": \"long\"}]"), "array twice"},
        {ONE("[\"R\", \"null\", \"R\"]"), "record twice"},
        {RECORD("{\"name\": \"a\", \"type\": \"int\"},"
                "{\"name\": \"a\", \"type\": \"long\"}"), "field a twice"},
        {RECORD("{\"name\": \"a-b\", \"type\": \"int\"}"), "identifier"},
        {ONE("{\"type\": \"enum\", \"name\": \"E\", \"symbols\":"
             " [\"A\", \"B\", \"A\"]}"), "symbol A twice"},
        {ONE("{\"type\": \"enum\", \"name\": \"E\", \"symbols\": []}"),
         "symbol"},
        {ONE("{\"type\": \"fixed\", \"name\": \"F\", \"size\": -1}"),
         "size -1"},
        {ONE("{\"type\": \"fixed\", \"name\": \"F\", \"size\": 2147483648}"),
         "size 2147483648"},
        {ONE("{\"type\": \"record\", \"name\": \"R\", \"fields\": []}"),
         "schema: "},
    };
    for (unsigned i = 0; i < COUNT(cases); i++)
        expect(cases[i][0], strlen(cases[i][0]), BASE_DATA, cases[i][1]);
    expect("{\"type\": \"rec\0ord\"}", 20, BASE_DATA, "line 1");
}

/* Text that grows; OWNS. */
struct text {
    char *bytes;
    size_t size, room;
};

static void add(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    if (text->room - text->size < 200) {
        text->room = text->room * 2 + 4096;
        text->bytes = realloc(text->bytes, text->room);
        assert_non_null(text->bytes);
    }
    va_list arguments;
    va_start(arguments, format);
    text->size += (size_t)vsnprintf(text->bytes + text->size,
                                    text->room - text->size, format,
                                    arguments);
    va_end(arguments);
}

static void expect_text(struct text *text, enum base_status status,
                        const char *part)
{
    expect(text->bytes, text->size, status, part);
    free(text->bytes);
}

/* `depth` types inside each other: the top record, arrays, an int. */
static void test_depth(void **state)
{
    (void)state;
    static const struct {
        int depth;
        enum base_status status;
        const char *part;
    } cases[] = {{32, BASE_OK, ""},
                 {33, BASE_LIMIT, "nested more than 32"},
                 {500, BASE_LIMIT, "nested more than 32"},
                 {10000, BASE_DATA, "depth"}};
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct text text = {0};
        add(&text, "{\"type\": \"record\", \"name\": \"R\", \"fields\":"
                   " [{\"name\": \"x\", \"type\": ");
        for (int depth = 2; depth < cases[i].depth; depth++)
            add(&text, "{\"type\": \"array\", \"items\": ");
        add(&text, "\"int\"");
        for (int depth = 2; depth < cases[i].depth; depth++)
            add(&text, "}");
        add(&text, "}]}");
        expect_text(&text, cases[i].status, cases[i].part);
    }
}

static void add_fields(struct text *text, int count)
{
    add(text, "{\"type\": \"record\", \"name\": \"R\", \"fields\": [");
    for (int i = 0; i < count; i++)
        add(text, "%s{\"name\": \"f%d\", \"type\": \"int\"}", i ? "," : "", i);
    add(text, "]}");
}

static void test_sizes(void **state)
{
    (void)state;
    struct text text = {0};
    add_fields(&text, INGEST_SCHEMA_FIELDS_MAX);
    expect_text(&text, BASE_OK, "");
    text = (struct text){0};
    add_fields(&text, INGEST_SCHEMA_FIELDS_MAX + 1);
    expect_text(&text, BASE_LIMIT, "1025 fields");
    text = (struct text){0};
    add_fields(&text, 30000); /* within the text's limit */
    expect_text(&text, BASE_LIMIT, "30000 fields");
    text = (struct text){0};
    add_fields(&text, 1000000);
    expect_text(&text, BASE_LIMIT, "bytes of JSON");
}

static void add_enum(struct text *text, int symbols)
{
    add(text, "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\":"
              " \"x\", \"type\": {\"type\": \"enum\", \"name\": \"E\","
              " \"symbols\": [");
    for (int i = 0; i < symbols; i++)
        add(text, "%s\"S%d\"", i ? "," : "", i);
    add(text, "]}}]}");
}

static void test_symbols_and_text(void **state)
{
    (void)state;
    struct text text = {0};
    add_enum(&text, INGEST_SCHEMA_SYMBOLS_MAX);
    expect_text(&text, BASE_OK, "");
    text = (struct text){0};
    add_enum(&text, INGEST_SCHEMA_SYMBOLS_MAX + 1);
    expect_text(&text, BASE_LIMIT, "4097 symbols");
    text = (struct text){0};
    while (text.size < 2 << 20)
        add(&text, "%100s", "");
    expect_text(&text, BASE_LIMIT, "bytes of JSON");
}

static void test_branches_and_nodes(void **state)
{
    (void)state;
    struct text text = {0};
    add(&text, "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\":"
               " \"x\", \"type\": [\"null\"");
    for (int i = 0; i < INGEST_SCHEMA_BRANCHES_MAX; i++)
        add(&text, ", {\"type\": \"fixed\", \"name\": \"F%d\", \"size\": 1}",
            i);
    add(&text, "]}]}");
    expect_text(&text, BASE_LIMIT, "257 branches");
    text = (struct text){0};
    add(&text, "{\"type\": \"record\", \"name\": \"R\", \"fields\": [");
    for (int i = 0; i < 20; i++) {
        add(&text, "%s{\"name\": \"f%d\", \"type\": {\"type\": \"record\","
                   " \"name\": \"R%d\", \"fields\": [", i ? "," : "", i, i);
        for (int j = 0; j < 1000; j++)
            add(&text, "%s{\"name\": \"g%d\", \"type\": \"int\"}",
                j ? "," : "", j);
        add(&text, "]}}");
    }
    add(&text, "]}");
    expect_text(&text, BASE_LIMIT, "more than 16384 types");
}

/* ---- paths ------------------------------------------------------------- */

static void expect_path(const char *schema, const char *path,
                        enum ingest_target_kind kind, enum base_status status,
                        const char *part)
{
    struct ingest_target target = {path, kind, false, .seed = 1};
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    enum base_status got = ingest_program_new(schema, strlen(schema), &target,
                                              1, &program, &error);
    if (got != status || (got && !strstr(error.text, part)))
        fail_msg("%s: %s: '%s' instead of %s with '%s'", path,
                 base_status_name(got), error.text, base_status_name(status),
                 part);
    ingest_program_free(program);
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum ingest_target_kind kind;
        const char *part;
    } cases[] = {
        {"user.id", INGEST_TARGET_ID, NULL},
        {"user.home.city", INGEST_TARGET_ID, NULL},
        {"chain.next.next.next.value", INGEST_TARGET_ID, NULL},
        {"small", INGEST_TARGET_MS, NULL},
        {"large", INGEST_TARGET_HOUR, NULL},
        {"nothing", INGEST_TARGET_MS, NULL},
        {"txt", INGEST_TARGET_ID, "path 'txt' does not exist"},
        {"txt", INGEST_TARGET_ID, "text, raw, five, color"},
        {"tex", INGEST_TARGET_ID, "does not exist"},
        {"texts", INGEST_TARGET_ID, "does not exist"},
        {"user.name", INGEST_TARGET_ID, "of 'user' are: id, tags, home"},
        {"user.home.street", INGEST_TARGET_ID, "of 'user.home' are: city"},
        {"text.length", INGEST_TARGET_ID, "'text' is of type string"},
        {"voids.x", INGEST_TARGET_ID, "'voids' is of type array"},
        {"table.some.id", INGEST_TARGET_ID, NULL},
        {"table.some", INGEST_TARGET_ID, "leads to record"},
        {"table.some.name", INGEST_TARGET_ID, "'table' is of type map"},
        {"voids", INGEST_TARGET_ID, "leads to array"},
        {"table", INGEST_TARGET_ID, "leads to map"},
        {"user.tags", INGEST_TARGET_ID, "leads to array"},
        {"user", INGEST_TARGET_ID, "leads to record"},
        {"single", INGEST_TARGET_ID, "leads to float"},
        {"twice", INGEST_TARGET_ID, "leads to double"},
        {"text", INGEST_TARGET_MS, "leads to string"},
        {"flag", INGEST_TARGET_HOUR, "leads to boolean"},
        {"either", INGEST_TARGET_MS, "leads to string"},
        {"", INGEST_TARGET_ID, "path ''"},
        {".", INGEST_TARGET_ID, "path '.'"},
        {"user.", INGEST_TARGET_ID, "path 'user.'"},
        {".user", INGEST_TARGET_ID, "path '.user'"},
        {"user..id", INGEST_TARGET_ID, "path 'user..id'"},
    };
    for (unsigned i = 0; i < COUNT(cases); i++)
        expect_path(all_schema, cases[i].path, cases[i].kind,
                    cases[i].part ? BASE_CONFIG : BASE_OK,
                    cases[i].part ? cases[i].part : "");
}

static void test_time_types(void **state)
{
    (void)state;
    static const char *const others[] = {"date", "time-millis"};
    for (unsigned i = 0; i < COUNT(others); i++) {
        char schema[200];
        snprintf(schema, sizeof schema, ONE("{\"type\": \"int\","
                 " \"logicalType\": \"%s\"}"), others[i]);
        expect_path(schema, "x", INGEST_TARGET_MS, BASE_CONFIG,
                    "int of another time unit");
        expect_path(schema, "x", INGEST_TARGET_ID, BASE_OK, "");
    }
    expect_path(ONE("{\"type\": \"long\", \"logicalType\":"
                    " \"timestamp-nanos\"}"), "x", INGEST_TARGET_HOUR,
                BASE_CONFIG, "long of another time unit");
}

static void test_hostile_paths(void **state)
{
    (void)state;
    char path[10000] = "chain";
    for (size_t used = 5; used + 6 < sizeof path; used += 5)
        memcpy(path + used, ".next", 6);
    expect_path(all_schema, path, INGEST_TARGET_ID, BASE_CONFIG,
                "components");
    /* Records that hold one another: a path through all of them would be
     * laid out 20^8 times. */
    struct text text = {0};
    add(&text, "{\"type\": \"record\", \"name\": \"R\", \"fields\": [");
    for (int i = 0; i < 20; i++)
        add(&text, "{\"name\": \"g%d\", \"type\": {\"type\": \"record\","
                   " \"name\": \"R%d\", \"fields\": [{\"name\": \"f\","
                   " \"type\": [\"null\", \"R\"]}]}},", i, i);
    add(&text, "{\"name\": \"f\", \"type\": [\"null\"");
    for (int i = 0; i < 20; i++)
        add(&text, ", \"R%d\"", i);
    add(&text, "]}]}");
    expect_path(text.bytes, "f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.f.x",
                INGEST_TARGET_ID, BASE_LIMIT, "operations");
    free(text.bytes);
}

static void test_own_schemas(void **state)
{
    (void)state;
    static const struct {
        const char *file, *paths[8];
    } cases[] = {
        {"schemas/impression.avsc",
         {"impression_id", "user_id", "gender", "age_level", "goods", "shop",
          "cate", "pid"}},
        {"schemas/click.avsc",
         {"impression_id", "user_id", "goods", "shop", "cate"}},
        {"schemas/announcement.avsc", {"model_name", "version"}},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct base_error error;
        char *text;
        size_t size;
        assert_int_equal(base_file_read(cases[i].file, 1 << 20, &text, &size,
                                        &error), BASE_OK);
        for (unsigned j = 0; j < 8 && cases[i].paths[j]; j++)
            expect_path(text, cases[i].paths[j], INGEST_TARGET_ID, BASE_OK,
                        "");
        if (i < 2)
            expect_path(text, "event_ms", INGEST_TARGET_MS, BASE_OK, "");
        free(text);
    }
}

/* libavro keeps its error text in one place for all threads. */
static void *parse_again_and_again(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        struct ingest_schema *schema;
        struct base_error error;
        if (ingest_schema_new(all_schema, strlen(all_schema), &schema, &error))
            return (char *)"a good schema was refused";
        ingest_schema_free(schema);
        const char *wrong = i & 1 ? ONE("\"Nowhere\"") : ONE("[]");
        if (!ingest_schema_new(wrong, strlen(wrong), &schema, &error) ||
            !strstr(error.text, i & 1 ? "Nowhere" : "branch"))
            return (char *)"the text of another thread's error";
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (unsigned i = 0; i < COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        parse_again_and_again, NULL), 0);
    for (unsigned i = 0; i < COUNT(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        if (wrong)
            fail_msg("%s", (char *)wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_wrong_schemas),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_symbols_and_text),
        cmocka_unit_test(test_branches_and_nodes),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_time_types),
        cmocka_unit_test(test_hostile_paths),
        cmocka_unit_test(test_own_schemas),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
