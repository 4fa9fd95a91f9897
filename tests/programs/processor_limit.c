// A limit on processor time holds for all threads together, wherever they use it: the program is told each second
// from its soft limit on, and killed at the hard one.
#include "check.h"
#include <signal.h>
#include <sys/resource.h>

static atomic_int told;

static void on_limit(int signal) {
    (void)signal;
    if (atomic_fetch_add(&told, 1) < 2 && write(1, "told\n", 5) < 0) _exit(98);
}

static void *use_time(void *argument) {
    while (argument == NULL) __asm__ volatile("");
    return NULL;
}

int main(int count, char **arguments) {
    int handled = count > 1 && strcmp(arguments[1], "handled") == 0;
    if (handled) signal(SIGXCPU, on_limit);
    struct rlimit limit = {1, 3};
    CALL(setrlimit(RLIMIT_CPU, &limit));
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, use_time, NULL));
    ZERO(pthread_join(thread, NULL));
    return 1;
}
