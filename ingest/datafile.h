/* SPDX-License-Identifier: Apache-2.0 */
/* LMDB's data file, looked at before it is mapped: a file that was cut would
 * end the process with SIGBUS at the first page that is not there. Reads with
 * pread only; any thread. It verifies no content. */
#ifndef INGEST_DATAFILE_H
#define INGEST_DATAFILE_H

#include "base/status.h"

/* BASE_CORRUPT where a page that the newest commit uses is not in
 * folder/data.mdb. A file that is missing, empty or not LMDB's is left to
 * LMDB's own words. A writer may be at work meanwhile. */
enum base_status ingest_datafile_check(const char *folder,
                                       struct base_error *error)
    BASE_MUST_CHECK;

#endif
