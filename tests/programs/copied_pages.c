// Calls that natively hold pages of the program: `vmsplice` and `process_vm_writev`, by threads on every node, on
// memory that other threads wrote last.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define PAGE 4096
#define PAGES 3

static unsigned char shared[PAGES * PAGE] __attribute__((aligned(PAGE)));
static pthread_barrier_t barrier;

static void own_memory_is_written(unsigned char *own, uint64_t seed) {
    fill_pattern(own, sizeof shared, seed);
    struct iovec from[2] = {{own, 100}, {own + 100, sizeof shared - 100}};
    struct iovec to[3] = {{shared, PAGE + 1}, {NULL, 0}, {shared + PAGE + 1, sizeof shared - PAGE - 1}};
    CHECK(process_vm_writev(getpid(), from, 2, to, 3, 0) == sizeof shared, "%s", strerror(errno));
    check_pattern(shared, sizeof shared, seed, "what was written");
    CHECK(process_vm_writev(gettid(), from, 1, to, 1, 0) == 100, "by a thread's number");
    // As much as there is, and an error only for none.
    void *hole = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(hole != MAP_FAILED && munmap((char *)hole + PAGE, PAGE) == 0, "%s", strerror(errno));
    struct iovec half = {(char *)hole + PAGE - 10, 20}, none = {(char *)hole + PAGE, 20};
    CHECK(process_vm_writev(getpid(), from, 1, &half, 1, 0) == 10, "a range whose end is not mapped");
    CHECK(process_vm_writev(getpid(), from, 1, &none, 1, 0) == -1 && errno == EFAULT, "a range that is not");
    CHECK(process_vm_writev(getpid(), &none, 1, to, 1, 0) == -1 && errno == EFAULT, "a source that is not");
    CHECK(process_vm_writev(getpid(), from, 1, to, 1, 1) == -1 && errno == EINVAL, "unknown flags");
    CHECK(process_vm_writev(getpid(), from, 1, to, 2000, 0) == -1 && errno == EINVAL, "2000 ranges");
    CHECK(process_vm_writev(0x7ffffff, from, 1, to, 1, 0) == -1 && errno == ESRCH, "no process");
    CALL(munmap(hole, PAGE));
}

static void *read_later(void *pipe_end) {
    static _Thread_local unsigned char got[2 * PAGE];
    sleep_ms(20);
    CHECK(read((int)(intptr_t)pipe_end, got, sizeof got) == sizeof got, "%s", strerror(errno));
    return NULL;
}

static void pages_go_into_a_pipe(unsigned char *own, uint64_t seed) {
    int ends[2];
    CALL(pipe(ends));
    CALL(fcntl(ends[1], F_SETPIPE_SZ, 2 * PAGE));
    fill_pattern(own, sizeof shared, seed);
    struct iovec parts[2] = {{own, 10}, {own + 10, 90}};
    unsigned char got[100];
    CHECK(vmsplice(ends[1], parts, 2, 0) == 100, "%s", strerror(errno));
    CHECK(read(ends[0], got, sizeof got) == 100, "%s", strerror(errno));
    check_pattern(got, sizeof got, seed, "what came out");
    CHECK(write(ends[1], "from a pipe", 11) == 11, "%s", strerror(errno));
    CHECK(vmsplice(ends[0], parts, 2, 0) == 11 && memcmp(own, "from a pipe", 11) == 0, "out of a pipe");
    CHECK(vmsplice(ends[0], parts, 2, SPLICE_F_NONBLOCK) == -1 && errno == EAGAIN, "an empty pipe");
    // What fits, at once; then nothing, or what fits when there is room.
    struct iovec whole = {own, 2 * PAGE};
    CHECK(vmsplice(ends[1], &whole, 1, SPLICE_F_NONBLOCK) == 2 * PAGE, "%s", strerror(errno));
    CHECK(vmsplice(ends[1], &whole, 1, SPLICE_F_NONBLOCK) == -1 && errno == EAGAIN, "a full pipe");
    pthread_t reader;
    ZERO(pthread_create(&reader, NULL, read_later, (void *)(intptr_t)ends[0]));
    ssize_t later = vmsplice(ends[1], parts, 2, 0);
    CHECK(later == 100 || later == 10, "%zd bytes when there is room: %s", later, strerror(errno));
    ZERO(pthread_join(reader, NULL));
    CHECK(read(ends[0], got, sizeof got) == later, "%s", strerror(errno));
    CHECK(vmsplice(ends[1], parts, 0, 0) == 0, "nothing: %s", strerror(errno));
    CHECK(vmsplice(ends[1], parts, 1, 0x80) == -1 && errno == EINVAL, "unknown flags");
    CHECK(vmsplice(ends[1], &(struct iovec){(void *)8, 8}, 1, 0) == -1 && errno == EFAULT, "a bad pointer");
    CHECK(vmsplice(12345, parts, 1, 0) == -1 && errno == EBADF, "no descriptor");
    close(ends[0]);
    CHECK(vmsplice(ends[1], parts, 1, 0) == -1 && errno == EPIPE, "a pipe that nobody reads");
    close(ends[1]);
    int null = CALL(open("/dev/null", O_WRONLY));
    CHECK(vmsplice(null, parts, 1, 0) == -1 && errno == EBADF, "no pipe");
    close(null);
}

static void *call(void *argument) {
    int self = (int)(intptr_t)argument;
    unsigned char *own = aligned_alloc(PAGE, sizeof shared);
    CHECK(own != NULL, "no memory");
    for (int turn = 0; turn < THREADS; turn++) {
        pthread_barrier_wait(&barrier);
        if (turn == self) {
            own_memory_is_written(own, self);
            pages_go_into_a_pipe(own, self);
        }
    }
    free(own);
    return NULL;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, call);
    puts("every byte arrived");
    return finish();
}
