// Futexes whose words the kernel writes, used by threads of several nodes: locks that pass priority on,
// waiting that is moved to such a lock, waking by an operation. And what each answers to a mistake.
#include "check.h"
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { ROUNDS = 300 };

static pthread_mutex_t mutex;
static pthread_cond_t turned;
static long count, turn;

static long futex(void *word, int operation, long value, void *timeout, void *second, long third) {
    return syscall(SYS_futex, word, operation, value, timeout, second, third);
}

static void fails(long result, int error, const char *what) {
    CHECK(result == -1 && errno == error, "%s: %ld, %s", what, result, strerror(errno));
}

static void *lock_in_turn(void *argument) {
    (void)argument;
    for (int round = 0; round < ROUNDS; round++) {
        ZERO(pthread_mutex_lock(&mutex));
        count++;
        if (round % 8 == 0) {
            turn++;
            ZERO(pthread_cond_broadcast(&turned));
        } else if (round % 8 == 4) {
            struct timespec until;
            CALL(clock_gettime(CLOCK_REALTIME, &until));
            until.tv_nsec += 2000000;
            if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
            int status = pthread_cond_timedwait(&turned, &mutex, &until);
            CHECK(status == 0 || status == ETIMEDOUT, "%s", strerror(status));
        }
        ZERO(pthread_mutex_unlock(&mutex));
    }
    return NULL;
}

static int word, other, held, private = FUTEX_PRIVATE_FLAG;
static pthread_barrier_t barrier;

static void operate(void) {
    int before = word;
    int add = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0);
    CHECK(futex(&other, FUTEX_WAKE_OP | private, 1, (void *)1, &word, add) == 0, "%s", strerror(errno));
    CHECK(word == before + 3, "the operation made %d of %d", word, before);
    int lock = 0;
    CALL(futex(&lock, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0));
    CHECK((lock & FUTEX_TID_MASK) == syscall(SYS_gettid), "the owner is %d", lock);
    fails(futex(&lock, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0), EDEADLK, "locking twice");
    CALL(futex(&lock, FUTEX_UNLOCK_PI | private, 0, NULL, NULL, 0));
    CALL(futex(&lock, FUTEX_TRYLOCK_PI | private, 0, NULL, NULL, 0));
    CALL(futex(&lock, FUTEX_UNLOCK_PI | private, 0, NULL, NULL, 0));
    fails(futex(&held, FUTEX_UNLOCK_PI | private, 0, NULL, NULL, 0), EPERM, "unlocking another's");
    lock = 0x3ffffff;
    fails(futex(&lock, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0), ESRCH, "an owner that is none");
}

static void mistake(void) {
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int lock = 0;
    fails(futex(page, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0), EFAULT, "a lock that cannot be written");
    fails(futex(&word, FUTEX_WAKE_OP | private, 1, (void *)1, page, 0), EFAULT, "a word that cannot be written");
    fails(futex(&held, FUTEX_LOCK_PI | private, 0, (void *)16, NULL, 0), EFAULT, "a time that is nowhere");
    fails(futex((char *)&lock + 1, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0), EINVAL, "an unaligned lock");
    fails(futex((void *)4096, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0), EFAULT, "a lock that is nowhere");
    fails(futex((void *)4096, FUTEX_WAKE, 1, NULL, NULL, 0), EFAULT, "a shared futex that is nowhere");
    fails(futex(&word, FUTEX_CMP_REQUEUE, 1, (void *)1, (void *)4096, word), EFAULT, "a shared target");
    CHECK(futex((void *)4096, FUTEX_WAKE | private, 1, NULL, NULL, 0) == 0, "a private one is not looked at");
    fails(futex(&word, 99 | private, 1, NULL, NULL, 0), ENOSYS, "an unknown operation");
    CALL(munmap(page, 4096));
}

static void *each_in_turn(void *argument) {
    for (int index = 0; index < THREADS; index++) {
        if (index == (int)(intptr_t)argument) operate(), mistake();
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

// A thread ends while it holds the lock and others wait for it in the kernel.
static void *die_holding(void *argument) {
    ZERO(pthread_mutex_lock(argument));
    pthread_barrier_wait(&barrier);
    sleep_ms(20);
    return NULL;
}

static void *wait_for_dead(void *argument) {
    pthread_barrier_wait(&barrier);
    int status = pthread_mutex_lock(argument);
    CHECK(status == EOWNERDEAD, "the waiter got %s", strerror(status));
    ZERO(pthread_mutex_consistent(argument));
    ZERO(pthread_mutex_unlock(argument));
    return NULL;
}

int main(void) {
    pthread_mutexattr_t attributes;
    ZERO(pthread_mutexattr_init(&attributes));
    ZERO(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
    ZERO(pthread_mutex_init(&mutex, &attributes));
    ZERO(pthread_cond_init(&turned, NULL));
    run_threads(THREADS, lock_in_turn);
    CHECK(count == THREADS * ROUNDS, "counted %ld", count);

    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    CALL(futex(&held, FUTEX_LOCK_PI | private, 0, NULL, NULL, 0));
    run_threads(THREADS, each_in_turn);
    CALL(futex(&held, FUTEX_UNLOCK_PI | private, 0, NULL, NULL, 0));

    ZERO(pthread_barrier_init(&barrier, NULL, 2));
    ZERO(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST));
    for (int round = 0; round < 6; round++) {
        pthread_mutex_t robust;
        pthread_t dying, waiting;
        ZERO(pthread_mutex_init(&robust, &attributes));
        ZERO(pthread_create(&dying, NULL, die_holding, &robust));
        ZERO(pthread_create(&waiting, NULL, wait_for_dead, &robust));
        ZERO(pthread_join(dying, NULL));
        ZERO(pthread_join(waiting, NULL));
    }
    return finish();
}
