// Threads fill memory of their own, new and old, and count together, until there is a file "enough": long
// enough for machines to join meanwhile. With the word "copies" the first thread makes copies of the process,
// each of which must find one moment's counts. The process's clock never goes back.
#include "check.h"
#include <sys/mman.h>
#include <sys/wait.h>

#define BLOCKS 24
#define BYTES (256 << 10)

static atomic_int started, stop;
static atomic_ulong together;
static volatile unsigned long counts[THREADS][512] __attribute__((aligned(4096)));

static void *work(void *argument) {
    int self = (int)(intptr_t)argument;
    unsigned char *blocks[BLOCKS] = {0};
    started++;
    for (unsigned long round = 0; !stop; round++) {
        unsigned char **block = &blocks[round % BLOCKS];
        if (*block) {
            check_pattern(*block, BYTES, self * 7 + round % BLOCKS, "a block");
            CALL(munmap(*block, BYTES));
        }
        *block = CALL(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        fill_pattern(*block, BYTES, self * 7 + round % BLOCKS);
        // First the one, then the other: a copy has as many of the first, or one more.
        counts[self][0]++;
        counts[self][511]++;
        together++;
    }
    for (int block = 0; block < BLOCKS; block++)
        if (blocks[block]) check_pattern(blocks[block], BYTES, self * 7 + block, "a block at the end");
    return NULL;
}

static void copy(void) {
    pid_t child = CALL(fork());
    if (child == 0) {
        for (int thread = 0; thread < THREADS; thread++) {
            unsigned long first = counts[thread][0], last = counts[thread][511];
            if (first != last && first != last + 1) _exit(1);
        }
        _exit(0);
    }
    int status;
    CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0, "status %x", status);
}

int main(int argc, char **argv) {
    int copies = argc > 1 && strcmp(argv[1], "copies") == 0;
    pthread_t threads[THREADS];
    for (long index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, work, (void *)index));
    while (started < THREADS) sleep_ms(1);
    puts("ready");
    fflush(stdout);
    int64_t used = 0;
    while (access("enough", F_OK) != 0) {
        if (copies) copy();
        int64_t now = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        CHECK(now >= used, "the processor time of the process went from %ld to %ld", used, now);
        used = now;
        sleep_ms(20);
    }
    stop = 1;
    unsigned long sum = 0;
    for (int index = 0; index < THREADS; index++) {
        ZERO(pthread_join(threads[index], NULL));
        CHECK(counts[index][0] == counts[index][511], "%lu, %lu", counts[index][0], counts[index][511]);
        sum += counts[index][0];
    }
    CHECK(sum == together, "%lu, %lu together", sum, (unsigned long)together);
    puts("ok");
}
