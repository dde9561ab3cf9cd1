/* SPDX-License-Identifier: Apache-2.0 */
/* Verifies all that is kept, part by part: every value of the store, the
 * journal's chain, the ledger's sums, every checkpoint and its place in the
 * journal, the published version with its golden requests and its place, the
 * registry's schemas. Reads only, beside a running daemon or without one; goes
 * on after what is damaged, repairs nothing. What fsck says of the state and a
 * backup of its copy. One thread. */
#ifndef DAEMON_AUDIT_H
#define DAEMON_AUDIT_H

#include "daemon/config.h"

struct daemon_audit_part {
    const char *name;   /* "sequences", "checkpoints/small" */
    uint64_t count;     /* of `things` */
    const char *things; /* "lines" */
    const struct base_error *error; /* NULL: all well */
};

struct daemon_audit {
    void (*report)(void *self, const struct daemon_audit_part *part);
    void *self;
    unsigned parts, damaged;
};

/* BASE_OK where no part is damaged, BASE_CORRUPT where any is; BASE_NO_INPUT
 * where there is no state. */
enum base_status daemon_audit_run(struct daemon_audit *audit,
                                  const struct daemon_config *config,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
