// Copies of the process: forks WHAT, from the first thread and from threads on every node.
#include "parts.h"
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

extern char **environ;

// What is private is copied, in every kind of memory; what is shared is not.
static int variable = 1;
static __thread int of_thread = 2;

static void memory(void) {
    enum { BYTES = 5 << 20 };
    int on_stack = 3;
    unsigned char *allocated = malloc(BYTES), *holes = CALL(mmap(NULL, 8 * BYTES, PROT_READ | PROT_WRITE,
                                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    volatile int *shared = CALL(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    fill_pattern(allocated, BYTES, 1);
    fill_pattern(holes + 3 * BYTES, 9000, 2);
    CALL(mprotect(holes + 3 * BYTES, 4096, PROT_READ));
    *shared = 5;
    variable = 1;
    of_thread = 2;
    pid_t child = CALL(fork());
    if (child == 0) {
        check_pattern(allocated, BYTES, 1, "what was allocated");
        check_pattern(holes + 3 * BYTES, 9000, 2, "between holes");
        check_zero(holes, 3 * BYTES - 4096, "a hole");
        CHECK(variable == 1 && of_thread == 2 && on_stack == 3 && *shared == 5, "%d %d", variable, of_thread);
        variable = of_thread = on_stack = 10;
        *shared = 11;
        memset(allocated, 0, BYTES);
        // Every call on memory, in what was copied and in what is new.
        CALL(mprotect(holes + 3 * BYTES, 4096, PROT_READ | PROT_WRITE));
        holes[3 * BYTES] = 1;
        CALL(madvise(holes + 3 * BYTES, 8192, MADV_DONTNEED));
        check_zero(holes + 3 * BYTES, 8192, "what was given up");
        CALL(munmap(holes, BYTES));
        unsigned char *more = CALL(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        fill_pattern(more, BYTES, 3);
        more = CALL(mremap(more, BYTES, 2 * BYTES, MREMAP_MAYMOVE));
        check_pattern(more, BYTES, 3, "what was moved");
        check_zero(more + BYTES, BYTES, "what it grew by");
        char *before = CALL(sbrk(1 << 16));
        memset(before, 1, 1 << 16);
        for (int size = 1; size < 1 << 22; size *= 3) free(memset(malloc(size), 1, size));
        _exit(42);
    }
    CHECK(ended(child) == 42, "the copy");
    CHECK(variable == 1 && of_thread == 2 && on_stack == 3 && *shared == 11, "%d %d %d", variable, of_thread, *shared);
    check_pattern(allocated, BYTES, 1, "the parent's");
    check_pattern(holes + 3 * BYTES, 9000, 2, "the parent's");
    free(allocated);
    CALL(munmap(holes, 8 * BYTES));
    CALL(munmap((void *)shared, 4096));
}

// What threads of every node have written is in the copy, and what they write afterwards is not. One piece is more
// than a node asks for at once.
enum { PIECES = 6, PIECE = 3 << 16, LARGE_PIECE = 20 << 20 };
static unsigned char *pieces[PIECES];

static size_t size_of(long index) {
    return index == 1 ? LARGE_PIECE : PIECE;
}

static void *write_piece(void *argument) {
    long index = (long)argument;
    pieces[index] = malloc(size_of(index));
    fill_pattern(pieces[index], size_of(index), 100 + index);
    return NULL;
}

static void written(void) {
    run_threads(PIECES, write_piece);
    int ends[2];
    char byte;
    CALL(pipe(ends));
    pid_t child = CALL(fork());
    if (child == 0) {
        CALL(close(ends[1]));
        CHECK(CALL(read(ends[0], &byte, 1)) == 0, "a byte");
        for (int index = 0; index < PIECES; index++)
            check_pattern(pieces[index], size_of(index), 100 + index, "a piece");
        _exit(0);
    }
    for (int index = 0; index < PIECES; index++) memset(pieces[index], 0xee, size_of(index));
    CALL(close(ends[0]));
    CALL(close(ends[1]));
    CHECK(ended(child) == 0, "the copy");
    for (int index = 0; index < PIECES; index++) free(pieces[index]);
}

// Threads that go on writing: each has two counters in two pages, the second never ahead of the first.
static struct { _Alignas(4096) _Atomic uint64_t first; _Alignas(4096) _Atomic uint64_t second; } counters[4];
static atomic_int stop;

static void *count(void *argument) {
    long index = (long)argument;
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&counters[index].first, 1);
        atomic_fetch_add(&counters[index].second, 1);
    }
    return NULL;
}

static void consistent(void) {
    pthread_t threads[4];
    atomic_store(&stop, 0);
    for (long index = 0; index < 4; index++) ZERO(pthread_create(&threads[index], NULL, count, (void *)index));
    for (int round = 0; round < 10; round++) {
        pid_t child = CALL(fork());
        if (child == 0) {
            for (int index = 0; index < 4; index++) {
                uint64_t first = atomic_load(&counters[index].first), second = atomic_load(&counters[index].second);
                if (second > first || first > second + 1) _exit(1 + index);
            }
            sleep_ms(1);
            _exit(0);
        }
        int status = ended(child);
        CHECK(status == 0, "the counters of thread %d are of two moments", status - 1);
    }
    atomic_store(&stop, 1);
    for (long index = 0; index < 4; index++) ZERO(pthread_join(threads[index], NULL));
}

// A copy is a process like any other: it makes threads, copies, children; ends, is killed, is waited for.
static void *add(void *argument) {
    atomic_fetch_add((atomic_int *)argument, 1);
    return NULL;
}

static void process(void) {
    pid_t parent = getpid(), child = CALL(fork());
    if (child == 0) {
        CHECK(getppid() == parent && getpid() != parent && gettid() == getpid(), "who it is");
        pthread_t threads[8];
        atomic_int sum = 0;
        for (int index = 0; index < 8; index++) ZERO(pthread_create(&threads[index], NULL, add, &sum));
        for (int index = 0; index < 8; index++) ZERO(pthread_join(threads[index], NULL));
        CHECK(sum == 8, "%d threads", sum);
        pid_t grandchild = CALL(fork());
        if (grandchild == 0) {
            pid_t another = CALL(fork());
            if (another == 0) _exit(3);
            _exit(ended(another) + 1);
        }
        CHECK(ended(grandchild) == 4, "its copy");
        char *command[] = {"sh", "-c", "exit 7", NULL};
        ZERO(posix_spawnp(&grandchild, command[0], NULL, NULL, command, environ));
        CHECK(ended(grandchild) == 7, "its child");
        CHECK(WEXITSTATUS(system("exit 8")) == 8, "its shell");
        grandchild = vfork();
        if (grandchild == 0) _exit(9);
        CHECK(ended(grandchild) == 9, "its vfork");
        _exit(5);
    }
    CHECK(ended(child) == 5, "a copy");
    child = CALL(fork());
    if (child == 0) {
        execlp("sh", "sh", "-c", "echo executed; exit 6", (char *)NULL);
        _exit(1);
    }
    CHECK(ended(child) == 6, "what it executed");
    child = CALL(fork());
    if (child == 0) for (;;) pause();
    CALL(kill(child, SIGTERM));
    CHECK(ended(child) == -SIGTERM, "it lives");
    child = CALL(fork());
    if (child == 0) {
        *(volatile int *)8 = 1;
        _exit(1);
    }
    CHECK(ended(child) == -SIGSEGV, "it lives");
    child = CALL(fork());
    if (child == 0) abort();
    CHECK(ended(child) == -SIGABRT, "it lives");
    // The plain calls, with what they do to words and descriptors.
    pid_t words[2] = {0, 0};
    child = CALL(syscall(SYS_clone, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, NULL, &words[0], &words[1], 0));
    if (child == 0) _exit(words[1] == getpid() ? 0 : 1);
    CHECK(ended(child) == 0 && words[0] == child && words[1] == 0, "%d %d %d", child, words[0], words[1]);
    int descriptor = -1;
    child = CALL(syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &descriptor, NULL, 0));
    if (child == 0) _exit(2);
    siginfo_t information = {0};
    CALL(waitid(P_PIDFD, descriptor, &information, WEXITED));
    CHECK(information.si_pid == child && information.si_status == 2, "%d", information.si_status);
    CALL(close(descriptor));
    child = CALL(syscall(SYS_fork));
    if (child == 0) _exit(0);
    CHECK(ended(child) == 0, "fork");
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child is left");
}

// Signals: handlers are copied, what is pending is not; SIGCHLD comes; an alternate stack and a mask are kept.
static volatile sig_atomic_t came;
static char signal_stack[64 << 10];

static void on_signal(int signal) {
    char here;
    if (signal == SIGUSR1 && (&here < signal_stack || &here >= signal_stack + sizeof signal_stack)) _exit(77);
    came = signal;
}

static void signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART}, old;
    CALL(sigaction(SIGUSR1, &action, NULL));
    action.sa_flags = SA_RESTART;
    CALL(sigaction(SIGCHLD, &action, &old));
    stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    CALL(sigaltstack(&stack, NULL));
    sigset_t blocked, before, pending;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    ZERO(pthread_sigmask(SIG_BLOCK, &blocked, &before));
    ZERO(pthread_kill(pthread_self(), SIGUSR1));
    came = 0;
    pid_t child = CALL(fork());
    if (child == 0) {
        CALL(sigpending(&pending));
        ZERO(pthread_sigmask(SIG_BLOCK, NULL, &blocked));
        CHECK(!sigismember(&pending, SIGUSR1) && sigismember(&blocked, SIGUSR1), "another's signal");
        ZERO(pthread_sigmask(SIG_SETMASK, &before, NULL));
        CHECK(came == 0, "another's signal");
        CALL(raise(SIGUSR1));
        CHECK(came == SIGUSR1, "no handler");
        CALL(kill(getppid(), SIGCONT));
        _exit(0);
    }
    CHECK(ended(child) == 0, "the copy");
    for (int wait = 0; wait < 1000 && came != SIGCHLD; wait++) sleep_ms(1);
    CHECK(came == SIGCHLD, "no SIGCHLD");
    ZERO(pthread_sigmask(SIG_SETMASK, &before, NULL));
    CHECK(came == SIGUSR1, "a signal was lost");
    CALL(sigaction(SIGCHLD, &old, NULL));
    stack.ss_flags = SS_DISABLE;
    CALL(sigaltstack(&stack, NULL));
}

// Handlers of pthread_atfork, and locks that a thread of its own holds.
static int prepared, in_parent, in_child;
static void prepare(void) { prepared++; }
static void parent(void) { in_parent++; }
static void child_side(void) { in_child++; }

static void handlers(void) {
    static int once;
    if (!once++) ZERO(pthread_atfork(prepare, parent, child_side));
    prepared = in_parent = in_child = 0;
    pid_t child = CALL(fork());
    if (child == 0) _exit(prepared == 1 && in_parent == 0 && in_child == 1 ? 0 : 1);
    CHECK(ended(child) == 0 && prepared == 1 && in_parent == 1 && in_child == 0, "%d %d", prepared, in_parent);
}

// What two processes say to each other: pipes, a semaphore and a mutex in shared memory.
static void talk(void) {
    struct { sem_t asked, answered; pthread_mutex_t mutex; int question, answer, sum; } *shared = CALL(
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    CALL(sem_init(&shared->asked, 1, 0));
    CALL(sem_init(&shared->answered, 1, 0));
    pthread_mutexattr_t attributes;
    ZERO(pthread_mutexattr_init(&attributes));
    ZERO(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED));
    ZERO(pthread_mutex_init(&shared->mutex, &attributes));
    pid_t child = CALL(fork());
    for (int round = 0; round < 200; round++) {
        if (child == 0) {
            CALL(sem_wait(&shared->asked));
            shared->answer = shared->question * 2;
            CALL(sem_post(&shared->answered));
        } else {
            shared->question = round;
            CALL(sem_post(&shared->asked));
            CALL(sem_wait(&shared->answered));
            CHECK(shared->answer == round * 2, "%d", shared->answer);
        }
    }
    for (int round = 0; round < 1000; round++) {
        ZERO(pthread_mutex_lock(&shared->mutex));
        shared->sum++;
        ZERO(pthread_mutex_unlock(&shared->mutex));
    }
    if (child == 0) _exit(0);
    CHECK(ended(child) == 0 && shared->sum == 2000, "%d", shared->sum);
    CALL(munmap(shared, sizeof *shared));
}

static void many(void) {
    pid_t children[5];
    for (int round = 0; round < 2; round++) {
        for (int index = 0; index < 5; index++)
            if ((children[index] = CALL(fork())) == 0) _exit(index);
        for (int index = 0; index < 5; index++) CHECK(ended(children[index]) == index, "another status");
    }
}

// A copy that its maker does not wait for, and which outlives it.
static void left(void) {
    int ends[2], status;
    char text[16] = "";
    CALL(pipe(ends));
    pid_t child = CALL(fork());
    if (child == 0) {
        if (CALL(fork()) != 0) _exit(0);
        CALL(setsid());
        sleep_ms(50);
        char *allocated = malloc(1 << 20);
        strcpy(allocated + 1000, "still here");
        CHECK(write(ends[1], allocated + 1000, 11) == 11, "no reader");
        _exit(0);
    }
    CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0, "%x", status);
    CALL(close(ends[1]));
    CHECK(CALL(read(ends[0], text, sizeof text)) == 11 && strcmp(text, "still here") == 0, "%s", text);
    CALL(close(ends[0]));
}

// One that lives on when the program has ended: its reader gets the end of the output after it.
static void orphan(void) {
    puts("the program");
    fflush(stdout);
    if (CALL(fork()) != 0) _exit(0);
    sleep_ms(300);
    unsigned char *allocated = malloc(3 << 20);
    fill_pattern(allocated, 3 << 20, 9);
    check_pattern(allocated, 3 << 20, 9, "an orphan's memory");
    puts("ok");
    exit(0);
}

// What a copy sees of itself under /proc.
static void seen(void) {
    pid_t child = CALL(fork());
    if (child == 0) {
        char line[512], path[64];
        int threads = 0, found = 0;
        FILE *status = fopen("/proc/self/status", "r");
        while (fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &threads);
        fclose(status);
        CHECK(threads == 1, "%d threads", threads);
        unsigned char *own = malloc(3 << 20);
        FILE *maps = fopen("/proc/self/maps", "r");
        while (fgets(line, sizeof line, maps)) {
            unsigned long start, end;
            CHECK(sscanf(line, "%lx-%lx", &start, &end) == 2, "%s", line);
            found += start <= (unsigned long)own && (unsigned long)own < end;
        }
        fclose(maps);
        CHECK(found == 1, "what it allocated is %d times in its maps", found);
        snprintf(path, sizeof path, "/proc/%d/exe", getpid());
        CHECK(readlink(path, line, sizeof line) > 0 && strstr(line, "forks") != NULL, "%s", line);
        for (int descriptor = 3; descriptor < 4096; descriptor++) found += fcntl(descriptor, F_GETFD) >= 0;
        _exit(found - 1);
    }
    int open = 0;
    for (int descriptor = 3; descriptor < 4096; descriptor++) open += fcntl(descriptor, F_GETFD) >= 0;
    int of_copy = ended(child);
    CHECK(of_copy == open, "%d descriptors, not %d", of_copy, open);
}

// One of a process that has no number left for a descriptor. By the first thread, before there are others: while
// threads are made elsewhere a number is in use for a moment, which is no number of theirs.
static void exhausted(void) {
    if (gettid() != getpid()) return;
    struct rlimit before, few;
    CALL(getrlimit(RLIMIT_NOFILE, &before));
    int next = CALL(open("/dev/null", O_RDONLY));
    CALL(close(next));
    few = (struct rlimit){next + 20, before.rlim_max};
    CALL(setrlimit(RLIMIT_NOFILE, &few));
    int last = -1;
    for (int number; (number = open("/dev/null", O_RDONLY)) >= 0;) last = number;
    CHECK(errno == EMFILE && last == next + 19, "%d: %s", last, strerror(errno));
    pid_t child = CALL(fork());
    if (child == 0) {
        CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE, "a copy has a number left");
        CALL(close(last));
        _exit(open("/dev/null", O_RDONLY) == last ? 6 : 7);
    }
    CHECK(ended(child) == 6, "a copy has other numbers");
    CHECK(open("/dev/null", O_RDONLY) == -1 && errno == EMFILE, "there is a number left");
    for (int number = next; number <= last; number++) CALL(close(number));
    CALL(setrlimit(RLIMIT_NOFILE, &before));
}

int main(int count, char **arguments) {
    const struct part parts[] = {
        {"memory", memory, IN_TURN}, {"written", written, IN_TURN}, {"consistent", consistent, IN_TURN},
        {"process", process, IN_TURN}, {"signals", signals, IN_TURN}, {"handlers", handlers, IN_TURN},
        {"talk", talk, AT_ONCE}, {"many", many, AT_ONCE}, {"left", left, IN_TURN}, {"seen", seen, IN_TURN},
        {"orphan", orphan, IN_TURN}, {"exhausted", exhausted, IN_TURN},
    };
    return run_parts(parts, sizeof parts / sizeof *parts, count, arguments);
}
