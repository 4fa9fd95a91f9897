// Thread-local storage of the program itself: initial values, alignment, isolation, addresses.
#include "check.h"

static __thread int initialised = 41;
static __thread long zeroed[300];
static __thread _Alignas(64) char aligned[64] = "aligned";
static __thread char name[16] = "unnamed";
static void *addresses[THREADS];
static pthread_barrier_t barrier;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(initialised == 41, "starts as %d", initialised);
    CHECK(strcmp(name, "unnamed") == 0, "starts as %s", name);
    CHECK(strcmp(aligned, "aligned") == 0, "starts as %s", aligned);
    CHECK(((uintptr_t)aligned & 63) == 0, "at %p", (void *)aligned);
    check_zero((unsigned char *)zeroed, sizeof zeroed, "zeroed");
    snprintf(name, sizeof name, "thread %d", self);
    for (int round = 0; round < 300; round++) {
        initialised += self;
        zeroed[round] = self;
        errno = self + 1;
        if (round % 50 == 0) sched_yield();
        CHECK(errno == self + 1, "errno became %d", errno);
    }
    CHECK(initialised == 41 + 300 * self, "became %d", initialised);
    char expected[16];
    snprintf(expected, sizeof expected, "thread %d", self);
    CHECK(strcmp(name, expected) == 0, "became %s", name);
    addresses[self] = &initialised;
    // Nobody leaves before all have noted where theirs lies, or a new thread may get an old place.
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    for (int one = 0; one < THREADS; one++)
        for (int two = 0; two < one; two++) CHECK(addresses[one] != addresses[two], "%d and %d share", one, two);
    CHECK(initialised == 41, "the main thread's became %d", initialised);
    return finish();
}
