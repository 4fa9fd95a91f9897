// Programs that are hard to spread: their threads share memory all the time. One of ten kinds, so many rounds
// of it, on so many threads; prints a sum that does not depend on the threads.
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mixed(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

// Each point becomes the mean of its neighbours; rows meet at the threads' borders.
static uint64_t stencil(long rounds) {
    enum { N = 512 };
    static uint32_t one[N][N], other[N][N];
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N; x++) one[y][x] = mixed(y * N + x) >> 40;
    for (long round = 0; round < rounds; round++) {
#pragma omp parallel for
        for (int y = 1; y < N - 1; y++)
            for (int x = 1; x < N - 1; x++)
                other[y][x] = (one[y - 1][x] + one[y + 1][x] + one[y][x - 1] + one[y][x + 1]) / 4;
        memcpy(one, other, sizeof one);
    }
    uint64_t sum = 0;
    for (int y = 0; y < N; y++)
        for (int x = 0; x < N; x++) sum += one[y][x] * (uint64_t)(y + x);
    return sum;
}

// A radix sort: every thread writes all over the array.
static uint64_t radix(long rounds) {
    enum { N = 1 << 18, DIGITS = 256 };
    static uint32_t keys[N], sorted[N];
    uint64_t sum = 0;
    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < N; i++) keys[i] = mixed(i + round);
        for (int shift = 0; shift < 32; shift += 8) {
            int threads = omp_get_max_threads();
            int(*counts)[DIGITS] = calloc(threads, sizeof *counts);
#pragma omp parallel
            {
                int own = omp_get_thread_num();
#pragma omp for schedule(static)
                for (int i = 0; i < N; i++) counts[own][keys[i] >> shift & 255]++;
#pragma omp single
                for (int digit = 0, total = 0; digit < DIGITS; digit++)
                    for (int thread = 0; thread < threads; thread++) {
                        int count = counts[thread][digit];
                        counts[thread][digit] = total;
                        total += count;
                    }
#pragma omp for schedule(static)
                for (int i = 0; i < N; i++) sorted[counts[own][keys[i] >> shift & 255]++] = keys[i];
            }
            memcpy(keys, sorted, sizeof keys);
            free(counts);
        }
        for (int i = 0; i < N; i += 97) sum += keys[i] * (uint64_t)i;
    }
    return sum;
}

// Breadth-first search in a random graph: levels, and a queue of which threads take their places.
static uint64_t search(long rounds) {
    enum { N = 1 << 15, DEGREE = 8 };
    static atomic_int level[N];
    static int queue[N], next[N];
    uint64_t sum = 0;
    for (long round = 0; round < rounds; round++) {
        for (int i = 0; i < N; i++) level[i] = -1;
        level[0] = queue[0] = 0;
        int length = 1;
        for (int depth = 1; length; depth++) {
            atomic_int found = 0;
#pragma omp parallel for schedule(dynamic, 64)
            for (int i = 0; i < length; i++)
                for (int edge = 0; edge < DEGREE; edge++) {
                    int to = mixed((uint64_t)queue[i] * DEGREE + edge + round) % N, unseen = -1;
                    if (atomic_compare_exchange_strong(&level[to], &unseen, depth)) next[found++] = to;
                }
            length = found;
            memcpy(queue, next, length * sizeof *queue);
        }
        for (int i = 0; i < N; i++) sum += level[i] * (uint64_t)i;
    }
    return sum;
}

// A sparse matrix times a vector, again and again.
static uint64_t solver(long rounds) {
    enum { N = 1 << 15, ROW = 12 };
    static uint32_t from[N], to[N];
    for (int i = 0; i < N; i++) from[i] = i;
    for (long round = 0; round < rounds; round++) {
#pragma omp parallel for
        for (int i = 0; i < N; i++) {
            uint32_t sum = 0;
            for (int j = 0; j < ROW; j++) sum += from[mixed(i * ROW + j) % N] * (j + 1);
            to[i] = sum;
        }
#pragma omp parallel for
        for (int i = 0; i < N; i++) from[i] = to[i] ^ to[i] >> 7;
    }
    uint64_t sum = 0;
    for (int i = 0; i < N; i++) sum += from[i];
    return sum;
}

// Elimination: each step reads one row and changes all below it.
static uint64_t elimination(long rounds) {
    enum { N = 192 };
    static uint32_t matrix[N][N];
    uint64_t sum = 0;
    for (long round = 0; round < rounds; round++) {
        for (int y = 0; y < N; y++)
            for (int x = 0; x < N; x++) matrix[y][x] = mixed(y * N + x + round);
        for (int step = 0; step < N; step++)
#pragma omp parallel for
            for (int y = step + 1; y < N; y++)
                for (int x = step; x < N; x++) matrix[y][x] = matrix[y][x] * 3 - matrix[y][step] * matrix[step][x];
        for (int i = 0; i < N; i++) sum += matrix[i][i];
    }
    return sum;
}

// Bodies that attract each other: all read all, each writes its part.
static uint64_t bodies(long rounds) {
    enum { N = 1024 };
    static int64_t at[N], speed[N];
    for (int i = 0; i < N; i++) at[i] = mixed(i) >> 44, speed[i] = 0;
    for (long round = 0; round < rounds; round++) {
#pragma omp parallel for
        for (int i = 0; i < N; i++) {
            int64_t force = 0;
            for (int j = 0; j < N; j++) force += (at[j] - at[i]) / (1 + (at[j] - at[i]) * (at[j] - at[i]) / 4096);
            speed[i] += force / 64;
        }
#pragma omp parallel for
        for (int i = 0; i < N; i++) at[i] += speed[i] / 16;
    }
    uint64_t sum = 0;
    for (int i = 0; i < N; i++) sum += at[i] * (i + 1);
    return sum;
}

static uint64_t branch(int depth) {
    if (depth < 2) return depth;
    uint64_t one, two;
#pragma omp task shared(one) if (depth > 8)
    one = branch(depth - 1);
#pragma omp task shared(two) if (depth > 8)
    two = branch(depth - 2);
#pragma omp taskwait
    return one + two;
}

// A tree of small tasks.
static uint64_t tasks(long rounds) {
    uint64_t sum = 0;
    for (long round = 0; round < rounds; round++) {
        uint64_t one = 0;
#pragma omp parallel
#pragma omp single
        one = branch(18 + round % 3);
        sum += one;
    }
    return sum;
}

// Little work between barriers.
static uint64_t barriers(long rounds) {
    enum { PARTS = 64 };
    static uint64_t parts[PARTS];
#pragma omp parallel
    for (long round = 0; round < rounds * 50; round++)
#pragma omp for
        for (int i = 0; i < PARTS; i++)
            for (int j = 0; j < 40; j++) parts[i] = mixed(parts[i] + i + j);
    uint64_t sum = 0;
    for (int i = 0; i < PARTS; i++) sum += parts[i];
    return sum;
}

// Words counted in one table under locks.
enum { BUCKETS = 4096, LOCKS = 64 };
static uint32_t counts[BUCKETS];
static pthread_mutex_t locks[LOCKS];

static uint64_t words(long rounds) {
    enum { WORDS = 1 << 16 };
    for (int i = 0; i < LOCKS; i++) pthread_mutex_init(&locks[i], NULL);
    for (long round = 0; round < rounds; round++)
#pragma omp parallel for
        for (int i = 0; i < WORDS; i++) {
            uint32_t bucket = mixed(mixed(i + round)) % BUCKETS;
            pthread_mutex_lock(&locks[bucket % LOCKS]);
            counts[bucket]++;
            pthread_mutex_unlock(&locks[bucket % LOCKS]);
        }
    uint64_t sum = 0;
    for (int i = 0; i < BUCKETS; i++) sum += (uint64_t)counts[i] * i;
    return sum;
}

// Blocks that one thread allocates and another one frees.
static uint64_t allocator(long rounds) {
    enum { SLOTS = 512 };
    static _Atomic(char *) slots[SLOTS];
    _Atomic uint64_t sum = 0;
#pragma omp parallel for schedule(static)
    for (long i = 0; i < rounds * 4096; i++) {
        uint64_t value = mixed(i);
        size_t bytes = 16 + value % 2000;
        char *block = malloc(bytes);
        block[0] = block[bytes - 1] = value;
        sum += bytes;
        free(atomic_exchange(&slots[value >> 32 & (SLOTS - 1)], block));
    }
    for (int i = 0; i < SLOTS; i++) free(slots[i]);
    return sum;
}

static const struct {
    const char *name;
    uint64_t (*run)(long rounds);
} kinds[] = {
    {"stencil", stencil}, {"radix", radix}, {"search", search}, {"solver", solver}, {"elimination", elimination},
    {"bodies", bodies}, {"tasks", tasks}, {"barriers", barriers}, {"words", words}, {"allocator", allocator},
};

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    omp_set_dynamic(0);
    omp_set_num_threads(atoi(argv[3]));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(argv[1], kinds[i].name)) return printf("sum %llu\n", (unsigned long long)kinds[i].run(atol(argv[2]))) < 0;
    return 2;
}
