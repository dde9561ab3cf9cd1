/* SPDX-License-Identifier: Apache-2.0 */
typedef int ingest_pending_unused;
