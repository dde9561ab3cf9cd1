/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/kafka.h"
typedef int ingest_kafka_unused;
