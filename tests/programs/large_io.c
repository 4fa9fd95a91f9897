// Calls with large buffers that other threads hold: one thread fills memory, another writes it out,
// a third reads it into memory a fourth has written, and so on; vectors and offsets too.
#include "check.h"
#include <fcntl.h>
#include <sys/uio.h>

#define LENGTH (300 * 1024 + 123)

static unsigned char source[LENGTH], target[LENGTH];
static pthread_barrier_t barrier;
static int file;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < 8; round++) {
        int filler = round % THREADS, writer = (round + 1) % THREADS, reader = (round + 2) % THREADS;
        int dirtier = (round + 3) % THREADS;
        if (self == filler) fill_pattern(source, LENGTH, round);
        if (self == dirtier) memset(target, 0xdd, LENGTH);
        pthread_barrier_wait(&barrier);
        if (self == writer) {
            if (round % 2) {
                struct iovec parts[3] = {{source, 100}, {source + 100, 200000}, {source + 200100, LENGTH - 200100}};
                CHECK(CALL(pwritev(file, parts, 3, 0)) == LENGTH, "a short pwritev");
            } else {
                CHECK(CALL(pwrite(file, source, LENGTH, 0)) == LENGTH, "a short pwrite");
            }
        }
        pthread_barrier_wait(&barrier);
        if (self == reader) {
            if (round % 2) {
                CALL(lseek(file, 0, SEEK_SET));
                CHECK(CALL(read(file, target, LENGTH)) == LENGTH, "a short read");
            } else {
                struct iovec parts[3] = {{target, 65536}, {target + 65536, 1}, {target + 65537, LENGTH - 65537}};
                CHECK(CALL(preadv(file, parts, 3, 0)) == LENGTH, "a short preadv");
            }
            CHECK(pread(file, target, 10, LENGTH) == 0, "reading at the end");
        }
        pthread_barrier_wait(&barrier);
        check_pattern(target, LENGTH, round, "what was read");
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void) {
    file = CALL(open("large.data", O_RDWR | O_CREAT | O_TRUNC, 0644));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    struct iovec parts[2] = {{source, 1000}, {target, 1000}};
    CALL(lseek(file, 0, SEEK_SET));
    CHECK(CALL(writev(file, parts, 2)) == 2000, "writev");
    CALL(lseek(file, 0, SEEK_SET));
    CHECK(CALL(readv(file, parts, 2)) == 2000, "readv");
    void *volatile nowhere = (void *)16;
    CHECK(read(file, nowhere, 100) == -1 && errno == EFAULT, "reading to nowhere is EFAULT");
    CHECK(write(-1, source, 1) == -1 && errno == EBADF, "writing to nowhere is EBADF");
    CALL(close(file));
    return finish();
}
