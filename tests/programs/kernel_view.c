// What the kernel says of the program under /proc: kernel_view vector|mappings|listings.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/auxv.h>
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

static void mappings(void) {
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
    } else {
        CHECK(0, "unknown: %s", arguments[1]);
    }
    return finish();
}
