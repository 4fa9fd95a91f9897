// Threads that share nothing compute until they are ended from outside, and say "ready" when all of them run.
#include "check.h"

static atomic_int started;

static void *run(void *argument) {
    volatile unsigned long number = (unsigned long)argument;
    started++;
    for (;;) number = number * 6364136223846793005ul + 1;
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, run, (void *)index));
    while (started < THREADS) sleep_ms(1);
    puts("ready");
    fflush(stdout);
    for (;;) sleep_ms(1000);
}
