// Mappings of a file of 64 GiB that is nearly all hole: all of it, windows far behind the first 4 GiB, a thousand at
// once, and what becomes of them when the file gets shorter than they are. Every thread uses them.
#include "past_end.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { PAGE = 4096, WINDOWS = 1000 };
#define GIB ((off_t)1 << 30)
#define LARGE (64 * GIB)

static int file;
static unsigned char *shared, *private, *far_shared, *far_private, *windows[WINDOWS];
static pthread_barrier_t barrier;

static unsigned char *map(off_t length, int rights, int kind, off_t offset) {
    unsigned char *mapped = mmap(NULL, length, rights, kind, file, offset);
    CHECK(mapped != MAP_FAILED, "%lld at %lld: %s", (long long)length, (long long)offset, strerror(errno));
    return mapped;
}

// A place of a thread's own, so many GiB into the file.
static off_t place(int self, int gib) {
    return gib * GIB + self * PAGE + 8 * self;
}

static void *write_shared(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(memcmp(shared + LARGE - 3, "end", 3) == 0 && shared[LARGE / 2] == 0, "its end, or the hole");
    for (int gib = 3; gib < 64; gib += 10) shared[place(self, gib)] = (unsigned char)(gib + self);
    return NULL;
}

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(memcmp(private + LARGE - 3, "end", 3) == 0 && private[LARGE / 2] == 0, "its end, or the hole");
    // What a shared mapping was given the file has, and every other mapping that has not written there.
    for (int other = 0; other < THREADS; other++)
        for (int gib = 3; gib < 64; gib += 10) {
            unsigned char byte = 0, wanted = (unsigned char)(gib + other);
            CHECK(pread(file, &byte, 1, place(other, gib)) == 1 && byte == wanted, "%d GiB: the file has %d", gib, byte);
            CHECK(shared[place(other, gib)] == wanted, "%d GiB: shared %d", gib, shared[place(other, gib)]);
            CHECK(private[place(other, gib)] == wanted, "%d GiB: private %d", gib, private[place(other, gib)]);
        }
    for (int other = 0; other < THREADS; other++) {
        unsigned char wanted = (unsigned char)(33 + other);
        CHECK(far_shared[place(other, 33) - 33 * GIB] == wanted, "a shared window");
        CHECK(far_private[place(other, 33) - 33 * GIB] == wanted, "a private window");
    }
    pthread_barrier_wait(&barrier);
    // What a private one is given nobody else has.
    private[place(self, 43)] = 200;
    far_private[self] = (unsigned char)(100 + self);
    pthread_barrier_wait(&barrier);
    for (int other = 0; other < THREADS; other++) {
        CHECK(private[place(other, 43)] == 200 && shared[place(other, 43)] == 43 + other, "a private write");
        CHECK(far_private[other] == 100 + other && far_shared[other] == (other == 0 ? 33 : 0), "one in a window");
    }
    return NULL;
}

static void *use_windows(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int window = self; window < WINDOWS; window += THREADS) windows[window][self] = (unsigned char)window;
    pthread_barrier_wait(&barrier);
    for (int window = 0; window < WINDOWS; window++) {
        int writer = window % THREADS;
        CHECK(windows[window][writer] == (unsigned char)window, "window %d: %d", window, windows[window][writer]);
        CHECK(windows[window][THREADS] == 77, "window %d: of the file %d", window, windows[window][THREADS]);
        CHECK(windows[window][writer == 0 ? 1 : 0] == 0, "window %d has the write of another", window);
    }
    return NULL;
}

static void *use_shorter(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(shared[self] == 0 && shared[PAGE - 1] == 0, "what is left of it");
    for (int writes = 0; writes < 2; writes++) {
        CHECK(ends(shared + PAGE + self, writes), "the page behind the end is there");
        CHECK(ends(shared + place(self, 33), writes), "a page far behind the end is there");
        CHECK(ends(far_shared + self, writes), "a window behind the end is there");
    }
    return NULL;
}

static void *use_longer(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(shared[place(self, 33)] == 0 && far_shared[self] == 0, "what was cut off is back");
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    CALL(sigaction(SIGBUS, &action, NULL));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    file = CALL(open("sparse", O_RDWR | O_CREAT | O_TRUNC, 0600));
    CALL(unlink("sparse"));
    CALL(ftruncate(file, LARGE));
    CHECK(pwrite(file, "end", 3, LARGE - 3) == 3, "%s", strerror(errno));
    shared = map(LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    run_threads(THREADS, write_shared);
    private = map(LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, 0);
    far_shared = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 33 * GIB);
    far_private = map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 33 * GIB);
    run_threads(THREADS, use);
    struct stat status;
    CALL(fstat(file, &status));
    CHECK(status.st_size == LARGE && status.st_blocks < 4096, "%lld blocks are used", (long long)status.st_blocks);
    for (int window = 0; window < WINDOWS; window++) {
        off_t offset = 5 * GIB + (off_t)(window % 10) * PAGE;
        CHECK(pwrite(file, "M", 1, offset + THREADS) == 1, "%s", strerror(errno));
        windows[window] = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, offset);
    }
    run_threads(THREADS, use_windows);
    for (int window = 0; window < WINDOWS; window++) CALL(munmap(windows[window], PAGE));
    CALL(munmap(private, LARGE));
    CALL(ftruncate(file, PAGE));
    run_threads(THREADS, use_shorter);
    CHECK(ends(shared + PAGE, 1) && shared[0] == 0, "the first thread");
    CALL(ftruncate(file, LARGE));
    run_threads(THREADS, use_longer);
    CALL(munmap(shared, LARGE));
    CALL(munmap(far_shared, 16 * PAGE));
    CALL(munmap(far_private, 16 * PAGE));
    CALL(close(file));
    return finish();
}
