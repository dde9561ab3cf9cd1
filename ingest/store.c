/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB, wrapped; see store.h. Errors name the database and the key and say
 * what to do about a full map or a full disk. An error of a commit is never
 * retried: after a failed sync nobody knows what the disk holds. */
#include "ingest/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "ingest/datafile.h"

enum {
    READERS_MAX = 512,
    PATH_SIZE = 1200,
    FULL_BYTES = 1 << 20,
    MAP_UNIT = 1 << 16, /* sizes of maps are multiples of it */
    PAGE = 4096,
    PATH_PAGES = 2, /* dirtied by a write beside its value: leaf and a share
                       of the branches above */
};
#define MAP_START ((uint64_t)1 << 30)

struct ingest_store {
    MDB_env *env;
    MDB_dbi dbs[INGEST_DB_COUNT];
    MDB_txn *txn; /* the write transaction, or NULL */
    uint64_t generation;
    uint64_t map_bytes, map_max;
    uint64_t room, written; /* bytes: of the map at begin; since, at most */
    pthread_rwlock_t mapped; /* read: the map is in use; write: it moves */
    int lock; /* descriptor of the lock file; -1 for a read-only store */
    char folder[1024];
};

struct ingest_reader {
    struct ingest_store *store;
    MDB_txn *txn;
    bool begun;
};

static const char *const names[] = {
#define X(code, name) [code] = name,
    INGEST_STORE_LIST(X)
#undef X
};

/* ---- errors -------------------------------------------------------------- */

static enum base_status status_of(int code)
{
    switch (code) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: return BASE_LIMIT;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID: return BASE_CORRUPT;
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE: return BASE_DATA;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN: return BASE_SYSTEM;
    case ENOENT: return BASE_NO_INPUT;
    case EACCES: return BASE_DENIED;
    default: return BASE_IO;
    }
}

static const char *hint(int code)
{
    switch (code) {
    case MDB_MAP_FULL: return "; raise ingest.map_mb";
    case MDB_READERS_FULL: return "; too many readers of the store";
    case ENOSPC: return "; the disk is full";
    default: return "";
    }
}

/* LMDB reports a write that was cut short as EIO: look whether the disk has
 * room, so that the text names what must be done. */
static int cause(const struct ingest_store *store, int code)
{
    struct statvfs disk;
    if (code == EIO && !statvfs(store->folder, &disk) &&
        disk.f_bavail * disk.f_frsize < FULL_BYTES)
        return ENOSPC;
    return code;
}

/* `what` is the operation, `db` may be INGEST_DB_COUNT. */
static enum base_status fail(struct base_error *error, int code,
                             const char *what, enum ingest_db db,
                             const struct ingest_bytes *key)
{
    char place[96] = "";
    size_t used = 0;
    if (db < INGEST_DB_COUNT)
        used = (size_t)snprintf(place, sizeof place, " %s", names[db]);
    if (key) {
        used += (size_t)snprintf(place + used, sizeof place - used, " ");
        for (size_t i = 0; i < key->size && i < 16; i++)
            used += (size_t)snprintf(place + used, sizeof place - used,
                                     "%02x", ((const uint8_t *)key->data)[i]);
    }
    return base_fail(error, status_of(code), "store: %s%s: %s%s", what, place,
                     mdb_strerror(code), hint(code));
}

/* ---- open ---------------------------------------------------------------- */

/* The lock file holds its owner's pid, for the one who is refused. */
static enum base_status take_lock(struct ingest_store *store,
                                  struct base_error *error)
{
    char path[PATH_SIZE], pid[24];
    snprintf(path, sizeof path, "%s/lock", store->folder);
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (store->lock < 0)
        return base_fail_errno(error, errno, "store: open %s", path);
    if (flock(store->lock, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK)
            return base_fail_errno(error, errno, "store: lock %s", path);
        ssize_t size = pread(store->lock, pid, sizeof pid - 1, 0);
        pid[size > 0 ? size : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        return base_fail(error, BASE_UNAVAILABLE,
                         "store: %s is in use by process %s; one writer a "
                         "state folder",
                         store->folder, pid[0] ? pid : "(unknown)");
    }
    int size = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(store->lock, 0) ||
        pwrite(store->lock, pid, (size_t)size, 0) != size)
        return base_fail_errno(error, errno, "store: write %s", path);
    return BASE_OK;
}

/* ---- the map ------------------------------------------------------------- */

static uint64_t round_map(uint64_t bytes)
{
    return (bytes + MAP_UNIT - 1) / MAP_UNIT * MAP_UNIT;
}

/* Sets the size of the map; no transaction of this process may be alive.
 * bytes 0: what another process has made of it. */
static int move_map(struct ingest_store *store, uint64_t bytes)
{
    MDB_envinfo info;
    pthread_rwlock_wrlock(&store->mapped);
    int code = mdb_env_set_mapsize(store->env, bytes);
    pthread_rwlock_unlock(&store->mapped);
    if (!code && !mdb_env_info(store->env, &info))
        store->map_bytes = info.me_mapsize;
    return code;
}

/* Before a transaction: at least half of the map is free, or it is at its
 * cap. */
static enum base_status grow(struct ingest_store *store,
                             struct base_error *error)
{
    uint64_t used = ingest_store_used(store), wanted = store->map_bytes;
    while (wanted < store->map_max && wanted / 2 < used)
        wanted *= 2;
    if (wanted > store->map_max)
        wanted = store->map_max;
    if (wanted > store->map_bytes) {
        uint64_t before = store->map_bytes;
        int code = move_map(store, wanted);
        if (code)
            return fail(error, code, "grow the map", INGEST_DB_COUNT, NULL);
        base_log(BASE_LOG_INFO,
                 "event=store_map_grown from_bytes=%llu to_bytes=%llu "
                 "max_bytes=%llu used_bytes=%llu",
                 (unsigned long long)before,
                 (unsigned long long)store->map_bytes,
                 (unsigned long long)store->map_max, (unsigned long long)used);
    }
    store->room = store->map_bytes > used ? store->map_bytes - used : 0;
    store->written = 0;
    return BASE_OK;
}

static void note_write(struct ingest_store *store, size_t value_size)
{
    store->generation++;
    store->written += value_size + PATH_PAGES * PAGE;
}

bool ingest_store_tight(const struct ingest_store *store)
{
    return store->map_bytes < store->map_max &&
           store->written > store->room - store->room / 8;
}

/* ---- open, continued ----------------------------------------------------- */

static enum base_status open_databases(struct ingest_store *store,
                                       bool read_only,
                                       struct base_error *error)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(store->env, NULL, read_only ? MDB_RDONLY : 0,
                             &txn);
    if (code)
        return fail(error, code, "begin", INGEST_DB_COUNT, NULL);
    for (int i = 0; i < INGEST_DB_COUNT; i++) {
        code = mdb_dbi_open(txn, names[i], read_only ? 0 : MDB_CREATE,
                            &store->dbs[i]);
        if (code) {
            mdb_txn_abort(txn);
            return fail(error, code, "open database", (enum ingest_db)i, NULL);
        }
    }
    code = mdb_txn_commit(txn);
    return code ? fail(error, code, "commit", INGEST_DB_COUNT, NULL) : BASE_OK;
}

static enum base_status open_env(struct ingest_store *store,
                                 uint64_t map_bytes, bool read_only,
                                 struct base_error *error)
{
    MDB_envinfo info;
    enum base_status status = ingest_datafile_check(store->folder, error);
    if (status)
        return status;
    int code = mdb_env_create(&store->env);
    if (!code)
        code = mdb_env_set_maxdbs(store->env, INGEST_DB_COUNT);
    if (!code)
        code = mdb_env_set_maxreaders(store->env, READERS_MAX);
    if (!code && !read_only)
        code = mdb_env_set_mapsize(store->env, map_bytes);
    /* Random access: read-ahead would evict what is needed. */
    if (!code)
        code = mdb_env_open(store->env, store->folder,
                            MDB_NOTLS | MDB_NORDAHEAD |
                                (read_only ? MDB_RDONLY : 0),
                            0640);
    if (code) {
        status = fail(error, code, "open environment", INGEST_DB_COUNT, NULL);
        (void)base_wrap(error, "%s", store->folder);
        return status;
    }
    if (!mdb_env_info(store->env, &info))
        store->map_bytes = info.me_mapsize;
    if (!read_only && (status = grow(store, error)))
        return status;
    (void)ingest_store_check_readers(store);
    return open_databases(store, read_only, error);
}

/* LMDB writes a new file's first pages without a sync: a power loss then could
 * leave one that never opens again. So it is made aside. */
static enum base_status make_file(const struct ingest_store *store,
                                  struct base_error *error)
{
    char path[PATH_SIZE], aside[PATH_SIZE + 8];
    MDB_env *env;
    snprintf(path, sizeof path, "%s/data.mdb", store->folder);
    snprintf(aside, sizeof aside, "%s.new", path);
    if (access(path, F_OK) == 0)
        return BASE_OK;
    if (base_file_remove(aside, error))
        return error->status;
    int code = mdb_env_create(&env);
    if (!code) {
        code = mdb_env_open(env, aside, MDB_NOSUBDIR | MDB_NOLOCK, 0640);
        if (!code)
            code = mdb_env_sync(env, 1);
        mdb_env_close(env);
    }
    if (code)
        return fail(error, cause(store, code), "make a new file",
                    INGEST_DB_COUNT, NULL);
    if (rename(aside, path))
        return base_fail_errno(error, errno, "store: rename %s", aside);
    return base_file_sync_folder(store->folder, error);
}

static enum base_status make(const char *folder, struct ingest_store **store,
                             struct base_error *error)
{
    struct ingest_store *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "store: no memory");
    made->lock = -1;
    /* Readers that follow each other closely must not keep the writer out. */
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(
        &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&made->mapped, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    snprintf(made->folder, sizeof made->folder, "%s", folder);
    *store = made;
    return BASE_OK;
}

enum base_status ingest_store_open(const char *folder, uint64_t map_bytes,
                                   struct ingest_store **store,
                                   struct base_error *error)
{
    return ingest_store_open_at(folder, 0, map_bytes, store, error);
}

enum base_status ingest_store_open_at(const char *folder, uint64_t start,
                                      uint64_t map_bytes,
                                      struct ingest_store **store,
                                      struct base_error *error)
{
    struct ingest_store *made = NULL;
    enum base_status status = base_file_make_folder(folder, error);
    if (status || (status = make(folder, &made, error)))
        return status;
    made->map_max = round_map(map_bytes);
    start = round_map(start ? start : MAP_START);
    if (start > made->map_max)
        start = made->map_max;
    status = take_lock(made, error);
    if (!status)
        status = make_file(made, error);
    if (!status)
        status = open_env(made, start, false, error);
    if (status)
        ingest_store_free(made);
    else
        *store = made;
    return status;
}

enum base_status ingest_store_open_read(const char *folder,
                                        struct ingest_store **store,
                                        struct base_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/data.mdb", folder);
    if (access(path, R_OK))
        return base_fail_errno(error, errno, "store: %s", path);
    struct ingest_store *made = NULL;
    enum base_status status = make(folder, &made, error);
    if (status)
        return status;
    status = open_env(made, 0, true, error);
    if (status)
        ingest_store_free(made);
    else
        *store = made;
    return status;
}

void ingest_store_free(struct ingest_store *store)
{
    if (!store)
        return;
    ingest_store_abort(store);
    if (store->env)
        mdb_env_close(store->env);
    if (store->lock >= 0)
        close(store->lock);
    pthread_rwlock_destroy(&store->mapped);
    free(store);
}

/* ---- the write transaction ----------------------------------------------- */

enum base_status ingest_store_begin(struct ingest_store *store,
                                    struct base_error *error)
{
    BASE_ASSERT(!store->txn);
    enum base_status status = grow(store, error);
    if (status)
        return status;
    int code = mdb_txn_begin(store->env, NULL, 0, &store->txn);
    if (code) {
        store->txn = NULL;
        return fail(error, code, "begin", INGEST_DB_COUNT, NULL);
    }
    store->generation++;
    return BASE_OK;
}

enum base_status ingest_store_commit(struct ingest_store *store,
                                     struct base_error *error)
{
    BASE_ASSERT(store->txn);
    int code = mdb_txn_commit(store->txn);
    store->txn = NULL;
    store->generation++;
    return code ? fail(error, cause(store, code), "commit", INGEST_DB_COUNT,
                       NULL)
                : BASE_OK;
}

void ingest_store_abort(struct ingest_store *store)
{
    if (store->txn)
        mdb_txn_abort(store->txn);
    store->txn = NULL;
    store->generation++;
}

bool ingest_store_begun(const struct ingest_store *store)
{
    return store->txn != NULL;
}

uint64_t ingest_store_generation(const struct ingest_store *store)
{
    return store->generation;
}

static MDB_val val(struct ingest_bytes bytes)
{
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.data};
}

static enum base_status get(struct ingest_store *store, MDB_txn *txn,
                            enum ingest_db db, struct ingest_bytes key,
                            struct ingest_bytes *value,
                            struct base_error *error)
{
    MDB_val k = val(key), v;
    *value = (struct ingest_bytes){NULL, 0};
    int code = mdb_get(txn, store->dbs[db], &k, &v);
    if (code == MDB_NOTFOUND)
        return BASE_OK;
    if (code)
        return fail(error, code, "get", db, &key);
    *value = (struct ingest_bytes){v.mv_data, v.mv_size};
    return BASE_OK;
}

enum base_status ingest_store_get(struct ingest_store *store,
                                  enum ingest_db db, struct ingest_bytes key,
                                  struct ingest_bytes *value,
                                  struct base_error *error)
{
    BASE_ASSERT(store->txn);
    return get(store, store->txn, db, key, value, error);
}

enum base_status ingest_store_put(struct ingest_store *store,
                                  enum ingest_db db, struct ingest_bytes key,
                                  struct ingest_bytes value,
                                  struct base_error *error)
{
    BASE_ASSERT(store->txn);
    MDB_val k = val(key), v = val(value);
    note_write(store, value.size);
    int code = mdb_put(store->txn, store->dbs[db], &k, &v, 0);
    return code ? fail(error, cause(store, code), "put", db, &key) : BASE_OK;
}

enum base_status ingest_store_remove(struct ingest_store *store,
                                     enum ingest_db db,
                                     struct ingest_bytes key,
                                     struct base_error *error)
{
    BASE_ASSERT(store->txn);
    MDB_val k = val(key);
    note_write(store, 0);
    int code = mdb_del(store->txn, store->dbs[db], &k, NULL);
    if (code && code != MDB_NOTFOUND)
        return fail(error, code, "remove", db, &key);
    return BASE_OK;
}

uint64_t ingest_store_count(struct ingest_store *store, enum ingest_db db)
{
    MDB_stat stat;
    if (!store->txn || mdb_stat(store->txn, store->dbs[db], &stat))
        return 0;
    return stat.ms_entries;
}

uint64_t ingest_store_used(struct ingest_store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_info(store->env, &info) || mdb_env_stat(store->env, &stat))
        return 0;
    return (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
}

uint64_t ingest_store_map_bytes(const struct ingest_store *store)
{
    return store->map_bytes;
}

/* ---- the reader table ---------------------------------------------------- */

int ingest_store_check_readers(struct ingest_store *store)
{
    int dead = 0;
    return mdb_reader_check(store->env, &dead) ? 0 : dead;
}

struct reader_list {
    unsigned slots;
    uint64_t oldest; /* transaction; UINT64_MAX: none is open */
};

/* A line a slot: process, thread, transaction or "-"; or a heading. */
static int take_slot(const char *line, void *self)
{
    struct reader_list *list = self;
    unsigned long long transaction;
    int process;
    char thread[32], view[32];
    if (sscanf(line, "%d %31s %31s", &process, thread, view) != 3)
        return 0;
    list->slots++;
    if (sscanf(view, "%llu", &transaction) == 1 && transaction < list->oldest)
        list->oldest = transaction;
    return 0;
}

void ingest_store_get_readers(struct ingest_store *store,
                              struct ingest_store_readers *readers)
{
    MDB_envinfo info;
    struct reader_list list = {.oldest = UINT64_MAX};
    *readers = (struct ingest_store_readers){0};
    if (mdb_reader_list(store->env, take_slot, &list) < 0 ||
        mdb_env_info(store->env, &info))
        return;
    readers->slots = list.slots;
    if (list.oldest < info.me_last_txnid)
        readers->lag_commits = info.me_last_txnid - list.oldest;
}

/* ---- a copy -------------------------------------------------------------- */

static enum base_status sync_copy(const char *to, struct base_error *error)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/data.mdb", to);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return base_fail_errno(error, errno, "store: %s", path);
    enum base_status status = BASE_OK;
    if (fsync(fd))
        status = base_fail_errno(error, errno, "store: sync %s", path);
    close(fd);
    return status ? status : base_file_sync_folder(to, error);
}

enum base_status ingest_store_copy(struct ingest_store *store, const char *to,
                                   bool compact, struct base_error *error)
{
    int code =
        mdb_env_copy2(store->env, to, compact ? MDB_CP_COMPACT : 0);
    if (code == MDB_MAP_RESIZED && !move_map(store, 0))
        code = mdb_env_copy2(store->env, to, compact ? MDB_CP_COMPACT : 0);
    if (code)
        return fail(error, code, "copy", INGEST_DB_COUNT, NULL);
    return sync_copy(to, error);
}

/* ---- readers ------------------------------------------------------------- */

/* Renews *txn, or makes it; on success the map is held. Where another process
 * has let it grow, ours follows: its own readers are in no transaction then,
 * for they belong to one thread. */
static int begin_reading(struct ingest_store *store, MDB_txn **txn)
{
    for (bool again = false;; again = true) {
        pthread_rwlock_rdlock(&store->mapped);
        int code = *txn ? mdb_txn_renew(*txn)
                        : mdb_txn_begin(store->env, NULL, MDB_RDONLY, txn);
        if (!code)
            return 0;
        pthread_rwlock_unlock(&store->mapped);
        if (code != MDB_MAP_RESIZED || again || store->lock >= 0)
            return code;
        if ((code = move_map(store, 0)))
            return code;
    }
}

enum base_status ingest_reader_new(struct ingest_store *store,
                                   struct ingest_reader **reader,
                                   struct base_error *error)
{
    struct ingest_reader *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "store: no memory");
    made->store = store;
    int code = begin_reading(store, &made->txn);
    if (code) {
        free(made);
        return fail(error, code, "begin reading", INGEST_DB_COUNT, NULL);
    }
    mdb_txn_reset(made->txn);
    pthread_rwlock_unlock(&store->mapped);
    *reader = made;
    return BASE_OK;
}

void ingest_reader_free(struct ingest_reader *reader)
{
    if (!reader)
        return;
    ingest_reader_end(reader);
    mdb_txn_abort(reader->txn);
    free(reader);
}

enum base_status ingest_reader_begin(struct ingest_reader *reader,
                                     struct base_error *error)
{
    BASE_ASSERT(!reader->begun);
    int code = begin_reading(reader->store, &reader->txn);
    if (code)
        return fail(error, code, "begin reading", INGEST_DB_COUNT, NULL);
    reader->begun = true;
    return BASE_OK;
}

void ingest_reader_end(struct ingest_reader *reader)
{
    if (reader->begun) {
        mdb_txn_reset(reader->txn);
        pthread_rwlock_unlock(&reader->store->mapped);
    }
    reader->begun = false;
}

enum base_status ingest_reader_get(struct ingest_reader *reader,
                                   enum ingest_db db, struct ingest_bytes key,
                                   struct ingest_bytes *value,
                                   struct base_error *error)
{
    return get(reader->store, reader->txn, db, key, value, error);
}

uint64_t ingest_reader_bytes(struct ingest_reader *reader, enum ingest_db db)
{
    MDB_stat stat;
    if (mdb_stat(reader->txn, reader->store->dbs[db], &stat))
        return 0;
    return (uint64_t)(stat.ms_branch_pages + stat.ms_leaf_pages +
                      stat.ms_overflow_pages) *
           stat.ms_psize;
}

/* ---- cursors ------------------------------------------------------------- */

enum base_status ingest_cursor_open(struct ingest_store *store,
                                    struct ingest_reader *reader,
                                    enum ingest_db db,
                                    struct ingest_cursor *cursor,
                                    struct base_error *error)
{
    MDB_cursor *made;
    MDB_txn *txn = reader ? reader->txn : store->txn;
    BASE_ASSERT(txn);
    *cursor = (struct ingest_cursor){.store = store, .db = db};
    int code = mdb_cursor_open(txn, store->dbs[db], &made);
    if (code)
        return fail(error, code, "walk", db, NULL);
    cursor->lmdb = made;
    return BASE_OK;
}

void ingest_cursor_close(struct ingest_cursor *cursor)
{
    if (cursor->lmdb)
        mdb_cursor_close(cursor->lmdb);
    cursor->lmdb = NULL;
}

static enum base_status move(struct ingest_cursor *cursor, MDB_val *key,
                             MDB_cursor_op operation,
                             struct base_error *error)
{
    MDB_val value;
    cursor->key = cursor->value = (struct ingest_bytes){NULL, 0};
    int code = mdb_cursor_get(cursor->lmdb, key, &value, operation);
    if (code == MDB_NOTFOUND)
        return BASE_OK;
    if (code)
        return fail(error, code, "walk", cursor->db, NULL);
    cursor->key = (struct ingest_bytes){key->mv_data, key->mv_size};
    cursor->value = (struct ingest_bytes){value.mv_data, value.mv_size};
    return BASE_OK;
}

enum base_status ingest_cursor_move(struct ingest_cursor *cursor,
                                    enum ingest_move where,
                                    struct base_error *error)
{
    static const MDB_cursor_op operations[] = {
        [INGEST_MOVE_FIRST] = MDB_FIRST,
        [INGEST_MOVE_LAST] = MDB_LAST,
        [INGEST_MOVE_NEXT] = MDB_NEXT,
        [INGEST_MOVE_PREVIOUS] = MDB_PREV,
    };
    MDB_val key;
    return move(cursor, &key, operations[where], error);
}

enum base_status ingest_cursor_seek(struct ingest_cursor *cursor,
                                    struct ingest_bytes key,
                                    struct base_error *error)
{
    MDB_val k = val(key);
    return move(cursor, &k, MDB_SET_RANGE, error);
}
