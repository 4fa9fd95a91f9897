// What a thread keeps in registers survives page faults, system calls and waiting: the vector
// registers, the flags of the floating-point units, and the direction of rounding.
#include "check.h"
#include <fenv.h>
#include <sched.h>

#define PAGES 60

static _Alignas(4096) unsigned char shared_pages[PAGES][4096];
static pthread_barrier_t barrier;

struct vectors {
    _Alignas(32) unsigned char bytes[8][32];
};

// Loads eight vector registers, touches `page`, makes a system call, and stores the registers.
static void across_wide(struct vectors *before, struct vectors *after, volatile unsigned char *page) {
    long call = 24;  // sched_yield
    __asm__ volatile(
        "vmovdqa 0(%[from]), %%ymm0\n vmovdqa 32(%[from]), %%ymm3\n vmovdqa 64(%[from]), %%ymm6\n"
        "vmovdqa 96(%[from]), %%ymm7\n vmovdqa 128(%[from]), %%ymm9\n vmovdqa 160(%[from]), %%ymm12\n"
        "vmovdqa 192(%[from]), %%ymm14\n vmovdqa 224(%[from]), %%ymm15\n"
        "incb (%[page])\n"
        "syscall\n"
        "incb 1(%[page])\n"
        "vmovdqa %%ymm0, 0(%[to])\n vmovdqa %%ymm3, 32(%[to])\n vmovdqa %%ymm6, 64(%[to])\n"
        "vmovdqa %%ymm7, 96(%[to])\n vmovdqa %%ymm9, 128(%[to])\n vmovdqa %%ymm12, 160(%[to])\n"
        "vmovdqa %%ymm14, 192(%[to])\n vmovdqa %%ymm15, 224(%[to])\n vzeroupper\n"
        : "+a"(call)
        : [from] "r"(before), [to] "r"(after), [page] "r"(page)
        : "rcx", "r11", "memory", "xmm0", "xmm3", "xmm6", "xmm7", "xmm9", "xmm12", "xmm14", "xmm15");
}

// The same with the narrow registers, for processors that have no wide ones.
static void across_narrow(struct vectors *before, struct vectors *after, volatile unsigned char *page) {
    long call = 24;
    __asm__ volatile(
        "movdqa 0(%[from]), %%xmm0\n movdqa 32(%[from]), %%xmm7\n movdqa 64(%[from]), %%xmm15\n"
        "incb (%[page])\n syscall\n incb 1(%[page])\n"
        "movdqa %%xmm0, 0(%[to])\n movdqa %%xmm7, 32(%[to])\n movdqa %%xmm15, 64(%[to])\n"
        : "+a"(call)
        : [from] "r"(before), [to] "r"(after), [page] "r"(page)
        : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15");
}

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    int wide = __builtin_cpu_supports("avx");
    static const int modes[4] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    CHECK(fegetround() == FE_UPWARD, "the creator's rounding is inherited, not %x", fegetround());
    CHECK(fesetround(modes[self % 4]) == 0, "fesetround");
    volatile double tenth = 0.1, three = 3.0;
    double expected = tenth * three + 1e-20;
    struct vectors before, after;
    pthread_barrier_wait(&barrier);
    for (int round = 0; round < 5; round++) {
        for (int page = 0; page < PAGES; page++) {
            memset(&after, 0, sizeof after);
            for (int row = 0; row < 8; row++)
                for (int column = 0; column < 32; column++)
                    before.bytes[row][column] = (unsigned char)(self * 50 + row * 32 + column + page + round);
            if (wide) across_wide(&before, &after, shared_pages[page] + self * 2);
            else across_narrow(&before, &after, shared_pages[page] + self * 2);
            int rows = wide ? 8 : 3, columns = wide ? 32 : 16;
            for (int row = 0; row < rows; row++)
                CHECK(memcmp(before.bytes[row], after.bytes[row], columns) == 0, "vector register %d changed", row);
            CHECK(fegetround() == modes[self % 4], "the rounding changed");
            CHECK(tenth * three + 1e-20 == expected, "the arithmetic changed");
        }
    }
    return NULL;
}

int main(void) {
    CHECK(fesetround(FE_UPWARD) == 0, "fesetround");
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    for (int page = 0; page < PAGES; page++)
        for (int index = 0; index < THREADS * 2; index++)
            CHECK(shared_pages[page][index] == 5, "page %d byte %d is %d", page, index, shared_pages[page][index]);
    return finish();
}
