// False sharing at its worst: each thread owns bytes of the same pages and nobody locks. No write is
// lost, whatever moves the pages.
#include "check.h"

#define PAGES 8
#define ROUNDS 400

static _Alignas(4096) unsigned char pages[PAGES][4096];
static pthread_barrier_t barrier;

static void *write_own(void *argument) {
    int self = (int)(intptr_t)argument;
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < ROUNDS; round++) {
        int page = round % PAGES;
        for (int index = self; index < 600; index += THREADS) pages[page][index] += (unsigned char)(1 + index % 3);
    }
    return NULL;
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, write_own);
    for (int page = 0; page < PAGES; page++)
        for (int index = 0; index < 600; index++) {
            unsigned char expected = (unsigned char)(ROUNDS / PAGES * (1 + index % 3));
            CHECK(pages[page][index] == expected, "page %d byte %d is %d, not %d", page, index, pages[page][index], expected);
        }
    check_zero(pages[0] + 600, 4096 - 600, "the rest of the page");
    return finish();
}
