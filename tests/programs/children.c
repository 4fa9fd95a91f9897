// Children that execute another program: children WHAT, from the first thread and from threads on every node.
#include "parts.h"
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

// What a child prints, through a pipe that is its standard output.
static void spawned(char *const command[], const posix_spawnattr_t *attributes, char *text, size_t room) {
    int ends[2];
    pid_t child;
    posix_spawn_file_actions_t actions;
    CALL(pipe2(ends, O_CLOEXEC));
    ZERO(posix_spawn_file_actions_init(&actions));
    ZERO(posix_spawn_file_actions_adddup2(&actions, ends[1], 1));
    ZERO(posix_spawnp(&child, command[0], &actions, attributes, command, environ));
    ZERO(posix_spawn_file_actions_destroy(&actions));
    CALL(close(ends[1]));
    size_t length = 0;
    for (ssize_t got; (got = CALL(read(ends[0], text + length, room - 1 - length))) > 0;) length += got;
    text[length] = 0;
    CALL(close(ends[0]));
    CHECK(ended(child) == 0, "%s", command[0]);
}

static void spawn(void) {
    char text[4096];
    char *echo[] = {"echo", "one", "two", NULL};
    spawned(echo, NULL, text, sizeof text);
    CHECK(strcmp(text, "one two\n") == 0, "%s", text);
    pid_t child;
    char *none[] = {"/nothing/here", NULL};
    int error = posix_spawn(&child, none[0], NULL, NULL, none, environ);
    CHECK(error == ENOENT, "%s", strerror(error));
    CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD, "a child is left");
    FILE *lines = popen("while read line; do test $line = 3 || echo $line; done > /dev/null; exit 5", "w");
    CHECK(lines != NULL, "no pipe");
    for (int i = 0; i < 100; i++) fprintf(lines, "%d\n", i);
    CHECK(WEXITSTATUS(pclose(lines)) == 5, "another status");
    CHECK(WEXITSTATUS(system("exit 7")) == 7, "another status");
    CHECK(WTERMSIG(system("kill -9 $$")) == 9, "another signal");
}

// Signals that are blocked, ignored and caught are so in the program that is executed, as exec says.
static void caught(int signal) {
    (void)signal;
}

static void signals(void) {
    char text[4096], expected[64];
    sigset_t blocked, defaults;
    struct sigaction action = {.sa_handler = caught}, now;
    posix_spawnattr_t attributes;
    char *status[] = {"grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status", NULL};
    CALL(sigaction(SIGUSR1, &action, NULL));
    action.sa_handler = SIG_IGN;
    CALL(sigaction(SIGUSR2, &action, NULL));
    CALL(sigaction(SIGHUP, &action, NULL));
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    ZERO(pthread_sigmask(SIG_SETMASK, &blocked, NULL));
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGHUP);
    ZERO(posix_spawnattr_init(&attributes));
    ZERO(posix_spawnattr_setsigdefault(&attributes, &defaults));
    ZERO(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF));
    spawned(status, &attributes, text, sizeof text);
    unsigned long seen[3];
    CHECK(sscanf(text, "SigBlk: %lx SigIgn: %lx SigCgt: %lx", seen, seen + 1, seen + 2) == 3, "%s", text);
    snprintf(expected, sizeof expected, "%lx %lx", 1UL << (SIGTERM - 1), 1UL << (SIGUSR2 - 1));
    unsigned long ours = 1UL << (SIGUSR2 - 1) | 1UL << (SIGHUP - 1) | 1UL << (SIGUSR1 - 1);
    CHECK(seen[0] == 1UL << (SIGTERM - 1) && (seen[1] & ours) == 1UL << (SIGUSR2 - 1), "%snot %s", text, expected);
    CHECK((seen[2] & ours) == 0, "%s", text);
    // What the child changed is not the parent's.
    CALL(sigaction(SIGHUP, NULL, &now));
    CHECK(now.sa_handler == SIG_IGN, "SIGHUP is the child's");
    CALL(sigaction(SIGUSR1, NULL, &now));
    CHECK(now.sa_handler == caught, "SIGUSR1 is the child's");
    CALL(raise(SIGHUP));
    CALL(raise(SIGUSR1));
    sigdelset(&blocked, SIGTERM);
    ZERO(pthread_sigmask(SIG_SETMASK, &blocked, NULL));
}

// The child writes in its parent's memory, and ends, is killed, or fails to execute and says why.
static void vforked(void) {
    volatile int written = 0;
    volatile pid_t id = 0;
    int kept = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = vfork();
    if (child == 0) {
        written = 42;
        id = getpid();
        close(kept);
        _exit(written == 42 && getppid() > 0 ? 3 : 4);
    }
    CHECK(child > 0 && ended(child) == 3 && written == 42 && id == child, "%d %d", child, written);
    CHECK(fcntl(kept, F_GETFD) == FD_CLOEXEC, "the child closed the parent's");
    CALL(close(kept));
    child = vfork();
    if (child == 0) {
        execl("/nothing/here", "here", (char *)NULL);
        written = errno;
        execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
        _exit(1);
    }
    CHECK(ended(child) == 9 && written == ENOENT, "%s", strerror(written));
    child = vfork();
    if (child == 0) {
        kill(getpid(), SIGKILL);
        _exit(1);
    }
    CHECK(ended(child) == -SIGKILL, "it lives");
    child = vfork();
    if (child == 0) {
        *(volatile int *)8 = 1;
        _exit(1);
    }
    CHECK(ended(child) == -SIGSEGV, "it lives");
}

static int cloned(void *argument) {
    *(volatile int *)argument += 1;
    return 6;
}

static void cloning(void) {
    static char stack[64 << 10] __attribute__((aligned(16)));
    volatile int count = 0;
    pid_t told = 0;
    int descriptor = -1, status;
    pid_t child = CALL(clone(cloned, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_PARENT_SETTID | SIGCHLD,
                             (void *)&count, &told));
    CHECK(ended(child) == 6 && count == 1 && told == child, "%d %d %d", count, told, child);
    pid_t cleared = 1;
    child = CALL(clone(cloned, stack + sizeof stack,
                       CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CHILD_CLEARTID | SIGCHLD, (void *)&count,
                       &descriptor, NULL, &cleared));
    siginfo_t information = {0};
    CALL(waitid(P_PIDFD, descriptor, &information, WEXITED));
    CHECK(information.si_pid == child && information.si_status == 6 && cleared == 0, "%d", information.si_status);
    CALL(close(descriptor));
    // No signal at its end: only who asks for such children gets it.
    child = CALL(clone(cloned, stack + sizeof stack, CLONE_VM | CLONE_VFORK, (void *)&count));
    CHECK(waitpid(child, &status, 0) == -1 && errno == ECHILD, "it is a child like any other");
    CHECK(CALL(waitpid(child, &status, __WCLONE)) == child && count == 3, "%d", count);
}

// What is open in the program that is executed, and what it was called with.
static void surroundings(void) {
    char text[4096];
    char *list[] = {"ls", "/proc/self/fd", NULL};
    spawned(list, NULL, text, sizeof text);
    // Its own listing, and what is not closed by exec.
    int listed = 0, kept = 1;
    for (const char *at = text; *at; at++) listed += *at == '\n';
    for (int descriptor = 0; descriptor < 4096; descriptor++) kept += fcntl(descriptor, F_GETFD) == 0;
    CHECK(listed == kept, "%d, not %d: %s", listed, kept, text);
    char *limits[] = {"sh", "-c", "ulimit -n; umask; echo ${PWD##*/} $SHOWN_HERE", NULL};
    spawned(limits, NULL, text, sizeof text);
    fputs(text, stdout);
}

static void many(void) {
    for (int i = 0; i < 50; i++) {
        pid_t child;
        char *command[] = {"/bin/true", NULL};
        ZERO(posix_spawn(&child, command[0], NULL, NULL, command, environ));
        CHECK(ended(child) == 0, "true is false");
    }
}

// A program that starts itself, by its name, as a copy, and through a script.
static void itself(void) {
    char own[PATH_MAX] = {0}, text[4096], script[] = "itselfXXXXXX";
    CALL(readlink("/proc/self/exe", own, sizeof own - 1));
    char *leaf[] = {own, "leaf", NULL};
    spawned(leaf, NULL, text, sizeof text);
    CHECK(strcmp(text, "ok\n") == 0, "%s", text);
    pid_t copy = CALL(fork());
    if (copy == 0) {
        CALL(dup2(CALL(open("/dev/null", O_WRONLY)), 1));
        CALL(execv(own, leaf));
    }
    CHECK(ended(copy) == 0, "the copy");
    int file = CALL(mkstemp(script));
    CHECK(dprintf(file, "#!%s leaf\n", own) > 0, "no script");
    CALL(fchmod(file, 0700));
    CALL(close(file));
    char path[PATH_MAX + 2];
    snprintf(path, sizeof path, "./%s", script);
    char *interpreted[] = {path, NULL};
    spawned(interpreted, NULL, text, sizeof text);
    CHECK(strcmp(text, "ok\n") == 0, "%s", text);
    CALL(unlink(script));
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "leaf") == 0) {
        puts("ok");
        return 0;
    }
    const struct part parts[] = {
        {"spawn", spawn, IN_TURN}, {"signals", signals, IN_TURN}, {"vforked", vforked, AT_ONCE},
        {"cloning", cloning, IN_TURN}, {"surroundings", surroundings, AT_ONCE}, {"many", many, AT_ONCE},
        {"itself", itself, IN_TURN},
    };
    return run_parts(parts, sizeof parts / sizeof *parts, count, arguments);
}
