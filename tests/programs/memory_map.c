// Mapping memory from any thread: fresh memory is zero and seen by all, a hole is a hole for all, and
// protection changes hold for all. System calls probe addresses: EFAULT where a touch would be fatal.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096
#define LENGTH (64 * PAGE)

static unsigned char *area;
static pthread_barrier_t barrier;
static int probe_pipe[2];
static pthread_mutex_t probing = PTHREAD_MUTEX_INITIALIZER;

static void phase(void) { pthread_barrier_wait(&barrier); }

static unsigned char *map(size_t length, int protection) {
    unsigned char *memory = mmap(NULL, length, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    return memory;
}

static int readable(const void *address) {
    ZERO(pthread_mutex_lock(&probing));
    ssize_t written = write(probe_pipe[1], address, 1);
    int error = errno;
    char byte;
    if (written == 1) CALL(read(probe_pipe[0], &byte, 1));
    ZERO(pthread_mutex_unlock(&probing));
    CHECK(written == 1 || error == EFAULT, "%s", strerror(error));
    return written == 1;
}

static int writable(void *address) {
    ZERO(pthread_mutex_lock(&probing));
    CALL(write(probe_pipe[1], "w", 1));
    ssize_t received = read(probe_pipe[0], address, 1);
    int error = errno;
    char byte;
    if (received != 1) CALL(read(probe_pipe[0], &byte, 1));
    ZERO(pthread_mutex_unlock(&probing));
    CHECK(received == 1 || error == EFAULT, "%s", strerror(error));
    return received == 1;
}

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < 6; round++) {
        int leader = round % THREADS;
        if (self == leader) {
            area = map(LENGTH, PROT_READ | PROT_WRITE);
            fill_pattern(area, LENGTH, round);
        }
        phase();
        check_pattern(area, LENGTH, round, "a new mapping");
        phase();
        if (self == (leader + 1) % THREADS) CALL(mprotect(area + 8 * PAGE, 8 * PAGE, PROT_READ));
        phase();
        CHECK(readable(area + 8 * PAGE), "a read-only page is readable");
        CHECK(!writable(area + 9 * PAGE), "a read-only page is not writable");
        CHECK(writable(area + 7 * PAGE + self), "the page before it is writable");
        phase();
        if (self == (leader + 2) % THREADS) CALL(mprotect(area + 8 * PAGE, 8 * PAGE, PROT_NONE));
        phase();
        CHECK(!readable(area + 12 * PAGE), "a guard page is not readable");
        phase();
        if (self == (leader + 3) % THREADS) CALL(mprotect(area + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE));
        phase();
        check_pattern(area + 8 * PAGE, 0, round, "nothing");
        for (int page = 8; page < 16; page++)
            CHECK(area[page * PAGE] == (unsigned char)((page * PAGE * 31 + page * 7 + round * 131) & 0xff), "page %d was lost", page);
        phase();
        if (self == (leader + 4) % THREADS) CALL(munmap(area + 32 * PAGE, 16 * PAGE));
        phase();
        CHECK(!readable(area + 32 * PAGE) && !readable(area + 47 * PAGE), "a hole is readable");
        CHECK(readable(area + 31 * PAGE) && readable(area + 48 * PAGE), "the edges are gone");
        phase();
        if (self == (leader + 5) % THREADS) {
            unsigned char *again = mmap(area + 32 * PAGE, 16 * PAGE, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            CHECK(again == area + 32 * PAGE, "fixed mapping at %p", (void *)again);
        }
        phase();
        check_zero(area + 32 * PAGE, 16 * PAGE, "memory mapped again");
        phase();
        area[32 * PAGE + self] = (unsigned char)(self + 1);
        phase();
        for (int other = 0; other < THREADS; other++)
            CHECK(area[32 * PAGE + other] == other + 1, "the byte of thread %d is %d", other, area[32 * PAGE + other]);
        phase();
        // Mapping over memory in use replaces it for everyone.
        if (self == leader) {
            void *over = mmap(area, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            CHECK(over == area, "fixed mapping at %p", over);
        }
        phase();
        check_zero(area, 4 * PAGE, "memory mapped over");
        phase();
        if (self == leader) CALL(munmap(area, LENGTH));
        phase();
        CHECK(!readable(area), "unmapped memory is readable");
        phase();
        // Everyone maps and unmaps at once.
        for (int each = 0; each < 5; each++) {
            unsigned char *own = map(16 * PAGE, PROT_READ | PROT_WRITE);
            check_zero(own, 16 * PAGE, "own memory");
            fill_pattern(own, 16 * PAGE, self);
            check_pattern(own, 16 * PAGE, self, "own memory");
            CALL(munmap(own, 16 * PAGE));
        }
        phase();
    }
    return NULL;
}

int main(void) {
    CALL(pipe(probe_pipe));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    CHECK(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL,
          "an unaligned fixed mapping is refused");
    CHECK(munmap((void *)1, PAGE) == -1 && errno == EINVAL, "an unaligned unmapping is refused");
    unsigned char *taken = map(PAGE, PROT_READ);
    CHECK(mmap(taken, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST,
          "a taken place is not replaced");
    CHECK(mprotect((void *)0x10000, PAGE, PROT_READ) == -1 && errno == ENOMEM, "protecting nothing is refused");
    run_threads(THREADS, use);
    return finish();
}
