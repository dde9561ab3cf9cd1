/* SPDX-License-Identifier: Apache-2.0 */
typedef int snapshot_publisher_unused;
