// Read-write locks: readers see whole updates, writers exclude each other and the readers.
#include "check.h"

#define ROUNDS 120
#define WORDS 64

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static long table[WORDS * 64];
static long writes;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < ROUNDS; round++) {
        if ((round + self) % 4 == 0) {
            ZERO(pthread_rwlock_wrlock(&lock));
            writes++;
            for (int word = 0; word < WORDS; word++) table[word * 64] = writes;
            ZERO(pthread_rwlock_unlock(&lock));
        } else {
            ZERO(pthread_rwlock_rdlock(&lock));
            long first = table[0];
            for (int word = 1; word < WORDS; word++)
                CHECK(table[word * 64] == first, "word %d is %ld while the first is %ld", word, table[word * 64], first);
            ZERO(pthread_rwlock_unlock(&lock));
        }
    }
    return NULL;
}

static void *try_while_held(void *argument) {
    (void)argument;
    CHECK(pthread_rwlock_trywrlock(&lock) == EBUSY, "a reader keeps writers out");
    ZERO(pthread_rwlock_tryrdlock(&lock));
    ZERO(pthread_rwlock_unlock(&lock));
    return NULL;
}

int main(void) {
    run_threads(THREADS, use);
    CHECK(writes == THREADS * ROUNDS / 4, "%ld writes", writes);
    ZERO(pthread_rwlock_rdlock(&lock));
    run_threads(3, try_while_held);
    ZERO(pthread_rwlock_unlock(&lock));
    printf("writes %ld\n", writes);
    return finish();
}
