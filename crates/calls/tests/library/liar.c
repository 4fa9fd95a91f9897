/* A library that knows the channel it is called through, and abuses it. Offsets: docs/formats/call-channel.md. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile char *channel(void) {
    char here;
    uint64_t address = (uint64_t)&here, slot = address & ~((1ull << 35) - 1);
    uint64_t index = (address - slot - (4ull << 30)) / (64ull << 20);
    return (volatile char *)(slot + 0x1000 + index * 8192);
}
int liar_fine(void) { return 7; }
/* Answers with these bytes instead of returning, says `length` of them, and goes on living. */
int liar_reply(const unsigned char *bytes, uint64_t count, uint32_t length) {
    unsigned char copy[4000];
    volatile char *c = channel();
    memcpy(copy, bytes, count);
    for (uint64_t i = 0; i < count; i++) c[4096 + 40 + i] = (char)copy[i];
    *(volatile uint32_t *)(c + 4096 + 4) = length;
    uint32_t sequence = __atomic_load_n((uint32_t *)c, __ATOMIC_SEQ_CST) & 0x1fffffff;
    __atomic_store_n((uint32_t *)(c + 4096), sequence, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, c + 4096, FUTEX_WAKE, 1, 0, 0, 0);
    for (;;) pause();
}
/* Puts its own word in place of the reply's number. */
int liar_word(uint32_t word) {
    volatile char *c = channel();
    __atomic_store_n((uint32_t *)(c + 4096), word, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, c + 4096, FUTEX_WAKE, 1, 0, 0, 0);
    for (;;) pause();
}
/* Takes all its threads off their robust lists, as far as one can, and dies: the kernel gives no notice. */
int liar_silent_death(void) {
    syscall(SYS_set_robust_list, 0, 24);
    raise(SIGKILL);
    return 0;
}
int liar_crash(void) { *(volatile int *)8 = 1; return 0; }
static void *later(void *microseconds) {
    usleep((useconds_t)(uintptr_t)microseconds);
    raise(SIGSEGV);
    return 0;
}
/* Returns well, and crashes after it. */
int liar_crash_later(uint64_t microseconds) {
    pthread_t thread;
    pthread_create(&thread, 0, later, (void *)microseconds);
    return 7;
}
/* Calls back, and is in trouble while it waits. */
int64_t liar_crash_in_call_back(int64_t (*f)(int64_t), uint64_t microseconds) {
    liar_crash_later(microseconds);
    return f(1);
}
int64_t liar_stop_in_call_back(int64_t (*f)(int64_t)) {
    pid_t child = getpid();
    int64_t n = f(1);
    kill(child, SIGSTOP);
    usleep(1000000);
    return n;
}
