// Memory at addresses that a program wishes for, as Go's runtime and JavaScript's engines do: it is granted or lies
// elsewhere, and is memory like any other.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096L
#define LENGTH (8L << 20)
#define USED (64 * PAGE)

static const int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
static unsigned char *places[160];
static int count;

// A reservation near `address`, of which the first pages are used.
static void wish(uintptr_t address) {
    unsigned char *start = mmap((void *)address, LENGTH, PROT_NONE, kind, -1, 0);
    CHECK(start != MAP_FAILED, "%#lx: %s", (long)address, strerror(errno));
    unsigned char *used = mmap(start, USED, PROT_READ | PROT_WRITE, kind | MAP_FIXED, -1, 0);
    CHECK(used == start, "%p: %s", (void *)start, strerror(errno));
    check_zero(used, USED, "new memory");
    fill_pattern(used, USED, (uint64_t)count);
    places[count++] = start;
}

static void *look(void *argument) {
    for (int place = (int)(intptr_t)argument; place < count; place += THREADS) {
        unsigned char *start = places[place];
        check_pattern(start, USED, (uint64_t)place, "used memory");
        CALL(madvise(start, USED / 2, MADV_DONTNEED));
        check_zero(start, USED / 2, "discarded memory");
        CHECK(mmap(start + USED / 2, USED / 2, PROT_READ | PROT_WRITE, kind | MAP_FIXED, -1, 0) == start + USED / 2, "%s",
              strerror(errno));
        check_zero(start, USED, "replaced memory");
        memset(start, place, USED);
    }
    return NULL;
}

static void *give_back(void *argument) {
    for (int place = (int)(intptr_t)argument; place < count; place += THREADS) {
        for (long at = 0; at < USED; at += 97) CHECK(places[place][at] == place, "byte %ld of place %d", at, place);
        CALL(munmap(places[place], LENGTH));
    }
    return NULL;
}

int main(void) {
    // Where Go's heap begins, once in each TiB; and twice in each TiB elsewhere.
    for (uintptr_t number = 0; number < 64; number++) wish(number << 40 | 0xc0UL << 32);
    for (uintptr_t number = 1; number < 96; number++) wish(number << 39 | 1UL << 30);
    look(0);
    for (int place = 0; place < count; place += THREADS) fill_pattern(places[place], USED, (uint64_t)place);
    run_threads(THREADS, look);
    run_threads(THREADS, give_back);
    return finish();
}
