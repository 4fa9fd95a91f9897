// Joining: long after the thread's end, before it, by another thread, in any order, with a deadline;
// return values arrive.
#include "check.h"

static atomic_int ended;

static void *square(void *argument) {
    intptr_t number = (intptr_t)argument;
    ended++;
    return (void *)(number * number);
}

static void *slow(void *argument) {
    sleep_ms(60);
    return argument;
}

static void *join_other(void *argument) {
    void *result;
    ZERO(pthread_join(*(pthread_t *)argument, &result));
    return result;
}

int main(void) {
    pthread_t threads[24];
    for (int round = 0; round < 3; round++) {
        ended = 0;
        for (int index = 0; index < 24; index++)
            ZERO(pthread_create(&threads[index], NULL, square, (void *)(intptr_t)index));
        // Odd rounds wait until every thread has ended, so that join finds only their remains.
        if (round % 2) {
            while (ended < 24) sleep_ms(1);
            sleep_ms(20);
        }
        for (int index = 23; index >= 0; index--) {
            void *result;
            ZERO(pthread_join(threads[index], &result));
            CHECK((intptr_t)result == index * index, "thread %d returned %ld", index, (long)(intptr_t)result);
        }
    }
    pthread_t slow_thread;
    ZERO(pthread_create(&slow_thread, NULL, slow, (void *)17));
    void *result = NULL;
    CHECK(pthread_tryjoin_np(slow_thread, &result) == EBUSY, "it has not ended yet");
    struct timespec deadline;
    CALL(clock_gettime(CLOCK_REALTIME, &deadline));
    deadline.tv_sec += 20;
    ZERO(pthread_timedjoin_np(slow_thread, &result, &deadline));
    CHECK(result == (void *)17, "it returned %p", result);
    pthread_t joiner;
    ZERO(pthread_create(&slow_thread, NULL, slow, (void *)23));
    ZERO(pthread_create(&joiner, NULL, join_other, &slow_thread));
    ZERO(pthread_join(joiner, &result));
    CHECK(result == (void *)23, "the joiner returned %p", result);
    CHECK(pthread_join(pthread_self(), NULL) == EDEADLK, "joining oneself is refused");
    return finish();
}
