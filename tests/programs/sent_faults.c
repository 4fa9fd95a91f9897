// Signals with the numbers of faults that another process sends: sent_faults FIFO any|thread. The program
// writes a line to the FIFO when it is ready for the next one, which is this or the last: it handled all.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/types.h>

static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
#define COUNT ((int)(sizeof SIGNALS / sizeof *SIGNALS))

static int fifo;
static atomic_int handled[65], code;
static atomic_int over;

static void handler(int signal, siginfo_t *information, void *context) {
    (void)context;
    code = information->si_code;
    if (information->si_signo == signal && information->si_pid != getpid()) handled[signal]++;
}

static void say(long value) {
    CHECK(dprintf(fifo, "%ld\n", value) > 0, "%s", strerror(errno));
}

static void *compute(void *argument) {
    volatile long sum = 0;
    (void)argument;
    while (!over) sum++;
    return NULL;
}

static void *wait_for_end(void *argument) {
    (void)argument;
    while (!over) sleep_ms(5);
    return NULL;
}

static void block_all(void) {
    sigset_t all;
    sigfillset(&all);
    ZERO(pthread_sigmask(SIG_SETMASK, &all, NULL));
}

int main(int count, char **arguments) {
    CHECK(count == 3, "usage: sent_faults FIFO WHO");
    fifo = CALL(open(arguments[1], O_WRONLY));
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int index = 0; index < COUNT; index++) CALL(sigaction(SIGNALS[index], &action, NULL));
    pthread_t threads[4];
    for (int index = 0; index < 4; index++)
        ZERO(pthread_create(&threads[index], NULL, index % 2 ? compute : wait_for_end, NULL));
    if (strcmp(arguments[2], "thread") == 0) block_all();
    say(getpid());
    for (int index = 0; index < COUNT; index++) {
        for (int wait = 0; handled[SIGNALS[index]] == 0 && wait < 20000; wait++) sleep_ms(1);
        CHECK(handled[SIGNALS[index]] == 1, "signal %d: %d handled", SIGNALS[index], handled[SIGNALS[index]]);
        CHECK(code == SI_USER, "signal %d: code %d", SIGNALS[index], code);
        say(index);
    }
    over = 1;
    for (int index = 0; index < 4; index++) ZERO(pthread_join(threads[index], NULL));
    return finish();
}
