// Detached threads: created so, or detached later by themselves or by another thread; their stacks
// are used again.
#include "check.h"

#define ROUNDS 20

static atomic_int ended;

static void *short_life(void *argument) {
    if (argument) ZERO(pthread_detach(pthread_self()));
    ended++;
    return NULL;
}

int main(void) {
    pthread_attr_t attributes;
    ZERO(pthread_attr_init(&attributes));
    ZERO(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED));
    int started = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        ZERO(pthread_create(&thread, &attributes, short_life, NULL));
        ZERO(pthread_create(&thread, NULL, short_life, (void *)1));
        ZERO(pthread_create(&thread, NULL, short_life, NULL));
        ZERO(pthread_detach(thread));
        started += 3;
        for (int wait = 0; ended < started && wait < 20000; wait++) sleep_ms(1);
        CHECK(ended == started, "%d of %d threads ended", ended, started);
    }
    printf("detached %d\n", started);
    return finish();
}
