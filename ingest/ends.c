/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ends.h"
typedef int ingest_ends_unused;
