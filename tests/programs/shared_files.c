// Shared mappings of files and of shared memory objects: threads of every node write them and see each other's
// writes, what is written through the file, and what is mapped twice; and a thread keeps all that it is when it first
// touches one: registers, its own variables, its signal mask and its alternate stack.
#include "check.h"
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

enum { PAGE = 4096, WORDS = 2 * PAGE / sizeof(double), ROUNDS = 500 };

static double *shared;
static _Atomic long *counter;
static pthread_mutex_t *mutex;
static sem_t *semaphore;
static long guarded;
static _Thread_local int own;

static void *count(void *argument) {
    own = 100 + (int)(intptr_t)argument;
    char stack[SIGSTKSZ * 2];
    stack_t mine = {.ss_sp = stack, .ss_size = sizeof stack}, seen;
    sigset_t blocked, then;
    CALL(sigaltstack(&mine, NULL));
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGSYS);
    ZERO(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
    pid_t id = gettid();
    // The first touch of the mapping is in the middle of sums that live in vector registers.
    double sums[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t word = 0; word < WORDS; word += 8)
        for (int lane = 0; lane < 8; lane++) sums[lane] = sums[lane] * 1.5 + shared[word + lane];
    double other[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t word = 0; word < WORDS; word += 8)
        for (int lane = 0; lane < 8; lane++) other[lane] = other[lane] * 1.5 + (double)((word + lane) % 7);
    CHECK(memcmp(sums, other, sizeof sums) == 0, "the sums are others");
    CHECK(gettid() == id && own == 100 + (int)(intptr_t)argument, "it is another thread");
    ZERO(pthread_sigmask(SIG_BLOCK, NULL, &then));
    CHECK(sigismember(&then, SIGUSR2) && sigismember(&then, SIGSYS) && !sigismember(&then, SIGUSR1), "its mask");
    CALL(sigaltstack(NULL, &seen));
    CHECK(seen.ss_sp == (void *)stack && seen.ss_size == sizeof stack, "its alternate stack");
    for (int round = 0; round < ROUNDS; round++) {
        atomic_fetch_add(counter, 1);
        ZERO(pthread_mutex_lock(mutex));
        guarded++;
        ZERO(pthread_mutex_unlock(mutex));
        CALL(sem_post(semaphore));
    }
    CALL(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
    return NULL;
}

static void *wait_for_all(void *argument) {
    (void)argument;
    for (int post = 0; post < THREADS * ROUNDS; post++)
        while (sem_wait(semaphore) != 0) CHECK(errno == EINTR, "%s", strerror(errno));
    return NULL;
}

static int file;

static void *write_through_the_file(void *argument) {
    ZERO(pthread_mutex_lock(mutex));
    long value = 7000 + (intptr_t)argument;
    CHECK(pwrite(file, &value, sizeof value, 4 * PAGE) == sizeof value, "%s", strerror(errno));
    CHECK(((long *)shared)[4 * PAGE / sizeof(long)] == value, "the mapping shows what was written");
    ((long *)shared)[5 * PAGE / sizeof(long)] = -value;
    CHECK(pread(file, &value, sizeof value, 5 * PAGE) == sizeof value, "%s", strerror(errno));
    CHECK(value == -7000 - (intptr_t)argument, "the file shows what was stored: %ld", value);
    CHECK(write(file, &((char *)shared)[4 * PAGE], 64) == 64, "a call reads the mapping");
    CHECK(pread(file, &((char *)shared)[6 * PAGE], 64, 0) == 64, "a call writes the mapping");
    ZERO(pthread_mutex_unlock(mutex));
    return NULL;
}

static sem_t *here, *there;

static void *answer(void *argument) {
    (void)argument;
    for (int round = 0; round < 100; round++) {
        while (sem_wait(&there[0]) != 0) CHECK(errno == EINTR, "%s", strerror(errno));
        CALL(sem_post(&there[1]));
    }
    return NULL;
}

// A word that lies at two addresses is one to wait on, as it is for two processes.
static void wait_at_two_addresses(int object) {
    here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, object, PAGE);
    there = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, object, PAGE);
    CHECK(here != MAP_FAILED && there != MAP_FAILED, "%s", strerror(errno));
    for (int index = 0; index < 2; index++) CALL(sem_init(&here[index], 1, 0));
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, answer, NULL));
    for (int round = 0; round < 100; round++) {
        sleep_ms(round < 5 ? 2 : 0);
        CALL(sem_post(&here[0]));
        struct timespec deadline;
        CALL(clock_gettime(CLOCK_REALTIME, &deadline));
        deadline.tv_sec += 30;
        while (sem_timedwait(&here[1], &deadline) != 0)
            if (errno != EINTR) {
                CHECK(0, "round %d: %s", round, strerror(errno));
                exit(finish());
            }
    }
    ZERO(pthread_join(thread, NULL));
    CALL(munmap(here, PAGE));
    CALL(munmap(there, PAGE));
}

static char *segment;

static void *write_segment(void *argument) {
    segment[1 + (intptr_t)argument] = (char)(50 + (intptr_t)argument);
    return NULL;
}

static void share_segment(void) {
    int id = CALL(shmget(IPC_PRIVATE, PAGE + 100, 0600));
    segment = CALL((char *)shmat(id, NULL, 0));
    char *again = CALL((char *)shmat(id, NULL, SHM_RDONLY));
    CHECK(shmat(id, again, 0) == (void *)-1 && errno == EINVAL, "a place that is taken");
    CHECK(shmat(id, segment + 1, 0) == (void *)-1 && errno == EINVAL, "an unaligned place");
    run_threads(THREADS, write_segment);
    for (int index = 0; index < THREADS; index++) CHECK(again[1 + index] == 50 + index, "it shows %d", again[1 + index]);
    CALL(shmdt(segment));
    CALL(shmdt(again));
    CHECK(shmdt(again) == -1 && errno == EINVAL, "detached twice");
    CALL(shmctl(id, IPC_RMID, NULL));
    CHECK(shmat(id, NULL, 0) == (void *)-1 && (errno == EINVAL || errno == EIDRM), "a segment that is no more");
}

int main(void) {
    share_segment();
    file = CALL(open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600));
    CALL(ftruncate(file, 8 * PAGE));
    shared = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(shared != MAP_FAILED, "%s", strerror(errno));
    for (size_t word = 0; word < WORDS; word++) shared[word] = (double)(word % 7);
    int object = CALL(shm_open("/banyan-test-object", O_RDWR | O_CREAT | O_EXCL, 0600));
    CALL(shm_unlink("/banyan-test-object"));
    CALL(ftruncate(object, 2 * PAGE));
    wait_at_two_addresses(object);
    char *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
    char *again = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, object, 0);
    CHECK(memory != MAP_FAILED && again != MAP_FAILED, "%s", strerror(errno));
    counter = (_Atomic long *)memory;
    mutex = (pthread_mutex_t *)(memory + 64);
    pthread_mutexattr_t attributes;
    ZERO(pthread_mutexattr_init(&attributes));
    ZERO(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
    ZERO(pthread_mutex_init(mutex, &attributes));
    semaphore = sem_open("/banyan-test-semaphore", O_CREAT | O_EXCL, 0600, 0);
    CHECK(semaphore != SEM_FAILED, "%s", strerror(errno));
    CALL(sem_unlink("/banyan-test-semaphore"));
    pthread_t waiter;
    ZERO(pthread_create(&waiter, NULL, wait_for_all, NULL));
    run_threads(THREADS, count);
    ZERO(pthread_join(waiter, NULL));
    CHECK(*counter == THREADS * ROUNDS && guarded == THREADS * ROUNDS, "counted %ld and %ld", *counter, guarded);
    CHECK(*(long *)again == THREADS * ROUNDS, "the other mapping shows %ld", *(long *)again);
    run_threads(THREADS, write_through_the_file);
    CALL(ftruncate(file, 16 * PAGE));
    char *grown = mremap(shared, 8 * PAGE, 16 * PAGE, MREMAP_MAYMOVE);
    CHECK(grown != MAP_FAILED, "%s", strerror(errno));
    CALL(pwrite(file, "grown", 5, 12 * PAGE));
    CHECK(memcmp(grown + 12 * PAGE, "grown", 5) == 0, "what was gained shows the file");
    CALL(msync(grown, 16 * PAGE, MS_SYNC));
    CALL(munmap(grown, 16 * PAGE));
    CALL(munmap(memory, PAGE));
    CALL(sem_close(semaphore));
    // What is in it depends on which thread was first.
    CALL(unlink("shared"));
    return finish();
}
