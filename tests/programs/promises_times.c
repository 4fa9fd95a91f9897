// What POSIX promises of clocks, timers, semaphores, scheduling, and memory that is mapped or locked.
#include "promises.h"
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGE 4096

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static _Atomic int came, notified;
static volatile siginfo_t last, first;
static volatile int overrun;
static timer_t timer;

static void note(int signal, siginfo_t *information, void *context) {
    (void)signal;
    (void)context;
    last = *information;
    if (atomic_fetch_add(&came, 1) == 0) {
        first = last;
        if (first.si_code == SI_TIMER) overrun = timer_getoverrun(timer);
    }
}

static void handle(int signal) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    CALL(sigaction(signal, &action, NULL));
    atomic_store(&came, 0);
}

static void wait_for(_Atomic int *count, int wanted) {
    for (int waited = 0; atomic_load(count) < wanted; waited++) {
        CHECK(waited < 10000, "%d of %d", *count, wanted);
        sleep_ms(1);
    }
}

static void clocks(void) {
    struct timespec time, resolution;
    clockid_t all[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
                       CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI};
    for (int i = 0; i < 9; i++) {
        int64_t before = now_ns(all[i]);
        CALL(clock_getres(all[i], &resolution));
        CHECK(resolution.tv_sec == 0 && resolution.tv_nsec > 0, "clock %d: %ld", i, resolution.tv_nsec);
        CHECK(now_ns(all[i]) >= before, "clock %d went back", i);
    }
    CALL(clock_getres(CLOCK_MONOTONIC, NULL));
    CHECK(clock_gettime(77, &time) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(clock_getres(77, &time) == -1 && errno == EINVAL, "%s", strerror(errno));
    time = (struct timespec){0, 1000000000};
    CHECK(clock_settime(CLOCK_REALTIME, &time) == -1 && errno == EINVAL, "%s", strerror(errno));
    time = (struct timespec){5, 0};
    CHECK(clock_settime(CLOCK_MONOTONIC, &time) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(clock_settime(CLOCK_PROCESS_CPUTIME_ID, &time) == -1, "the processor time was set");
    clockid_t clock;
    CHECK(clock_getcpuclockid(0x3ffffff, &clock) == ESRCH, "a process that is none");
}

static void sleeps(void) {
    struct timespec some = {0, 15000000}, bad = {0, 1000000000}, negative = {-1, 0}, left;
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CALL(nanosleep(&some, NULL));
    ZERO(clock_nanosleep(CLOCK_MONOTONIC, 0, &some, &left));
    ZERO(clock_nanosleep(CLOCK_REALTIME, 0, &some, &left));
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 45000000, "too early");
    CHECK(nanosleep(&bad, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(nanosleep(&negative, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL) == EINVAL, "no error");
    CHECK(clock_nanosleep(77, 0, &some, NULL) == EINVAL, "no error");
    int64_t until = now_ns(CLOCK_MONOTONIC) + 20000000;
    struct timespec at = {until / 1000000000, until % 1000000000}, past = {1, 0};
    ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL));
    CHECK(now_ns(CLOCK_MONOTONIC) >= until, "too early");
    ZERO(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &past, NULL));
    // A handler ends it; what is left is told.
    handle(SIGALRM);
    struct itimerval once = {{0, 0}, {0, 20000}}, was;
    struct timespec longest = {100, 0};
    CALL(setitimer(ITIMER_REAL, &once, &was));
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &longest, &left) == EINTR && left.tv_sec == 99, "%ld left", (long)left.tv_sec);
    CALL(setitimer(ITIMER_REAL, &once, NULL));
    longest.tv_sec += now_ns(CLOCK_MONOTONIC) / 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &longest, NULL) == EINTR, "no handler");
    CHECK(alarm(100) == 0 && alarm(0) == 100, "seconds left");
    once.it_value.tv_usec = 1000000;
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == -1 && errno == EINVAL, "%s", strerror(errno));
}

static void by_thread(union sigval value) {
    atomic_fetch_add(&notified, value.sival_int);
}

static void timers_tell(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value = {.sival_int = 42}};
    struct itimerspec once = {.it_value = {0, 5000000}}, left;
    handle(SIGRTMIN);
    CALL(timer_create(CLOCK_MONOTONIC, &event, &timer));
    CALL(timer_gettime(timer, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "it runs");
    CALL(timer_settime(timer, 0, &once, NULL));
    wait_for(&came, 1);
    CHECK(last.si_code == SI_TIMER && last.si_value.sival_int == 42 && last.si_overrun == 0, "code %d", last.si_code);
    CALL(timer_gettime(timer, &left));
    CHECK(left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0, "it runs on");
    // In the past: at once.
    struct itimerspec past = {.it_value = {1, 0}};
    CALL(timer_settime(timer, TIMER_ABSTIME, &past, NULL));
    wait_for(&came, 2);
    // Again and again, and stopped with what was left.
    struct itimerspec often = {{0, 3000000}, {0, 3000000}}, never = {{0, 0}, {0, 0}}, later = {{7, 0}, {100, 0}};
    CALL(timer_settime(timer, 0, &often, NULL));
    wait_for(&came, 6);
    CALL(timer_settime(timer, 0, &later, &left));
    CHECK(left.it_interval.tv_nsec == 3000000, "%ld", left.it_interval.tv_nsec);
    CALL(timer_settime(timer, 0, &never, &left));
    CHECK(left.it_value.tv_sec == 99 && left.it_interval.tv_sec == 7, "%ld left", (long)left.it_value.tv_sec);
    CALL(timer_delete(timer));
    // To one thread, to a new one, and to nobody.
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_notify_thread_id = gettid();
    CALL(timer_create(CLOCK_REALTIME, &event, &timer));
    int before = atomic_load(&came);
    CALL(timer_settime(timer, 0, &once, NULL));
    wait_for(&came, before + 1);
    CALL(timer_delete(timer));
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = by_thread, .sigev_value = {.sival_int = 3}};
    atomic_store(&notified, 0);
    CALL(timer_create(CLOCK_MONOTONIC, &event, &timer));
    CALL(timer_settime(timer, 0, &once, NULL));
    wait_for(&notified, 3);
    CALL(timer_delete(timer));
    event = (struct sigevent){.sigev_notify = SIGEV_NONE};
    CALL(timer_create(CLOCK_MONOTONIC, &event, &timer));
    CALL(timer_settime(timer, 0, &later, NULL));
    CALL(timer_gettime(timer, &left));
    CHECK(left.it_value.tv_sec == 99, "%ld left", (long)left.it_value.tv_sec);
    CALL(timer_delete(timer));
    event.sigev_notify = 77;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(timer_create(77, NULL, &timer) == -1 && errno == EINVAL, "%s", strerror(errno));
}

// While its signal waits, a timer counts how often it was due.
static void overruns_of(clockid_t clock) {
    sigset_t set;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec often = {{0, 2000000}, {0, 2000000}}, never = {{0, 0}, {0, 0}};
    handle(SIGRTMIN);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    CALL(timer_create(clock, &event, &timer));
    ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
    int64_t start = now_ns(clock);
    CALL(timer_settime(timer, 0, &often, NULL));
    volatile long sum = 0;
    while (now_ns(clock) - start < 60000000)
        for (int i = 0; i < 10000; i++) sum += i;
    sigset_t pending;
    do CALL(sigpending(&pending));
    while (!sigismember(&pending, SIGRTMIN));
    ZERO(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
    CALL(timer_settime(timer, 0, &never, NULL));
    // It was due thirty times at least, of which the first was told.
    CHECK(came >= 1 && first.si_code == SI_TIMER, "%d signals", came);
    CHECK(first.si_overrun >= 20, "%d overruns are told", first.si_overrun);
    // By processor time another thread may have taken the next signal by then.
    int is_last = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME;
    CHECK(!is_last || overrun == first.si_overrun, "%d overruns, %d told", overrun, first.si_overrun);
    CALL(timer_delete(timer));
}

static void timers_count_overruns(void) {
    overruns_of(CLOCK_MONOTONIC);
    overruns_of(CLOCK_REALTIME);
    overruns_of(CLOCK_PROCESS_CPUTIME_ID);
    overruns_of(CLOCK_THREAD_CPUTIME_ID);
    CHECK(syscall(SYS_timer_getoverrun, 12345) == -1 && errno == EINVAL, "%s", strerror(errno));
}

static sem_t *posted;

static void post(int signal) {
    (void)signal;
    sem_post(posted);
}

static void semaphores(void) {
    sem_t semaphore;
    int value;
    struct timespec at, bad = {0, 1000000000};
    CHECK(sem_init(&semaphore, 0, (unsigned)SEM_VALUE_MAX + 1u) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(sem_init(&semaphore, 0, 1));
    CALL(sem_wait(&semaphore));
    CHECK(sem_trywait(&semaphore) == -1 && errno == EAGAIN, "%s", strerror(errno));
    CALL(sem_getvalue(&semaphore, &value));
    CHECK(value == 0, "%d", value);
    CALL(clock_gettime(CLOCK_REALTIME, &at));
    CHECK(sem_timedwait(&semaphore, &at) == -1 && errno == ETIMEDOUT, "%s", strerror(errno));
    CHECK(sem_timedwait(&semaphore, &bad) == -1 && errno == EINVAL, "%s", strerror(errno));
    at.tv_nsec = 0;
    at.tv_sec = now_ns(CLOCK_MONOTONIC) / 1000000000;
    CHECK(sem_clockwait(&semaphore, CLOCK_MONOTONIC, &at) == -1 && errno == ETIMEDOUT, "%s", strerror(errno));
    // A handler may post.
    posted = &semaphore;
    CHECK(signal(SIGUSR1, post) != SIG_ERR, "%s", strerror(errno));
    ZERO(pthread_kill(pthread_self(), SIGUSR1));
    CALL(sem_wait(&semaphore));
    // One that ends a wait ends it.
    handle(SIGALRM);
    struct itimerval once = {{0, 0}, {0, 20000}};
    CALL(setitimer(ITIMER_REAL, &once, NULL));
    CHECK(sem_wait(&semaphore) == -1 && errno == EINTR, "%s", strerror(errno));
    CALL(sem_destroy(&semaphore));
    // By name, and with another process.
    char name[32];
    snprintf(name, sizeof name, "/promise-%d", getpid());
    CHECK(sem_open(name, 0) == SEM_FAILED && errno == ENOENT, "%s", strerror(errno));
    sem_t *named = sem_open(name, O_CREAT | O_EXCL, 0600, 0), *same;
    CHECK(named != SEM_FAILED, "%s", strerror(errno));
    CHECK(sem_open(name, O_CREAT | O_EXCL, 0600, 0) == SEM_FAILED && errno == EEXIST, "%s", strerror(errno));
    same = sem_open(name, 0);
    CHECK(same == named, "another one");
    pid_t child = CALL(fork());
    if (child == 0) {
        sem_t *there = sem_open(name, 0);
        _exit(there == SEM_FAILED || sem_post(there) != 0 || sem_post(named) != 0);
    }
    CALL(sem_wait(named));
    CALL(sem_wait(named));
    int status;
    CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0, "%#x", status);
    CALL(sem_close(same));
    CALL(sem_unlink(name));
    CHECK(sem_unlink(name) == -1 && errno == ENOENT, "%s", strerror(errno));
    CALL(sem_post(named));
    CALL(sem_getvalue(named, &value));
    CHECK(value == 1, "%d", value);
    CALL(sem_close(named));
    CHECK(sem_open("no/slash", O_CREAT, 0600, 0) == SEM_FAILED && errno == EINVAL, "%s", strerror(errno));
}

static void scheduling(void) {
    struct sched_param parameters = {7}, bad = {50};
    struct timespec interval;
    CALL(sched_getparam(0, &parameters));
    CHECK(parameters.sched_priority == 0 && sched_getscheduler(0) == SCHED_OTHER, "%d", parameters.sched_priority);
    CALL(sched_setparam(0, &parameters));
    CALL(sched_setscheduler(0, SCHED_OTHER, &parameters));
    CALL(sched_setscheduler(0, SCHED_BATCH, &parameters));
    CHECK(sched_getscheduler(0) == SCHED_BATCH, "%d", sched_getscheduler(0));
    CALL(sched_setscheduler(0, SCHED_OTHER, &parameters));
    CHECK(sched_setparam(0, &bad) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(sched_setscheduler(0, 77, &parameters) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(sched_setscheduler(0x3fffffff, SCHED_OTHER, &parameters) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(sched_getscheduler(0x3fffffff) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(sched_getparam(0x3fffffff, &parameters) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(sched_getscheduler(-1) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(sched_get_priority_min(SCHED_FIFO) == 1 && sched_get_priority_max(SCHED_RR) == 99, "priorities");
    CHECK(sched_get_priority_max(SCHED_OTHER) == 0 && sched_get_priority_min(SCHED_OTHER) == 0, "priorities");
    CHECK(sched_get_priority_max(77) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(sched_rr_get_interval(0, &interval));
    CHECK(sched_rr_get_interval(0x3fffffff, &interval) == -1 && errno == ESRCH, "%s", strerror(errno));
    CALL(sched_yield());
    int policy;
    ZERO(pthread_getschedparam(pthread_self(), &policy, &parameters));
    CHECK(policy == SCHED_OTHER && parameters.sched_priority == 0, "policy %d", policy);
    ZERO(pthread_setschedparam(pthread_self(), SCHED_OTHER, &parameters));
    CHECK(pthread_setschedparam(pthread_self(), 77, &parameters) == EINVAL, "a policy that is none");
    ZERO(pthread_setschedprio(pthread_self(), 0));
    CHECK(pthread_setschedprio(pthread_self(), 50) == EINVAL, "a priority that is none");
}

static void memory(void) {
    char name[32], *both[2];
    snprintf(name, sizeof name, "/promise-%d", getpid());
    CHECK(shm_open(name, O_RDWR, 0) == -1 && errno == ENOENT, "%s", strerror(errno));
    int file = CALL(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
    CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC, "it passes exec");
    CHECK(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600) == -1 && errno == EEXIST, "%s", strerror(errno));
    CALL(ftruncate(file, 3 * PAGE));
    for (int i = 0; i < 2; i++) both[i] = CALL(mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    check_zero((unsigned char *)both[0], 3 * PAGE, "a new file");
    fill_pattern((unsigned char *)both[0], 3 * PAGE, 5);
    check_pattern((unsigned char *)both[1], 3 * PAGE, 5, "the other mapping");
    CALL(msync(both[0], 3 * PAGE, MS_SYNC));
    CALL(msync(both[0], PAGE, MS_ASYNC | MS_INVALIDATE));
    CHECK(msync(both[0] + 1, PAGE, MS_SYNC) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(msync(both[0], PAGE, MS_SYNC | MS_ASYNC) == -1 && errno == EINVAL, "%s", strerror(errno));
    pid_t child = CALL(fork());
    if (child == 0) {
        both[1][PAGE] = 77;
        _exit(0);
    }
    int status;
    CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0 && both[0][PAGE] == 77, "%#x, %d", status, both[0][PAGE]);
    CALL(shm_unlink(name));
    CHECK(shm_unlink(name) == -1 && errno == ENOENT, "%s", strerror(errno));
    CALL(munmap(both[0], 3 * PAGE));
    CHECK(both[1][PAGE] == 77, "%d", both[1][PAGE]);
    CALL(munmap(both[1] + PAGE, PAGE));
    CHECK(msync(both[1], 3 * PAGE, MS_ASYNC) == -1 && errno == ENOMEM, "%s", strerror(errno));
    CALL(munmap(both[1], 3 * PAGE));
    CHECK(munmap(both[1] + 1, PAGE) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(munmap(both[1], 0) == -1 && errno == EINVAL, "%s", strerror(errno));
    int read_only = CALL(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, read_only, 0) == MAP_FAILED && errno == ENODEV, "%s", strerror(errno));
    CALL(close(read_only));
    char *memory = CALL(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CALL(mlock(memory, 2 * PAGE));
    CALL(munlock(memory, 2 * PAGE));
    CHECK(mlock((void *)(16L * PAGE), PAGE) == -1 && errno == ENOMEM, "%s", strerror(errno));
    CHECK(munlock((void *)(16L * PAGE), PAGE) == -1 && errno == ENOMEM, "%s", strerror(errno));
    CALL(mlockall(MCL_CURRENT));
    CHECK(mlockall(0) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(munlockall());
    CALL(mprotect(memory, PAGE, PROT_READ));
    CHECK(mprotect(memory + 1, PAGE, PROT_READ) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(munmap(memory + PAGE, PAGE));
    CHECK(mprotect(memory, 2 * PAGE, PROT_READ) == -1 && errno == ENOMEM, "%s", strerror(errno));
    CHECK(mprotect(memory, PAGE, 0x100) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(munmap(memory, PAGE));
    CALL(close(file));
}

static const struct promise all[] = {
    {"clocks", clocks},
    {"nanosleep, clock_nanosleep, alarm, setitimer", sleeps},
    {"timers tell by signal, thread, and to nobody", timers_tell},
    {"timers count overruns", timers_count_overruns},
    {"semaphores, named and not", semaphores},
    {"scheduling", scheduling},
    {"mapped, shared and locked memory", memory},
};

int main(void) {
    return KEEP(all);
}
