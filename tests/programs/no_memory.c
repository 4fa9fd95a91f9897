// Absurd requests for memory are refused with ENOMEM, from every thread, and harm nothing.
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>

static void *ask(void *argument) {
    (void)argument;
    // Volatile, so that the compiler does not see the sizes.
    volatile size_t absurd = (size_t)1 << 60;
    errno = 0;
    CHECK(malloc(absurd) == NULL && errno == ENOMEM, "malloc: %s", strerror(errno));
    errno = 0;
    CHECK(calloc(absurd, 8) == NULL && errno == ENOMEM, "calloc: %s", strerror(errno));
    for (int shift = 47; shift < 63; shift++) {
        void *memory = mmap(NULL, (size_t)1 << shift, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(memory == MAP_FAILED && errno == ENOMEM, "mmap of 2^%d: %s", shift, strerror(errno));
    }
    void *memory = mmap(NULL, (size_t)1 << 46, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory == MAP_FAILED && errno == ENOMEM, "mmap of 64 TiB: %s", strerror(errno));
    unsigned char *small = malloc(100000);
    CHECK(small != NULL, "a small block afterwards");
    memset(small, 1, 100000);
    free(small);
    return NULL;
}

static void *ask_with_limit(void *argument) {
    (void)argument;
    void *memory = mmap(NULL, (size_t)4 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory == MAP_FAILED && errno == ENOMEM, "mmap beyond the limit: %s", strerror(errno));
    return NULL;
}

int main(int count, char **arguments) {
    (void)arguments;
    run_threads(3, ask);
    if (count > 1) {
        // The program's own limit on its address space.
        struct rlimit limit = {(rlim_t)2 << 30, RLIM_INFINITY};
        CALL(setrlimit(RLIMIT_AS, &limit));
        run_threads(3, ask_with_limit);
    }
    return finish();
}
