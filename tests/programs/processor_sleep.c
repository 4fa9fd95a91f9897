// Sleeping by processor time that others use: it ends when so much was used, wherever that was, and a handler ends it
// before. Threads on every node sleep and work.
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>

static pthread_barrier_t together;
static pthread_t workers[THREADS];
static _Atomic int enough, handled;

static struct timespec of(int64_t nanoseconds) {
    struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    return time;
}

static void *burn(void *argument) {
    volatile long sum = 0;
    (void)argument;
    while (!atomic_load(&enough))
        for (int i = 0; i < 100000; i++) sum += i;
    return NULL;
}

static void on_signal(int signal) {
    (void)signal;
    atomic_fetch_add(&handled, 1);
}

// Until the clock, which others have run, reads something, and for a time of it.
static void sleep_by(clockid_t clock) {
    int64_t start = now_ns(clock), at = start + 60000000;
    struct timespec time = of(at);
    ZERO(clock_nanosleep(clock, TIMER_ABSTIME, &time, NULL));
    CHECK(now_ns(clock) >= at, "%ld ns too early", (long)(at - now_ns(clock)));
    // What has been is no sleep.
    ZERO(clock_nanosleep(clock, TIMER_ABSTIME, &time, &time));
    CHECK(time.tv_sec * 1000000000 + time.tv_nsec == at, "the time was written to");
    start = now_ns(clock);
    struct timespec left = {7, 7};
    time = of(40000000);
    ZERO(clock_nanosleep(clock, 0, &time, &left));
    CHECK(now_ns(clock) >= start + 40000000, "%ld ns", (long)(now_ns(clock) - start));
    CHECK(left.tv_sec == 7 && left.tv_nsec == 7, "what is left was written to");
}

static void refused(clockid_t own) {
    struct timespec time = {0, 1000000000}, second = {1, 0};
    clockid_t process = CLOCK_PROCESS_CPUTIME_ID;
    CHECK(clock_nanosleep(process, 0, &time, NULL) == EINVAL, "more than a second of parts");
    time = (struct timespec){-1, 0};
    CHECK(clock_nanosleep(process, 0, &time, NULL) == EINVAL, "a negative time");
    CHECK(clock_nanosleep(process, 0, (void *)8, NULL) == EFAULT, "a bad pointer");
    CHECK(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &second, NULL) == EINVAL, "the thread's own clock");
    CHECK(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &second, NULL) == -1 && errno == EOPNOTSUPP, "%s",
          strerror(errno));
    CHECK(clock_nanosleep(own, 0, &second, NULL) == EINVAL, "the thread's own clock by its id");
    CHECK(clock_nanosleep((clockid_t)(~0x3ffffffu << 3 | 6), 0, &second, NULL) == EINVAL, "a thread that is none");
    CHECK(clock_nanosleep(77, 0, &second, NULL) == EINVAL, "a clock that is none");
    struct timespec resolution;
    CALL(clock_getres(own, &resolution));
    CHECK(resolution.tv_sec == 0 && resolution.tv_nsec == 1, "%ld ns", resolution.tv_nsec);
    CHECK(clock_getres((clockid_t)(~0x3ffffffu << 3 | 6), &resolution) == -1 && errno == EINVAL, "%s", strerror(errno));
}

// Each thread in turn, while the others wait or work.
static void *sleeper(void *argument) {
    clockid_t own, process, worker;
    int self = (int)(intptr_t)argument;
    ZERO(pthread_getcpuclockid(pthread_self(), &own));
    ZERO(clock_getcpuclockid(0, &process));
    ZERO(pthread_getcpuclockid(workers[(self + 1) % THREADS], &worker));
    for (int turn = 0; turn < THREADS; turn++) {
        if (turn == self) {
            refused(own);
            sleep_by(CLOCK_PROCESS_CPUTIME_ID);
            sleep_by(process);
            sleep_by(worker);
        }
        pthread_barrier_wait(&together);
    }
    return NULL;
}

// Nobody works: only the handler ends it.
static void *interrupted(void *argument) {
    struct timespec time = {30, 0}, left = {0, 0};
    clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
    atomic_store((_Atomic int *)argument, 1);
    CHECK(clock_nanosleep(clock, 0, &time, &left) == EINTR, "no handler ended it");
    CHECK(left.tv_sec == 29 && left.tv_nsec > 0, "%ld.%09ld s left", (long)left.tv_sec, left.tv_nsec);
    int64_t until = now_ns(clock) + 30000000000;
    time = of(until);
    left = (struct timespec){7, 7};
    atomic_store((_Atomic int *)argument, 2);
    CHECK(clock_nanosleep(clock, TIMER_ABSTIME, &time, &left) == EINTR, "no handler ended it");
    CHECK(left.tv_sec == 7 && left.tv_nsec == 7, "what is left was written to");
    atomic_store((_Atomic int *)argument, 3);
    return NULL;
}

static void interrupt_all(void) {
    static _Atomic int stages[THREADS];
    pthread_t threads[THREADS];
    // Restarting does not help a sleep.
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CALL(sigaction(SIGUSR1, &action, NULL));
    for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&threads[i], NULL, interrupted, &stages[i]));
    for (int i = 0; i < THREADS; i++) {
        // Each stage again and again, for a signal may come before the sleep.
        while (atomic_load(&stages[i]) < 1) sleep_ms(1);
        for (int waited = 0; atomic_load(&stages[i]) < 3; waited++) {
            CHECK(waited < 2000, "thread %d sleeps on", i);
            sleep_ms(10);
            if (atomic_load(&stages[i]) < 3) pthread_kill(threads[i], SIGUSR1);
        }
        ZERO(pthread_join(threads[i], NULL));
    }
    CHECK(atomic_load(&handled) >= 2 * THREADS, "%d handlers", handled);
}

int main(void) {
    pthread_t threads[THREADS];
    ZERO(pthread_barrier_init(&together, NULL, THREADS));
    interrupt_all();
    for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&workers[i], NULL, burn, NULL));
    // The first thread, too.
    sleep_by(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&threads[i], NULL, sleeper, (void *)(intptr_t)i));
    for (int i = 0; i < THREADS; i++) ZERO(pthread_join(threads[i], NULL));
    atomic_store(&enough, 1);
    for (int i = 0; i < THREADS; i++) ZERO(pthread_join(workers[i], NULL));
    return finish();
}
