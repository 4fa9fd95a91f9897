// A mapping that grows when something below it is touched, from any thread.
#include "check.h"
#include <sys/mman.h>

enum { PAGE = 4096 };

static char *stack;
static pthread_barrier_t barrier;

// Threads exist before the mapping: their own stacks would take its place to grow.
static void *touch(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int turn = 0; turn <= THREADS; turn++) {
        pthread_barrier_wait(&barrier);
        if (turn == self + 1)
            for (int page = 1; page <= 2 + 8 * self; page++) stack[-page * PAGE] = (char)page;
    }
    return NULL;
}

static void map(void) {
    char *room = mmap(NULL, 8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(room != MAP_FAILED, "%s", strerror(errno));
    CALL(munmap(room, 8 << 20));
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE;
    stack = mmap(room + (6 << 20), 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(stack == room + (6 << 20), "%s", strerror(errno));
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS + 1));
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, touch, (void *)(intptr_t)index));
    map();
    for (int turn = 0; turn <= THREADS; turn++) pthread_barrier_wait(&barrier);
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
    for (int page = 1; page <= 2 + 8 * (THREADS - 1); page++)
        CHECK(stack[-page * PAGE] == (char)page, "page %d below holds %d", page, stack[-page * PAGE]);
    return finish();
}
