// Futex calls of newer kernels, which libraries for games and languages use: waiting for several words, and a call
// for each operation. Private words and shared ones, waiters and wakers on different nodes.
#include "check.h"
#include <sys/mman.h>
#include <sys/syscall.h>

#define WAITV 449
#define WAKE 454
#define WAIT 455
#define REQUEUE 456
#define WORD32 2
#define PRIVATE 128
#define WORDS 5

struct waiter {
    uint64_t value, word;
    uint32_t flags, reserved;
};

static struct timespec in_seconds(int seconds) {
    struct timespec time;
    CALL(clock_gettime(CLOCK_MONOTONIC, &time));
    time.tv_sec += seconds;
    return time;
}

static atomic_uint words[WORDS][1024] __attribute__((aligned(4096)));
static atomic_int waiting;

// Waits for its word, which is the second of two, until it is woken.
static void *wait_for(void *argument) {
    int own = (int)(intptr_t)argument;
    uint32_t flags = WORD32 | (own % 2 ? PRIVATE : 0);
    static atomic_uint never;
    struct waiter waiters[2] = {{0, (uint64_t)&never, flags, 0}, {0, (uint64_t)&words[own][0], flags, 0}};
    atomic_fetch_add(&waiting, 1);
    while (atomic_load(&words[own][0]) == 0) {
        struct timespec until = in_seconds(20);
        long woken = syscall(WAITV, waiters, 2, 0, &until, CLOCK_MONOTONIC);
        CHECK(woken == 1 || (woken == -1 && errno == EAGAIN), "woken %ld: %s", woken, strerror(errno));
    }
    return NULL;
}

static void mistakes(void) {
    static _Thread_local uint32_t one, two;
    struct waiter waiters[2] = {{0, (uint64_t)&one, WORD32 | PRIVATE, 0}, {0, (uint64_t)&two, WORD32, 0}};
    struct timespec past = in_seconds(-1);
#define FAILS(expected, ...)                                                                     \
    CHECK(syscall(__VA_ARGS__) == -1 && errno == expected, "%s: %s", #__VA_ARGS__, strerror(errno))
    FAILS(EINVAL, WAITV, waiters, 2, 1, NULL, 1);
    FAILS(EINVAL, WAITV, waiters, 129, 0, NULL, 1);
    FAILS(EFAULT, WAITV, (void *)8, 2, 0, NULL, 1);
    FAILS(ETIMEDOUT, WAITV, waiters, 2, 0, &past, 1);
    FAILS(EINVAL, WAITV, waiters, 2, 0, &past, CLOCK_PROCESS_CPUTIME_ID);
    waiters[1].value = 5;
    FAILS(EAGAIN, WAITV, waiters, 2, 0, NULL, 1);
    waiters[1].word = 8;
    FAILS(EFAULT, WAITV, waiters, 2, 0, NULL, 1);
    waiters[1].word = (uint64_t)&two + 1;
    FAILS(EINVAL, WAITV, waiters, 2, 0, NULL, 1);
    if (syscall(WAKE, &one, 1UL, 1, WORD32 | PRIVATE) == -1 && errno == ENOSYS) return; // Before Linux 6.7.
    FAILS(EINVAL, WAKE, &one, 0UL, 1, WORD32 | PRIVATE);
    FAILS(EFAULT, WAKE, (void *)8, 1UL, 1, WORD32);
    FAILS(ETIMEDOUT, WAIT, &one, 0UL, 1UL, WORD32, &past, 1);
    FAILS(EAGAIN, WAIT, &one, 7UL, 1UL, WORD32, NULL, 1);
    waiters[1] = (struct waiter){0, (uint64_t)&two, WORD32 | PRIVATE, 0};
    CHECK(syscall(REQUEUE, waiters, 0, 1, 1) == 0, "%s", strerror(errno));
    waiters[0].value = 7;
    FAILS(EAGAIN, REQUEUE, waiters, 0, 1, 1);
}

static void *call(void *argument) {
    int self = (int)(intptr_t)argument;
    mistakes();
    if (self < WORDS) return wait_for(argument);
    // The last one wakes the others, one after another.
    while (atomic_load(&waiting) < WORDS) sleep_ms(1);
    for (int own = 0; own < WORDS; own++) {
        sleep_ms(5);
        atomic_store(&words[own][0], 1);
        syscall(SYS_futex, &words[own][0], own % 2 ? 1 | PRIVATE : 1, 1, NULL, NULL, 0);
    }
    return NULL;
}

int main(void) {
    run_threads(THREADS, call);
    puts("every waiter was woken");
    return finish();
}
