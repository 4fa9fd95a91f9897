// A stage of a pipeline: copies its input to its output, each byte passing through a ring of threads.
// What it copied last goes to its status: 0.
#include "check.h"

#define PART 20000

static unsigned char buffers[THREADS][PART];
static ssize_t lengths[THREADS];
static int turn, reading = 1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *copy(void *argument) {
    int self = (int)(intptr_t)argument;
    for (;;) {
        ZERO(pthread_mutex_lock(&mutex));
        while (turn != self) ZERO(pthread_cond_wait(&changed, &mutex));
        // The part of the thread before goes out, and a new one comes in for the thread after.
        int before = (self + THREADS - 1) % THREADS;
        for (ssize_t done = 0; done < lengths[before];)
            done += CALL(write(1, buffers[before] + done, lengths[before] - done));
        lengths[before] = 0;
        int more = reading;
        if (more) {
            lengths[self] = CALL(read(0, buffers[self], PART));
            if (lengths[self] == 0) reading = 0;
        }
        turn = (self + 1) % THREADS;
        ZERO(pthread_cond_broadcast(&changed));
        ZERO(pthread_mutex_unlock(&mutex));
        if (!more) return NULL;
    }
}

int main(void) {
    run_threads(THREADS, copy);
    return 0;
}
