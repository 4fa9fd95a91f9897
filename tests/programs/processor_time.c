// Processor time, by every call that tells it: that of a thread is what it used, wherever it and the thread
// that asks are, and that of the process is the sum. No clock of it ever goes back.
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>

// Each thread uses this.
#define USED_MS 150

static pthread_t threads[THREADS];
static pthread_barrier_t barrier;
static volatile long *shared;

static int64_t raw_ns(int clock) {
    struct timespec time;
    CALL(syscall(SYS_clock_gettime, clock, &time));
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static long milliseconds(int who) {
    struct rusage usage;
    CALL(getrusage(who, &usage));
    struct timeval user = usage.ru_utime, system = usage.ru_stime;
    CHECK(user.tv_usec < 1000000 && system.tv_usec < 1000000, "parts of a second");
    return (user.tv_sec + system.tv_sec) * 1000 + (user.tv_usec + system.tv_usec) / 1000;
}

// Uses processor time, without a call for most of it.
static void use(long wanted_ms) {
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID), last = start, now;
    volatile long sum = 0;
    do {
        for (int i = 0; i < 1000000; i++) sum += i;
        now = now_ns(CLOCK_THREAD_CPUTIME_ID);
        CHECK(now >= last, "the thread's clock went back by %ld ns", (long)(last - now));
        last = now;
    } while (now - start < wanted_ms * 1000000);
}

// What a thread sees of all: each has used its share and is blocked, but perhaps the calling one.
static void look(void) {
    for (int other = 0; other < THREADS; other++) {
        clockid_t clock;
        ZERO(pthread_getcpuclockid(threads[other], &clock));
        int64_t first = now_ns(clock), second = raw_ns(clock);
        CHECK(first >= USED_MS * 1000000L, "thread %d used %ld ns", other, (long)first);
        CHECK(second >= first, "the clock of thread %d went back by %ld ns", other, (long)(first - second));
    }
    // Sums of clocks that are read one after another still never go back.
    clockid_t of_process;
    ZERO(clock_getcpuclockid(getpid(), &of_process));
    int64_t least = (int64_t)THREADS * USED_MS * 1000000;
    int64_t values[] = {now_ns(CLOCK_PROCESS_CPUTIME_ID), raw_ns(CLOCK_PROCESS_CPUTIME_ID), now_ns(of_process), raw_ns(of_process)};
    for (int at = 0; at < 4; at++) {
        CHECK(values[at] >= least, "call %d: the process used %ld ns", at, (long)values[at]);
        CHECK(at == 0 || values[at] >= values[at - 1], "call %d: the process's clock went back", at);
    }
    long of_all = milliseconds(RUSAGE_SELF);
    CHECK(of_all >= THREADS * USED_MS, "%ld ms used", of_all);
    CHECK(clock() / (CLOCKS_PER_SEC / 1000) >= THREADS * USED_MS, "%ld by clock()", (long)clock());
    struct tms ticks;
    CHECK(times(&ticks) != -1, "%s", strerror(errno));
    // Each node's part is rounded down.
    CHECK((ticks.tms_utime + ticks.tms_stime) * 10 >= THREADS * USED_MS - 80, "%ld ticks",
          (long)(ticks.tms_utime + ticks.tms_stime));
}

static void *work(void *argument) {
    int self = (int)(intptr_t)argument;
    use(USED_MS);
    long own = milliseconds(RUSAGE_THREAD);
    CHECK(own >= USED_MS - 10, "%ld ms used by thread %d", own, self);
    pthread_barrier_wait(&barrier);
    for (int turn = 0; turn < THREADS; turn++) {
        if (turn == self) look();
        pthread_barrier_wait(&barrier);
    }
    // Where a thread goes on does not matter.
    int64_t before = now_ns(CLOCK_THREAD_CPUTIME_ID);
    long usage_before = milliseconds(RUSAGE_THREAD);
    __atomic_add_fetch(shared, 1, __ATOMIC_SEQ_CST);
    int64_t after = now_ns(CLOCK_THREAD_CPUTIME_ID);
    CHECK(after >= before, "thread %d's clock went back by %ld ns", self, (long)(before - after));
    CHECK(milliseconds(RUSAGE_THREAD) >= usage_before, "thread %d's time went back", self);
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    // Nothing was started that was waited for, nor by what made this process.
    struct rusage of_children;
    CALL(getrusage(RUSAGE_CHILDREN, &of_children));
    CHECK(of_children.ru_maxrss == 0 && of_children.ru_utime.tv_usec == 0, "%ld KiB", of_children.ru_maxrss);
    char name[] = "processor_time.XXXXXX";
    int file = CALL(mkstemp(name));
    CALL(unlink(name));
    CALL(ftruncate(file, 4096));
    shared = CALL(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS + 1));
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, work, (void *)(intptr_t)index));
    for (int round = 0; round < THREADS + 1; round++) {
        if (round == 1) look();
        pthread_barrier_wait(&barrier);
    }
    pthread_barrier_wait(&barrier);
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
    CHECK(*shared == THREADS, "%ld threads", *shared);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) >= (int64_t)THREADS * USED_MS * 1000000, "threads that ended count");

    struct rusage usage;
    CALL(getrusage(RUSAGE_CHILDREN, &usage));
    CHECK(getrusage(77, &usage) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(getrusage(RUSAGE_SELF, (struct rusage *)8) == -1 && errno == EFAULT, "%s", strerror(errno));
    CHECK(syscall(SYS_times, NULL) > 0, "%s", strerror(errno));
    CHECK(syscall(SYS_clock_gettime, CLOCK_PROCESS_CPUTIME_ID, 8) == -1 && errno == EFAULT, "%s", strerror(errno));
    // A thread of this number there is not.
    struct timespec time;
    CHECK(clock_gettime((clockid_t)(~0x3ffffffu << 3 | 6), &time) == -1 && errno == EINVAL, "%s", strerror(errno));
    return finish();
}
