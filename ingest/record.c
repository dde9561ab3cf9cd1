/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/record.h"
typedef int ingest_record_unused;
