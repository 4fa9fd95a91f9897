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

// Pages of a mapping that hold 'a', 'b' and so on.
static unsigned char *lettered(unsigned char *place, int pages) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (place ? MAP_FIXED : 0);
    unsigned char *made = mmap(place, pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(made != MAP_FAILED, "%s", strerror(errno));
    for (int page = 0; page < pages; page++) memset(made + page * PAGE, 'a' + page, PAGE);
    return made;
}

// What is behind the first mapping matters only to what grows or moves; a mapping that moves can leave one behind.
static void *kinds(void *argument) {
    const int keeps = MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */;
    unsigned char vector;
    unsigned char *made = lettered(NULL, 8);
    CALL(mprotect(made + 4 * PAGE, PAGE, PROT_READ));
    CALL(munmap(made + 5 * PAGE, PAGE));
    CHECK(mremap(made, 8 * PAGE, 8 * PAGE, 0) == made, "the same length: %s", strerror(errno));
    CHECK(mremap(made, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT, "growing over a hole");
    CHECK(mremap(made, 8 * PAGE, 2 * PAGE, 0) == made, "shrinking over a hole: %s", strerror(errno));
    CHECK(mincore(made + 2 * PAGE, PAGE, &vector) == -1 && errno == ENOMEM, "the rest is mapped");
    CHECK(mincore(made + 7 * PAGE, PAGE, &vector) == -1 && errno == ENOMEM, "the end is mapped");
    CHECK(made[0] == 'a' && made[PAGE] == 'b', "what stays was lost");
    CHECK(mremap(made, 2 * PAGE, 1ul << 47, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL, "larger than all");
    CHECK(mremap(made, -PAGE, PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL, "around the end");
    CALL(munmap(made, 2 * PAGE));

    unsigned char *room = lettered(NULL, 16);
    made = lettered(room, 4);
    unsigned char *moved = mremap(made, 4 * PAGE, 4 * PAGE, keeps | MREMAP_FIXED, room + 8 * PAGE);
    CHECK(moved == room + 8 * PAGE, "moving: %s", strerror(errno));
    for (int page = 0; moved == room + 8 * PAGE && page < 4; page++)
        CHECK(moved[page * PAGE] == 'a' + page, "page %d holds %d", page, moved[page * PAGE]);
    check_zero(made, 4 * PAGE, "what is left behind");
    made[0] = 1;
    CHECK(mremap(made, 4 * PAGE, 2 * PAGE, keeps, NULL) == MAP_FAILED && errno == EINVAL, "another length");
    CHECK(mremap(made, PAGE, PAGE, 4, NULL) == MAP_FAILED && errno == EINVAL, "without leave to move");
    CALL(munmap(room, 16 * PAGE));
    return argument;
}

int main(void) {
    length = 4 * PAGE;
    area = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    fill_pattern(area, length, 0);
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    kinds(NULL);
    run_threads(THREADS, kinds);
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
