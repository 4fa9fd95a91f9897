// Runs until it is ended from outside: endless busy|wait|forks|clock. Says "ready" when all its threads run.
#include "check.h"
#include <sys/wait.h>

static atomic_int started;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
static long shared_pages[16][512];
static int busy;

static void *run(void *argument) {
    int self = (int)(intptr_t)argument;
    started++;
    if (!busy) {
        ZERO(pthread_mutex_lock(&mutex));
        while (!busy) ZERO(pthread_cond_wait(&never, &mutex));
    }
    for (unsigned long round = 0;; round++) {
        volatile unsigned long number = round;
        for (int step = 0; step < 20000; step++) number = number * 6364136223846793005ul + 1;
        ZERO(pthread_mutex_lock(&mutex));
        shared_pages[round % 16][self]++;
        ZERO(pthread_mutex_unlock(&mutex));
    }
    return NULL;
}

// Nearly always in the vDSO, and makes no call of the kernel.
static void *read_clock(void *argument) {
    struct timespec now;
    started++;
    for (;;) ZERO(clock_gettime(CLOCK_MONOTONIC, &now));
    return argument;
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: endless busy|wait|forks|clock");
    int reads = strcmp(arguments[1], "clock") == 0;
    int forks = strcmp(arguments[1], "forks") == 0;
    busy = forks || strcmp(arguments[1], "busy") == 0;
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, reads ? read_clock : run, (void *)(intptr_t)index));
    while (started < THREADS) sleep_ms(1);
    puts("ready");
    fflush(stdout);
    while (forks) {
        pid_t copy = CALL(fork());
        if (copy == 0) _exit(0);
        CALL(waitpid(copy, NULL, 0));
    }
    pthread_join(threads[0], NULL);
    return 1;
}
