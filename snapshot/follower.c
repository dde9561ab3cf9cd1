/* SPDX-License-Identifier: Apache-2.0 */
/* libinterest: the thread that follows. It waits until CURRENT moves (inotify),
 * an announcement comes (eventfd) or poll_ms are over, then refreshes. After a
 * failure it tries again soon, then ever more seldom, until something new is
 * seen. Loading, freeing and the caller's functions run here alone. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "snapshot/serving.h"

enum {
    POLL_MS = 1000,
    RETRY_MS = 20,           /* after the first failure; then doubled .. */
    RETRY_MAX_MS = 30000,
    RECLAIM_MS = 5           /* while an old version waits to be freed */
};

struct interest_thread {
    struct interest_model *model;
    struct interest_following how;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool stop;
    int retry_ms; /* 0: the last refresh was well */
};

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static bool is_waiting(struct interest_thread *self)
{
    struct interest_state state;
    interest_get_state(self->model, &state);
    return state.waiting > 0;
}

/* True where something was seen, false where time is over. */
static bool wait_for_news(struct interest_thread *self)
{
    uint64_t count;
    struct pollfd news[] = {
        {.fd = self->wake, .events = POLLIN},
        {.fd = self->model->descriptor, .events = POLLIN}};
    int timeout_ms = self->retry_ms ? self->retry_ms : self->how.poll_ms;
    if (!self->retry_ms && is_waiting(self))
        timeout_ms = smaller(timeout_ms, RECLAIM_MS);
    int ready = poll(news, self->model->descriptor < 0 ? 1 : 2, timeout_ms);
    if (ready > 0 && news[0].revents)
        (void)!read(self->wake, &count, sizeof count);
    return ready > 0;
}

static void look(struct interest_thread *self, bool news)
{
    struct interest_error error;
    int changed = 0;
    int status = interest_refresh(self->model, &changed, &error);
    if (changed && self->how.changed) {
        struct interest_version version;
        interest_get_version(self->model, &version);
        self->how.changed(self->how.self, &version);
    }
    if (!status)
        self->retry_ms = 0;
    else if (news || !self->retry_ms)
        self->retry_ms = RETRY_MS;
    else
        self->retry_ms = smaller(2 * self->retry_ms, RETRY_MAX_MS);
    if (status && self->how.failed)
        self->how.failed(self->how.self, &error);
}

static void *follow(void *argument)
{
    struct interest_thread *self = argument;
    bool news = true;
    while (!atomic_load(&self->stop)) {
        look(self, news);
        news = wait_for_news(self);
    }
    return NULL;
}

void interest_thread_wake(struct interest_model *model)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&model->lock);
    if (model->thread)
        (void)!write(model->thread->wake, &one, sizeof one);
    pthread_mutex_unlock(&model->lock);
}

int interest_follow(struct interest_model *model,
                    const struct interest_following *how,
                    struct interest_error *error)
{
    if (!model || model->thread)
        return interest_fail(error, INTEREST_ARGUMENT,
                             "model is NULL, or is followed already");
    struct interest_thread *made = calloc(1, sizeof *made);
    if (!made)
        return interest_fail(error, INTEREST_SYSTEM, "no memory");
    made->model = model;
    if (how)
        made->how = *how;
    if (made->how.poll_ms <= 0)
        made->how.poll_ms = POLL_MS;
    made->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->wake < 0 ||
        pthread_create(&made->thread, NULL, follow, made) != 0) {
        if (made->wake >= 0)
            close(made->wake);
        free(made);
        return interest_fail(error, INTEREST_SYSTEM,
                             "no descriptor or thread to follow with");
    }
    pthread_mutex_lock(&model->lock);
    model->thread = made;
    pthread_mutex_unlock(&model->lock);
    return INTEREST_OK;
}

void interest_thread_stop(struct interest_model *model)
{
    struct interest_thread *thread = model->thread;
    if (!thread)
        return;
    atomic_store(&thread->stop, true);
    interest_thread_wake(model);
    pthread_join(thread->thread, NULL);
    pthread_mutex_lock(&model->lock);
    model->thread = NULL;
    pthread_mutex_unlock(&model->lock);
    close(thread->wake);
    free(thread);
}
