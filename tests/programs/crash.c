// Ends the process in one of the ways a faulty program does: crash HOW main|thread.
// The line "before" is printed and flushed first; nothing after it may appear.
#include "check.h"
#include <sys/mman.h>

static const char *how;

static volatile int deeper = 1;

static int recurse(volatile char *above) {
    volatile char space[1000];
    space[0] = above[0];
    return deeper ? recurse(space) + space[0] : 0;
}

static void *fail(void *argument) {
    (void)argument;
    if (strcmp(how, "null") == 0) *(volatile int *)8 = 1;
    if (strcmp(how, "wild-read") == 0) return (void *)(intptr_t) * (volatile int *)0x123456789000;
    // An address that lies where a runtime below the program might keep memory of its own for it.
    if (strcmp(how, "wild-write") == 0) *(volatile int *)0x2fff12345000 = 1;
    if (strcmp(how, "non-canonical") == 0) *(volatile int *)0x8000000000000000 = 1;
    if (strcmp(how, "read-only") == 0) *(volatile char *)"text" = 'T';
    if (strcmp(how, "unmapped") == 0) {
        volatile char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        page[0] = 1;
        CALL(munmap((void *)page, 4096));
        page[0] = 2;
    }
    if (strcmp(how, "no-execute") == 0) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        page[0] = (char)0xc3;
        ((void (*)(void))page)();
    }
    if (strcmp(how, "overflow") == 0) {
        volatile char start = 0;
        return (void *)(intptr_t)recurse(&start);
    }
    if (strcmp(how, "divide") == 0) {
        volatile int zero = 0;
        return (void *)(intptr_t)(how[0] / zero);
    }
    if (strcmp(how, "illegal") == 0) __builtin_trap();
    if (strcmp(how, "clock") == 0) clock_gettime(CLOCK_MONOTONIC, (struct timespec *)8);
    if (strcmp(how, "abort") == 0) abort();
    return NULL;
}

static void *wait_for_ever(void *argument) {
    (void)argument;
    for (;;) pause();
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 3, "usage: crash HOW main|thread");
    how = arguments[1];
    puts("before");
    fflush(stdout);
    pthread_t threads[3];
    for (int index = 0; index < 2; index++) ZERO(pthread_create(&threads[index], NULL, wait_for_ever, NULL));
    if (strcmp(arguments[2], "thread") == 0) {
        ZERO(pthread_create(&threads[2], NULL, fail, NULL));
        pthread_join(threads[2], NULL);
    } else {
        fail(NULL);
    }
    puts("after");
    return 0;
}
