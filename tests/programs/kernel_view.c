// What the kernel says of the program under /proc: kernel_view vector|mappings|listings|files.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/syscall.h>

// The auxiliary vector is the program's own.
static void *vector(void *argument) {
    unsigned long words[128];
    (void)argument;
    int file = CALL(open("/proc/self/auxv", O_RDONLY));
    ssize_t length = CALL(read(file, words, sizeof words));
    CALL(close(file));
    int found = 0;
    for (int at = 0; at + 1 < length / 8 && words[at] != AT_NULL; at += 2, found++)
        // The C library changes what it tells of the processor.
        CHECK(words[at] == AT_HWCAP || words[at + 1] == getauxval(words[at]), "%lu is %lx", words[at], words[at + 1]);
    CHECK(found > 10 && getauxval(AT_ENTRY) != 0, "%d found", found);
    return NULL;
}

// Which mapping, by the kernel's name for it, has this address.
static int is_in(const void *address, const char *name) {
    char line[4400];
    int found = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file != NULL, "no mappings");
    while (fgets(line, sizeof line, file)) {
        unsigned long start, end;
        CHECK(sscanf(line, "%lx-%lx", &start, &end) == 2, "%s", line);
        if (start <= (uintptr_t)address && (uintptr_t)address < end) found = strstr(line, name) != NULL;
    }
    fclose(file);
    return found;
}

// Every mapping is private, as nothing here is shared, and code, data and stack have their files' names.
static void *names(void *argument) {
    int on_stack;
    (void)argument;
    CHECK(is_in(names, "/kernel_view"), "the program's code has another name");
    CHECK(is_in("constant", "/kernel_view"), "the program's data have another name");
    CHECK(is_in((void *)puts, "libc"), "the library's code has another name");
    CHECK(is_in((void *)getauxval(AT_BASE), "ld-linux"), "the dynamic linker has another name");
    CHECK(is_in((void *)getauxval(AT_EXECFN), "[stack]"), "the first stack has another name");
    CHECK(getpid() != gettid() || is_in(&on_stack, "[stack]"), "the stack has another name");
    CHECK(!is_in(is_in, " rw-p ") && is_in(is_in, " r-xp "), "code has other rights");
    CHECK(is_in(environ, " rw-p ") && is_in(&on_stack, " rw-p "), "the stack has other rights");
    return NULL;
}

static void mappings(void) {
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    ZERO(pthread_getattr_np(pthread_self(), &attributes));
    ZERO(pthread_attr_getstack(&attributes, &stack, &size));
    CHECK((char *)&size > (char *)stack && (char *)&size < (char *)stack + size, "the stack is elsewhere");
    names(NULL);
    run_threads(THREADS, names);
    char *first = sbrk(1 << 20), *allocated = malloc(100);
    CHECK(first != (void *)-1 && allocated != NULL, "no memory");
    CHECK(is_in(first, "[heap]") && is_in(allocated, "[heap]"), "the heap has another name");
    CHECK(!is_in(mappings, "[heap]"), "code has the heap's name");
    free(allocated);
}

static int is_open(long descriptor) {
    return fcntl((int)descriptor, F_GETFD) != -1;
}

// How many names that are numbers a directory has. Each must be right.
static int numbers_in(const char *path, int (*is_right)(long)) {
    int found = 0, directory = CALL(open(path, O_RDONLY | O_DIRECTORY));
    char entries[128];
    long length;
    // A small buffer, so that parts of a listing are of hidden names only.
    while ((length = CALL(syscall(SYS_getdents64, directory, entries, sizeof entries))) > 0) {
        for (long at = 0; at < length; at += *(unsigned short *)(entries + at + 16)) {
            const char *name = entries + at + 19;
            if (name[0] == '.') continue;
            CHECK(is_right(atol(name)), "%s is in %s", name, path);
            found++;
        }
    }
    CALL(close(directory));
    return found;
}

// What is listed is open, and what is open is listed; the listing's own descriptor too.
static void descriptors(void) {
    const char *paths[] = {"/proc/self/fd", "/proc/self/fdinfo", "/proc/thread-self/fd"};
    int open_now = 1;
    for (long descriptor = 0; descriptor < 1024; descriptor++) open_now += is_open(descriptor);
    for (int index = 0; index < 3; index++) {
        int found = numbers_in(paths[index], is_open);
        CHECK(found == open_now, "%d of %d descriptors in %s", found, open_now, paths[index]);
    }
}

static long threads[THREADS + 1];

static int is_ours(long thread) {
    for (int index = 0; index <= THREADS; index++)
        if (threads[index] == thread) return 1;
    return 0;
}

static pthread_barrier_t together;
static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;
static atomic_int listed;

static void *list(void *argument) {
    (void)argument;
    threads[++listed] = gettid();
    pthread_barrier_wait(&together);
    int found = numbers_in("/proc/self/task", is_ours);
    CHECK(found == THREADS + 1, "%d threads", found);
    pthread_barrier_wait(&together);
    ZERO(pthread_mutex_lock(&alone));
    descriptors();
    ZERO(pthread_mutex_unlock(&alone));
    return NULL;
}

static void read_all(const char *path, char *text, size_t room) {
    int file = CALL(open(path, O_RDONLY | O_CLOEXEC));
    CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC && (fcntl(file, F_GETFL) & O_ACCMODE) == O_RDONLY, "%s", path);
    ssize_t length = CALL(read(file, text, room - 1));
    CALL(close(file));
    text[length] = 0;
}

// A number of the status.
static long number_of(const char *path, const char *name) {
    char text[8192];
    read_all(path, text, sizeof text);
    const char *line = strstr(text, name);
    CHECK(line != NULL, "no %s in %s", name, path);
    return atol(line + strlen(name));
}

// A field of the stat: proc_pid_stat(5).
static long field_of(const char *path, int number) {
    char text[2048];
    read_all(path, text, sizeof text);
    const char *at = strrchr(text, ')');
    CHECK(at != NULL && text[strlen(text) - 1] == '\n', "%s", text);
    for (int field = 2; field < number; field++) at = strchr(at + 1, ' ');
    return atol(at + 1);
}

static void *files(void *argument) {
    char path[64];
    int self = (int)(intptr_t)argument;
    struct timespec used;
    volatile long sum = 0;
    do {
        for (int i = 0; i < 1000000; i++) sum += i;
        CALL(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used));
    } while (used.tv_nsec < 120000000 && used.tv_sec == 0);
    threads[self] = gettid();
    pthread_barrier_wait(&together);
    for (int turn = 0; turn < THREADS; turn++, pthread_barrier_wait(&together)) {
        if (turn != self) continue;
        const char *paths[] = {"/proc/self/status", "/proc/thread-self/status"};
        for (int index = 0; index < 2; index++)
            CHECK(number_of(paths[index], "Threads:") == THREADS + 1, "%ld threads", number_of(paths[index], "Threads:"));
        CHECK(number_of("/proc/thread-self/status", "\nPid:") == gettid(), "another thread's");
        CHECK(field_of("/proc/self/stat", 20) == THREADS + 1, "%ld threads", field_of("/proc/self/stat", 20));
        CHECK(field_of("/proc/thread-self/stat", 1 + 3) == getppid(), "another parent");
        long all = field_of("/proc/self/stat", 14) + field_of("/proc/self/stat", 15);
        CHECK(all >= THREADS * 11, "the process used %ld ticks", all);
        for (int other = 0; other < THREADS; other++) {
            snprintf(path, sizeof path, "/proc/%d/task/%ld/stat", getpid(), threads[other]);
            long ticks = field_of(path, 14) + field_of(path, 15);
            CHECK(ticks >= 11, "thread %d used %ld ticks", other, ticks);
        }
    }
    return NULL;
}

// The file of the process is the program's, whatever it was called as.
static void *executable(void *argument) {
    char name[4096], bytes[64], same[64];
    ssize_t length = CALL(readlink("/proc/self/exe", name, sizeof name - 1));
    (void)argument;
    name[length] = 0;
    int own = CALL(open("/proc/self/exe", O_RDONLY)), file = CALL(open(name, O_RDONLY));
    CHECK(fcntl(own, F_GETFD) == 0, "closed at exec");
    CHECK(CALL(pread(own, bytes, sizeof bytes, 4096)) == CALL(pread(file, same, sizeof same, 4096)), "another length");
    CHECK(memcmp(bytes, same, sizeof bytes) == 0 && lseek(own, 0, SEEK_END) == lseek(file, 0, SEEK_END), "another file");
    CALL(close(own));
    CALL(close(file));
    struct stat by_link, by_name;
    CALL(stat(name, &by_name));
    // Only a privileged user's process can be another file's; that its link says so is for all.
    if (geteuid() == 0) {
        CALL(stat("/proc/self/exe", &by_link));
        CHECK(by_link.st_dev == by_name.st_dev && by_link.st_ino == by_name.st_ino, "another file");
    }
    CHECK(open("/proc/self/exe", O_WRONLY) == -1, "opened for writing");
    CHECK(open("/proc/self/task/1/stat", O_RDONLY) == -1 && errno == ENOENT, "%s", strerror(errno));
    return NULL;
}

// Arguments and environment as they were.
static void words(char **arguments) {
    char text[4096];
    int file = CALL(open("/proc/self/cmdline", O_RDONLY));
    ssize_t length = CALL(read(file, text, sizeof text));
    CALL(close(file));
    size_t first = strlen(arguments[0]) + 1, second = strlen(arguments[1]) + 1;
    CHECK((size_t)length == first + second && strcmp(text + first, arguments[1]) == 0, "%zd bytes", length);
    file = CALL(open("/proc/self/environ", O_RDONLY));
    length = CALL(read(file, text, sizeof text - 1));
    CALL(close(file));
    CHECK(length > 0 && memchr(text, '=', length) != NULL, "no environment");
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: kernel_view WHAT");
    words(arguments);
    if (strcmp(arguments[1], "vector") == 0) {
        vector(NULL);
        run_threads(THREADS, vector);
    } else if (strcmp(arguments[1], "mappings") == 0) {
        mappings();
    } else if (strcmp(arguments[1], "listings") == 0) {
        descriptors();
        threads[0] = getpid();
        ZERO(pthread_barrier_init(&together, NULL, THREADS));
        run_threads(THREADS, list);
    } else if (strcmp(arguments[1], "files") == 0) {
        executable(NULL);
        run_threads(THREADS, executable);
        ZERO(pthread_barrier_init(&together, NULL, THREADS));
        run_threads(THREADS, files);
    } else {
        CHECK(0, "unknown: %s", arguments[1]);
    }
    return finish();
}
