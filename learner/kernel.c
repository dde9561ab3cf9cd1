/* SPDX-License-Identifier: Apache-2.0 */
typedef int learner_kernel_unused;
