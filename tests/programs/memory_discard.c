// madvise: DONTNEED reads as zero for every thread afterwards, whichever node held the pages; FREE and the
// hints succeed; nonsense is refused.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096
#define LENGTH (128 * PAGE)

static unsigned char *area;
static pthread_barrier_t barrier;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < 6; round++) {
        // Each thread writes its own pages, so that every node holds some.
        for (int page = self; page < 128; page += THREADS) memset(area + page * PAGE, self + 1, PAGE);
        pthread_barrier_wait(&barrier);
        for (int page = 0; page < 128; page += 5)
            CHECK(area[page * PAGE + 17] == page % THREADS + 1, "page %d holds %d", page, area[page * PAGE + 17]);
        pthread_barrier_wait(&barrier);
        if (self == round % THREADS) CALL(madvise(area + 16 * PAGE, 64 * PAGE, MADV_DONTNEED));
        pthread_barrier_wait(&barrier);
        check_zero(area + 16 * PAGE, 64 * PAGE, "discarded memory");
        CHECK(area[15 * PAGE] == 15 % THREADS + 1, "the page before was lost");
        CHECK(area[80 * PAGE] == 80 % THREADS + 1, "the page after was lost");
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void) {
    area = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    fill_pattern(area, LENGTH, 1);
    CALL(madvise(area, LENGTH, MADV_WILLNEED));
    CALL(madvise(area, LENGTH, MADV_SEQUENTIAL));
    CALL(madvise(area, LENGTH, MADV_NORMAL));
    check_pattern(area, LENGTH, 1, "advised memory");
    // After FREE a page holds its old bytes or zeroes, nothing else.
    CALL(madvise(area, PAGE, MADV_FREE));
    CHECK(area[100] == 0 || area[100] == (unsigned char)((100 * 31 + 131) & 0xff), "a freed page holds %d", area[100]);
    CHECK(madvise(area + 1, PAGE, MADV_DONTNEED) == -1 && errno == EINVAL, "unaligned advice is refused");
    CALL(munmap(area, LENGTH));
    CHECK(madvise(area, PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM, "advice on nothing is refused");
    return finish();
}
