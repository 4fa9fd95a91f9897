// pthread_once: the initialiser runs once, and nobody goes on before it has ended.
#include "check.h"

static pthread_once_t once[16] = {[0 ... 15] = PTHREAD_ONCE_INIT};
static int ready[16];
static atomic_int runs;
static _Thread_local int current;

static void initialise(void) {
    sleep_ms(2);
    ready[current] = current + 1;
    runs++;
}

static void *use(void *argument) {
    (void)argument;
    for (current = 0; current < 16; current++) {
        ZERO(pthread_once(&once[current], initialise));
        CHECK(ready[current] == current + 1, "%d was not ready", current);
    }
    return NULL;
}

int main(void) {
    run_threads(THREADS, use);
    CHECK(runs == 16, "%d runs", runs);
    puts("16 runs");
    return finish();
}
