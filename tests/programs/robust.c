// Robust mutexes: when a thread ends while it holds one, the next to lock it is told and can repair
// it, whether it waits already or comes later; unrepaired, it stays unusable.
#include "check.h"

static pthread_mutex_t robust[4];
static pthread_barrier_t held;

static void *die_holding(void *argument) {
    (void)argument;
    for (int index = 0; index < 4; index++) ZERO(pthread_mutex_lock(&robust[index]));
    pthread_barrier_wait(&held);
    sleep_ms(20);  // so that the waiter is asleep in the kernel
    return NULL;
}

static void *wait_for_dead(void *argument) {
    (void)argument;
    pthread_barrier_wait(&held);
    int status = pthread_mutex_lock(&robust[0]);
    CHECK(status == EOWNERDEAD, "the waiter got %d (%s)", status, strerror(status));
    ZERO(pthread_mutex_consistent(&robust[0]));
    ZERO(pthread_mutex_unlock(&robust[0]));
    return NULL;
}

int main(void) {
    for (int shared = 0; shared < 2; shared++) {
        pthread_mutexattr_t attributes;
        ZERO(pthread_mutexattr_init(&attributes));
        ZERO(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
        if (shared) ZERO(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
        for (int index = 0; index < 4; index++) ZERO(pthread_mutex_init(&robust[index], &attributes));
        ZERO(pthread_barrier_init(&held, NULL, 2));
        pthread_t dying, waiting;
        ZERO(pthread_create(&dying, NULL, die_holding, NULL));
        ZERO(pthread_create(&waiting, NULL, wait_for_dead, NULL));
        ZERO(pthread_join(dying, NULL));
        ZERO(pthread_join(waiting, NULL));
        ZERO(pthread_mutex_lock(&robust[0]));
        ZERO(pthread_mutex_unlock(&robust[0]));
        CHECK(pthread_mutex_trylock(&robust[1]) == EOWNERDEAD, "a late try is told");
        ZERO(pthread_mutex_consistent(&robust[1]));
        ZERO(pthread_mutex_unlock(&robust[1]));
        CHECK(pthread_mutex_lock(&robust[2]) == EOWNERDEAD, "a late lock is told");
        ZERO(pthread_mutex_unlock(&robust[2]));
        CHECK(pthread_mutex_lock(&robust[2]) == ENOTRECOVERABLE, "unrepaired, it is lost");
        printf("%s: repaired\n", shared ? "process-shared" : "private");
    }
    return finish();
}
