// Process-shared locks in shared anonymous memory, used by threads: mutex, condition, barrier,
// semaphore.
#include "check.h"
#include <semaphore.h>
#include <sys/mman.h>

#define ROUNDS 100

struct shared {
    pthread_mutex_t mutex;
    pthread_cond_t turn_changed;
    pthread_barrier_t barrier;
    sem_t semaphore;
    long counter;
    int turn;
    int inside;
};

static struct shared *shared;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    pthread_barrier_wait(&shared->barrier);
    for (int round = 0; round < ROUNDS; round++) {
        ZERO(pthread_mutex_lock(&shared->mutex));
        shared->counter++;
        ZERO(pthread_mutex_unlock(&shared->mutex));
    }
    for (int round = 0; round < 10; round++) {
        ZERO(pthread_mutex_lock(&shared->mutex));
        while (shared->turn % THREADS != self) ZERO(pthread_cond_wait(&shared->turn_changed, &shared->mutex));
        shared->turn++;
        ZERO(pthread_cond_broadcast(&shared->turn_changed));
        ZERO(pthread_mutex_unlock(&shared->mutex));
    }
    for (int round = 0; round < 20; round++) {
        CALL(sem_wait(&shared->semaphore));
        int inside = __atomic_add_fetch(&shared->inside, 1, __ATOMIC_SEQ_CST);
        CHECK(inside <= 2, "%d threads in a place for two", inside);
        __atomic_sub_fetch(&shared->inside, 1, __ATOMIC_SEQ_CST);
        CALL(sem_post(&shared->semaphore));
    }
    return NULL;
}

int main(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED, "%s", strerror(errno));
    pthread_mutexattr_t mutex_attributes;
    ZERO(pthread_mutexattr_init(&mutex_attributes));
    ZERO(pthread_mutexattr_setpshared(&mutex_attributes, PTHREAD_PROCESS_SHARED));
    ZERO(pthread_mutex_init(&shared->mutex, &mutex_attributes));
    pthread_condattr_t condition_attributes;
    ZERO(pthread_condattr_init(&condition_attributes));
    ZERO(pthread_condattr_setpshared(&condition_attributes, PTHREAD_PROCESS_SHARED));
    ZERO(pthread_cond_init(&shared->turn_changed, &condition_attributes));
    pthread_barrierattr_t barrier_attributes;
    ZERO(pthread_barrierattr_init(&barrier_attributes));
    ZERO(pthread_barrierattr_setpshared(&barrier_attributes, PTHREAD_PROCESS_SHARED));
    ZERO(pthread_barrier_init(&shared->barrier, &barrier_attributes, THREADS));
    CALL(sem_init(&shared->semaphore, 1, 2));
    run_threads(THREADS, use);
    CHECK(shared->counter == THREADS * ROUNDS, "counted %ld", shared->counter);
    printf("counted %ld, turns %d\n", shared->counter, shared->turn);
    return finish();
}
