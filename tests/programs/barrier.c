// Barriers: nobody passes before all have arrived, exactly one thread is told so, and what was
// written before a barrier is read after it.
#include "check.h"

#define PHASES 60

static pthread_barrier_t barrier;
static int values[2][THREADS];
static atomic_int serial;

static void *phases(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int phase = 0; phase < PHASES; phase++) {
        values[phase % 2][self] = phase * 100 + self;
        int status = pthread_barrier_wait(&barrier);
        CHECK(status == 0 || status == PTHREAD_BARRIER_SERIAL_THREAD, "barrier: %s", strerror(status));
        if (status == PTHREAD_BARRIER_SERIAL_THREAD) serial++;
        for (int other = 0; other < THREADS; other++) {
            int seen = values[phase % 2][other];
            CHECK(seen == phase * 100 + other, "phase %d: thread %d shows %d", phase, other, seen);
        }
    }
    return NULL;
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, phases);
    ZERO(pthread_barrier_destroy(&barrier));
    CHECK(serial == PHASES, "%d serial threads", serial);
    printf("phases %d\n", PHASES);
    return finish();
}
