// Every register of a thread holds its value while the thread only computes, however often it is moved:
// general registers, flags, x87, MXCSR, and the vector and mask registers that the processor has.
#include "check.h"
#include <time.h>

struct registers {
    _Alignas(64) unsigned char vectors[32][64];
    uint64_t general[14];  // all but rsp and r15, which hold what the code itself needs
    double stack[8];
    uint64_t masks[8];
    uint64_t flags;
    uint32_t mxcsr;
    uint16_t control;
};

enum vectors { NARROW, WIDE, WIDEST };

// Loads all from `before`, counts down from `spins` in memory below the stack pointer, and stores all to `after`.
extern void hold(const struct registers *before, struct registers *after, long spins, enum vectors have);

__asm__(
    ".text\n hold:\n"
    " push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " push %rcx\n push %rsi\n push %rdx\n"  // have, after, spins
    " mov %rdi, %r15\n"
    " fldcw 2300(%r15)\n"
    " fldl 2160+56(%r15)\n fldl 2160+48(%r15)\n fldl 2160+40(%r15)\n fldl 2160+32(%r15)\n"
    " fldl 2160+24(%r15)\n fldl 2160+16(%r15)\n fldl 2160+8(%r15)\n fldl 2160(%r15)\n"
    " ldmxcsr 2296(%r15)\n"
    " cmpl $1, %ecx\n je 2f\n ja 3f\n"
    " .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqa 64*\\n(%r15), %xmm\\n\n .endr\n jmp 4f\n"
    "2: .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqa 64*\\n(%r15), %ymm\\n\n .endr\n jmp 4f\n"
    "3: .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
    " vmovdqa64 64*\\n(%r15), %zmm\\n\n .endr\n"
    " .irp n,1,2,3,4,5,6,7\n kmovq 2224+8*\\n(%r15), %k\\n\n .endr\n"
    "4: push 2288(%r15)\n popf\n"
    " mov 2048(%r15), %rax\n mov 2056(%r15), %rbx\n mov 2064(%r15), %rcx\n mov 2072(%r15), %rdx\n"
    " mov 2080(%r15), %rsi\n mov 2088(%r15), %rdi\n mov 2096(%r15), %rbp\n mov 2104(%r15), %r8\n"
    " mov 2112(%r15), %r9\n mov 2120(%r15), %r10\n mov 2128(%r15), %r11\n mov 2136(%r15), %r12\n"
    " mov 2144(%r15), %r13\n mov 2152(%r15), %r14\n"
    "5: decq (%rsp)\n jnz 5b\n"  // changes no carry flag and no direction
    " pushf\n mov 16(%rsp), %r15\n pop 2288(%r15)\n"
    " mov %rax, 2048(%r15)\n mov %rbx, 2056(%r15)\n mov %rcx, 2064(%r15)\n mov %rdx, 2072(%r15)\n"
    " mov %rsi, 2080(%r15)\n mov %rdi, 2088(%r15)\n mov %rbp, 2096(%r15)\n mov %r8, 2104(%r15)\n"
    " mov %r9, 2112(%r15)\n mov %r10, 2120(%r15)\n mov %r11, 2128(%r15)\n mov %r12, 2136(%r15)\n"
    " mov %r13, 2144(%r15)\n mov %r14, 2152(%r15)\n"
    " cld\n mov 16(%rsp), %ecx\n cmpl $1, %ecx\n je 2f\n ja 3f\n"
    " .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n movdqa %xmm\\n, 64*\\n(%r15)\n .endr\n jmp 4f\n"
    "2: .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n vmovdqa %ymm\\n, 64*\\n(%r15)\n .endr\n vzeroupper\n jmp 4f\n"
    "3: .irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
    " vmovdqa64 %zmm\\n, 64*\\n(%r15)\n .endr\n"
    " .irp n,1,2,3,4,5,6,7\n kmovq %k\\n, 2224+8*\\n(%r15)\n .endr\n vzeroupper\n"
    "4: stmxcsr 2296(%r15)\n fstcw 2300(%r15)\n"
    " fstpl 2160(%r15)\n fstpl 2160+8(%r15)\n fstpl 2160+16(%r15)\n fstpl 2160+24(%r15)\n"
    " fstpl 2160+32(%r15)\n fstpl 2160+40(%r15)\n fstpl 2160+48(%r15)\n fstpl 2160+56(%r15)\n"
    " fninit\n add $16, %rsp\n movl $0x1f80, (%rsp)\n ldmxcsr (%rsp)\n add $8, %rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

#define CARRY 0x1
#define DIRECTION 0x400
#define IDENTIFICATION 0x200000
#define KEPT (CARRY | DIRECTION | IDENTIFICATION)

static enum vectors have;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *keep(void *argument) {
    uint64_t random = 0x9e3779b97f4a7c15u * ((uint64_t)(intptr_t)argument + 1);
    struct registers before, after;
    size_t width = have == NARROW ? 16 : have == WIDE ? 32 : 64, count = have == WIDEST ? 32 : 16;
    double end = seconds() + 1;
    while (seconds() < end) {
        memset(&before, 0, sizeof before);
        for (size_t row = 0; row < count; row++)
            for (size_t column = 0; column < width; column++)
                before.vectors[row][column] = (unsigned char)next(&random);
        for (int i = 0; i < 14; i++)
            before.general[i] = next(&random);
        for (int i = 0; i < 8; i++)
            before.stack[i] = (double)(int64_t)next(&random);
        for (int i = 1; i < 8 && have == WIDEST; i++)
            before.masks[i] = next(&random);
        before.flags = 0x202 | (next(&random) & KEPT);
        before.mxcsr = 0x1f80 | (uint32_t)(next(&random) & 0xe000);
        before.control = 0x37f | (uint16_t)(next(&random) & 0xc00);
        memcpy(&after, &before, sizeof after);
        memset(&after, 0, sizeof after.vectors + sizeof after.general);
        hold(&before, &after, 1 + (long)(next(&random) % 3000000), have);
        CHECK(memcmp(before.vectors, after.vectors, sizeof before.vectors) == 0, "a vector register");
        CHECK(memcmp(before.general, after.general, sizeof before.general) == 0, "a general register");
        CHECK(memcmp(before.stack, after.stack, sizeof before.stack) == 0, "an x87 register");
        CHECK(memcmp(before.masks, after.masks, sizeof before.masks) == 0, "a mask register");
        CHECK((before.flags & KEPT) == (after.flags & KEPT), "flags %lx, not %lx", after.flags, before.flags);
        CHECK(before.mxcsr == after.mxcsr, "MXCSR %x, not %x", after.mxcsr, before.mxcsr);
        CHECK(before.control == after.control, "x87 control %x, not %x", after.control, before.control);
    }
    return NULL;
}

int main(void) {
    have = __builtin_cpu_supports("avx512bw") ? WIDEST : __builtin_cpu_supports("avx") ? WIDE : NARROW;
    pthread_t threads[3];
    for (intptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, keep, (void *)i) == 0, "pthread_create");
    keep((void *)3);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    puts("ok");
}
