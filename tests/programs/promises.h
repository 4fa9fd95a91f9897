// Programs that check what an interface promises, one check after another: each on the first thread and on every
// other, one thread at a time, so that a check may change what all share, and puts it back.
#ifndef PROMISES_H
#define PROMISES_H

#include "check.h"
#include <signal.h>

struct promise {
    const char *name;
    void (*check)(void);
};

static const struct promise *promises;
static int promise_count;
static pthread_barrier_t promise_turn;

static inline void keep_all(int thread) {
    sigset_t none, before;
    sigemptyset(&none);
    for (int i = 0; i < promise_count; i++) {
        // What is sent to the process comes here.
        ZERO(pthread_sigmask(SIG_SETMASK, &none, &before));
        promises[i].check();
        ZERO(pthread_sigmask(SIG_SETMASK, &before, NULL));
        printf("thread %d: %s\n", thread, promises[i].name);
    }
}

static inline void *keep_in_turn(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int turn = 0; turn < THREADS; turn++) {
        if (turn == self) keep_all(self + 1);
        pthread_barrier_wait(&promise_turn);
    }
    return NULL;
}

static inline int keep_promises(const struct promise *all, int count) {
    sigset_t every;
    sigfillset(&every);
    ZERO(pthread_sigmask(SIG_SETMASK, &every, NULL));
    promises = all;
    promise_count = count;
    keep_all(0);
    ZERO(pthread_barrier_init(&promise_turn, NULL, THREADS));
    run_threads(THREADS, keep_in_turn);
    return finish();
}

#define KEEP(list) keep_promises(list, (int)(sizeof list / sizeof list[0]))

#endif
