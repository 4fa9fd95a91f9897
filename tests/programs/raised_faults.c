// Signals with the numbers of faults that a program sends itself: raised_faults SIGNAL HOW WHERE. They are
// signals like any others: handled, ignored, blocked and pending, waited for, fatal by default.
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>

static volatile sig_atomic_t handled, code;
static int number;

static void handler(int signal, siginfo_t *information, void *context) {
    (void)context;
    CHECK(signal == number && information->si_signo == number, "signal %d", signal);
    code = information->si_code;
    handled++;
}

static void send(int way) {
    union sigval value = {.sival_int = 77};
    switch (way) {
    case 0: ZERO(raise(number)); break;
    case 1: CALL(kill(getpid(), number)); break;
    case 2: CALL(sigqueue(getpid(), number, value)); break;
    case 3: CALL(syscall(SYS_tgkill, getpid(), gettid(), number)); break;
    default: ZERO(pthread_sigqueue(pthread_self(), number, value)); break;
    }
}

static const int CODES[] = {SI_TKILL, SI_USER, SI_QUEUE, SI_TKILL, SI_QUEUE};

// What is sent to the process may come a moment later, for another thread may have to pass it on.
static void wait_for(int count, int way) {
    for (int wait = 0; handled < count && wait < 10000; wait++) sleep_ms(1);
    CHECK(handled == count, "way %d: %d handled", way, (int)handled);
}

static int is_pending(void) {
    sigset_t pending;
    CALL(sigpending(&pending));
    return sigismember(&pending, number);
}

static void each_way(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    CALL(sigaction(number, &action, NULL));
    for (int way = 0; way < 5; way++) {
        send(way);
        wait_for(way + 1, way);
        CHECK(code == CODES[way], "way %d: code %d", way, (int)code);
    }
}

static void once(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND}, after;
    CALL(sigaction(number, &action, NULL));
    send(0);
    CHECK(handled == 1, "%d handled", (int)handled);
    CALL(sigaction(number, NULL, &after));
    CHECK(after.sa_handler == SIG_DFL, "the handler is still there");
}

static void ignored(void) {
    signal(number, SIG_IGN);
    for (int way = 0; way < 5; way++) send(way);
}

static void blocked(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    CALL(sigaction(number, &action, NULL));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    for (int way = 0; way < 5; way++) {
        ZERO(pthread_sigmask(SIG_BLOCK, &set, NULL));
        send(way);
        CHECK(handled == way, "way %d: handled while it was blocked", way);
        for (int wait = 0; !is_pending() && wait < 10000; wait++) sleep_ms(1);
        CHECK(is_pending() == 1, "way %d: not pending", way);
        // Calls whose buffers the runtime copies do not lose it.
        char name[64];
        for (int round = 0; round < 3; round++) CALL(readlink("/proc/self/exe", name, sizeof name));
        ZERO(pthread_sigmask(SIG_UNBLOCK, &set, NULL));
        wait_for(way + 1, way);
        CHECK(is_pending() == 0, "way %d: still pending", way);
    }
}

static volatile sig_atomic_t ended;

// Two threads block everything and make calls that the runtime makes for them, now and then with a long wait
// behind them: what is sent to the process never stays with them.
static void *bystander(void *argument) {
    (void)argument;
    char name[64];
    for (int call = 0; !ended && call < 10000000; call++) {
        CALL(readlink("/proc/self/exe", name, sizeof name));
        if (call % 64 == 0) sleep_ms(2);
    }
    return NULL;
}

static void passed_on(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    CALL(sigaction(number, &action, NULL));
    sigset_t all, none;
    pthread_t others[2];
    sigfillset(&all);
    sigemptyset(&none);
    ZERO(pthread_sigmask(SIG_SETMASK, &all, NULL));
    for (int i = 0; i < 2; i++) ZERO(pthread_create(&others[i], NULL, bystander, NULL));
    for (int round = 0; round < 500; round++) {
        ZERO(pthread_sigmask(SIG_SETMASK, round % 2 ? &all : &none, NULL));
        send(1 + round / 2 % 2);
        ZERO(pthread_sigmask(SIG_SETMASK, &none, NULL));
        wait_for(round + 1, round);
    }
    ended = 1;
    for (int i = 0; i < 2; i++) ZERO(pthread_join(others[i], NULL));
}

static void by_default(void) {
    puts("before");
    fflush(stdout);
    send(1);
    sleep_ms(10000);
    puts("after");
}

static void *body(void *argument) {
    const char *how = argument;
    sigset_t none;
    sigemptyset(&none);
    ZERO(pthread_sigmask(SIG_SETMASK, &none, NULL));
    if (strcmp(how, "handled") == 0) each_way();
    else if (strcmp(how, "once") == 0) once();
    else if (strcmp(how, "ignored") == 0) ignored();
    else if (strcmp(how, "blocked") == 0) blocked();
    else if (strcmp(how, "passed_on") == 0) passed_on();
    else if (strcmp(how, "default") == 0) by_default();
    else CHECK(0, "unknown: %s", how);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 4, "usage: raised_faults SIGNAL HOW main|thread");
    number = atoi(arguments[1]);
    if (strcmp(arguments[3], "thread") != 0) {
        body(arguments[2]);
        return finish();
    }
    // What is sent to the process is for the other thread.
    sigset_t all;
    pthread_t thread;
    sigfillset(&all);
    ZERO(pthread_sigmask(SIG_BLOCK, &all, NULL));
    ZERO(pthread_create(&thread, NULL, body, arguments[2]));
    ZERO(pthread_join(thread, NULL));
    return finish();
}
