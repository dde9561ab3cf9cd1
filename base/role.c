/* SPDX-License-Identifier: Apache-2.0 */
/* The threads' roles; see role.h. */
#include "base/role.h"

struct base_role base_role_loop, base_role_ingest, base_role_store,
    base_role_train, base_role_publish;
