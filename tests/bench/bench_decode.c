/* SPDX-License-Identifier: Apache-2.0 */
/* Records per second of the impression record: our decoder, which also makes
 * the ids of all fields, beside libavro's generic reader with a reused value,
 * which only reads. One thread, its CPU time, the two taking turns; the
 * fastest round of each counts. The last line is JSON.
 * Usage: bench_decode [schemas/impression.avsc [rounds]] */
#include <avro.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "base/random.h"
#include "ingest/decode.h"
#include "tests/ingest/wire.h"

enum { RECORDS = 4096, PASSES = 50, TARGETS = 10 };

struct record {
    const uint8_t *bytes;
    size_t size;
};

struct bench {
    char *schema;
    size_t schema_size, byte_count;
    struct record records[RECORDS];
    struct ingest_program *program;
    avro_value_iface_t *iface;
    avro_value_t value;
};

static const struct ingest_target targets[TARGETS] = {
    {"impression_id", INGEST_TARGET_ID, true, .seed = 11},
    {"user_id", INGEST_TARGET_ID, true, .seed = 12},
    {"event_ms", INGEST_TARGET_MS, true, .seed = 0},
    {"event_ms", INGEST_TARGET_HOUR, false, .seed = 13},
    {"gender", INGEST_TARGET_ID, false, .seed = 14},
    {"age_level", INGEST_TARGET_ID, false, .seed = 15},
    {"goods", INGEST_TARGET_ID, false, .seed = 16},
    {"shop", INGEST_TARGET_ID, false, .seed = 17},
    {"cate", INGEST_TARGET_ID, false, .seed = 18},
    {"pid", INGEST_TARGET_ID, false, .seed = 19},
};

static void die(const char *what)
{
    fprintf(stderr, "bench_decode: %s\n", what);
    exit(1);
}

static uint64_t draw(unsigned record, unsigned field, uint64_t below)
{
    return base_random_below(base_random_u64(1, 0, record, field), below);
}

static void write_id(struct wire *wire, const char *prefix, uint64_t number)
{
    char text[40];
    snprintf(text, sizeof text, "%s%" PRIu64, prefix, number);
    wire_string(wire, text);
}

/* One impression out of twelve lacks gender and age, one of six the slot. */
static void make_record(struct wire *wire, unsigned i)
{
    char text[40];
    snprintf(text, sizeof text, "%016" PRIx64, draw(i, 0, UINT64_MAX));
    wire->size = 0;
    wire_string(wire, text);
    write_id(wire, "u", draw(i, 1, 1000000));
    wire_long(wire, 1763700000000 + (int64_t)draw(i, 2, 86400000));
    bool known = draw(i, 3, 12) != 0;
    wire_branch(wire, known, known ? (draw(i, 4, 2) ? "f" : "m") : NULL);
    wire_long(wire, known);
    if (known)
        wire_long(wire, (int64_t)draw(i, 5, 7));
    write_id(wire, "g", draw(i, 6, 800000));
    write_id(wire, "s", draw(i, 7, 30000));
    write_id(wire, "c", draw(i, 8, 7000));
    bool placed = draw(i, 9, 6) != 0;
    wire_branch(wire, placed, placed ? "430548_1007" : NULL);
}

static void make_records(struct bench *bench)
{
    static struct wire wire;
    for (unsigned i = 0; i < RECORDS; i++) {
        make_record(&wire, i);
        uint8_t *copy = malloc(wire.size);
        if (!copy)
            die("no memory");
        memcpy(copy, wire.bytes, wire.size);
        bench->records[i] = (struct record){copy, wire.size};
        bench->byte_count += wire.size;
    }
}

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Records per second of one round; *check keeps the work from being dropped. */
static double run_ours(const struct bench *bench, uint64_t *check)
{
    uint64_t slots[TARGETS];
    double start = cpu_seconds();
    for (unsigned pass = 0; pass < PASSES; pass++)
        for (unsigned i = 0; i < RECORDS; i++) {
            if (ingest_program_run(bench->program, bench->records[i].bytes,
                                   bench->records[i].size, slots))
                die("our decoder refuses a record");
            *check += slots[0] ^ slots[9];
        }
    return (double)PASSES * RECORDS / (cpu_seconds() - start);
}

static double run_libavro(struct bench *bench)
{
    avro_reader_t reader = avro_reader_memory("", 0);
    double start = cpu_seconds();
    for (unsigned pass = 0; pass < PASSES / 10; pass++)
        for (unsigned i = 0; i < RECORDS; i++) {
            avro_reader_memory_set_source(
                reader, (const char *)bench->records[i].bytes,
                (int64_t)bench->records[i].size);
            avro_value_reset(&bench->value);
            if (avro_value_read(reader, &bench->value))
                die("libavro refuses a record");
        }
    double rate = (double)(PASSES / 10) * RECORDS / (cpu_seconds() - start);
    avro_reader_free(reader);
    return rate;
}

static void open_bench(struct bench *bench, const char *path)
{
    struct base_error error;
    if (base_file_read(path, 1 << 20, &bench->schema, &bench->schema_size,
                       &error) ||
        ingest_program_new(bench->schema, bench->schema_size, targets, TARGETS,
                           &bench->program, &error))
        die(error.text);
    avro_schema_t avro;
    if (avro_schema_from_json_length(bench->schema, bench->schema_size, &avro))
        die(avro_strerror());
    bench->iface = avro_generic_class_from_schema(avro);
    if (!bench->iface || avro_generic_value_new(bench->iface, &bench->value))
        die(avro_strerror());
    avro_schema_decref(avro);
}

static void close_bench(struct bench *bench)
{
    avro_value_decref(&bench->value);
    avro_value_iface_decref(bench->iface);
    ingest_program_free(bench->program);
    free(bench->schema);
    for (unsigned i = 0; i < RECORDS; i++)
        free((void *)bench->records[i].bytes);
}

int main(int argc, char **argv)
{
    static struct bench bench;
    const char *path = argc > 1 ? argv[1] : "schemas/impression.avsc";
    int rounds = argc > 2 ? atoi(argv[2]) : 15;
    open_bench(&bench, path);
    make_records(&bench);
    double ours = 0, libavro = 0;
    uint64_t check = 0;
    for (int round = 0; round < rounds; round++) {
        double rate = run_ours(&bench, &check);
        ours = rate > ours ? rate : ours;
        rate = run_libavro(&bench);
        libavro = rate > libavro ? rate : libavro;
    }
    close_bench(&bench);
    double bytes = (double)bench.byte_count / RECORDS;
    printf("impression record, %.1f bytes, %d targets, check %016" PRIx64 "\n"
           "ours     %10.0f records/s %6.1f ns\n"
           "libavro  %10.0f records/s %6.1f ns\n",
           bytes, TARGETS, check, ours, 1e9 / ours, libavro, 1e9 / libavro);
    printf("{\"benchmark\": \"decode\", \"bytes\": %.1f, "
           "\"records_per_second\": %.0f, "
           "\"libavro_records_per_second\": %.0f, \"ratio\": %.1f}\n",
           bytes, ours, libavro, ours / libavro);
    return 0;
}
