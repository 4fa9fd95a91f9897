// Calls that the runtime does itself or refuses: they answer as the kernel's do, on whichever node the thread is.
#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define GET_FS 0x1003
#define FAILS(expected, ...)                                                                     \
    CHECK(syscall(__VA_ARGS__) == -1 && errno == expected, "%s: %s", #__VA_ARGS__, strerror(errno))

// Calls that are refused with the errno that the kernel has for these arguments.
static void refused(void) {
    FAILS(EINVAL, SYS_pkey_free, -1);
    FAILS(EINVAL, SYS_pkey_mprotect, 1, 1, 0, 0);
    FAILS(EINVAL, SYS_vmsplice, 0, NULL, 0, 0x8000);
}

// Calls whose state is the thread's.
static void of_thread(void) {
    void *base, *own;
    CALL(syscall(SYS_arch_prctl, GET_FS, &base));
    __asm__("mov %%fs:0, %0" : "=r"(own));
    CHECK(base == own, "the FS base is %p, not %p", base, own);
    FAILS(EFAULT, SYS_arch_prctl, GET_FS, 8);
    FAILS(EINVAL, SYS_arch_prctl, 0x7777, 0);

    static _Thread_local char stack[16384];
    stack_t set = {.ss_sp = stack, .ss_size = sizeof stack}, got;
    CALL(sigaltstack(&set, NULL));
    CALL(sigaltstack(NULL, &got));
    CHECK(got.ss_sp == stack && got.ss_size == sizeof stack && got.ss_flags == 0, "another signal stack");
    set.ss_size = 16;
    CHECK(sigaltstack(&set, NULL) == -1 && errno == ENOMEM, "a signal stack of 16 bytes");

    sigset_t block, before, after;
    sigemptyset(&block);
    sigaddset(&block, SIGUSR2);
    CALL(sigprocmask(SIG_BLOCK, &block, &before));
    CALL(sigprocmask(SIG_SETMASK, &before, &after));
    CHECK(!sigismember(&before, SIGUSR2) && sigismember(&after, SIGUSR2), "the mask before and after");
    FAILS(EINVAL, SYS_rt_sigprocmask, 77, &block, NULL, 8);
    FAILS(EINVAL, SYS_rt_sigprocmask, SIG_BLOCK, &block, NULL, 4);

    FAILS(EINVAL, SYS_clone3, &set, 8);
    FAILS(EFAULT, SYS_clone3, 8, 88);
}

// Calls whose state is at home.
static void at_home(void) {
    void *head;
    size_t size;
    CALL(syscall(SYS_get_robust_list, 0, &head, &size));
    CHECK(head != NULL && size == 24, "a robust list of %zu bytes", size);
    FAILS(EINVAL, SYS_set_robust_list, head, 25);
    FAILS(EFAULT, SYS_get_robust_list, 0, 8, &size);
    FAILS(EINVAL, SYS_rt_sigaction, SIGKILL, &(char[32]){0}, NULL, 8);
    FAILS(EINVAL, SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4);
    FAILS(EINVAL, SYS_prctl, PR_SET_SECCOMP, 77, 0, 0, 0);
    FAILS(EINVAL, SYS_close_range, 9, 8, 0);
    FAILS(EBADF, SYS_close, 12345);
    FAILS(EINVAL, SYS_tgkill, getpid(), -1, SIGUSR1);
    CALL(syscall(SYS_tgkill, getpid(), gettid(), 0));
    CALL(syscall(SYS_tkill, gettid(), 0));
    siginfo_t information;
    sigset_t waited;
    sigemptyset(&waited);
    sigaddset(&waited, SIGUSR2);
    sigprocmask(SIG_BLOCK, &waited, NULL);
    CHECK(sigtimedwait(&waited, &information, &(struct timespec){0, 1000000}) == -1 && errno == EAGAIN, "a signal");
}

// Calls about memory.
static void of_memory(void) {
    unsigned char resident[2];
    char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "%s", strerror(errno));
    memory[0] = memory[4096] = 1;
    CALL(mincore(memory, 8192, resident));
    CHECK((resident[0] & 1) && (resident[1] & 1), "touched pages are not resident");
    CALL(mlock(memory, 8192));
    CALL(munlock(memory, 8192));
    CALL(msync(memory, 8192, MS_ASYNC));
    FAILS(EFAULT, SYS_mincore, memory, 8192, 8);
    FAILS(EINVAL, SYS_mprotect, memory + 1, 4096, PROT_READ);
    FAILS(EINVAL, SYS_munmap, memory + 1, 4096);
    FAILS(EINVAL, SYS_mmap, NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAILS(EINVAL, SYS_mremap, memory + 1, 4096, 8192, MREMAP_MAYMOVE);
    CALL(munmap(memory, 8192));
    FAILS(ENOMEM, SYS_mprotect, memory, 8192, PROT_READ);
    FAILS(ENOMEM, SYS_madvise, memory, 8192, MADV_DONTNEED);
    FAILS(ENOMEM, SYS_msync, memory, 8192, MS_ASYNC);
    FAILS(EFAULT, SYS_mremap, memory, 4096, 8192, MREMAP_MAYMOVE);
}

// Where memory is to be on a machine of several parts is the home kernel's to say, or that it does not know.
static void of_placement(long expected) {
    int policy = -1;
    long result = syscall(SYS_get_mempolicy, &policy, NULL, 0, NULL, 0);
    CHECK(result == expected && policy == (int)expected, "%ld, policy %d: %s", result, policy, strerror(errno));
    CHECK(syscall(SYS_set_mempolicy, 0, NULL, 0) == expected, "%s", strerror(errno));
}

static pthread_barrier_t barrier;
static long placement;

static void *call(void *argument) {
    int self = (int)(intptr_t)argument;
    refused();
    of_thread();
    at_home();
    of_placement(placement);
    // One after another: addresses that a thread has given back stay free only while no other maps memory.
    for (int turn = 0; turn < THREADS; turn++) {
        pthread_barrier_wait(&barrier);
        if (turn == self) of_memory();
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    placement = syscall(SYS_get_mempolicy, &(int){0}, NULL, 0, NULL, 0);
    printf("placement of memory: %ld\n", placement);
    run_threads(THREADS, call);
    puts("every call answered");
    return finish();
}
