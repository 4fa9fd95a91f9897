// Timers on processor time, by every call that makes one: they count what threads use wherever those are, and
// are not over before it is used.
#include "check.h"
#include <signal.h>
#include <sys/time.h>

#define MS 1000000L
// What a thread uses at most while it waits for a timer of a tenth of it.
#define PATIENCE (2000 * MS)

static atomic_int over;

static void on_signal(int signal) {
    (void)signal;
    atomic_fetch_add(&over, 1);
}

// Uses processor time until a timer is over so many times. What the thread used.
static int64_t use(int times) {
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID), used;
    volatile long sum = 0;
    do {
        for (int i = 0; i < 200000; i++) sum += i;
        used = now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    } while (atomic_load(&over) < times && used < PATIENCE);
    return used;
}

static void *until_once(void *argument) {
    use(1);
    return argument;
}

static void *until_ten_times(void *argument) {
    use(10);
    return argument;
}

static timer_t created(clockid_t clock, long milliseconds) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    timer_t timer;
    CALL(timer_create(clock, &event, &timer));
    struct itimerspec time = {.it_value = {.tv_nsec = milliseconds * MS}};
    CALL(timer_settime(timer, 0, &time, NULL));
    return timer;
}

static int64_t left(timer_t timer) {
    struct itimerspec time;
    CALL(timer_gettime(timer, &time));
    return (int64_t)time.it_value.tv_sec * 1000000000 + time.it_value.tv_nsec;
}

// The timer of a thread counts its own time.
static void *own(void *argument) {
    atomic_store(&over, 0);
    timer_t timer = created(CLOCK_THREAD_CPUTIME_ID, 200);
    int64_t used = use(1);
    CHECK(atomic_load(&over) == 1, "not over after %ld ms", (long)(used / MS));
    CHECK(used >= 180 * MS, "over after %ld ms", (long)(used / MS));
    CHECK(left(timer) == 0, "%ld ns left of one that is over", (long)left(timer));
    struct itimerspec time = {.it_value = {.tv_sec = 100}};
    CALL(timer_settime(timer, 0, &time, NULL));
    int64_t before = left(timer);
    atomic_store(&over, 0);
    CHECK(before <= 100000 * MS, "%ld ms left at first", (long)(before / MS));
    for (int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID); now_ns(CLOCK_THREAD_CPUTIME_ID) - start < 50 * MS;) {}
    CHECK(left(timer) <= before - 40 * MS, "%ld ms went by", (long)((before - left(timer)) / MS));
    CALL(timer_delete(timer));
    return argument;
}

// A thread uses the time of a timer of the process, and this one nothing.
static void use_elsewhere(void *(*body)(void *)) {
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, body, NULL));
    ZERO(pthread_join(thread, NULL));
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    for (const int *signal = (int[]){SIGRTMIN, SIGPROF, SIGVTALRM, 0}; *signal != 0; signal++)
        CALL(sigaction(*signal, &action, NULL));

    for (int round = 0; round < 3; round++) {
        // Once, relative and absolute.
        atomic_store(&over, 0);
        int64_t start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        timer_t timer = created(CLOCK_PROCESS_CPUTIME_ID, 200);
        use_elsewhere(until_once);
        int64_t used = now_ns(CLOCK_PROCESS_CPUTIME_ID) - start;
        CHECK(atomic_load(&over) == 1, "round %d: not over after %ld ms", round, (long)(used / MS));
        CHECK(used >= 180 * MS, "round %d: over after %ld ms", round, (long)(used / MS));
        atomic_store(&over, 0);
        start = now_ns(CLOCK_PROCESS_CPUTIME_ID) + 100 * MS;
        struct itimerspec time = {.it_value = {.tv_sec = start / 1000000000, .tv_nsec = start % 1000000000}};
        CALL(timer_settime(timer, TIMER_ABSTIME, &time, NULL));
        use_elsewhere(until_once);
        CHECK(atomic_load(&over) == 1, "round %d: the absolute one is not over", round);
        CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= start - 10 * MS, "round %d: the absolute one was early", round);
        CALL(timer_delete(timer));

        // Again and again.
        for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++) {
            atomic_store(&over, 0);
            struct itimerval often = {.it_value = {.tv_usec = 20000}, .it_interval = {.tv_usec = 20000}}, rest;
            CALL(setitimer(which, &often, NULL));
            use_elsewhere(until_ten_times);
            CALL(setitimer(which, &(struct itimerval){0}, &rest));
            CHECK(atomic_load(&over) >= 10, "round %d: timer %d was over %d times", round, which, atomic_load(&over));
            CHECK(rest.it_interval.tv_usec == 20000, "%ld us between", (long)rest.it_interval.tv_usec);
        }
        use_elsewhere(own);
    }
    own(NULL);
    return finish();
}
