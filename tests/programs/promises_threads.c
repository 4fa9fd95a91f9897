// What POSIX promises of threads, beside what the programs about each kind of lock check.
#include "promises.h"
#include <limits.h>
#include <sched.h>
#include <semaphore.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct timespec in_ms(clockid_t clock, long milliseconds) {
    int64_t at = now_ns(clock) + milliseconds * 1000000;
    return (struct timespec){at / 1000000000, at % 1000000000};
}

static void *nothing(void *argument) {
    return argument;
}

static void *start(void *(*body)(void *), void *argument, pthread_t *thread) {
    ZERO(pthread_create(thread, NULL, body, argument));
    return NULL;
}

static void *result(pthread_t thread) {
    void *value = NULL;
    ZERO(pthread_join(thread, &value));
    return value;
}

static void attributes(void) {
    pthread_attr_t all;
    int number;
    size_t size;
    struct sched_param parameters;
    ZERO(pthread_attr_init(&all));
    ZERO(pthread_attr_getdetachstate(&all, &number));
    CHECK(number == PTHREAD_CREATE_JOINABLE, "%d", number);
    CHECK(pthread_attr_setdetachstate(&all, 77) == EINVAL, "a state that is none");
    ZERO(pthread_attr_getscope(&all, &number));
    CHECK(number == PTHREAD_SCOPE_SYSTEM && pthread_attr_setscope(&all, PTHREAD_SCOPE_PROCESS) == ENOTSUP, "%d", number);
    ZERO(pthread_attr_setscope(&all, PTHREAD_SCOPE_SYSTEM));
    ZERO(pthread_attr_getinheritsched(&all, &number));
    CHECK(number == PTHREAD_INHERIT_SCHED && pthread_attr_setinheritsched(&all, 77) == EINVAL, "%d", number);
    ZERO(pthread_attr_setinheritsched(&all, PTHREAD_EXPLICIT_SCHED));
    ZERO(pthread_attr_getschedpolicy(&all, &number));
    CHECK(number == SCHED_OTHER && pthread_attr_setschedpolicy(&all, 77) == EINVAL, "%d", number);
    ZERO(pthread_attr_getschedparam(&all, &parameters));
    CHECK(parameters.sched_priority == 0, "%d", parameters.sched_priority);
    ZERO(pthread_attr_setschedparam(&all, &parameters));
    CHECK(pthread_attr_setstacksize(&all, 16) == EINVAL, "a stack that is too small");
    ZERO(pthread_attr_setstacksize(&all, 1 << 20));
    ZERO(pthread_attr_getstacksize(&all, &size));
    CHECK(size == 1 << 20, "%zu", size);
    ZERO(pthread_attr_setguardsize(&all, 8192));
    ZERO(pthread_attr_getguardsize(&all, &size));
    CHECK(size == 8192, "%zu", size);
    pthread_t thread;
    ZERO(pthread_create(&thread, &all, nothing, &lock));
    CHECK(result(thread) == &lock, "another result");
    ZERO(pthread_attr_setdetachstate(&all, PTHREAD_CREATE_DETACHED));
    ZERO(pthread_attr_destroy(&all));
    CHECK(pthread_join(pthread_self(), NULL) == EDEADLK, "it waits for itself");
    CHECK(pthread_equal(pthread_self(), pthread_self()) != 0, "another one");
    ZERO(pthread_setconcurrency(3));
    CHECK(pthread_getconcurrency() == 3 && pthread_setconcurrency(-1) == EINVAL, "%d", pthread_getconcurrency());
}

static int cleaned;

static void clean(void *argument) {
    cleaned = cleaned * 10 + (int)(intptr_t)argument;
}

static pthread_cond_t never_signalled = PTHREAD_COND_INITIALIZER;
static _Atomic int ready, goes_on;
static sem_t never_posted;
static pthread_t other;

static void unlock(void *argument) {
    CHECK(pthread_mutex_trylock(&lock) == EBUSY, "a wait that was cancelled does not have its lock");
    clean(argument);
    ZERO(pthread_mutex_unlock(&lock));
}

static void *cancelled_in_a_wait(void *argument) {
    pthread_cleanup_push(clean, (void *)1);
    ZERO(pthread_mutex_lock(&lock));
    pthread_cleanup_push(unlock, (void *)2);
    atomic_store(&ready, 1);
    for (;;) ZERO(pthread_cond_wait(&never_signalled, &lock));
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
    return argument;
}

static void *cancelled_in_sleep(void *argument) {
    atomic_store(&ready, 1);
    sleep(100);
    return argument;
}

static void *cancelled_in_read(void *argument) {
    int ends[2];
    char byte;
    CALL(pipe(ends));
    atomic_store(&ready, 1);
    if (read(ends[0], &byte, 1) >= 0) atomic_store(&ready, 7);
    return argument;
}

static void *cancelled_in_sem_wait(void *argument) {
    atomic_store(&ready, 1);
    sem_wait(&never_posted);
    return argument;
}

static void *cancelled_in_join(void *argument) {
    atomic_store(&ready, 1);
    pthread_join(other, NULL);
    return argument;
}

static void *cancelled_while_it_works(void *argument) {
    int was;
    ZERO(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &was));
    CHECK(was == PTHREAD_CANCEL_DEFERRED, "%d", was);
    atomic_store(&ready, 1);
    for (volatile long i = 0;; i++) {}
    return argument;
}

static void *not_cancelled_before(void *argument) {
    int was;
    ZERO(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was));
    CHECK(was == PTHREAD_CANCEL_ENABLE && pthread_setcancelstate(77, NULL) == EINVAL, "%d", was);
    CHECK(pthread_setcanceltype(77, NULL) == EINVAL, "a type that is none");
    atomic_store(&ready, 1);
    while (!atomic_load(&goes_on)) sleep_ms(1);
    pthread_testcancel();
    clean((void *)3);
    ZERO(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &was));
    pthread_testcancel();
    clean((void *)4);
    return argument;
}

static void *waits_until_told(void *argument) {
    while (!atomic_load(&goes_on)) sleep_ms(1);
    return argument;
}

static void cancel(void *(*body)(void *), int expected) {
    pthread_t thread;
    cleaned = 0;
    atomic_store(&ready, 0);
    atomic_store(&goes_on, 0);
    start(body, NULL, &thread);
    while (!atomic_load(&ready)) sleep_ms(1);
    sleep_ms(5);
    ZERO(pthread_cancel(thread));
    atomic_store(&goes_on, body == not_cancelled_before);
    CHECK(result(thread) == PTHREAD_CANCELED, "it was not cancelled");
    CHECK(cleaned == expected, "cleaned %d, not %d", cleaned, expected);
}

static void cancellation(void) {
    CALL(sem_init(&never_posted, 0, 0));
    cancel(cancelled_in_a_wait, 21);
    ZERO(pthread_mutex_trylock(&lock));
    ZERO(pthread_mutex_unlock(&lock));
    cancel(cancelled_in_sleep, 0);
    cancel(cancelled_in_read, 0);
    cancel(cancelled_in_sem_wait, 0);
    cancel(cancelled_while_it_works, 0);
    cancel(not_cancelled_before, 3);
    // Who is waited for goes on, and can be waited for again.
    atomic_store(&goes_on, 0);
    start(waits_until_told, &other, &other);
    cancel(cancelled_in_join, 0);
    atomic_store(&goes_on, 1);
    CHECK(result(other) == &other, "another result");
}

static void *tries(void *argument) {
    return (void *)(intptr_t)pthread_mutex_trylock(argument);
}

static void *unlocks(void *argument) {
    return (void *)(intptr_t)pthread_mutex_unlock(argument);
}

static long by_another(void *(*body)(void *), void *argument) {
    pthread_t thread;
    start(body, argument, &thread);
    return (long)(intptr_t)result(thread);
}

static void mutexes(void) {
    pthread_mutexattr_t kind;
    pthread_mutex_t mutex;
    int number;
    ZERO(pthread_mutexattr_init(&kind));
    ZERO(pthread_mutexattr_gettype(&kind, &number));
    CHECK(number == PTHREAD_MUTEX_DEFAULT && pthread_mutexattr_settype(&kind, 77) == EINVAL, "%d", number);
    ZERO(pthread_mutexattr_getpshared(&kind, &number));
    CHECK(number == PTHREAD_PROCESS_PRIVATE && pthread_mutexattr_setpshared(&kind, 77) == EINVAL, "%d", number);
    ZERO(pthread_mutexattr_getprotocol(&kind, &number));
    CHECK(number == PTHREAD_PRIO_NONE && pthread_mutexattr_setprotocol(&kind, 77) == EINVAL, "%d", number);
    ZERO(pthread_mutexattr_getrobust(&kind, &number));
    CHECK(number == PTHREAD_MUTEX_STALLED && pthread_mutexattr_setrobust(&kind, 77) == EINVAL, "%d", number);
    CHECK(pthread_mutexattr_setprioceiling(&kind, 1000) == EINVAL, "a priority that is none");
    ZERO(pthread_mutexattr_setprioceiling(&kind, 5));
    ZERO(pthread_mutexattr_getprioceiling(&kind, &number));
    CHECK(number == 5, "%d", number);
    ZERO(pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK));
    ZERO(pthread_mutex_init(&mutex, &kind));
    ZERO(pthread_mutex_lock(&mutex));
    CHECK(pthread_mutex_lock(&mutex) == EDEADLK && pthread_mutex_trylock(&mutex) == EBUSY, "locked twice");
    CHECK(by_another(tries, &mutex) == EBUSY && by_another(unlocks, &mutex) == EPERM, "another's lock");
    CHECK(pthread_mutex_destroy(&mutex) == EBUSY, "a locked one");
    CHECK(pthread_mutex_getprioceiling(&mutex, &number) == EINVAL, "it has none");
    ZERO(pthread_mutex_unlock(&mutex));
    CHECK(pthread_mutex_unlock(&mutex) == EPERM, "unlocked twice");
    ZERO(pthread_mutex_destroy(&mutex));
    ZERO(pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE));
    ZERO(pthread_mutex_init(&mutex, &kind));
    for (int i = 0; i < 3; i++) ZERO(pthread_mutex_lock(&mutex));
    for (int i = 0; i < 2; i++) ZERO(pthread_mutex_unlock(&mutex));
    CHECK(by_another(tries, &mutex) == EBUSY, "it is free too early");
    ZERO(pthread_mutex_unlock(&mutex));
    ZERO(pthread_mutex_destroy(&mutex));
    ZERO(pthread_mutexattr_destroy(&kind));
    ZERO(pthread_mutex_init(&mutex, NULL));
    ZERO(pthread_mutex_lock(&mutex));
    struct timespec at = in_ms(CLOCK_REALTIME, 10), bad = {0, 1000000000};
    CHECK(pthread_mutex_timedlock(&mutex, &at) == ETIMEDOUT && pthread_mutex_timedlock(&mutex, &bad) == EINVAL, "in time");
    at = in_ms(CLOCK_MONOTONIC, 10);
    CHECK(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &at) == ETIMEDOUT, "in time");
    ZERO(pthread_mutex_unlock(&mutex));
    ZERO(pthread_mutex_destroy(&mutex));
}

static void conditions(void) {
    pthread_condattr_t kind;
    pthread_cond_t condition;
    clockid_t clock;
    int number;
    ZERO(pthread_condattr_init(&kind));
    ZERO(pthread_condattr_getclock(&kind, &clock));
    CHECK(clock == CLOCK_REALTIME && pthread_condattr_setclock(&kind, CLOCK_PROCESS_CPUTIME_ID) == EINVAL, "%d", clock);
    ZERO(pthread_condattr_setclock(&kind, CLOCK_MONOTONIC));
    ZERO(pthread_condattr_getpshared(&kind, &number));
    CHECK(number == PTHREAD_PROCESS_PRIVATE, "%d", number);
    ZERO(pthread_cond_init(&condition, &kind));
    ZERO(pthread_condattr_destroy(&kind));
    ZERO(pthread_mutex_lock(&lock));
    struct timespec at = in_ms(CLOCK_MONOTONIC, 15), bad = {0, 1000000000};
    CHECK(pthread_cond_timedwait(&condition, &lock, &at) == ETIMEDOUT, "in time");
    CHECK(now_ns(CLOCK_MONOTONIC) >= at.tv_sec * 1000000000 + at.tv_nsec, "too early");
    CHECK(by_another(tries, &lock) == EBUSY, "the lock is free");
    CHECK(pthread_cond_timedwait(&condition, &lock, &bad) == EINVAL, "a time that is none");
    at = in_ms(CLOCK_REALTIME, 15);
    CHECK(pthread_cond_clockwait(&condition, &lock, CLOCK_REALTIME, &at) == ETIMEDOUT, "in time");
    ZERO(pthread_mutex_unlock(&lock));
    ZERO(pthread_cond_signal(&condition));
    ZERO(pthread_cond_broadcast(&condition));
    ZERO(pthread_cond_destroy(&condition));
}

static pthread_rwlock_t shared_lock = PTHREAD_RWLOCK_INITIALIZER;

static void *reads(void *argument) {
    (void)argument;
    int error = pthread_rwlock_tryrdlock(&shared_lock);
    if (error == 0) ZERO(pthread_rwlock_unlock(&shared_lock));
    return (void *)(intptr_t)error;
}

static void *writes(void *argument) {
    (void)argument;
    int error = pthread_rwlock_trywrlock(&shared_lock);
    if (error == 0) ZERO(pthread_rwlock_unlock(&shared_lock));
    return (void *)(intptr_t)error;
}

static void *reads_in_time(void *argument) {
    struct timespec at = in_ms(CLOCK_REALTIME, 10);
    (void)argument;
    return (void *)(intptr_t)pthread_rwlock_timedrdlock(&shared_lock, &at);
}

static void *writes_in_time(void *argument) {
    struct timespec at = in_ms(CLOCK_MONOTONIC, 10);
    (void)argument;
    return (void *)(intptr_t)pthread_rwlock_clockwrlock(&shared_lock, CLOCK_MONOTONIC, &at);
}

static void other_locks(void) {
    ZERO(pthread_rwlock_rdlock(&shared_lock));
    CHECK(by_another(reads, NULL) == 0 && by_another(writes, NULL) == EBUSY, "one reads");
    CHECK(by_another(writes_in_time, NULL) == ETIMEDOUT, "one reads");
    ZERO(pthread_rwlock_unlock(&shared_lock));
    ZERO(pthread_rwlock_wrlock(&shared_lock));
    CHECK(by_another(reads, NULL) == EBUSY && by_another(reads_in_time, NULL) == ETIMEDOUT, "one writes");
    CHECK(pthread_rwlock_wrlock(&shared_lock) == EDEADLK && pthread_rwlock_rdlock(&shared_lock) == EDEADLK, "it waits for itself");
    ZERO(pthread_rwlock_unlock(&shared_lock));
    pthread_rwlockattr_t kind;
    int number;
    ZERO(pthread_rwlockattr_init(&kind));
    ZERO(pthread_rwlockattr_getpshared(&kind, &number));
    CHECK(number == PTHREAD_PROCESS_PRIVATE && pthread_rwlockattr_setpshared(&kind, 77) == EINVAL, "%d", number);
    ZERO(pthread_rwlockattr_destroy(&kind));
    pthread_spinlock_t spin;
    ZERO(pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE));
    ZERO(pthread_spin_lock(&spin));
    CHECK(pthread_spin_trylock(&spin) == EBUSY, "it is locked");
    ZERO(pthread_spin_unlock(&spin));
    ZERO(pthread_spin_trylock(&spin));
    ZERO(pthread_spin_unlock(&spin));
    ZERO(pthread_spin_destroy(&spin));
    pthread_barrier_t barrier;
    CHECK(pthread_barrier_init(&barrier, NULL, 0) == EINVAL, "for nobody");
    ZERO(pthread_barrier_init(&barrier, NULL, 1));
    for (int i = 0; i < 3; i++) CHECK(pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD, "round %d", i);
    ZERO(pthread_barrier_destroy(&barrier));
}

static pthread_key_t key;
static int destroyed;

static void destroy(void *value) {
    destroyed++;
    // As long as there are values, up to a bound.
    ZERO(pthread_setspecific(key, value));
}

static void *sets_a_key(void *argument) {
    CHECK(pthread_getspecific(key) == NULL, "another's value");
    ZERO(pthread_setspecific(key, &key));
    return argument;
}

static pthread_once_t once;
static int done;

static void does(void) {
    done++;
}

static void cancelled_once(void) {
    atomic_store(&ready, 1);
    for (;;) sleep(100);
}

static void *is_cancelled_in_once(void *argument) {
    pthread_once(&once, cancelled_once);
    return argument;
}

static void keys_and_once(void) {
    destroyed = 0;
    ZERO(pthread_key_create(&key, destroy));
    by_another(sets_a_key, NULL);
    CHECK(destroyed == PTHREAD_DESTRUCTOR_ITERATIONS, "destroyed %d times", destroyed);
    ZERO(pthread_key_delete(key));
    CHECK(pthread_key_delete(key) == EINVAL && pthread_setspecific(key, &key) == EINVAL, "a key that is none");
    pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
    int count = 0;
    while (count <= PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], NULL) == 0) count++;
    CHECK(count > PTHREAD_KEYS_MAX - 16 && count <= PTHREAD_KEYS_MAX, "%d keys", count);
    while (count > 0) ZERO(pthread_key_delete(keys[--count]));
    // One who is cancelled has not done it.
    pthread_once_t fresh = PTHREAD_ONCE_INIT;
    once = fresh;
    done = 0;
    cancel(is_cancelled_in_once, 0);
    ZERO(pthread_once(&once, does));
    ZERO(pthread_once(&once, does));
    CHECK(done == 1, "done %d times", done);
}

static void *exits(void *argument) {
    pthread_cleanup_push(clean, (void *)5);
    pthread_exit(argument);
    pthread_cleanup_pop(0);
    return NULL;
}

static void ends(void) {
    pthread_t thread;
    cleaned = 0;
    start(exits, &cleaned, &thread);
    CHECK(result(thread) == &cleaned && cleaned == 5, "cleaned %d", cleaned);
    pthread_attr_t detached;
    ZERO(pthread_attr_init(&detached));
    ZERO(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED));
    atomic_store(&goes_on, 0);
    ZERO(pthread_create(&thread, &detached, waits_until_told, NULL));
    CHECK(pthread_join(thread, NULL) == EINVAL && pthread_detach(thread) == EINVAL, "a detached one");
    atomic_store(&goes_on, 1);
    ZERO(pthread_attr_destroy(&detached));
    atomic_store(&goes_on, 0);
    start(waits_until_told, NULL, &thread);
    CHECK(pthread_tryjoin_np(thread, NULL) == EBUSY, "it has ended");
    struct timespec at = in_ms(CLOCK_REALTIME, 10);
    CHECK(pthread_timedjoin_np(thread, NULL, &at) == ETIMEDOUT, "it has ended");
    ZERO(pthread_kill(thread, 0));
    atomic_store(&goes_on, 1);
    result(thread);
}

static const struct promise all[] = {
    {"attributes", attributes},
    {"cancellation", cancellation},
    {"mutexes", mutexes},
    {"conditions", conditions},
    {"read-write locks, spin locks, barriers", other_locks},
    {"keys and once", keys_and_once},
    {"exit, join, detach", ends},
};

int main(void) {
    return KEEP(all);
}
