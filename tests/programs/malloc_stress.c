// The allocator under threads: blocks of many sizes are filled by one thread, checked and freed by the
// next, so that free lists and arenas cross threads.
#include "check.h"

#define ROUNDS 250
#define SLOTS 64

struct block {
    size_t length;
    uint64_t seed;
    unsigned char bytes[];
};

static struct block *slots[THREADS][SLOTS];
static pthread_mutex_t locks[THREADS] = {[0 ... THREADS - 1] = PTHREAD_MUTEX_INITIALIZER};

static void check_and_free(struct block *block) {
    check_pattern(block->bytes, block->length, block->seed, "a block");
    free(block);
}

static void *churn(void *argument) {
    int self = (int)(intptr_t)argument, next = (self + 1) % THREADS;
    uint64_t state = 88172645463325252ull + self;
    void *own[16] = {0};
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t number = next_number(&state);
        size_t length = number % 100 == 0 ? 200000 + number % 100000 : number % 10 == 0 ? 5000 + number % 9000 : 1 + number % 600;
        struct block *block = malloc(sizeof *block + length);
        CHECK(block != NULL, "malloc of %zu", length);
        CHECK(((uintptr_t)block & 15) == 0, "a block at %p", (void *)block);
        block->length = length;
        block->seed = number % 251;
        fill_pattern(block->bytes, length, block->seed);
        int slot = (int)(number >> 20 & (SLOTS - 1));
        ZERO(pthread_mutex_lock(&locks[next]));
        struct block *other = slots[next][slot];
        slots[next][slot] = block;
        ZERO(pthread_mutex_unlock(&locks[next]));
        if (other) check_and_free(other);
        int place = (int)(number >> 32 & 15);
        if (number & 1) {
            own[place] = realloc(own[place], 1 + (number >> 40) % 3000);
        } else {
            free(own[place]);
            own[place] = calloc(1, 500);
            check_zero(own[place], 500, "calloc");
        }
    }
    for (int place = 0; place < 16; place++) free(own[place]);
    return NULL;
}

int main(void) {
    run_threads(THREADS, churn);
    int left = 0;
    for (int thread = 0; thread < THREADS; thread++)
        for (int slot = 0; slot < SLOTS; slot++)
            if (slots[thread][slot]) check_and_free(slots[thread][slot]), left++;
    printf("%d blocks were left\n", left > 0);
    return finish();
}
