// Programs executed by a descriptor: executed_files STAGE OPEN. Each stage executes this program in another way, with the
// number of descriptors that are to be open then.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

static char self[4096], *name, stage[16], open_then[16];

static int count_open(void) {
    int found = 0;
    for (int descriptor = 3; descriptor < 1024; descriptor++) found += fcntl(descriptor, F_GETFD) == 0;
    return found;
}

static long by(int directory, const char *path, int flags) {
    char *arguments[] = {"by a descriptor", stage, open_then, NULL};
    return syscall(SYS_execveat, directory, path, arguments, environ, flags);
}

static void next(int now, int open_more) {
    snprintf(stage, sizeof stage, "%d", now + 1);
    snprintf(open_then, sizeof open_then, "%d", count_open() + open_more);
}

// A file whose name is gone, with the contents of this program.
static int without_a_name(void) {
    static char bytes[1 << 16];
    int from = CALL(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), to = CALL(memfd_create("copy", MFD_CLOEXEC));
    for (ssize_t length; (length = CALL(read(from, bytes, sizeof bytes))) > 0;)
        CHECK(CALL(write(to, bytes, (size_t)length)) == length, "short");
    CALL(close(from));
    return to;
}

static int script(int flags) {
    char line[4200];
    int length = snprintf(line, sizeof line, "#!%s script\n", self);
    int to = CALL(open("script", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
    CHECK(CALL(write(to, line, (size_t)length)) == length, "short");
    CALL(close(to));
    return CALL(open("script", O_RDONLY | flags));
}

static void refused(void) {
    int root = CALL(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), text = CALL(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
    CHECK(by(-7, "", AT_EMPTY_PATH) == -1 && errno == EBADF, "%s", strerror(errno));
    CHECK(by(root, "", 0) == -1 && errno == ENOENT, "%s", strerror(errno));
    CHECK(by(root, "", AT_EMPTY_PATH) == -1 && errno == EACCES, "%s", strerror(errno));
    CHECK(by(AT_FDCWD, "", AT_EMPTY_PATH) == -1 && errno == EACCES, "%s", strerror(errno));
    CHECK(by(root, "nothing here", 0) == -1 && errno == ENOENT, "%s", strerror(errno));
    CHECK(by(text, "", AT_EMPTY_PATH) == -1 && errno == EACCES, "%s", strerror(errno));
    CHECK(by(text, "relative", 0) == -1 && errno == ENOTDIR, "%s", strerror(errno));
    CHECK(by(root, self + 1, 1) == -1 && errno == EINVAL, "%s", strerror(errno));
    CALL(symlink(self, "link"));
    CHECK(by(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW) == -1 && errno == ELOOP, "%s", strerror(errno));
    CALL(unlink("link"));
    int closed = script(O_CLOEXEC);
    CHECK(by(closed, "", AT_EMPTY_PATH) == -1 && errno == ENOENT, "%s", strerror(errno));
    CALL(close(closed));
    int plain = CALL(open("plain", O_RDWR | O_CREAT | O_CLOEXEC, 0755));
    CHECK(CALL(write(plain, "no program", 10)) == 10, "short");
    CHECK(by(plain, "", AT_EMPTY_PATH) == -1, "no program was executed");
    CALL(close(plain));
    CALL(close(root));
    CALL(close(text));
}

static void *execute(void *argument) {
    by((int)(intptr_t)argument, "", AT_EMPTY_PATH);
    CHECK(0, "%s", strerror(errno));
    return NULL;
}

static void *idle(void *argument) {
    for (;;) pause();
    return argument;
}

int main(int count, char **arguments) {
    int now = count > 1 ? atoi(arguments[1]) : 0, file;
    ssize_t length = CALL(readlink("/proc/self/exe", self, sizeof self - 1));
    self[length] = 0;
    if (count > 1 && strcmp(arguments[1], "script") == 0) {
        // By its interpreter, which finds it by the descriptor.
        CHECK(count == 5 && strncmp(arguments[2], "/dev/fd/", 8) == 0, "%d words: %s", count, arguments[2]);
        char line[16] = {0};
        file = CALL(open(arguments[2], O_RDONLY | O_CLOEXEC));
        CHECK(CALL(read(file, line, 2)) == 2 && strcmp(line, "#!") == 0, "another file: %s", line);
        CALL(close(file));
        CALL(close(atoi(arguments[2] + 8)));
        arguments += 2;
        now = atoi(arguments[1]);
    } else if (now > 0) {
        CHECK(count == 3 && strcmp(arguments[0], "by a descriptor") == 0, "%d words: %s", count, arguments[0]);
    }
    if (now > 0) CHECK(count_open() == atoi(arguments[2]), "stage %d: %d are open, not %s", now, count_open(), arguments[2]);
    printf("stage %d\n", now);
    fflush(stdout);
    name = strrchr(self, '/') + 1;
    pthread_t thread;
    switch (now) {
    case 0:
        refused();
        next(now, 0);
        file = CALL(open(self, O_RDONLY | O_CLOEXEC));
        char *words[] = {"by a descriptor", stage, open_then, NULL};
        fexecve(file, words, environ);
        break;
    case 1: {
        next(now, 0);
        char directory[4096];
        snprintf(directory, sizeof directory, "%.*s", (int)(name - self), self);
        by(CALL(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)), name, 0);
        break;
    }
    case 2:
        next(now, 1);
        by(CALL(open(self, O_PATH)), "", AT_EMPTY_PATH);
        break;
    case 3:
        CALL(close(3));
        next(now, 0);
        by(AT_FDCWD, self, AT_SYMLINK_NOFOLLOW);
        break;
    case 4:
        next(now, 0);
        file = CALL(open(self, O_RDONLY | O_CLOEXEC));
        for (int i = 0; i < THREADS; i++) ZERO(pthread_create(&thread, NULL, idle, NULL));
        ZERO(pthread_create(&thread, NULL, execute, (void *)(intptr_t)file));
        pause();
        break;
    case 5:
        next(now, 0);
        file = script(0);
        snprintf(open_then, sizeof open_then, "%d", count_open() - 1);
        by(file, "", AT_EMPTY_PATH);
        break;
    case 6:
        next(now, 0);
        by(without_a_name(), "", AT_EMPTY_PATH);
        break;
    default:
        CHECK(strcmp(self, "/memfd:copy (deleted)") == 0, "executed is %s", self);
        file = CALL(open("/proc/self/exe", O_RDONLY));
        CHECK(CALL(read(file, stage, 4)) == 4 && memcmp(stage, "\177ELF", 4) == 0, "no program");
        return finish();
    }
    CHECK(0, "stage %d: %s", now, strerror(errno));
    return 1;
}
