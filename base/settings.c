/* SPDX-License-Identifier: Apache-2.0 */
typedef int base_settings_unused;
