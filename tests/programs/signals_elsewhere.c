// Handlers and cancellation on threads of every node: signals_elsewhere WHAT.
#include "check.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static atomic_int ready, stop;
static __thread volatile sig_atomic_t handled;
static __thread siginfo_t last;
static __thread sigjmp_buf back;
static __thread volatile char *page;
static volatile int zero;
static volatile uintptr_t nowhere = 8;

static void on_fault(int signal, siginfo_t *information, void *context) {
    (void)context;
    CHECK(information->si_signo == signal, "signal %d", signal);
    last = *information;
    handled++;
    if (signal == SIGTRAP) return;
    if (signal == SIGSEGV && page != NULL) {
        CALL(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE));
        return;
    }
    siglongjmp(back, 1);
}

// Faults of instructions: an address without memory, a page without rights, and what is no access at all.
static void *fault(void *argument) {
    (void)argument;
    for (volatile int round = 1; round <= 20; round++) {
        if (sigsetjmp(back, 1) == 0) *(volatile int *)nowhere = 1;
        CHECK(handled == round && last.si_addr == (void *)8, "%d handled, at %p", (int)handled, last.si_addr);
        CHECK(last.si_code == SEGV_MAPERR, "code %d", last.si_code);
    }
    page = CALL(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    page[8] = 1;
    for (int round = 21; round <= 40; round++) {
        CALL(mprotect((void *)page, 4096, PROT_READ));
        page[8] = (char)round;
        CHECK(handled == round && last.si_addr == page + 8, "%d handled, at %p", (int)handled, last.si_addr);
        CHECK(last.si_code == SEGV_ACCERR, "code %d", last.si_code);
        CHECK(page[8] == round, "the write is lost");
    }
    if (sigsetjmp(back, 1) == 0) zero = 5 / zero;
    CHECK(handled == 41 && last.si_signo == SIGFPE && last.si_code == FPE_INTDIV, "%d", last.si_signo);
    if (sigsetjmp(back, 1) == 0) __asm__ volatile("ud2");
    CHECK(handled == 42 && last.si_signo == SIGILL, "%d", last.si_signo);
    __asm__ volatile("int3");
    CHECK(handled == 43 && last.si_signo == SIGTRAP, "%d", last.si_signo);
    return NULL;
}

static void faults(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    for (int index = 0; index < 4; index++) CALL(sigaction(signals[index], &action, NULL));
    run_threads(THREADS, fault);
}

static void on_signal(int signal, siginfo_t *information, void *context) {
    (void)context;
    CHECK(information->si_signo == signal, "signal %d", signal);
    last = *information;
    handled++;
}

static void *compute(void *argument) {
    int *count = argument;
    double sum = 1;
    ready++;
    // No call: only an interruption of the running code brings the signal.
    while (!stop) {
        sum = sum * 1.0000001 + 1e-9;
        if (handled != *count) __atomic_store_n(count, handled, __ATOMIC_SEQ_CST);
    }
    CHECK(sum > 0, "the sum");
    CHECK(last.si_code == SI_QUEUE && last.si_value.sival_int == 50, "code %d", last.si_code);
    return NULL;
}

// Signals to threads that run the program and make no call.
static void running(void) {
    static struct { int count; char rest[4092]; } counts[THREADS] __attribute__((aligned(4096)));
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, compute, &counts[index].count));
    while (ready < THREADS) sleep_ms(1);
    for (int round = 1; round <= 50; round++) {
        union sigval value = {.sival_int = round};
        for (int index = 0; index < THREADS; index++) {
            ZERO(pthread_sigqueue(threads[index], SIGUSR1, value));
            for (int wait = 0; __atomic_load_n(&counts[index].count, __ATOMIC_SEQ_CST) < round; wait++) {
                CHECK(wait < 10000, "thread %d handled %d of %d", index, counts[index].count, round);
                sleep_ms(1);
            }
        }
    }
    stop = 1;
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
}

static int ends[2];
static atomic_int waiting[THREADS];

// A call that waits is ended by a handler, or goes on if the handler says so.
static void *wait_in_call(void *argument) {
    int index = (int)(intptr_t)argument;
    struct timespec long_time = {20, 0}, left = {0, 0};
    char byte = 0;
    waiting[index] = 1;
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR, "the read was not ended: %s", strerror(errno));
    CHECK(handled == 1, "%d handled", (int)handled);
    waiting[index] = 2;
    CHECK(nanosleep(&long_time, &left) == -1 && errno == EINTR, "the sleep was not ended");
    CHECK(handled == 2 && left.tv_sec < 20 && left.tv_sec > 5, "%ld s left", (long)left.tv_sec);
    waiting[index] = 3;
    CHECK(pause() == -1 && errno == EINTR && handled == 3, "the pause was not ended");
    waiting[index] = 4;
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x', "the read did not go on: %s", strerror(errno));
    CHECK(handled == 4, "%d handled", (int)handled);
    return NULL;
}

static void interrupt(pthread_t *threads, int stage) {
    for (int index = 0; index < THREADS; index++) {
        for (int wait = 0; waiting[index] < stage; wait++) {
            CHECK(wait < 20000, "thread %d does not come to stage %d", index, stage);
            sleep_ms(1);
        }
    }
    sleep_ms(100);
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_kill(threads[index], stage == 4 ? SIGUSR2 : SIGUSR1));
}

static void waits(void) {
    pthread_t threads[THREADS];
    CALL(pipe(ends));
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, wait_in_call, (void *)(intptr_t)index));
    for (int stage = 1; stage <= 4; stage++) interrupt(threads, stage);
    sleep_ms(100);
    CALL(write(ends[1], "xxxxxx", THREADS));
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static atomic_int cleaned;

static void clean(void *argument) {
    if (argument != NULL) ZERO(pthread_mutex_unlock(argument));
    cleaned++;
}

static void *cancelled(void *argument) {
    volatile int index = (int)(intptr_t)argument % 5;
    char byte;
    if (index == 1) ZERO(pthread_mutex_lock(&mutex));
    pthread_cleanup_push(clean, index == 1 ? &mutex : NULL);
    ready++;
    if (index == 0) (void)!read(ends[0], &byte, 1);
    if (index == 1)
        for (;;) pthread_cond_wait(&condition, &mutex);
    if (index == 2) sleep(1000);
    if (index == 3)
        for (;;) pthread_testcancel();
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (;;) {}
    pthread_cleanup_pop(1);
    return NULL;
}

static void cancels(void) {
    pthread_t threads[15];
    CALL(pipe(ends));
    for (int index = 0; index < 15; index++)
        ZERO(pthread_create(&threads[index], NULL, cancelled, (void *)(intptr_t)index));
    while (ready < 15) sleep_ms(1);
    sleep_ms(50);
    for (int index = 0; index < 15; index++) ZERO(pthread_cancel(threads[index]));
    for (int index = 0; index < 15; index++) {
        void *result;
        ZERO(pthread_join(threads[index], &result));
        CHECK(result == PTHREAD_CANCELED, "thread %d was not cancelled", index);
    }
    CHECK(cleaned == 15, "%d cleaned up", (int)cleaned);
}

static void *only_taker(void *argument) {
    sigset_t set;
    (void)argument;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    ZERO(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
    for (int round = 1; round <= 20; round++) {
        ready = round;
        int64_t start = now_ns(CLOCK_MONOTONIC);
        while (handled < round) CHECK(now_ns(CLOCK_MONOTONIC) - start < 20000000000, "round %d", round);
    }
    return NULL;
}

// Signals to the process that one thread only lets in.
static void process(void) {
    sigset_t set;
    pthread_t thread;
    sigfillset(&set);
    ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
    ZERO(pthread_create(&thread, NULL, only_taker, NULL));
    for (int round = 1; round <= 20; round++) {
        while (ready < round) sleep_ms(1);
        CALL(kill(getpid(), SIGUSR1));
    }
    ZERO(pthread_join(thread, NULL));
}

enum { QUEUED = 400 };
static __thread volatile int next_value[2];

static void on_queued(int signal, siginfo_t *information, void *context) {
    (void)context;
    int kind = signal - SIGRTMIN, value = information->si_value.sival_int;
    CHECK(value == next_value[kind], "signal %d: %d in place of %d", kind, value, next_value[kind]);
    next_value[kind]++;
}

// Every kind of call: of this node, of the home node's kernel, of the mask, and one that waits.
static void *call_meanwhile(void *argument) {
    sigset_t set;
    (void)argument;
    ready++;
    int64_t start = now_ns(CLOCK_MONOTONIC);
    while (next_value[0] < QUEUED || next_value[1] < QUEUED) {
        struct timespec short_time = {0, 1000};
        CHECK(getppid() > 0, "no parent");
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
        nanosleep(&short_time, NULL);
        ZERO(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
        CHECK(now_ns(CLOCK_MONOTONIC) - start < 60000000000, "%d, %d handled", next_value[0], next_value[1]);
    }
    return NULL;
}

// Many signals to threads that make calls: each is handled once, and those of one number in order.
static void queued(void) {
    pthread_t threads[THREADS];
    struct sigaction action = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int kind = 0; kind < 2; kind++) CALL(sigaction(SIGRTMIN + kind, &action, NULL));
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, call_meanwhile, NULL));
    while (ready < THREADS) sleep_ms(1);
    for (int value = 0; value < QUEUED; value++) {
        for (int index = 0; index < THREADS; index++) {
            union sigval with = {.sival_int = value};
            for (int kind = 0; kind < 2; kind++) ZERO(pthread_sigqueue(threads[index], SIGRTMIN + kind, with));
        }
    }
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: signals_elsewhere WHAT");
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CALL(sigaction(SIGUSR1, &action, NULL));
    action.sa_flags |= SA_RESTART;
    CALL(sigaction(SIGUSR2, &action, NULL));
    const char *what = arguments[1];
    if (strcmp(what, "faults") == 0) faults();
    else if (strcmp(what, "running") == 0) running();
    else if (strcmp(what, "waits") == 0) waits();
    else if (strcmp(what, "cancels") == 0) cancels();
    else if (strcmp(what, "process") == 0) process();
    else if (strcmp(what, "queued") == 0) queued();
    else CHECK(0, "unknown: %s", what);
    return finish();
}
