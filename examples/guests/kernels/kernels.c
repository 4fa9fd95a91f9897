/* What the benches of untrusted actors run: a few kinds of computing, one for each behaviour, and a memory of 1 MiB whose
 * pages can be written. A message's length says how much to do; its bytes do not matter. */
#include "../tally/banyan.h"

BANYAN_GUEST

#define ELEMENTS(array) (sizeof(array) / sizeof *(array))

/* With the stack and the rest of the data: a little less than 1 MiB, which the linker's option makes exact. */
static uint8_t pages[900 << 10];
static volatile uint64_t result;

static uint64_t mix(uint64_t word) {
    word ^= word >> 33;
    word *= 0xff51afd7ed558ccdull;
    word ^= word >> 33;
    return word;
}

/* Tight integer loop: the worst case for whatever is checked at loop heads. */
static void hash(uint32_t amount) {
    uint64_t sum = 1;
    for (uint32_t i = 0; i < amount * 1000; i++)
        sum = mix(sum + i);
    result = sum;
}

/* Bytes in memory, with branches that are hard to foresee. */
static void sieve(uint32_t amount) {
    uint32_t count = 0;
    for (uint32_t round = 0; round < amount; round++) {
        for (uint32_t i = 2; i < 32768; i++)
            pages[i] = 1;
        for (uint32_t i = 2; i < 32768; i++)
            if (pages[i]) {
                count++;
                for (uint32_t k = i + i; k < 32768; k += i)
                    pages[k] = 0;
            }
    }
    result = count;
}

/* Floats in nested loops. */
static void matrix(uint32_t amount) {
    enum { SIDE = 48 };
    double *a = (double *)pages, *b = a + SIDE * SIDE, *c = b + SIDE * SIDE;
    for (int i = 0; i < SIDE * SIDE; i++)
        a[i] = i * 0.5, b[i] = i * 0.25;
    for (uint32_t round = 0; round < amount; round++)
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++) {
                double sum = 0;
                for (int k = 0; k < SIDE; k++)
                    sum += a[i * SIDE + k] * b[k * SIDE + j];
                c[i * SIDE + j] = sum;
            }
    result = (uint64_t)c[5];
}

/* Calls: the worst case for whatever is checked at the start of a function. */
__attribute__((noinline)) static uint32_t fibonacci(uint32_t n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

/* An interpreter: dispatch by table. */
static void interpret(uint32_t amount) {
    static const uint8_t program[] = {0, 1, 2, 3, 1, 0, 2, 4, 3, 2, 1, 5};
    uint64_t a = 1, b = 2;
    for (uint32_t round = 0; round < amount * 100; round++)
        for (uint32_t at = 0; at < ELEMENTS(program); at++)
            switch (program[at]) {
            case 0: a += b; break;
            case 1: b ^= a << 3; break;
            case 2: a -= round; break;
            case 3: b += a >> 2; break;
            case 4: a *= 3; break;
            default: b = ~b; break;
            }
    result = a + b;
}

/* Sorting. */
static void sort(uint32_t amount) {
    uint32_t *words = (uint32_t *)pages;
    enum { COUNT = 4096 };
    for (uint32_t round = 0; round < amount; round++) {
        for (uint32_t i = 0; i < COUNT; i++)
            words[i] = (uint32_t)mix(i + round);
        for (uint32_t gap = COUNT / 2; gap; gap /= 2)
            for (uint32_t i = gap; i < COUNT; i++) {
                uint32_t word = words[i], k = i;
                for (; k >= gap && words[k - gap] > word; k -= gap)
                    words[k] = words[k - gap];
                words[k] = word;
            }
    }
    result = words[100];
}

/* One byte in each of so many pages, far from each other, others each time. */
static void touch(uint32_t count) {
    static uint32_t turn;
    turn++;
    for (uint32_t i = 0; i < count; i++)
        pages[(i * 13 + turn * 7) % (ELEMENTS(pages) / 4096) * 4096] = (uint8_t)turn;
}

BANYAN_EXPORT(banyan_receive) void banyan_receive(uint32_t behaviour, uint32_t amount, uint32_t addresses) {
    switch (behaviour) {
    case 0: hash(amount); break;
    case 1: sieve(amount); break;
    case 2: matrix(amount); break;
    case 3: result = fibonacci(amount); break;
    case 4: interpret(amount); break;
    case 5: sort(amount); break;
    default: touch(amount); break;
    }
}
