// What POSIX promises of signals.
#include "promises.h"
#include <stdbool.h>
#include <fcntl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile sig_atomic_t came[65], depth, deepest;
static volatile int order[16], orders, pipe_to = -1;
static volatile siginfo_t last;
static volatile int on_stack;
static char *stack_start;
#define STACK_BYTES (64 << 10)

static void note(int signal) {
    came[signal]++;
    if (orders < 16) order[orders++] = signal;
}

static void note_all(int signal, siginfo_t *information, void *context) {
    (void)context;
    last = *information;
    char here;
    on_stack = stack_start != NULL && &here >= stack_start && &here < stack_start + STACK_BYTES;
    note(signal);
}

static void nested(int signal) {
    if (++depth > deepest) deepest = depth;
    if (came[signal]++ == 0) raise(signal);
    depth--;
}

static void write_to_pipe(int signal) {
    note(signal);
    if (pipe_to >= 0 && write(pipe_to, "x", 1) != 1) came[0]++;
}

static void reset(void) {
    memset((void *)came, 0, sizeof came);
    orders = depth = deepest = 0;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CALL(sigaction(signal, &action, NULL));
}

static void handle_plainly(int signal, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CALL(sigaction(signal, &action, NULL));
}

static sigset_t just(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

static void block(int how, int signal) {
    sigset_t set = just(signal);
    ZERO(pthread_sigmask(how, &set, NULL));
}

static bool blocked(int signal) {
    sigset_t set;
    ZERO(pthread_sigmask(SIG_SETMASK, NULL, &set));
    return sigismember(&set, signal) == 1;
}

static void alarm_in_ms(long milliseconds) {
    struct itimerval once = {{0, 0}, {0, milliseconds * 1000}};
    CALL(setitimer(ITIMER_REAL, &once, NULL));
}

static void raise_tells_who(void) {
    reset();
    handle(SIGUSR1, note_all, 0);
    ZERO(raise(SIGUSR1));
    CHECK(came[SIGUSR1] == 1 && last.si_signo == SIGUSR1 && last.si_code == SI_TKILL, "code %d", last.si_code);
    CHECK(last.si_pid == getpid() && last.si_uid == getuid(), "from %d", last.si_pid);
    CALL(kill(getpid(), SIGUSR1));
    CHECK(came[SIGUSR1] == 2 && last.si_code == SI_USER && last.si_pid == getpid(), "code %d", last.si_code);
    CALL(kill(0 - getpgrp(), 0));
    CALL(killpg(getpgrp(), 0));
    CALL(kill(getpid(), 0));
    CHECK(kill(getpid(), 65) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(kill(0x3fffffff, 0) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(killpg(0x3fffffff, 0) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(raise(65) != 0 && errno == EINVAL, "%s", strerror(errno));
}

static void actions_that_are_none(void) {
    struct sigaction action = {.sa_handler = note}, was;
    for (int i = 0; i < 4; i++) {
        int signal = (int[]){SIGKILL, SIGSTOP, 0, 65}[i];
        CHECK(sigaction(signal, &action, NULL) == -1 && errno == EINVAL, "signal %d", signal);
    }
    CALL(sigaction(SIGKILL, NULL, &was));
    CHECK(was.sa_handler == SIG_DFL, "SIGKILL is caught");
    CHECK(signal(SIGKILL, note) == SIG_ERR && errno == EINVAL, "%s", strerror(errno));
    handle_plainly(SIGUSR1, note, SA_RESTART | SA_NODEFER);
    CALL(sigaction(SIGUSR1, NULL, &was));
    CHECK(was.sa_handler == note && (was.sa_flags & ~0x04000000) == (SA_RESTART | SA_NODEFER), "flags %#x", was.sa_flags);
    CHECK(signal(SIGUSR1, SIG_IGN) == note && signal(SIGUSR1, SIG_DFL) == SIG_IGN, "what was before");
}

static void a_handler_blocks_its_signal(void) {
    reset();
    handle_plainly(SIGUSR1, nested, 0);
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 2 && deepest == 1, "%d handlers, %d deep", came[SIGUSR1], deepest);
    reset();
    handle_plainly(SIGUSR1, nested, SA_NODEFER);
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 2 && deepest == 2, "%d handlers, %d deep", came[SIGUSR1], deepest);
    CHECK(!blocked(SIGUSR1), "it is blocked still");
}

static volatile int within, within_blocked;

static void raise_other(int signal) {
    within = came[SIGUSR2];
    raise(SIGUSR2);
    within_blocked = came[SIGUSR2] == within && blocked(SIGUSR2) && blocked(SIGRTMIN);
    note(signal);
}

static void a_handler_blocks_what_it_says(void) {
    reset();
    handle_plainly(SIGUSR2, note, 0);
    struct sigaction action = {.sa_handler = raise_other};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaddset(&action.sa_mask, SIGRTMIN);
    CALL(sigaction(SIGUSR1, &action, NULL));
    raise(SIGUSR1);
    CHECK(within_blocked && came[SIGUSR2] == 1 && !blocked(SIGUSR2), "%d within, %d after", within, came[SIGUSR2]);
    CHECK(orders == 2 && order[0] == SIGUSR1 && order[1] == SIGUSR2, "in another order");
}

static void a_handler_for_once(void) {
    struct sigaction was;
    reset();
    handle_plainly(SIGUSR1, note, (int)SA_RESETHAND);
    raise(SIGUSR1);
    CALL(sigaction(SIGUSR1, NULL, &was));
    CHECK(came[SIGUSR1] == 1 && was.sa_handler == SIG_DFL, "the handler is there still");
}

static void restarted_or_not(void) {
    int ends[2];
    char byte;
    CALL(pipe(ends));
    pipe_to = ends[1];
    handle_plainly(SIGALRM, write_to_pipe, SA_RESTART);
    alarm_in_ms(20);
    CHECK(read(ends[0], &byte, 1) == 1, "%s", strerror(errno));
    handle_plainly(SIGALRM, write_to_pipe, 0);
    alarm_in_ms(20);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR, "%s", strerror(errno));
    CHECK(read(ends[0], &byte, 1) == 1, "%s", strerror(errno));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    CALL(siginterrupt(SIGALRM, 0));
    alarm_in_ms(20);
    CHECK(read(ends[0], &byte, 1) == 1, "%s", strerror(errno));
    CALL(siginterrupt(SIGALRM, 1));
    alarm_in_ms(20);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR, "%s", strerror(errno));
    CHECK(siginterrupt(65, 1) == -1 && errno == EINVAL, "%s", strerror(errno));
#pragma GCC diagnostic pop
    // Pauses and sleeps end in any case.
    handle_plainly(SIGALRM, note, SA_RESTART);
    alarm_in_ms(20);
    CHECK(pause() == -1 && errno == EINTR, "%s", strerror(errno));
    alarm_in_ms(20);
    struct timespec long_time = {20, 0}, left;
    CHECK(nanosleep(&long_time, &left) == -1 && errno == EINTR && left.tv_sec == 19, "%ld left", (long)left.tv_sec);
    CALL(close(ends[0]));
    CALL(close(ends[1]));
    pipe_to = -1;
}

static void children_that_stop_or_end(void) {
    int status;
    reset();
    handle(SIGCHLD, note_all, SA_NOCLDSTOP | SA_RESTART);
    pid_t child = CALL(fork());
    if (child == 0) {
        raise(SIGSTOP);
        _exit(7);
    }
    while (waitpid(child, &status, WUNTRACED) != child) {}
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP && came[SIGCHLD] == 0, "status %#x, %d signals", status, came[SIGCHLD]);
    CALL(kill(child, SIGCONT));
    while (waitpid(child, &status, 0) != child) {}
    for (int waited = 0; came[SIGCHLD] == 0 && waited < 2000; waited++) sleep_ms(1);
    CHECK(WEXITSTATUS(status) == 7 && came[SIGCHLD] == 1, "status %#x, %d signals", status, came[SIGCHLD]);
    CHECK(last.si_pid == child && last.si_code == CLD_EXITED && last.si_status == 7, "code %d", last.si_code);
    handle(SIGCHLD, note_all, SA_NOCLDWAIT | SA_RESTART);
    child = CALL(fork());
    if (child == 0) _exit(0);
    CHECK(waitpid(child, &status, 0) == -1 && errno == ECHILD, "%s", strerror(errno));
    CHECK(signal(SIGCHLD, SIG_DFL) != SIG_ERR, "%s", strerror(errno));
    // A group of processes.
    child = CALL(fork());
    if (child == 0) {
        setpgid(0, 0);
        for (;;) pause();
    }
    CHECK(setpgid(child, child) == 0 || errno == EACCES, "%s", strerror(errno));
    CALL(killpg(child, SIGTERM));
    CHECK(CALL(waitpid(child, &status, 0)) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "%#x", status);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void holding_and_releasing(void) {
    reset();
    CHECK(sigset(SIGUSR1, note) == SIG_DFL || true, "never");
    CALL(sighold(SIGUSR1));
    CHECK(blocked(SIGUSR1), "it is not held");
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 0, "it came");
    CALL(sigrelse(SIGUSR1));
    CHECK(came[SIGUSR1] == 1 && !blocked(SIGUSR1), "it did not come");
    CHECK(sigset(SIGUSR1, SIG_HOLD) == note && blocked(SIGUSR1), "it is not held");
    CHECK(sigset(SIGUSR1, note) == SIG_HOLD && !blocked(SIGUSR1), "it is held");
    CALL(sigignore(SIGUSR1));
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 1, "it was not ignored");
    CHECK(sigset(SIGKILL, note) == SIG_ERR && sighold(65) == -1 && sigrelse(65) == -1 && sigignore(SIGKILL) == -1, "allowed");
    handle_plainly(SIGUSR1, note, 0);
    CALL(sighold(SIGUSR1));
    raise(SIGUSR1);
    CHECK(sigpause(SIGUSR1) == -1 && errno == EINTR && came[SIGUSR1] == 2, "%d handlers", came[SIGUSR1]);
    CHECK(blocked(SIGUSR1), "the mask was not put back");
    CALL(sigrelse(SIGUSR1));
}
#pragma GCC diagnostic pop

static void queued_in_order(void) {
    reset();
    sigset_t all;
    sigfillset(&all);
    handle(SIGRTMIN + 1, note_all, 0);
    handle(SIGRTMIN + 3, note_all, 0);
    handle(SIGUSR2, note_all, 0);
    ZERO(pthread_sigmask(SIG_SETMASK, &all, NULL));
    for (int i = 0; i < 3; i++) {
        CALL(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i}));
        CALL(sigqueue(getpid(), SIGRTMIN + 1, (union sigval){.sival_int = 10 + i}));
        CALL(kill(getpid(), SIGUSR2));
    }
    sigset_t pending;
    CALL(sigpending(&pending));
    CHECK(sigismember(&pending, SIGRTMIN + 1) && sigismember(&pending, SIGUSR2) && !sigismember(&pending, SIGTERM), "pending");
    // A lower number first, what was first first, and one that is not queued once.
    sigset_t wanted = just(SIGRTMIN + 1);
    sigaddset(&wanted, SIGRTMIN + 3);
    sigaddset(&wanted, SIGUSR2);
    int expected[][2] = {{SIGUSR2, 0}, {SIGRTMIN + 1, 10}, {SIGRTMIN + 1, 11}, {SIGRTMIN + 1, 12}, {SIGRTMIN + 3, 0},
                         {SIGRTMIN + 3, 1}, {SIGRTMIN + 3, 2}};
    struct timespec now = {0, 0};
    siginfo_t information;
    for (int i = 0; i < 7; i++) {
        CHECK(sigtimedwait(&wanted, &information, &now) == expected[i][0], "number %d is %d", i, information.si_signo);
        if (i > 0) {
            CHECK(information.si_code == SI_QUEUE && information.si_value.sival_int == expected[i][1], "number %d has %d", i,
                  information.si_value.sival_int);
            CHECK(information.si_pid == getpid(), "from %d", information.si_pid);
        }
    }
    CHECK(sigtimedwait(&wanted, NULL, &now) == -1 && errno == EAGAIN, "%s", strerror(errno));
    CHECK(sigqueue(getpid(), 65, (union sigval){0}) == -1 && errno == EINVAL, "%s", strerror(errno));
    CHECK(sigqueue(0x3fffffff, SIGUSR1, (union sigval){0}) == -1 && errno == ESRCH, "%s", strerror(errno));
    CALL(sigqueue(getpid(), 0, (union sigval){0}));
    // Ignored, they are gone.
    CALL(kill(getpid(), SIGUSR2));
    CHECK(signal(SIGUSR2, SIG_IGN) != SIG_ERR, "%s", strerror(errno));
    CALL(sigpending(&pending));
    CHECK(!sigismember(&pending, SIGUSR2), "an ignored signal is pending");
    sigemptyset(&all);
    ZERO(pthread_sigmask(SIG_SETMASK, &all, NULL));
    CHECK(orders == 0, "%d handlers", orders);
}

static void waiting_for_signals(void) {
    reset();
    int signal = 0;
    siginfo_t information;
    sigset_t set = just(SIGUSR1), empty;
    sigemptyset(&empty);
    handle(SIGUSR1, note_all, 0);
    handle(SIGALRM, note_all, 0);
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    ZERO(sigwait(&set, &signal));
    CHECK(signal == SIGUSR1, "%d", signal);
    ZERO(pthread_kill(pthread_self(), SIGUSR1));
    // The C library makes SI_TKILL this.
    CHECK(sigwaitinfo(&set, &information) == SIGUSR1 && information.si_code == SI_USER, "code %d", information.si_code);
    alarm_in_ms(20);
    CHECK(sigwaitinfo(&set, NULL) == -1 && errno == EINTR && came[SIGALRM] == 1, "%s", strerror(errno));
    struct timespec some = {0, 20000000}, bad = {0, 1000000000};
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK(sigtimedwait(&set, NULL, &some) == -1 && errno == EAGAIN, "%s", strerror(errno));
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 20000000, "too early");
    CHECK(sigtimedwait(&set, NULL, &bad) == -1 && errno == EINVAL, "%s", strerror(errno));
    block(SIG_BLOCK, SIGALRM);
    alarm_in_ms(20);
    set = just(SIGALRM);
    ZERO(sigwait(&set, &signal));
    CHECK(signal == SIGALRM && came[SIGALRM] == 1, "%d handlers", came[SIGALRM]);
    // sigsuspend lets in what it says, and puts the mask back.
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 0, "it came");
    CHECK(sigsuspend(&empty) == -1 && errno == EINTR && came[SIGUSR1] == 1, "%d handlers", came[SIGUSR1]);
    CHECK(blocked(SIGUSR1) && blocked(SIGALRM) && !blocked(SIGUSR2), "another mask");
    block(SIG_UNBLOCK, SIGUSR1);
    block(SIG_UNBLOCK, SIGALRM);
}

static void masks_of_a_thread(void) {
    sigset_t set = just(SIGKILL), was;
    sigaddset(&set, SIGSTOP);
    sigaddset(&set, SIGUSR1);
    ZERO(pthread_sigmask(SIG_SETMASK, &set, NULL));
    ZERO(pthread_sigmask(SIG_BLOCK, NULL, &was));
    CHECK(!sigismember(&was, SIGKILL) && !sigismember(&was, SIGSTOP) && sigismember(&was, SIGUSR1), "SIGKILL is blocked");
    CHECK(pthread_sigmask(77, &set, NULL) == EINVAL, "how");
    ZERO(pthread_sigmask(77, NULL, &was));
    sigemptyset(&set);
    ZERO(pthread_sigmask(SIG_SETMASK, &set, NULL));
    ZERO(pthread_kill(pthread_self(), 0));
    CHECK(pthread_kill(pthread_self(), 65) == EINVAL, "a signal that is none");
}

static void handlers_on_their_own_stack(void) {
    reset();
    stack_t was, stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
    CALL(sigaltstack(&stack, &was));
    CHECK(was.ss_flags == SS_DISABLE, "flags %d", was.ss_flags);
    stack_start = stack.ss_sp;
    handle(SIGUSR1, note_all, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 1 && on_stack, "on another stack");
    handle(SIGUSR1, note_all, 0);
    raise(SIGUSR1);
    CHECK(came[SIGUSR1] == 2 && !on_stack, "on the alternate stack");
    CALL(sigaltstack(NULL, &was));
    CHECK(was.ss_sp == stack.ss_sp && was.ss_size == STACK_BYTES && was.ss_flags == 0, "flags %d", was.ss_flags);
    stack.ss_size = 100;
    CHECK(sigaltstack(&stack, NULL) == -1 && errno == ENOMEM, "%s", strerror(errno));
    stack.ss_flags = SS_DISABLE;
    CALL(sigaltstack(&stack, NULL));
    stack_start = NULL;
    free(stack.ss_sp);
    CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR, "%s", strerror(errno));
}

static void sets(void) {
    sigset_t set;
    CALL(sigemptyset(&set));
    CALL(sigaddset(&set, SIGRTMAX));
    CHECK(sigismember(&set, SIGRTMAX) == 1 && sigismember(&set, SIGRTMIN) == 0, "members");
    CALL(sigdelset(&set, SIGRTMAX));
    CHECK(sigismember(&set, SIGRTMAX) == 0, "a member still");
    CHECK(sigaddset(&set, 65) == -1 && errno == EINVAL && sigismember(&set, 0) == -1, "a signal that is none");
    CHECK(SIGRTMAX == 64 && SIGRTMIN == 34, "from %d to %d", SIGRTMIN, SIGRTMAX);
}

static const struct promise all[] = {
    {"raise, kill and killpg tell who sent", raise_tells_who},
    {"sigaction refuses what is none and tells what was", actions_that_are_none},
    {"a handler's own signal waits, unless SA_NODEFER", a_handler_blocks_its_signal},
    {"a handler blocks its sa_mask", a_handler_blocks_what_it_says},
    {"SA_RESETHAND", a_handler_for_once},
    {"SA_RESTART and siginterrupt", restarted_or_not},
    {"SA_NOCLDSTOP, SA_NOCLDWAIT and groups", children_that_stop_or_end},
    {"sighold, sigrelse, sigignore, sigset, sigpause", holding_and_releasing},
    {"sigqueue and sigpending", queued_in_order},
    {"sigwait, sigwaitinfo, sigtimedwait, sigsuspend", waiting_for_signals},
    {"pthread_sigmask and pthread_kill", masks_of_a_thread},
    {"sigaltstack and SA_ONSTACK", handlers_on_their_own_stack},
    {"sets of signals", sets},
};

int main(void) {
    return KEEP(all);
}
