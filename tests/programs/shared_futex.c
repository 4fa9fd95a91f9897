// Waits on shared futexes in a page that other threads keep writing: the page goes from node to node
// all the time, and no wait may fail for that.
#include "check.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#define ROUNDS 500

static struct {
    unsigned never[16];
    unsigned counters[16];
} page __attribute__((aligned(4096)));

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    struct timespec little = {0, 20000};
    for (int round = 0; round < ROUNDS; round++) {
        page.counters[self]++;
        long result = syscall(SYS_futex, &page.never[self], FUTEX_WAIT, 0, &little, NULL, 0);
        CHECK(result == -1 && (errno == ETIMEDOUT || errno == EINTR), "waiting: %ld, %s", result, strerror(errno));
        result = syscall(SYS_futex, &page.never[self], FUTEX_WAIT, 1, NULL, NULL, 0);
        CHECK(result == -1 && errno == EAGAIN, "waiting for another value: %ld, %s", result, strerror(errno));
        result = syscall(SYS_futex, &page.never[self], FUTEX_WAKE, 1, NULL, NULL, 0);
        CHECK(result == 0, "waking: %ld, %s", result, strerror(errno));
    }
    return NULL;
}

int main(void) {
    run_threads(THREADS, use);
    for (int thread = 0; thread < THREADS; thread++)
        CHECK(page.counters[thread] == ROUNDS, "thread %d counted %u", thread, page.counters[thread]);
    return finish();
}
