/* SPDX-License-Identifier: Apache-2.0 */
typedef int ingest_announce_unused;
