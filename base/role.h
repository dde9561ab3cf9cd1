/* SPDX-License-Identifier: Apache-2.0 */
/* Thread roles, checked by clang's -Wthread-safety (preset clang-tsa). A
 * function marked BASE_ON(role) may only be called from that role's thread;
 * a field marked BASE_OF(role) only be touched there. The thread's entry
 * function says base_role_enter(&role) first. Other compilers see nothing. */
#ifndef BASE_ROLE_H
#define BASE_ROLE_H

#if defined(__clang__)
#define BASE_ROLE_ATTRIBUTE(x) __attribute__((x))
#else
#define BASE_ROLE_ATTRIBUTE(x)
#endif

struct BASE_ROLE_ATTRIBUTE(capability("role")) base_role {
    char unused;
};

extern struct base_role base_role_loop, base_role_ingest, base_role_store,
    base_role_train, base_role_publish;

#define BASE_ON(role) \
    BASE_ROLE_ATTRIBUTE(requires_capability(base_role_##role))
#define BASE_OF(role) BASE_ROLE_ATTRIBUTE(guarded_by(base_role_##role))

static inline void base_role_enter(struct base_role *role)
    BASE_ROLE_ATTRIBUTE(assert_capability(role))
{
    (void)role;
}

#endif
