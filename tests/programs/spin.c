// Spin locks: mutual exclusion with no system call to help.
#include "check.h"

#define ROUNDS 200

static pthread_spinlock_t lock;
static long counter;

static void *count(void *argument) {
    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        ZERO(pthread_spin_lock(&lock));
        long before = counter;
        counter = before + 1;
        ZERO(pthread_spin_unlock(&lock));
    }
    return NULL;
}

static void *try_it(void *argument) {
    (void)argument;
    CHECK(pthread_spin_trylock(&lock) == EBUSY, "the lock is held");
    return NULL;
}

int main(void) {
    ZERO(pthread_spin_init(&lock, PTHREAD_PROCESS_PRIVATE));
    run_threads(4, count);
    CHECK(counter == 4 * ROUNDS, "counted %ld", counter);
    ZERO(pthread_spin_lock(&lock));
    run_threads(3, try_it);
    ZERO(pthread_spin_unlock(&lock));
    ZERO(pthread_spin_destroy(&lock));
    printf("counted %ld\n", counter);
    return finish();
}
