/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration allows the daemon to take of its disk, as one number,
 * and whether the disk holds it: sequences as they are, the caps of what waits,
 * of the journal and of the dead letters, three checkpoints of each model, the
 * kept versions, the reserve. What has no size yet (no checkpoint was ever
 * written) counts nothing. Reads only; one thread. */
#ifndef DAEMON_BUDGET_H
#define DAEMON_BUDGET_H

#include "daemon/config.h"

struct daemon_budget {
    uint64_t sequences, waiting, journal, dead_letters; /* bytes */
    uint64_t checkpoints, versions, reserve;
    uint64_t needed; /* their sum on the disk of the state */
    uint64_t room;   /* what is free there, and what they take already */
};

/* BASE_CONFIG with all parts where they do not fit and ingest.disk_check asks
 * for it. The folder of the state is there. */
enum base_status daemon_budget_check(const struct daemon_config *config,
                                     struct daemon_budget *budget,
                                     struct base_error *error) BASE_MUST_CHECK;

#endif
