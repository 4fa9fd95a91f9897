// Thread-specific data: values are per thread, and destructors run at thread exit, again while a
// destructor stores a new value.
#include "check.h"

#define KEYS 40

static pthread_key_t keys[KEYS], again;
static atomic_int destroyed, destroyed_again;

static void destroy(void *value) {
    destroyed++;
    free(value);
}

static void destroy_again(void *value) {
    destroyed_again++;
    intptr_t left = (intptr_t)value - 1;
    if (left > 0) ZERO(pthread_setspecific(again, (void *)left));
}

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int index = 0; index < KEYS; index++) {
        CHECK(pthread_getspecific(keys[index]) == NULL, "key %d starts empty", index);
        int *value = malloc(sizeof *value);
        *value = self * 1000 + index;
        ZERO(pthread_setspecific(keys[index], value));
    }
    ZERO(pthread_setspecific(again, (void *)(intptr_t)3));
    sched_yield();
    for (int index = 0; index < KEYS; index++) {
        int *value = pthread_getspecific(keys[index]);
        CHECK(*value == self * 1000 + index, "key %d holds %d", index, *value);
    }
    if (self % 2) pthread_exit(NULL);
    return NULL;
}

int main(void) {
    for (int index = 0; index < KEYS; index++) ZERO(pthread_key_create(&keys[index], destroy));
    ZERO(pthread_key_create(&again, destroy_again));
    run_threads(THREADS, use);
    CHECK(destroyed == THREADS * KEYS, "%d values destroyed", destroyed);
    CHECK(destroyed_again == THREADS * 3, "%d repeated destructions", destroyed_again);
    for (int index = 0; index < KEYS; index++) ZERO(pthread_key_delete(keys[index]));
    printf("destroyed %d and %d\n", destroyed, destroyed_again);
    return finish();
}
