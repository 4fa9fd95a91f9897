// Signals: default actions, handlers on the main thread, masks, waiting: signals WHAT.
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t handled, last_signal;
static pthread_t main_thread;
static atomic_int stop, blocked;

static void handler(int signal, siginfo_t *information, void *context) {
    (void)context;
    if (!pthread_equal(pthread_self(), main_thread)) _exit(90);
    if (information->si_signo != signal) _exit(91);
    last_signal = signal;
    handled++;
}

static void *block_all(void *argument) {
    (void)argument;
    sigset_t all;
    sigfillset(&all);
    ZERO(pthread_sigmask(SIG_SETMASK, &all, NULL));
    blocked++;
    volatile long number = 0;
    while (!stop) {
        number++;
        if (number % 1000 == 0) sched_yield();
    }
    return NULL;
}

static void start_others(pthread_t *threads) {
    for (int index = 0; index < 3; index++) ZERO(pthread_create(&threads[index], NULL, block_all, NULL));
    // From here on a signal to the process can only go to the main thread.
    while (blocked < 3) sleep_ms(1);
}

static void end_others(pthread_t *threads) {
    stop = 1;
    for (int index = 0; index < 3; index++) ZERO(pthread_join(threads[index], NULL));
}

static void *send_default(void *argument) {
    sleep_ms(10);
    CALL(kill(getpid(), (int)(intptr_t)argument));
    for (;;) pause();
    return NULL;
}

// The process sends itself a signal of default action, from the main thread or from another.
static void default_action(int signal, int from_thread) {
    puts("before");
    fflush(stdout);
    pthread_t thread;
    if (from_thread) {
        ZERO(pthread_create(&thread, NULL, send_default, (void *)(intptr_t)signal));
        pthread_join(thread, NULL);
    } else {
        CALL(kill(getpid(), signal));
    }
    puts("after");
}

static void handlers(void) {
    pthread_t threads[3];
    start_others(threads);
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    CALL(sigaction(SIGUSR1, &action, NULL));
    CALL(sigaction(SIGUSR2, &action, NULL));
    CALL(sigaction(SIGALRM, &action, NULL));
    for (int round = 1; round <= 50; round++) {
        CALL(kill(getpid(), round % 2 ? SIGUSR1 : SIGUSR2));
        for (int wait = 0; handled < round && wait < 5000; wait++) sleep_ms(1);
        CHECK(handled == round, "%d handled after %d", (int)handled, round);
        CHECK(last_signal == (round % 2 ? SIGUSR1 : SIGUSR2), "signal %d", (int)last_signal);
    }
    // A timer interrupts a wait: nanosleep is not restarted.
    struct itimerval timer = {.it_value = {0, 30000}};
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    struct timespec long_time = {20, 0};
    CHECK(nanosleep(&long_time, NULL) == -1 && errno == EINTR, "the sleep was not interrupted");
    CHECK(last_signal == SIGALRM, "signal %d", (int)last_signal);
    end_others(threads);
    puts("51 handled");
}

// Signals that find the thread reading the clock, which is code that belongs to neither the program nor its
// libraries.
static void clock_reader(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigemptyset(&action.sa_mask);
    CALL(sigaction(SIGALRM, &action, NULL));
    struct itimerval timer = {.it_interval = {0, 1000}, .it_value = {0, 1000}};
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    int64_t start = now_ns(CLOCK_MONOTONIC), latest = start;
    while (handled < 100) {
        int64_t now = now_ns(CLOCK_MONOTONIC);
        CHECK(now >= latest, "time went back by %ld ns", (long)(latest - now));
        CHECK(now - start < 20000000000, "%d handled in 20 s", (int)handled);
        latest = now;
    }
    timer = (struct itimerval){0};
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    puts("100 handled");
}

static void masks(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    CALL(sigaction(SIGUSR1, &action, NULL));
    sigset_t all, before, now, pending;
    sigfillset(&all);
    ZERO(pthread_sigmask(SIG_BLOCK, &all, &before));
    pthread_t threads[3];
    start_others(threads);
    ZERO(pthread_sigmask(SIG_SETMASK, NULL, &now));
    for (int signal = 1; signal < 32; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        CHECK(sigismember(&now, signal) == 1, "signal %d is not shown as blocked", signal);
    }
    CALL(kill(getpid(), SIGUSR1));
    CALL(sigpending(&pending));
    CHECK(sigismember(&pending, SIGUSR1) == 1, "SIGUSR1 is not pending");
    CHECK(handled == 0, "a blocked signal was handled");
    end_others(threads);
    ZERO(pthread_sigmask(SIG_SETMASK, &before, NULL));
    CHECK(handled == 1, "%d handled", (int)handled);
    puts("blocked, pending, handled");
}

static void wait_for_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
    pthread_t threads[3];
    start_others(threads);
    for (int round = 0; round < 10; round++) {
        int sent = round % 2 ? SIGUSR1 : SIGTERM, received;
        CALL(kill(getpid(), sent));
        ZERO(sigwait(&set, &received));
        CHECK(received == sent, "got %d, not %d", received, sent);
    }
    struct timespec soon = {0, 10000000};
    CHECK(sigtimedwait(&set, NULL, &soon) == -1 && errno == EAGAIN, "nothing was sent");
    end_others(threads);
    puts("10 waited for");
}

static void *write_to_nobody(void *argument) {
    int *ends = argument;
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE, "the write did not fail with EPIPE");
    return NULL;
}

static void broken_pipe(int ignored) {
    int ends[2];
    CALL(pipe(ends));
    CALL(close(ends[0]));
    puts("before");
    fflush(stdout);
    if (ignored) signal(SIGPIPE, SIG_IGN);
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, write_to_nobody, ends));
    ZERO(pthread_join(thread, NULL));
    puts("EPIPE");
}

// Ready for a signal from outside: says so and waits, while other threads compute. With `handled`,
// SIGTERM and SIGINT are handled, and the program ends with status 3.
static void outside(int with_handler) {
    if (with_handler) {
        struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
        CALL(sigaction(SIGTERM, &action, NULL));
        CALL(sigaction(SIGINT, &action, NULL));
    }
    pthread_t threads[3];
    start_others(threads);
    puts("ready");
    fflush(stdout);
    for (int round = 0; round < 60000 && !handled; round++) usleep(1000);
    end_others(threads);
    printf("handled %d\n", (int)last_signal);
    exit(3);
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: signals WHAT");
    const char *what = arguments[1];
    main_thread = pthread_self();
    if (strcmp(what, "term") == 0) default_action(SIGTERM, 0);
    else if (strcmp(what, "term-thread") == 0) default_action(SIGTERM, 1);
    else if (strcmp(what, "int-thread") == 0) default_action(SIGINT, 1);
    else if (strcmp(what, "kill-thread") == 0) default_action(SIGKILL, 1);
    else if (strcmp(what, "hup") == 0) default_action(SIGHUP, 0);
    else if (strcmp(what, "child-ignored") == 0) default_action(SIGCHLD, 0);
    else if (strcmp(what, "pipe") == 0) broken_pipe(0);
    else if (strcmp(what, "pipe-ignored") == 0) broken_pipe(1);
    else if (strcmp(what, "handlers") == 0) handlers();
    else if (strcmp(what, "clock") == 0) clock_reader();
    else if (strcmp(what, "masks") == 0) masks();
    else if (strcmp(what, "wait") == 0) wait_for_signals();
    else if (strcmp(what, "outside") == 0) outside(0);
    else if (strcmp(what, "outside-handled") == 0) outside(1);
    else CHECK(0, "unknown: %s", what);
    return finish();
}
