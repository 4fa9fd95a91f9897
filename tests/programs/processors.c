// What a thread asks of itself about processors, on every node: it runs where it binds itself, and the
// processor time that it used is its own.
#include "check.h"
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void *bind_and_use(void *argument) {
    cpu_set_t all, one, now;
    (void)argument;
    CALL(sched_getaffinity(0, sizeof all, &all));
    for (int processor = 0; processor < CPU_SETSIZE; processor++) {
        if (!CPU_ISSET(processor, &all)) continue;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        CALL(sched_setaffinity(processor % 2 ? 0 : gettid(), sizeof one, &one));
        CALL(sched_getaffinity(0, sizeof now, &now));
        CHECK(CPU_EQUAL(&one, &now), "bound to another processor than %d", processor);
        for (int round = 0; round < 200; round++) {
            unsigned number;
            CALL(syscall(SYS_getcpu, &number, NULL, NULL));
            CHECK((int)number == processor, "on processor %u, not %d", number, processor);
            CHECK(sched_getcpu() == processor, "on processor %d, not %d", sched_getcpu(), processor);
        }
    }
    CALL(sched_setaffinity(0, sizeof all, &all));
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    while (now_ns(CLOCK_THREAD_CPUTIME_ID) - start < 100000000) {}
    struct rusage usage;
    CALL(getrusage(RUSAGE_THREAD, &usage));
    long used = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
    CHECK(used >= 90, "%ld ms used", used);
    return NULL;
}

int main(void) {
    bind_and_use(NULL);
    run_threads(THREADS, bind_and_use);
    return finish();
}
