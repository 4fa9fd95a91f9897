// Many short threads, some of them started by threads: identities are unique while they live, and
// nothing runs out.
#include "check.h"
#include <sys/syscall.h>

#define WAVES 12
#define WIDTH 12

static atomic_long sum;
static pid_t identities[WIDTH];
static pthread_barrier_t all_there;

static void *leaf(void *argument) {
    sum += (intptr_t)argument;
    return NULL;
}

static void *branch(void *argument) {
    int self = (int)(intptr_t)argument;
    identities[self] = (pid_t)syscall(SYS_gettid);
    CHECK(identities[self] != getpid(), "a thread has the process's number");
    pthread_barrier_wait(&all_there);
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, leaf, (void *)(intptr_t)self));
    ZERO(pthread_join(thread, NULL));
    return NULL;
}

int main(void) {
    for (int wave = 0; wave < WAVES; wave++) {
        ZERO(pthread_barrier_init(&all_there, NULL, WIDTH));
        run_threads(WIDTH, branch);
        ZERO(pthread_barrier_destroy(&all_there));
        for (int one = 0; one < WIDTH; one++)
            for (int two = 0; two < one; two++)
                CHECK(identities[one] != identities[two], "two threads are number %d", identities[one]);
    }
    CHECK(sum == (long)WAVES * WIDTH * (WIDTH - 1) / 2, "sum %ld", sum);
    printf("%d threads, sum %ld\n", WAVES * WIDTH * 2, sum);
    return finish();
}
