/* SPDX-License-Identifier: Apache-2.0 */
/* The one LMDB environment and its named databases: full sync, a single
 * writer (flock), one write transaction at a time, and readers with their own
 * read transactions.
 *
 * 1. Values returned BORROW from the transaction: until the next write in it,
 *    or its end. ingest_store_generation() changes with each of these.
 * 2. Nothing but store.c includes lmdb.h. Keys are big-endian where their
 *    order matters.
 * Thread: writer functions role store; a reader belongs to one thread.
 * It knows nothing of what the values mean and verifies no value's hash. */
#ifndef INGEST_STORE_H
#define INGEST_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* code, name of the database in the file */
#define INGEST_STORE_LIST(X)                     \
    X(INGEST_DB_META, "meta")                    \
    X(INGEST_DB_PARTITIONS, "partitions")        \
    X(INGEST_DB_SEQUENCES, "sequences")          \
    X(INGEST_DB_IMPRESSIONS, "impressions")      \
    X(INGEST_DB_IMPRESSION_BITS, "impression_bits") \
    X(INGEST_DB_CLICKS, "clicks")                \
    X(INGEST_DB_CLICK_BITS, "click_bits")        \
    X(INGEST_DB_JOURNAL, "journal")              \
    X(INGEST_DB_OUTBOX, "outbox")                \
    X(INGEST_DB_DECISIONS, "decisions")          \
    X(INGEST_DB_DEAD_LETTERS, "dead_letters")

enum ingest_db {
#define X(code, name) code,
    INGEST_STORE_LIST(X)
#undef X
    INGEST_DB_COUNT
};

struct ingest_bytes {
    const void *data; /* NULL: not there */
    size_t size;
};

struct ingest_store;

/* Makes the folder where it is missing and takes its lock: BASE_UNAVAILABLE
 * names the process that holds it. BASE_CORRUPT where the file's format is
 * not LMDB's, or the file was cut. The map, a range of addresses and not
 * memory, starts at 1 GiB or so and doubles at the begin of a transaction for
 * which it has little room left, up to map_bytes. */
enum base_status ingest_store_open(const char *folder, uint64_t map_bytes,
                                   struct ingest_store **store,
                                   struct base_error *error) BASE_MUST_CHECK;
/* The same with a map that starts at `start` bytes (0: as above). */
enum base_status ingest_store_open_at(const char *folder, uint64_t start,
                                      uint64_t map_bytes,
                                      struct ingest_store **store,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* For reading only, beside a running writer of another process or without
 * one; no lock. BASE_NO_INPUT where there is no store. */
enum base_status ingest_store_open_read(const char *folder,
                                        struct ingest_store **store,
                                        struct base_error *error)
    BASE_MUST_CHECK;
/* Drops a transaction that is not committed. */
void ingest_store_free(struct ingest_store *store);

enum base_status ingest_store_begin(struct ingest_store *store,
                                    struct base_error *error) BASE_MUST_CHECK;
/* Durable when it returns BASE_OK. Ends the transaction in any case. */
enum base_status ingest_store_commit(struct ingest_store *store,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_store_abort(struct ingest_store *store);
bool ingest_store_begun(const struct ingest_store *store);
uint64_t ingest_store_generation(const struct ingest_store *store);

/* Within the write transaction. A missing key is no error: data is NULL. */
enum base_status ingest_store_get(struct ingest_store *store,
                                  enum ingest_db db, struct ingest_bytes key,
                                  struct ingest_bytes *value,
                                  struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_store_put(struct ingest_store *store,
                                  enum ingest_db db, struct ingest_bytes key,
                                  struct ingest_bytes value,
                                  struct base_error *error) BASE_MUST_CHECK;
enum base_status ingest_store_remove(struct ingest_store *store,
                                     enum ingest_db db,
                                     struct ingest_bytes key,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Entries of a database as of the write transaction. */
uint64_t ingest_store_count(struct ingest_store *store, enum ingest_db db);
/* Whether the open transaction has written about as much as the map had room
 * for when it began, and a new one would find a larger map. Never at its
 * cap: there MDB_MAP_FULL says so. */
bool ingest_store_tight(const struct ingest_store *store);
/* Bytes of the file that the map uses; of the map. */
uint64_t ingest_store_used(struct ingest_store *store);
uint64_t ingest_store_map_bytes(const struct ingest_store *store);
/* Frees the slots of dead readers; how many. */
int ingest_store_check_readers(struct ingest_store *store);
/* The reader table: slots in use, and by how many transactions the oldest
 * open view is behind. What was freed since cannot be used again while it
 * stands, so the file grows. */
struct ingest_store_readers {
    unsigned slots;
    uint64_t lag_commits; /* 0: nobody reads, or only the newest */
};
void ingest_store_get_readers(struct ingest_store *store,
                              struct ingest_store_readers *readers);
/* A copy of the newest commit in the empty folder `to`, durable; `compact`
 * leaves free pages out. Beside a writer of another process, which it holds
 * up for a moment; old pages are kept meanwhile. */
enum base_status ingest_store_copy(struct ingest_store *store, const char *to,
                                   bool compact,
                                   struct base_error *error) BASE_MUST_CHECK;

/* A reader's transaction; begin sees the newest commit. While one of this
 * process stands the map cannot grow: keep it short. */
struct ingest_reader;
enum base_status ingest_reader_new(struct ingest_store *store,
                                   struct ingest_reader **reader,
                                   struct base_error *error) BASE_MUST_CHECK;
void ingest_reader_free(struct ingest_reader *reader);
enum base_status ingest_reader_begin(struct ingest_reader *reader,
                                     struct base_error *error) BASE_MUST_CHECK;
void ingest_reader_end(struct ingest_reader *reader);
enum base_status ingest_reader_get(struct ingest_reader *reader,
                                   enum ingest_db db, struct ingest_bytes key,
                                   struct ingest_bytes *value,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Of the pages of a database, as of the begun view. */
uint64_t ingest_reader_bytes(struct ingest_reader *reader, enum ingest_db db);

/* A walk in key order, in the write transaction (reader NULL) or a reader's.
 * Closed before its transaction ends. */
struct ingest_cursor {
    struct ingest_store *store;
    void *lmdb; /* MDB_cursor */
    enum ingest_db db;
    struct ingest_bytes key, value; /* key.data NULL: past the end */
};
enum ingest_move {
    INGEST_MOVE_FIRST,
    INGEST_MOVE_LAST,
    INGEST_MOVE_NEXT,
    INGEST_MOVE_PREVIOUS,
};
enum base_status ingest_cursor_open(struct ingest_store *store,
                                    struct ingest_reader *reader,
                                    enum ingest_db db,
                                    struct ingest_cursor *cursor,
                                    struct base_error *error) BASE_MUST_CHECK;
void ingest_cursor_close(struct ingest_cursor *cursor);
enum base_status ingest_cursor_move(struct ingest_cursor *cursor,
                                    enum ingest_move move,
                                    struct base_error *error) BASE_MUST_CHECK;
/* To the first key that is not below `key`. */
enum base_status ingest_cursor_seek(struct ingest_cursor *cursor,
                                    struct ingest_bytes key,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
