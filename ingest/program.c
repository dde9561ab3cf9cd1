/* SPDX-License-Identifier: Apache-2.0 */
typedef int ingest_program_unused;
