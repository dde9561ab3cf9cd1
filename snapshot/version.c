/* SPDX-License-Identifier: Apache-2.0 */
typedef int snapshot_version_unused;
