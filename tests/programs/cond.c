// Condition variables: a bounded queue between producers and consumers, a broadcast, a timeout.
#include "check.h"

#define ITEMS 150
#define CAPACITY 8

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER;
static long queue[CAPACITY];
static int head, length, consumed;
static long sum;

static void *produce_or_consume(void *argument) {
    int self = (int)(intptr_t)argument;
    int total = ITEMS * (THREADS / 2);
    if (self % 2 == 0) {
        for (int item = 1; item <= ITEMS; item++) {
            ZERO(pthread_mutex_lock(&mutex));
            while (length == CAPACITY) ZERO(pthread_cond_wait(&not_full, &mutex));
            queue[(head + length++) % CAPACITY] = item;
            ZERO(pthread_cond_signal(&not_empty));
            ZERO(pthread_mutex_unlock(&mutex));
        }
        return NULL;
    }
    for (;;) {
        ZERO(pthread_mutex_lock(&mutex));
        while (length == 0 && consumed < total) ZERO(pthread_cond_wait(&not_empty, &mutex));
        if (consumed == total) {
            ZERO(pthread_mutex_unlock(&mutex));
            return NULL;
        }
        sum += queue[head];
        head = (head + 1) % CAPACITY;
        length--;
        if (++consumed == total) ZERO(pthread_cond_broadcast(&not_empty));
        ZERO(pthread_cond_signal(&not_full));
        ZERO(pthread_mutex_unlock(&mutex));
    }
}

static pthread_cond_t gate = PTHREAD_COND_INITIALIZER;
static int waiting, open_gate, passed;

static void *wait_at_gate(void *argument) {
    (void)argument;
    ZERO(pthread_mutex_lock(&mutex));
    waiting++;
    while (!open_gate) ZERO(pthread_cond_wait(&gate, &mutex));
    passed++;
    ZERO(pthread_mutex_unlock(&mutex));
    return NULL;
}

static void broadcast(void) {
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++) ZERO(pthread_create(&threads[index], NULL, wait_at_gate, NULL));
    for (;;) {
        ZERO(pthread_mutex_lock(&mutex));
        int all = waiting == THREADS;
        if (all) {
            open_gate = 1;
            ZERO(pthread_cond_broadcast(&gate));
        }
        ZERO(pthread_mutex_unlock(&mutex));
        if (all) break;
        sleep_ms(1);
    }
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
    CHECK(passed == THREADS, "%d passed", passed);
}

static void *time_out(void *argument) {
    (void)argument;
    pthread_cond_t own;
    pthread_condattr_t attributes;
    ZERO(pthread_condattr_init(&attributes));
    ZERO(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC));
    ZERO(pthread_cond_init(&own, &attributes));
    pthread_mutex_t own_mutex = PTHREAD_MUTEX_INITIALIZER;
    ZERO(pthread_mutex_lock(&own_mutex));
    int64_t start = now_ns(CLOCK_MONOTONIC);
    struct timespec deadline;
    CALL(clock_gettime(CLOCK_MONOTONIC, &deadline));
    deadline.tv_nsec += 50000000;
    if (deadline.tv_nsec >= 1000000000) deadline.tv_sec++, deadline.tv_nsec -= 1000000000;
    int status;
    while ((status = pthread_cond_timedwait(&own, &own_mutex, &deadline)) == 0) {}
    CHECK(status == ETIMEDOUT, "timedwait gave %d", status);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 50000000, "the wait ended early");
    ZERO(pthread_mutex_unlock(&own_mutex));
    ZERO(pthread_cond_destroy(&own));
    return NULL;
}

int main(void) {
    run_threads(THREADS, produce_or_consume);
    long expected = (long)(THREADS / 2) * ITEMS * (ITEMS + 1) / 2;
    CHECK(sum == expected, "sum %ld, not %ld", sum, expected);
    broadcast();
    run_threads(3, time_out);
    printf("consumed %d, sum %ld\n", consumed, sum);
    return finish();
}
