/* SPDX-License-Identifier: Apache-2.0 */
/* Included ahead of everything where the learner's numeric sources, and the
 * tests that use them, are compiled a second time with `float` being double
 * (library learner_double): finite differences of the product's own code then
 * see a rounding of 1e-16. The system's headers come first, so that they keep
 * their float. Base, which is not compiled again, is given no float. */
#ifndef TESTS_LEARNER_DOUBLE_H
#define TESTS_LEARNER_DOUBLE_H

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define float double
#define sqrtf sqrt
#define fmaf fma
#define fabsf fabs

#endif
