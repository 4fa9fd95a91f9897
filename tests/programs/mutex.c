// Mutexes of every kind: no increment is lost, and each kind answers misuse as it should.
#include "check.h"

#define ROUNDS 300

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long counter;
static long padded_counters[THREADS][512];  // one page each: the data and the lock move separately

static void *count(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < ROUNDS; round++) {
        ZERO(pthread_mutex_lock(&mutex));
        long before = counter;
        padded_counters[(self + round) % THREADS][0]++;
        counter = before + 1;
        ZERO(pthread_mutex_unlock(&mutex));
    }
    return NULL;
}

static pthread_mutex_t recursive, checking;

static void *other_thread(void *argument) {
    (void)argument;
    CHECK(pthread_mutex_trylock(&recursive) == EBUSY, "the recursive mutex is held elsewhere");
    CHECK(pthread_mutex_unlock(&checking) == EPERM, "unlocking another thread's mutex is refused");
    struct timespec deadline;
    CALL(clock_gettime(CLOCK_REALTIME, &deadline));
    deadline.tv_nsec += 20000000;
    if (deadline.tv_nsec >= 1000000000) deadline.tv_sec++, deadline.tv_nsec -= 1000000000;
    CHECK(pthread_mutex_timedlock(&checking, &deadline) == ETIMEDOUT, "a timed lock gives up");
    return NULL;
}

static void kinds(void) {
    pthread_mutexattr_t attributes;
    ZERO(pthread_mutexattr_init(&attributes));
    ZERO(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE));
    ZERO(pthread_mutex_init(&recursive, &attributes));
    ZERO(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK));
    ZERO(pthread_mutex_init(&checking, &attributes));
    ZERO(pthread_mutex_lock(&recursive));
    ZERO(pthread_mutex_lock(&recursive));
    ZERO(pthread_mutex_lock(&checking));
    CHECK(pthread_mutex_lock(&checking) == EDEADLK, "locking twice is a deadlock");
    run_threads(3, other_thread);
    ZERO(pthread_mutex_unlock(&recursive));
    ZERO(pthread_mutex_unlock(&recursive));
    ZERO(pthread_mutex_unlock(&checking));
    ZERO(pthread_mutex_destroy(&recursive));
    ZERO(pthread_mutex_destroy(&checking));
}

int main(void) {
    run_threads(THREADS, count);
    long sum = 0;
    for (int index = 0; index < THREADS; index++) sum += padded_counters[index][0];
    CHECK(counter == THREADS * ROUNDS, "counted %ld", counter);
    CHECK(sum == THREADS * ROUNDS, "the pages counted %ld", sum);
    kinds();
    printf("counted %ld\n", counter);
    return finish();
}
