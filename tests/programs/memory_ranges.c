// Memory at addresses that a library chose: persistent heaps, shared heaps and call windows lie far from what the kernel
// chooses, and threads share them like any other memory. An address that is taken is refused.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096
#define LENGTH (8 * PAGE)

// One in each such range, and the last pages of one.
static unsigned char *const places[] = {
    (unsigned char *)0x080000000000, (unsigned char *)0x0ffffffc0000, (unsigned char *)0x570000000000,
    (unsigned char *)0x580000000000, (unsigned char *)0x680000000000,
};
#define PLACES (int)(sizeof places / sizeof places[0])
static pthread_barrier_t barrier;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int place = 0; place < PLACES; place++) {
        unsigned char *memory = places[place];
        if (place % THREADS == self) {
            int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
            CHECK(mmap(memory, LENGTH, PROT_READ | PROT_WRITE, flags, -1, 0) == memory, "%s", strerror(errno));
            CHECK(mmap(memory + PAGE, PAGE, PROT_READ, flags, -1, 0) == MAP_FAILED && errno == EEXIST, "taken");
            check_zero(memory, LENGTH, "a new mapping");
        }
        pthread_barrier_wait(&barrier);
        // Each thread writes its own bytes of every page.
        for (int at = self; at < LENGTH; at += THREADS) memory[at] = (unsigned char)(at * 7 + place);
        pthread_barrier_wait(&barrier);
        for (int at = 0; at < LENGTH; at++)
            CHECK(memory[at] == (unsigned char)(at * 7 + place), "byte %d of place %d is %d", at, place, memory[at]);
        pthread_barrier_wait(&barrier);
        if (place % THREADS == (self + 1) % THREADS) CALL(munmap(memory, LENGTH));
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    return finish();
}
