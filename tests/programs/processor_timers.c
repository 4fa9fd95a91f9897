// Timers on processor time, which is used on every node: each signal comes once the time has been used, not
// before, with what it carries, to whom it is for.
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

// A timer that has not come after so much processor time does not come.
#define PATIENCE_NS 10000000000

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static __thread volatile int own;
static volatile int ticks, expired;

static void on_own(int signal, siginfo_t *information, void *context) {
    (void)context;
    CHECK(signal == SIGUSR1 && information->si_code == SI_TIMER, "code %d", information->si_code);
    CHECK(information->si_value.sival_int == gettid(), "for %d, not for %d", information->si_value.sival_int, gettid());
    own++;
}

static void on_process(int signal, siginfo_t *information, void *context) {
    (void)context;
    // On several nodes the code is that of the other timers.
    int code = information->si_code;
    CHECK(code == SI_TIMER || (signal != SIGUSR2 && code == SI_KERNEL), "signal %d has code %d", signal, code);
    if (signal == SIGUSR2) CHECK(information->si_value.sival_ptr == &expired, "another value");
    __atomic_add_fetch(signal == SIGUSR2 ? &expired : &ticks, 1, __ATOMIC_SEQ_CST);
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    CALL(sigaction(signal, &action, NULL));
}

// Uses processor time until a count is reached, or so much time.
static void use(volatile int *count, int wanted, int64_t most_ns) {
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    volatile long sum = 0;
    while ((count == NULL || *count < wanted) && now_ns(CLOCK_THREAD_CPUTIME_ID) - start < most_ns)
        for (int i = 0; i < 100000; i++) sum += i;
}

static void *own_time(void *argument) {
    (void)argument;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event.sigev_value.sival_int = event.sigev_notify_thread_id = gettid();
    timer_t timer;
    CALL(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer));
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    struct itimerspec once = {.it_value = {0, 40000000}}, left;
    CALL(timer_settime(timer, 0, &once, NULL));
    CALL(timer_gettime(timer, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 40000000, "%ld ns left",
          left.it_value.tv_nsec);
    use(&own, 1, PATIENCE_NS);
    int64_t used = now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    CHECK(own == 1, "%d signals after %ld ns", own, (long)used);
    CHECK(used >= 40000000, "it came after %ld ns", (long)used);
    CALL(timer_gettime(timer, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "it still runs");
    // Again and again, until it is told to stand still.
    struct itimerspec often = {{0, 5000000}, {0, 5000000}}, never = {{0, 0}, {0, 0}};
    CALL(timer_settime(timer, 0, &often, NULL));
    use(&own, 4, PATIENCE_NS);
    CHECK(own >= 4, "%d signals", own);
    CALL(timer_settime(timer, 0, &never, &left));
    CHECK(left.it_interval.tv_nsec == 5000000, "%ld", left.it_interval.tv_nsec);
    CALL(timer_delete(timer));
    CHECK(syscall(SYS_timer_delete, timer) == -1 && errno == EINVAL, "%s", strerror(errno));
    return NULL;
}

// A signal that waits does not wait twice: of a busy machine nothing says how many signals so much time makes,
// only that they go on to come.
static void *burn(void *argument) {
    (void)argument;
    use(NULL, 0, 150000000);
    use(&ticks, 5, PATIENCE_NS);
    return NULL;
}

// All threads together.
static void time_of_all(int which, int signal) {
    struct itimerval every = {{0, 20000}, {0, 20000}}, none = {{0, 0}, {0, 0}}, was;
    handle(signal, on_process);
    ticks = 0;
    CALL(setitimer(which, &every, NULL));
    CALL(getitimer(which, &was));
    CHECK(was.it_interval.tv_usec == 20000 && was.it_value.tv_usec > 0, "%ld left", (long)was.it_value.tv_usec);
    int64_t before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    run_threads(THREADS, burn);
    CALL(setitimer(which, &none, &was));
    int64_t used = now_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
    CHECK(was.it_interval.tv_usec == 20000, "every %ld", (long)was.it_interval.tv_usec);
    // No more than were due. The kernel's own timer counts whole ticks of its clock for the thread that runs when
    // one comes: on a busy machine that is a little more than the clock which is read here.
    CHECK(ticks >= 5 && ticks <= used * 11 / 10 / 20000000 + 1, "%d signals in %ld ms", ticks, (long)used / 1000000);
    CALL(getitimer(which, &was));
    CHECK(was.it_value.tv_sec == 0 && was.it_value.tv_usec == 0, "it still runs");
}

static void *wait_for_expiry(void *argument) {
    (void)argument;
    use(&expired, 1, PATIENCE_NS);
    return NULL;
}

int main(void) {
    handle(SIGUSR1, on_own);
    handle(SIGUSR2, on_process);
    run_threads(THREADS, own_time);
    time_of_all(ITIMER_PROF, SIGPROF);
    time_of_all(ITIMER_VIRTUAL, SIGVTALRM);

    // At a reading of the process's clock.
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value = {.sival_ptr = (void *)&expired}};
    timer_t timer, quiet, other;
    CALL(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer));
    int64_t at = now_ns(CLOCK_PROCESS_CPUTIME_ID) + 100000000;
    struct itimerspec absolute = {.it_value = {at / 1000000000, at % 1000000000}};
    CALL(timer_settime(timer, TIMER_ABSTIME, &absolute, NULL));
    run_threads(THREADS, wait_for_expiry);
    CHECK(expired == 1, "%d signals", expired);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= at, "too early");

    // One that tells nobody can be asked.
    struct itimerspec long_time = {.it_value = {1000, 0}}, left, invalid = {.it_value = {0, 1000000000}};
    event.sigev_notify = SIGEV_NONE;
    CALL(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &quiet));
    CALL(timer_settime(quiet, 0, &long_time, NULL));
    CALL(timer_gettime(quiet, &left));
    CHECK(left.it_value.tv_sec == 999 || left.it_value.tv_sec == 1000, "%ld s left", left.it_value.tv_sec);

    // What is wrong is refused, and changes nothing.
    CHECK(timer_settime(quiet, 0, &invalid, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(syscall(SYS_timer_settime, quiet, 0, NULL, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(syscall(SYS_timer_settime, quiet, 0, 8, NULL) == -1 && errno == EFAULT, "%s", strerror(errno));
    CHECK(syscall(SYS_timer_gettime, 12345, &left) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(timer_create((clockid_t)(~0x3ffffffu << 3 | 6), NULL, &other) == -1 && errno == EINVAL, "%s", strerror(errno));
    struct itimerval bad = {{0, 0}, {0, 1000000}};
    CHECK(setitimer(ITIMER_PROF, &bad, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(setitimer(9, &bad, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));

    // Beside them one that runs by time.
    event.sigev_notify = SIGEV_SIGNAL;
    CALL(timer_create(CLOCK_MONOTONIC, &event, &other));
    struct itimerspec soon = {.it_value = {0, 1000000}};
    CALL(timer_settime(other, 0, &soon, NULL));
    for (int waited = 0; expired < 2 && waited < 10000; waited++) sleep_ms(1);
    CHECK(expired == 2, "%d signals", expired);
    CALL(timer_delete(other));
    CALL(timer_delete(timer));
    CALL(timer_delete(quiet));
    return finish();
}
