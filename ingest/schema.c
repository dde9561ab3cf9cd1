/* SPDX-License-Identifier: Apache-2.0 */
typedef int ingest_schema_unused;
