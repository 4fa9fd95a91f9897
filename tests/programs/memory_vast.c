// Mappings of up to a terabyte, of which threads on every node touch a few pages: freed, discarded in part
// and made anew, they read as zero everywhere, and what was not discarded stays. Reservations of most of all
// addresses.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096ul
#define GIB (1ul << 30)
#define SPOTS 24

static unsigned char *area;
static unsigned long length;
static pthread_barrier_t barrier;

// Places all over the area: the first and the last page, and others at all distances from each other.
static unsigned char *spot(int number) {
    unsigned long offset = number == SPOTS - 1 ? length - PAGE : length / SPOTS * number;
    return area + offset / PAGE * PAGE;
}

static void *make(void *argument) {
    (void)argument;
    area = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(area != MAP_FAILED, "%lu GiB: %s", length / GIB, strerror(errno));
    return NULL;
}

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    // Each thread writes some of the spots, and some of them are written by two.
    for (int number = self; number < SPOTS; number += THREADS) memset(spot(number), self + 1, PAGE);
    pthread_barrier_wait(&barrier);
    for (int number = 0; number < SPOTS; number++)
        CHECK(spot(number)[self * 8] == number % THREADS + 1, "spot %d holds %d", number, spot(number)[self * 8]);
    pthread_barrier_wait(&barrier);
    for (int number = 0; number < SPOTS; number += 5) spot(number)[100 + self] = 100;
    pthread_barrier_wait(&barrier);
    // All but the first and the last of the spots.
    if (self == 1) CALL(madvise(area + PAGE, length - 2 * PAGE, MADV_DONTNEED));
    pthread_barrier_wait(&barrier);
    CHECK(spot(0)[5] == 1 && spot(0)[100 + self] == 100, "the first page was lost");
    CHECK(spot(SPOTS - 1)[5] == (SPOTS - 1) % THREADS + 1, "the last page was lost");
    for (int number = 1; number < SPOTS - 1; number++) check_zero(spot(number), PAGE, "a spot that was discarded");
    pthread_barrier_wait(&barrier);
    spot(2 + self)[0] = 7;
    pthread_barrier_wait(&barrier);
    if (self == 2) CALL(munmap(area, length));
    return NULL;
}

static void *use_again(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int number = self % 2; number < SPOTS; number += 2) check_zero(spot(number), PAGE, "new memory");
    pthread_barrier_wait(&barrier);
    spot(self)[1] = 1;
    pthread_barrier_wait(&barrier);
    if (self == 0) CALL(munmap(area, length));
    return NULL;
}

// Most of the address space, as a reservation of which a few pages are used.
static void *reserve(void *argument) {
    unsigned long bytes = 80ul << 40;
    unsigned char *whole = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(whole != MAP_FAILED, "80 TiB: %s", strerror(errno));
    if (whole == MAP_FAILED) return argument;
    for (int spot = 0; spot < SPOTS; spot++) {
        unsigned char *page = whole + bytes / SPOTS * spot / PAGE * PAGE;
        CALL(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
        check_zero(page, PAGE, "a page of the reservation");
        page[spot] = 1;
    }
    // Mappings of any size find addresses beside it.
    void *beside = mmap(NULL, GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(beside != MAP_FAILED, "beside the reservation: %s", strerror(errno));
    CALL(munmap(beside, GIB));
    CALL(munmap(whole, bytes));
    return argument;
}

int main(void) {
    static const unsigned long sizes[] = {3 * GIB, 16 * GIB, 64 * GIB, 1024 * GIB};
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    for (int size = 0; size < 4; size++) {
        length = sizes[size] + 5 * PAGE;
        // The mapping of a thread elsewhere, then one of this thread's.
        pthread_t maker;
        ZERO(pthread_create(&maker, NULL, make, NULL));
        ZERO(pthread_join(maker, NULL));
        run_threads(THREADS, use);
        make(NULL);
        run_threads(THREADS, use_again);
    }
    reserve(NULL);
    pthread_t worker;
    ZERO(pthread_create(&worker, NULL, reserve, NULL));
    ZERO(pthread_join(worker, NULL));
    return finish();
}
