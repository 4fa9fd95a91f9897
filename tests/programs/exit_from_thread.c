// A thread that is not the main one ends the process while others compute, sleep, wait for a lock and
// read from a pipe: exit_from_thread exit|_exit|quick STATUS. exit(3) runs the handlers and flushes.
#include "check.h"

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;
static int empty_pipe[2];
static atomic_int started;
static const char *how;
static int status;

static void at_exit(void) { puts("handler"); }

static void *busy(void *argument) {
    started++;
    volatile unsigned long number = 1;
    switch ((intptr_t)argument) {
    case 0:
        for (;;) number = number * 3 + 1;
    case 1:
        for (;;) sleep_ms(1000);
    case 2:
        pthread_mutex_lock(&held);
        break;
    default: {
        char byte;
        if (read(empty_pipe[0], &byte, 1) != 0) _exit(98);
    }
    }
    _exit(97);
}

static void *end(void *argument) {
    (void)argument;
    while (started < 4) sleep_ms(1);
    sleep_ms(20);
    printf("buffered");
    if (strcmp(how, "exit") == 0) exit(status);
    if (strcmp(how, "quick") == 0) quick_exit(status);
    _exit(status);
}

int main(int count, char **arguments) {
    CHECK(count == 3, "usage: exit_from_thread exit|_exit|quick STATUS");
    how = arguments[1];
    status = atoi(arguments[2]);
    atexit(at_exit);
    CALL(pipe(empty_pipe));
    ZERO(pthread_mutex_lock(&held));
    pthread_t thread;
    for (int index = 0; index < 4; index++)
        ZERO(pthread_create(&thread, NULL, busy, (void *)(intptr_t)index));
    ZERO(pthread_create(&thread, NULL, end, NULL));
    pthread_join(thread, NULL);
    return 96;
}
