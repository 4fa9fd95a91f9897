// What a program sees of where it runs, printed by a thread: arguments, environment, directory,
// standard streams, masks and limits.
#include "check.h"
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;
static int count;
static char **arguments;

static void *show(void *argument) {
    (void)argument;
    printf("%d arguments\n", count);
    for (int index = 1; index < count; index++) {
        printf("argument %d, %zu bytes:", index, strlen(arguments[index]));
        if (strlen(arguments[index]) < 100)
            for (char *byte = arguments[index]; *byte; byte++) printf(" %02x", (unsigned char)*byte);
        puts("");
    }
    for (char **variable = environ; *variable; variable++)
        if (strncmp(*variable, "SHOWN_", 6) == 0) puts(*variable);
    char directory[4096];
    CHECK(getcwd(directory, sizeof directory) != NULL, "%s", strerror(errno));
    struct stat here, named;
    CALL(stat(".", &here));
    CALL(stat(directory, &named));
    CHECK(here.st_ino == named.st_ino, "the directory is not where its name says");
    printf("directory ends in %s\n", strrchr(directory, '/'));
    for (int stream = 0; stream < 3; stream++) {
        struct stat status;
        CALL(fstat(stream, &status));
        printf("stream %d: type %o, terminal %d\n", stream, (status.st_mode & S_IFMT) >> 12, isatty(stream));
    }
    mode_t mask = umask(022);
    umask(mask);
    struct rlimit limit;
    CALL(getrlimit(RLIMIT_STACK, &limit));
    printf("mask %03o, user %d, stack limit %lu\n", mask, getuid(), (unsigned long)limit.rlim_cur);
    CALL(getrlimit(RLIMIT_NOFILE, &limit));
    printf("open files %lu\n", (unsigned long)limit.rlim_cur);
    printf("page size %lu, platform %s\n", getauxval(AT_PAGESZ), (const char *)getauxval(AT_PLATFORM));
    char link[4096] = "", numbered[64];
    snprintf(numbered, sizeof numbered, "/proc/%d/exe", getpid());
    const char *links[] = {"/proc/self/exe", "/proc/thread-self/exe", numbered};
    for (int index = 0; index < 3; index++) {
        ssize_t length = index == 1 ? readlinkat(AT_FDCWD, links[index], link, sizeof link - 1)
                                    : readlink(links[index], link, sizeof link - 1);
        CHECK(length > 0, "reading %s: %s", links[index], strerror(errno));
        link[length] = 0;
        printf("this program is %s\n", link);
    }
    printf("its first letters are %zd\n", readlink(links[0], link, 5));
    CHECK(readlink(links[0], link, 0) == -1 && errno == EINVAL, "a link into no buffer");
    CHECK(syscall(SYS_readlink, links[0], 8, 100) == -1 && errno == EFAULT, "a link into a bad buffer");
    CHECK(readlink("/proc/self/cwd", link, sizeof link) > 0, "another link");
    CHECK(readlink("/proc/self/nothing", link, sizeof link) == -1 && errno == ENOENT, "no such link");
    // Only the standard streams are open, as far as the program can tell.
    int extra = dup(0);
    printf("the next free descriptor is %d\n", extra);
    close(extra);
    return NULL;
}

int main(int argument_count, char **argument_values) {
    count = argument_count;
    arguments = argument_values;
    run_threads(1, show);
    show(NULL);
    return finish();
}
