// The program break: grows from any thread with zeroes, shrinks, and grows again with zeroes.
#include "check.h"

#define STEP (40 * 4096)

static pthread_barrier_t barrier;
static unsigned char *start;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    // Starting a thread allocates: nobody moves the break before all have started.
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < 6; round++) {
        if (self == round % THREADS) {
            start = CALL(sbrk(STEP));
            check_zero(start, STEP, "a grown break");
            fill_pattern(start, STEP, round);
        }
        pthread_barrier_wait(&barrier);
        check_pattern(start, STEP, round, "the break's memory");
        pthread_barrier_wait(&barrier);
        if (self == (round + 1) % THREADS) {
            CALL(sbrk(-STEP));
            CHECK(sbrk(0) == start, "the break is at %p", sbrk(0));
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void) {
    // malloc must keep off the break while this program moves it.
    void *warm = malloc(100);
    free(warm);
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    CHECK(sbrk((intptr_t)1 << 46) == (void *)-1 && errno == ENOMEM, "an absurd break is refused");
    return finish();
}
