// mremap from any thread: growing and moving keep the contents, the old place becomes a hole, and the
// tail is zero; shrinking drops the rest.
#include "check.h"
#include <sys/mman.h>

#define PAGE 4096

static unsigned char *area;
static size_t length;
static pthread_barrier_t barrier;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int round = 0; round < 8; round++) {
        if (self == round % THREADS) {
            size_t old = length;
            area = mremap(area, old, old * 2, MREMAP_MAYMOVE);
            CHECK(area != MAP_FAILED, "growing: %s", strerror(errno));
            length = old * 2;
            check_zero(area + old, old, "the grown tail");
            if (round % 2) {
                // Move to a chosen place, over a mapping that is there.
                unsigned char *place = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                CHECK(place != MAP_FAILED, "%s", strerror(errno));
                memset(place, 0xee, length);
                unsigned char *from = area;
                area = mremap(from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, place);
                CHECK(area == place, "moving: %s", strerror(errno));
                unsigned char vector;
                CHECK(mincore(from, PAGE, &vector) == -1 && errno == ENOMEM, "the old place is still mapped");
            }
        }
        pthread_barrier_wait(&barrier);
        check_pattern(area, length / 2, round, "moved memory");
        pthread_barrier_wait(&barrier);
        if (self == (round + 1) % THREADS) {
            if (round % 3 == 2) {
                area = mremap(area, length, length / 2, 0);
                CHECK(area != MAP_FAILED, "shrinking: %s", strerror(errno));
                length /= 2;
            }
            fill_pattern(area, length, round + 1);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void) {
    length = 4 * PAGE;
    area = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    fill_pattern(area, length, 0);
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    printf("length %zu\n", length);
    CHECK(mremap(area, length, length * 2, 0) != area || 1, "in place or not, no crash");
    // realloc of large blocks is mremap's main user.
    unsigned char *block = malloc(1 << 20);
    fill_pattern(block, 1 << 20, 3);
    block = realloc(block, 5 << 20);
    check_pattern(block, 1 << 20, 3, "a grown block");
    block = realloc(block, 300 << 10);
    check_pattern(block, 300 << 10, 3, "a shrunk block");
    free(block);
    return finish();
}
