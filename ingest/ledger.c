/* SPDX-License-Identifier: Apache-2.0 */
typedef int ingest_ledger_unused;
