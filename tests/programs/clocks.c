// Time, chance and identity in every thread: clocks never step back from thread to thread, sleeps are
// long enough, random bytes differ, the process has one number.
#include "check.h"
#include <sched.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int64_t latest;
static unsigned char random_bytes[THREADS][32];
static pid_t process;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < 100; round++) {
        ZERO(pthread_mutex_lock(&mutex));
        int64_t now = now_ns(CLOCK_MONOTONIC);
        CHECK(now >= latest, "time went back by %ld ns", (long)(latest - now));
        latest = now;
        ZERO(pthread_mutex_unlock(&mutex));
    }
    int64_t start = now_ns(CLOCK_MONOTONIC), wall = now_ns(CLOCK_REALTIME);
    struct timespec part = {0, 15000000};
    CALL(nanosleep(&part, NULL));
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 15000000, "the sleep was short");
    CHECK(now_ns(CLOCK_REALTIME) - wall >= 14000000, "the wall clock was slow");
    CALL(clock_gettime(CLOCK_MONOTONIC, &part));
    part.tv_nsec += 10000000;
    if (part.tv_nsec >= 1000000000) part.tv_sec++, part.tv_nsec -= 1000000000;
    ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &part, NULL));
    CHECK(now_ns(CLOCK_MONOTONIC) >= part.tv_sec * 1000000000 + part.tv_nsec, "an absolute sleep was short");
    struct timeval day;
    CALL(gettimeofday(&day, NULL));
    CHECK(day.tv_sec >= time(NULL) - 1 && day.tv_sec <= time(NULL) + 1, "gettimeofday and time differ");
    // CPU time counts computing and not sleeping.
    int64_t used = now_ns(CLOCK_THREAD_CPUTIME_ID);
    volatile long number = 0;
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) - used < 2000000) number++;
    CHECK(CALL(getrandom(random_bytes[self], 32, 0)) == 32, "few random bytes");
    CHECK(getpid() == process, "the process is %d in a thread", getpid());
    CHECK(syscall(SYS_getpid) == process, "the process is another");
    CHECK(getppid() == CALL((pid_t)syscall(SYS_getppid)), "the parent is another");
    for (int round = 0; round < 100; round++) CALL(sched_yield());
    return NULL;
}

int main(void) {
    process = getpid();
    latest = now_ns(CLOCK_MONOTONIC);
    run_threads(THREADS, use);
    CHECK(now_ns(CLOCK_MONOTONIC) >= latest, "time went back");
    for (int one = 0; one < THREADS; one++)
        for (int two = 0; two < one; two++)
            CHECK(memcmp(random_bytes[one], random_bytes[two], 32) != 0, "%d and %d drew the same", one, two);
    CHECK(gettid() == process, "the main thread is %d", gettid());
    return finish();
}
