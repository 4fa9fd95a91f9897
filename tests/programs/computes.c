// Threads that share nothing compute until they are ended from outside, and say "ready" when all of them run:
// computes [ADDRESS], with memory at an address of their choice, of which each fills its part.
#include "check.h"
#include <sys/mman.h>

#define PART (64L << 10)

static atomic_int started;
static unsigned char *chosen;

static void *run(void *argument) {
    volatile unsigned long number = (unsigned long)argument;
    long own = (long)number;
    if (chosen != NULL) fill_pattern(chosen + own * PART, PART, (uint64_t)own);
    started++;
    // From time to time it looks whether its memory, and that of the next, is what it was.
    for (int turn = 0; chosen != NULL; turn++) {
        for (int i = 0; i < 10000000; i++) number = number * 6364136223846793005ul + 1;
        if (started == THREADS) check_pattern(chosen + (own + turn) % THREADS * PART, PART, (uint64_t)((own + turn) % THREADS), "chosen memory");
    }
    for (;;) number = number * 6364136223846793005ul + 1;
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS];
    if (count > 1) {
        void *address = (void *)strtoul(arguments[1], NULL, 0);
        int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        chosen = CALL(mmap(address, THREADS * PART, PROT_READ | PROT_WRITE, kind, -1, 0));
        CHECK(chosen == address, "elsewhere: %p", (void *)chosen);
    }
    for (long index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, run, (void *)index));
    while (started < THREADS) sleep_ms(1);
    puts("ready");
    fflush(stdout);
    for (;;) sleep_ms(1000);
}
