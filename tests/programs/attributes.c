// Thread attributes: the smallest stack, a large one, one of the program's own, guard sizes, and
// what pthread_getattr_np says inside the thread.
#include "check.h"
#include <limits.h>
#include <sys/mman.h>

static void *small(void *argument) {
    (void)argument;
    volatile char space[2000];
    for (size_t index = 0; index < sizeof space; index++) space[index] = (char)index;
    return (void *)(intptr_t)space[1234];
}

static void *large(void *argument) {
    size_t size = (size_t)(uintptr_t)argument;
    volatile unsigned char space[6 << 20];
    for (size_t index = 0; index < sizeof space; index += 4096) space[index] = (unsigned char)(index >> 12);
    for (size_t index = 0; index < sizeof space; index += 4096)
        CHECK(space[index] == (unsigned char)(index >> 12), "the stack lost byte %zu", index);
    pthread_attr_t attributes;
    ZERO(pthread_getattr_np(pthread_self(), &attributes));
    void *base;
    size_t length;
    ZERO(pthread_attr_getstack(&attributes, &base, &length));
    CHECK(length >= size - 65536, "the stack is %zu bytes", length);
    char here;
    CHECK((char *)base < &here && &here < (char *)base + length, "a local lies outside of the stack");
    ZERO(pthread_attr_destroy(&attributes));
    return NULL;
}

static void *on_own_stack(void *argument) {
    char here;
    CHECK(&here >= (char *)argument && &here < (char *)argument + (256 << 10), "not on the given stack");
    return NULL;
}

int main(void) {
    pthread_attr_t attributes;
    pthread_t threads[4];
    ZERO(pthread_attr_init(&attributes));
    size_t smallest = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    if (smallest < (size_t)PTHREAD_STACK_MIN) smallest = PTHREAD_STACK_MIN;
    ZERO(pthread_attr_setstacksize(&attributes, smallest));
    for (int index = 0; index < 4; index++) ZERO(pthread_create(&threads[index], &attributes, small, NULL));
    for (int index = 0; index < 4; index++) ZERO(pthread_join(threads[index], NULL));
    ZERO(pthread_attr_setstacksize(&attributes, 8 << 20));
    for (int guard = 0; guard < 3; guard++) {
        ZERO(pthread_attr_setguardsize(&attributes, guard == 0 ? 0 : guard == 1 ? 4096 : 1 << 20));
        for (int index = 0; index < 3; index++)
            ZERO(pthread_create(&threads[index], &attributes, large, (void *)(uintptr_t)((8 << 20) - (guard == 2 ? 1 << 20 : 0))));
        for (int index = 0; index < 3; index++) ZERO(pthread_join(threads[index], NULL));
    }
    ZERO(pthread_attr_destroy(&attributes));
    for (int index = 0; index < 3; index++) {
        ZERO(pthread_attr_init(&attributes));
        char *stack = mmap(NULL, 256 << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        CHECK(stack != MAP_FAILED, "%s", strerror(errno));
        ZERO(pthread_attr_setstack(&attributes, stack, 256 << 10));
        ZERO(pthread_create(&threads[0], &attributes, on_own_stack, stack));
        ZERO(pthread_join(threads[0], NULL));
        CALL(munmap(stack, 256 << 10));
        ZERO(pthread_attr_destroy(&attributes));
    }
    return finish();
}
