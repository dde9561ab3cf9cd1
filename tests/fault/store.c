/* SPDX-License-Identifier: Apache-2.0 */
/* The store's own steps, in front of LMDB's: what is put where, and the
 * commits of write transactions. A failed commit is one that was taken back. */
#include "tests/fault/board.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>

#include <lmdb.h>

#define PUBLIC __attribute__((visibility("default")))
enum { DBS = 64 };
static enum fault_thing thing_of_dbi[DBS];
/* One writer a process; whether it has put a partition's place. */
static MDB_txn *_Atomic writing;
static _Atomic bool places;

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static enum fault_thing thing_of(MDB_dbi dbi)
{
    return dbi < DBS ? thing_of_dbi[dbi] : FAULT_OTHER;
}

PUBLIC int mdb_dbi_open(MDB_txn *txn, const char *name, unsigned flags,
                        MDB_dbi *dbi)
{
    int (*real)(MDB_txn *, const char *, unsigned, MDB_dbi *);
    *(void **)&real = next("mdb_dbi_open");
    int code = real(txn, name, flags, dbi);
    if (!code && name && *dbi < DBS)
        thing_of_dbi[*dbi] = fault_thing_of(name);
    return code;
}

PUBLIC int mdb_txn_begin(MDB_env *env, MDB_txn *parent, unsigned flags,
                         MDB_txn **txn)
{
    int (*real)(MDB_env *, MDB_txn *, unsigned, MDB_txn **);
    *(void **)&real = next("mdb_txn_begin");
    int code = real(env, parent, flags, txn);
    if (!code && !(flags & MDB_RDONLY)) {
        writing = *txn;
        places = false;
    }
    return code;
}

PUBLIC int mdb_txn_commit(MDB_txn *txn)
{
    static int (*real)(MDB_txn *);
    if (!real)
        *(void **)&real = next("mdb_txn_commit");
    if (txn != writing)
        return real(txn);
    enum fault_action action = fault_enter(
        FAULT_COMMIT, places ? FAULT_PARTITIONS : FAULT_OTHER);
    if (action == FAULT_FAIL) {
        int code = errno;
        mdb_txn_abort(txn);
        return code;
    }
    int code = real(txn);
    fault_leave(action);
    return code;
}

PUBLIC int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value,
                   unsigned flags)
{
    static int (*real)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *, unsigned);
    if (!real)
        *(void **)&real = next("mdb_put");
    enum fault_thing thing = thing_of(dbi);
    if (thing == FAULT_PARTITIONS)
        places = true;
    enum fault_action action = fault_enter(FAULT_PUT, thing);
    if (action == FAULT_FAIL)
        return errno;
    int code = real(txn, dbi, key, value, flags);
    fault_leave(action);
    return code;
}

PUBLIC int mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *value)
{
    static int (*real)(MDB_txn *, MDB_dbi, MDB_val *, MDB_val *);
    if (!real)
        *(void **)&real = next("mdb_del");
    enum fault_action action = fault_enter(FAULT_DEL, thing_of(dbi));
    if (action == FAULT_FAIL)
        return errno;
    int code = real(txn, dbi, key, value);
    fault_leave(action);
    return code;
}
