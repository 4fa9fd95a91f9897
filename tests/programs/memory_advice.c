// What memory shows after advice and growth: discarding brings a file's bytes back and zeroes elsewhere, over any
// number of pieces and around holes, whichever thread does it; what grows shows more of its file.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 64 };

static unsigned char *area;
static int file;
static pthread_barrier_t barrier;

static void shows(int page, int byte) {
    for (int at = 0; at < PAGE; at += 511)
        CHECK(area[page * PAGE + at] == byte, "page %d holds %d, not %d", page, area[page * PAGE + at], byte);
}

static void *discard_copy(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < THREADS; round++) {
        for (int page = self; page < PAGES; page += THREADS) memset(area + page * PAGE, 200 + self, PAGE);
        pthread_barrier_wait(&barrier);
        if (self == round) CALL(madvise(area + 8 * PAGE, 16 * PAGE, MADV_DONTNEED));
        pthread_barrier_wait(&barrier);
        for (int page = 0; page < PAGES; page++)
            shows(page, page >= 8 && page < 24 ? page + 1 : 200 + page % THREADS);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void *discard_pieces(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < THREADS; round++) {
        if (self == round) {
            CALL(mprotect(area, PAGES * PAGE, PROT_READ | PROT_WRITE));
            memset(area, 7, PAGES * PAGE);
            for (int page = 1; page < PAGES; page += 2) CALL(mprotect(area + page * PAGE, PAGE, PROT_READ));
            int advice = round % 2 ? MADV_DONTNEED : 24;  // MADV_DONTNEED_LOCKED
            CALL(madvise(area, PAGES * PAGE, advice));
        }
        pthread_barrier_wait(&barrier);
        for (int page = 0; page < PAGES; page++) shows(page, 0);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static unsigned char *map_copy(size_t pages, off_t offset) {
    unsigned char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, offset);
    CHECK(at != MAP_FAILED, "%s", strerror(errno));
    return at;
}

static void grow(void) {
    area = map_copy(4, 8 * PAGE);
    memset(area, 99, PAGE);
    void *next = mmap(area + 8 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area = mremap(area, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    area = mremap(area, 6 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    shows(0, 99);
    for (int page = 1; page < 40; page++) shows(page, page + 9);
    CALL(munmap(area + 2 * PAGE, PAGE));
    memset(area, 98, 2 * PAGE);
    CHECK(madvise(area, 6 * PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM, "a hole is told");
    shows(0, 9);
    shows(1, 10);
    shows(3, 12);
    CALL(munmap(area, 40 * PAGE));
    if (next != MAP_FAILED) CALL(munmap(next, PAGE));
}

// 0, or the number of the error.
static int advised(void *start, size_t bytes, int advice) { return madvise(start, bytes, advice) == 0 ? 0 : errno; }

// Advice that a kind of memory cannot get: private and shared memory of zeroes, a private copy of a file.
static void *refuse(void *argument) {
    static const struct { int advice, private, shared, copy; } answers[] = {
        {MADV_NORMAL, 0, 0, 0}, {MADV_WILLNEED, 0, 0, 0}, {MADV_DONTNEED, 0, 0, 0},
        {8 /* MADV_FREE */, 0, EINVAL, EINVAL}, {MADV_REMOVE, EINVAL, 0, EACCES}, {MADV_DONTFORK, 0, 0, 0},
        {MADV_DOFORK, 0, 0, 0}, {18 /* MADV_WIPEONFORK */, 0, EINVAL, EINVAL}, {22 /* MADV_POPULATE_READ */, 0, 0, 0},
        {23 /* MADV_POPULATE_WRITE */, 0, 0, 0},
    };
    unsigned char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned char *copy = map_copy(4, 0);
    CHECK(private != MAP_FAILED && shared != MAP_FAILED, "%s", strerror(errno));
    for (size_t number = 0; number < sizeof answers / sizeof *answers; number++) {
        int advice = answers[number].advice;
        memset(private, 1, 4 * PAGE);
        memset(shared, 2, 4 * PAGE);
        memset(copy, 3, 4 * PAGE);
        int got[] = {advised(private, PAGE, advice), advised(shared, PAGE, advice), advised(copy, PAGE, advice)};
        CHECK(got[0] == answers[number].private, "advice %d of private memory: %d", advice, got[0]);
        CHECK(got[1] == answers[number].shared, "advice %d of shared memory: %d", advice, got[1]);
        CHECK(got[2] == answers[number].copy, "advice %d of a copy: %d", advice, got[2]);
        CHECK(private[PAGE] == 1 && shared[PAGE] == 2 && copy[PAGE] == 3, "advice %d reached what is behind", advice);
        CHECK(shared[0] == (advice == MADV_REMOVE ? 0 : 2), "advice %d: shared memory holds %d", advice, shared[0]);
        CHECK(advised(private, 0, advice) == 0, "advice %d of nothing", advice);
        CHECK(advised(private + 1, PAGE, advice) == EINVAL, "advice %d in the middle of a page", advice);
    }
    CALL(mprotect(private + PAGE, PAGE, PROT_READ));
    CALL(mprotect(private + 2 * PAGE, PAGE, PROT_NONE));
    CHECK(advised(private, 2 * PAGE, 22) == 0 && advised(private, 3 * PAGE, 22) == EINVAL, "filled for reading");
    CHECK(advised(private, PAGE, 23) == 0 && advised(private, 2 * PAGE, 23) == EINVAL, "filled for writing");
    CALL(munmap(private, 4 * PAGE));
    CALL(munmap(shared, 4 * PAGE));
    CALL(munmap(copy, 4 * PAGE));
    return argument;
}

int main(void) {
    file = CALL(open("advice", O_RDWR | O_CREAT | O_TRUNC, 0600));
    for (int page = 0; page < PAGES; page++) {
        unsigned char bytes[PAGE];
        memset(bytes, page + 1, PAGE);
        CHECK(write(file, bytes, PAGE) == PAGE, "%s", strerror(errno));
    }
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    area = map_copy(PAGES, 0);
    run_threads(THREADS, discard_copy);
    CALL(munmap(area, PAGES * PAGE));
    area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    run_threads(THREADS, discard_pieces);
    for (int advice = 26; advice < 100; advice++)
        CHECK(madvise(area, PAGE, advice) == -1 && errno == EINVAL, "advice %d is unknown", advice);
    CHECK(madvise(area, PAGE, 5) == -1 && errno == EINVAL, "advice 5 is unknown");
    CALL(munmap(area, PAGES * PAGE));
    grow();
    refuse(NULL);
    run_threads(THREADS, refuse);
    CALL(unlink("advice"));
    return finish();
}
