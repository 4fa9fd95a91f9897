// The program break: grows from any thread with zeroes, shrinks, and grows again with zeroes.
#include "check.h"
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define STEP (40 * 4096)

static pthread_barrier_t barrier;
static unsigned char *start;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    // Starting a thread allocates: nobody moves the break before all have started.
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < 6; round++) {
        if (self == round % THREADS) {
            start = CALL(sbrk(STEP));
            check_zero(start, STEP, "a grown break");
            fill_pattern(start, STEP, round);
        }
        pthread_barrier_wait(&barrier);
        check_pattern(start, STEP, round, "the break's memory");
        pthread_barrier_wait(&barrier);
        if (self == (round + 1) % THREADS) {
            CALL(sbrk(-STEP));
            CHECK(sbrk(0) == start, "the break is at %p", sbrk(0));
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

// As the kernel counts them.
static size_t mapped_bytes(void) {
    char text[64] = "";
    int file = CALL(open("/proc/self/statm", O_RDONLY));
    CALL(read(file, text, sizeof text - 1));
    CALL(close(file));
    return strtoul(text, NULL, 10) * 4096;
}

int main(void) {
    // malloc must keep off the break while this program moves it.
    void *warm = malloc(100);
    free(warm);
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    // One that the kernel refuses leaves it where it is, to the byte.
    CALL(sbrk(100));
    unsigned char *end = sbrk(0);
    end[-1] = 7;
    struct rlimit before, limit = {0, RLIM_INFINITY};
    CALL(getrlimit(RLIMIT_AS, &before));
    limit.rlim_cur = mapped_bytes() + 8192;
    CALL(setrlimit(RLIMIT_AS, &limit));
    CHECK(sbrk(1 << 20) == (void *)-1 && errno == ENOMEM, "a break above the limit is refused");
    CHECK((unsigned char *)syscall(SYS_brk, 0) == end, "the break is at %p, not %p", (void *)syscall(SYS_brk, 0), end);
    CALL(setrlimit(RLIMIT_AS, &before));
    CHECK(end[-1] == 7 && CALL(sbrk(100)) == end, "the break is at %p", sbrk(0));
    check_zero(end, 100, "a grown break");
    CHECK(sbrk((intptr_t)1 << 46) == (void *)-1 && errno == ENOMEM, "an absurd break is refused");
    return finish();
}
