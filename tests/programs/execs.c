// Another program in the place of this one: execs WHAT. It executes itself, and looks at what exec keeps.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

extern char **environ;

static char number[16], kept[16], closed[16], left[16];

// Descriptors that exec leaves open.
static int left_open(void) {
    int found = 0;
    for (int descriptor = 3; descriptor < 4096; descriptor++) found += fcntl(descriptor, F_GETFD) == 0;
    return found;
}

static void nothing(int signal) {
    (void)signal;
}

// Executes this program as `stage`, with everything that exec keeps or changes set.
static void again(char *stage) {
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigset_t blocked;
    CALL(sigaction(SIGUSR2, &action, NULL));
    action.sa_handler = nothing;
    CALL(sigaction(SIGUSR1, &action, NULL));
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    ZERO(pthread_sigmask(SIG_SETMASK, &blocked, NULL));
    int open_after = CALL(open("/dev/null", O_RDONLY)), closed_after = CALL(open("/dev/null", O_RDONLY | O_CLOEXEC));
    snprintf(kept, sizeof kept, "%d", open_after);
    snprintf(closed, sizeof closed, "%d", closed_after);
    snprintf(left, sizeof left, "%d", left_open());
    snprintf(number, sizeof number, "%d", getpid());
    umask(027);
    char path[4096];
    ssize_t length = CALL(readlink("/proc/self/exe", path, sizeof path - 1));
    path[length] = 0;
    char *arguments[] = {"-another name", stage, number, kept, closed, left, "", "last one", NULL};
    char *environment[] = {"ONE=1", "EMPTY=", NULL};
    execve(path, arguments, environment);
    CHECK(0, "%s: %s", path, strerror(errno));
}

// In the program that was executed.
static void look(int count, char **arguments) {
    struct sigaction action;
    sigset_t blocked;
    CHECK(count == 8 && strcmp(arguments[0], "-another name") == 0, "%d: %s", count, arguments[0]);
    CHECK(arguments[6][0] == 0 && strcmp(arguments[7], "last one") == 0, "%s", arguments[7]);
    CHECK(atoi(arguments[2]) == getpid(), "another process");
    CHECK(strcmp(environ[0], "ONE=1") == 0 && strcmp(environ[1], "EMPTY=") == 0 && environ[2] == NULL, "%s", environ[0]);
    CHECK(fcntl(atoi(arguments[3]), F_GETFD) == 0, "%s is closed", arguments[3]);
    CHECK(fcntl(atoi(arguments[4]), F_GETFD) == -1 && errno == EBADF, "%s is open", arguments[4]);
    CHECK(left_open() == atoi(arguments[5]), "%d are open, not %s", left_open(), arguments[5]);
    // What it starts finds no more than the standard ones, those, and the listing's.
    int listed = 0;
    FILE *list = popen("/bin/ls /proc/self/fd | /usr/bin/wc -l", "r");
    CHECK(list != NULL && fscanf(list, "%d", &listed) == 1 && pclose(list) == 0, "no list");
    CHECK(listed == left_open() + 4, "%d are open in a child, not %d", listed, left_open() + 4);
    CALL(sigaction(SIGUSR2, NULL, &action));
    CHECK(action.sa_handler == SIG_IGN, "SIGUSR2 is not ignored");
    CALL(sigaction(SIGUSR1, NULL, &action));
    CHECK(action.sa_handler == SIG_DFL, "SIGUSR1 is caught");
    ZERO(pthread_sigmask(SIG_SETMASK, NULL, &blocked));
    CHECK(sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGINT) == 0, "another mask");
    CHECK(umask(0) == 027, "another mask of files");
}

static void *idle(void *argument) {
    (void)argument;
    for (;;) pause();
    return NULL;
}

static void *execute(void *argument) {
    again(argument);
    return NULL;
}

static pthread_barrier_t together;

static void *wait_for_all(void *argument) {
    (void)argument;
    pthread_barrier_wait(&together);
    return NULL;
}

static char *file(char *name, const char *contents, size_t length) {
    int made = CALL(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
    CHECK(CALL(write(made, contents, length)) == (ssize_t)length, "short");
    CALL(close(made));
    return name;
}

// The kernel finds out late that these cannot be executed, when all is prepared. Nothing of that stays open.
static void refused_late(void) {
    static char much[3 << 20];
    char *plain[] = {"x", NULL}, **volatile nowhere = (char **)8, *too_long[] = {"x", much, NULL}, *bad_word[] = {"x", (char *)8, NULL}, self[4096];
    ssize_t length = CALL(readlink("/proc/self/exe", self, sizeof self - 1));
    self[length] = 0;
    memset(much, 'x', sizeof much - 1);
    int before = left_open();
    for (int times = 0; times < 20; times++) {
        CHECK(execve(self, too_long, environ) == -1 && errno == E2BIG, "%s", strerror(errno));
        CHECK(execve(self, bad_word, environ) == -1 && errno == EFAULT, "%s", strerror(errno));
        CHECK(execve(self, plain, nowhere) == -1 && errno == EFAULT, "%s", strerror(errno));
        CHECK(execve("no interpreter", plain, environ) == -1 && errno == ENOENT, "%s", strerror(errno));
        CHECK(execve("text as interpreter", plain, environ) == -1 && errno == EACCES, "%s", strerror(errno));
        CHECK(execve("half a program", plain, environ) == -1 && errno == ENOEXEC, "%s", strerror(errno));
        int written = CALL(open("written", O_WRONLY | O_CLOEXEC));
        CHECK(execve("written", plain, environ) == -1 && errno == ETXTBSY, "%s", strerror(errno));
        CALL(close(written));
    }
    CHECK(left_open() == before, "%d are open, %d were", left_open(), before);
}

static void *refused(void *argument) {
    char *arguments[] = {"x", NULL};
    (void)argument;
    CHECK(execve("/nothing/here", arguments, environ) == -1 && errno == ENOENT, "%s", strerror(errno));
    CHECK(execve("/etc/passwd", arguments, environ) == -1 && errno == EACCES, "%s", strerror(errno));
    CHECK(execve("/", arguments, environ) == -1 && errno == EACCES, "%s", strerror(errno));
    CHECK(execve("text", arguments, environ) == -1 && errno == ENOEXEC, "%s", strerror(errno));
    char *volatile nowhere = (char *)8;
    CHECK(execve(nowhere, arguments, environ) == -1 && errno == EFAULT, "%s", strerror(errno));
    return NULL;
}

static void *refused_late_there(void *argument) {
    refused_late();
    return argument;
}

// One thread at a time: each counts what is open in the process.
static void run_in_turn(void) {
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        ZERO(pthread_create(&thread, NULL, refused_late_there, NULL));
        ZERO(pthread_join(thread, NULL));
    }
}

// The kernel makes no thread while another one executes.
static void *refused_together(void *argument) {
    pthread_barrier_wait(&together);
    return refused(argument);
}

int main(int count, char **arguments) {
    pthread_t thread;
    CHECK(count > 1, "usage: execs WHAT");
    // What is executed gets these words, which a command of Banyan's would take for its own.
    if (strcmp(arguments[1], "alone") == 0) again("--help");
    if (strcmp(arguments[1], "threads") == 0) {
        // All but the one that executes end.
        for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&thread, NULL, idle, NULL));
        again("--");
    }
    if (strcmp(arguments[1], "elsewhere") == 0) {
        for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&thread, NULL, idle, NULL));
        ZERO(pthread_create(&thread, NULL, execute, "--"));
        pause();
    }
    if (strcmp(arguments[1], "often") == 0) {
        int left = count > 2 ? atoi(arguments[2]) : 12;
        char text[16], path[4096];
        snprintf(text, sizeof text, "%d", left - 1);
        ssize_t length = CALL(readlink("/proc/self/exe", path, sizeof path - 1));
        path[length] = 0;
        char *once_more[] = {"execs", "often", text, NULL};
        if (left > 0) execve(path, once_more, environ);
        CHECK(left == 0, "%s", strerror(errno));
    }
    if (strcmp(arguments[1], "refused") == 0) {
        static const char none[] = "#!/nothing/here\n", other[] = "#!/etc/passwd\n", half[] = "\177ELF\2\1\1";
        file("text", "no program\n", 11);
        file("no interpreter", none, sizeof none - 1);
        file("text as interpreter", other, sizeof other - 1);
        file("half a program", half, sizeof half);
        file("written", none, sizeof none - 1);
        refused(NULL);
        refused_late();
        run_in_turn();
        ZERO(pthread_barrier_init(&together, NULL, THREADS));
        run_threads(THREADS, refused_together);
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "--") == 0) look(count, arguments);
    ZERO(pthread_barrier_init(&together, NULL, THREADS));
    run_threads(THREADS, wait_for_all);
    return finish();
}
