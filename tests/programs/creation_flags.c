// What `clone` and `clone3` say to flags that contradict each other or that no kernel knows, what an `unshare` by the
// program changes, and children that begin without their maker's handlers.
#include "check.h"
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CLEARS_HANDLERS 0x100000000ULL

static void on_signal(int signal) { (void)signal; }

static long make(uint64_t flags, int signal, void *stack, size_t size) {
    struct clone_args given = {
        .flags = flags, .exit_signal = signal, .stack = (uint64_t)stack, .stack_size = size};
    return syscall(SYS_clone3, &given, sizeof given);
}

static int status_of(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child, "%s", strerror(errno));
    CHECK(WIFEXITED(status), "the child did not end by itself but with %#x", status);
    return WEXITSTATUS(status);
}

static void (*handler_now(int signal))(int) {
    struct sigaction action;
    CALL(sigaction(signal, NULL, &action));
    return action.sa_handler;
}

static _Noreturn void tell_handlers(void) {
    _exit(handler_now(SIGUSR1) == SIG_DFL && handler_now(SIGUSR2) == SIG_IGN ? 7 : 8);
}

static char stack[1 << 16] __attribute__((aligned(16)));

// Its child in the caller's memory must not return from here.
static __attribute__((noinline)) long make_in_this_memory(void) {
    struct clone_args given = {.flags = CLONE_VM | CLONE_VFORK | CLEARS_HANDLERS,
                               .exit_signal = SIGCHLD,
                               .stack = (uint64_t)stack,
                               .stack_size = sizeof stack};
    long result;
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "xor %%ebp, %%ebp\n"
                     "call *%[child]\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(&given), "S"(sizeof given), [child] "r"(tell_handlers)
                     : "rcx", "r11", "memory");
    return result;
}

static void mistakes(void) {
#define FAILS(expected, expression)                                                              \
    CHECK((expression) == -1 && errno == expected, "%s: %s", #expression, strerror(errno))
    FAILS(EINVAL, syscall(SYS_clone, CLONE_THREAD | SIGCHLD, stack + sizeof stack, 0, 0, 0));
    FAILS(EINVAL, syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, stack + sizeof stack, 0, 0, 0));
    FAILS(EINVAL, syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, stack + sizeof stack, 0, 0, 0));
    FAILS(EINVAL, make(1ULL << 60, SIGCHLD, NULL, 0));
    FAILS(EINVAL, make(CLONE_VM | CLONE_SIGHAND | CLEARS_HANDLERS, SIGCHLD, stack, sizeof stack));
    FAILS(EINVAL, make(0, 1000, NULL, 0));
}

static void *call(void *argument) {
    (void)argument;
    mistakes();
    pid_t copy = CALL(make(CLEARS_HANDLERS, SIGCHLD, NULL, 0));
    if (copy == 0) tell_handlers();
    CHECK(status_of(copy) == 7, "a copy has handlers, or does not ignore what its maker does");
    pid_t child = CALL(make_in_this_memory());
    CHECK(status_of(child) == 7, "a child has handlers, or does not ignore what its maker does");
    CHECK(handler_now(SIGUSR1) == on_signal, "the maker's handler is gone");
    CALL(raise(SIGUSR1));
    return NULL;
}

static void shares_of_its_own(void) {
    CALL(unshare(0));
    CALL(unshare(CLONE_FS | CLONE_SYSVSEM));
    CHECK(unshare(1) == -1 && errno == EINVAL, "an unknown flag");
    CHECK(setns(-1, 0) == -1 && errno == EBADF, "no namespace");
    pid_t child = CALL(fork());
    if (child == 0) {
        // It is the only thread of its process.
        CALL(unshare(CLONE_FILES | CLONE_VM));
        CALL(close(0));
        _exit(5);
    }
    CHECK(status_of(child) == 5, "a process with one thread");
}

int main(void) {
    signal(SIGUSR1, on_signal);
    signal(SIGUSR2, SIG_IGN);
    // One after another: a child in this memory has one stack.
    for (int turn = 0; turn < THREADS; turn++) {
        pthread_t thread;
        ZERO(pthread_create(&thread, NULL, call, NULL));
        ZERO(pthread_join(thread, NULL));
    }
    shares_of_its_own();
    puts("every flag has its meaning");
    return finish();
}
