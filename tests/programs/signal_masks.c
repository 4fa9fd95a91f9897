// Every way in which a signal mask enters the kernel, with masks that block everything, and calls that are
// trapped afterwards: signal_masks WHAT WHERE, on the main thread or on another.
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile sig_atomic_t handled, change_frame;
static sigset_t all;

// The 64 bits of the calling thread's mask, without SIGKILL and SIGSTOP, and without those that the C library
// keeps for itself and never blocks.
#define LIBRARY (3UL << 31)
#define ALL (~((1UL << (SIGKILL - 1)) | (1UL << (SIGSTOP - 1)) | LIBRARY))
static uint64_t bits(const void *set) { return *(const uint64_t *)set; }
static uint64_t bit(int signal) { return 1UL << (signal - 1); }

static uint64_t mask(void) {
    uint64_t now = 0;
    CALL(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &now, 8L));
    return now & ~LIBRARY;
}

// Calls that no filter lets pass, and one whose result comes through a pointer.
static void trapped_calls(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED, "mmap: %s", strerror(errno));
    *(volatile char *)page = 1;
    CALL(munmap(page, 4096));
    mask();
}

static void expect_mask(uint64_t expected, const char *when) {
    uint64_t now = mask();
    CHECK(now == expected, "%s: blocked %#lx, not %#lx", when, (unsigned long)now, (unsigned long)expected);
    trapped_calls();
}

static void handler(int signal, siginfo_t *information, void *context) {
    ucontext_t *frame = context;
    CHECK(information->si_signo == signal, "signal %d", information->si_signo);
    handled++;
    expect_mask(ALL, "in the handler");
    if (change_frame) {
        CHECK(bits(&frame->uc_sigmask) == 0, "the frame's mask is %#lx", (unsigned long)bits(&frame->uc_sigmask));
        *(uint64_t *)&frame->uc_sigmask = ALL;
    }
}

static void install(int signal) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART, .sa_mask = all};
    CALL(sigaction(signal, &action, NULL));
}

static void *nothing(void *argument) {
    expect_mask(*(uint64_t *)argument, "in a new thread");
    return NULL;
}

static void handlers(void) {
    install(SIGUSR1);
    for (int round = 1; round <= 5; round++) {
        ZERO(raise(SIGUSR1));
        CHECK(handled == round, "%d handled", (int)handled);
        expect_mask(0, "after the handler");
    }
}

static void frames(void) {
    install(SIGUSR1);
    change_frame = 1;
    ZERO(raise(SIGUSR1));
    expect_mask(ALL, "after a handler that blocked everything in its frame");
    uint64_t none = 0;
    CALL(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8L));
    ZERO(raise(SIGUSR1));
    CHECK(handled == 2, "%d handled", (int)handled);
}

static void blocking(void) {
    uint64_t everything = ~0UL, before = 1;
    CALL(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &everything, &before, 8L));
    CHECK(before == 0, "blocked before: %#lx", (unsigned long)before);
    everything = ALL;
    expect_mask(everything, "all blocked");
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, nothing, &everything));
    ZERO(pthread_join(thread, NULL));
    // Bad pointers are errors even then.
    void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *bad[] = {(char *)8, none};
    for (int index = 0; index < 2; index++) {
        CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, bad[index], NULL, 8L) == -1 && errno == EFAULT, "the mask");
        CHECK(syscall(SYS_rt_sigaction, SIGUSR1, bad[index], NULL, 8L) == -1 && errno == EFAULT, "the action");
        CHECK(syscall(SYS_sigaltstack, bad[index], NULL) == -1 && errno == EFAULT, "the stack");
        struct timespec now = {0, 0};
        CHECK(syscall(SYS_ppoll, NULL, 0L, &now, bad[index], 8L) == -1 && errno == EFAULT, "the mask of ppoll");
    }
}

// A timer whose handler interrupts whatever the thread does, with everything blocked in it.
static void timers(void) {
    install(SIGALRM);
    struct itimerval timer = {.it_interval = {0, 2000}, .it_value = {0, 2000}};
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    int64_t start = now_ns(CLOCK_MONOTONIC);
    while (handled < 50) {
        expect_mask(0, "between ticks");
        CHECK(now_ns(CLOCK_MONOTONIC) - start < 20000000000, "%d ticks in 20 s", (int)handled);
    }
    timer = (struct itimerval){0};
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
}

// A call that waits with a mask which blocks everything but SIGUSR1, which is pending and else blocked.
static void waits(const char *call) {
    install(SIGUSR1);
    sigset_t usr1, open = all;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigdelset(&open, SIGUSR1);
    ZERO(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
    int instance = CALL(epoll_create1(0));
    for (int round = 1; round <= 3; round++) {
        ZERO(pthread_kill(pthread_self(), SIGUSR1));
        CHECK(handled == round - 1, "handled while it was blocked");
        struct timespec time = {20, 0};
        struct epoll_event event;
        int result = 0;
        if (strcmp(call, "sigsuspend") == 0) result = sigsuspend(&open);
        else if (strcmp(call, "ppoll") == 0) result = ppoll(NULL, 0, &time, &open);
        else if (strcmp(call, "pselect") == 0) result = pselect(0, NULL, NULL, NULL, &time, &open);
        else if (strcmp(call, "epoll_pwait") == 0) result = epoll_pwait(instance, &event, 1, 20000, &open);
        else CHECK(0, "unknown: %s", call);
        CHECK(result == -1 && errno == EINTR, "%s: %d, %s", call, result, strerror(errno));
        CHECK(handled == round, "%d handled", (int)handled);
        expect_mask(bit(SIGUSR1), "after the wait");
    }
    // Two signals that only the wait lets in are both handled before it returns.
    install(SIGUSR2);
    sigdelset(&open, SIGUSR2);
    sigaddset(&usr1, SIGUSR2);
    ZERO(pthread_sigmask(SIG_BLOCK, &usr1, NULL));
    ZERO(pthread_kill(pthread_self(), SIGUSR1));
    ZERO(pthread_kill(pthread_self(), SIGUSR2));
    struct sigaction plain = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO, .sa_mask = all};
    CALL(sigaction(SIGUSR1, &plain, NULL));
    CHECK(sigsuspend(&open) == -1 && errno == EINTR, "%s", strerror(errno));
    CHECK(handled >= 4, "%d handled", (int)handled);
    CALL(close(instance));
}

static char *stack;
static stack_t seen;

static void on_stack(int signal, siginfo_t *information, void *context) {
    ucontext_t *frame = context;
    (void)signal, (void)information;
    handled++;
    char here;
    CHECK(&here > stack && &here < stack + 65536, "not on the alternate stack");
    seen = frame->uc_stack;
    stack_t now;
    CALL(sigaltstack(NULL, &now));
    CHECK(now.ss_flags == (change_frame ? SS_DISABLE : SS_ONSTACK), "flags %#x in the handler", now.ss_flags);
    if (!change_frame) {
        CHECK(sigaltstack(&now, NULL) == -1 && errno == EPERM, "the stack in use was changed");
    }
    trapped_calls();
}

static void stacks(void) {
    stack = malloc(65536);
    struct sigaction action = {.sa_sigaction = on_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_mask = all};
    CALL(sigaction(SIGUSR1, &action, NULL));
    for (int disarm = 0; disarm < 2; disarm++) {
        int flags = disarm ? (int)(1U << 31) : 0;
        stack_t set = {.ss_sp = stack, .ss_size = 65536, .ss_flags = flags}, now;
        change_frame = disarm;
        CALL(sigaltstack(&set, NULL));
        for (int round = 0; round < 3; round++) {
            ZERO(raise(SIGUSR1));
            CHECK(seen.ss_sp == stack && seen.ss_size == 65536 && seen.ss_flags == flags, "the frame's stack");
            CALL(sigaltstack(NULL, &now));
            CHECK(now.ss_sp == stack && now.ss_flags == flags, "flags %#x afterwards", now.ss_flags);
        }
    }
    CHECK(handled == 6, "%d handled", (int)handled);
    stack_t small = {.ss_sp = stack, .ss_size = 2047}, odd = {.ss_sp = stack, .ss_size = 65536, .ss_flags = 8};
    CHECK(sigaltstack(&small, NULL) == -1 && errno == ENOMEM, "a small stack: %s", strerror(errno));
    CHECK(sigaltstack(&odd, NULL) == -1 && errno == EINVAL, "an odd flag: %s", strerror(errno));
    stack_t none = {.ss_flags = SS_DISABLE};
    CALL(sigaltstack(&none, NULL));
}

static void *body(void *argument) {
    const char *what = argument;
    uint64_t none = 0;
    CALL(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, 8L));
    if (strcmp(what, "handlers") == 0) handlers();
    else if (strcmp(what, "frames") == 0) frames();
    else if (strcmp(what, "blocking") == 0) blocking();
    else if (strcmp(what, "timers") == 0) timers();
    else if (strcmp(what, "stacks") == 0) stacks();
    else waits(what);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 3, "usage: signal_masks WHAT main|thread");
    sigfillset(&all);
    if (strcmp(arguments[2], "thread") != 0) {
        body(arguments[1]);
        return finish();
    }
    // Everything that is sent to the process is for the other thread.
    pthread_t thread;
    ZERO(pthread_sigmask(SIG_BLOCK, &all, NULL));
    ZERO(pthread_create(&thread, NULL, body, arguments[1]));
    ZERO(pthread_join(thread, NULL));
    return finish();
}
