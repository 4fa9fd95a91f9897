// Reads and writes whose buffers are only in part the program's: the kernel does the part that it can.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { PAGE = 4096 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void fails(ssize_t result, const char *what) {
    CHECK(result == -1 && errno == EFAULT, "%s: %zd, %s", what, result, strerror(errno));
}

// `area` has two pages, and none after them.
static void partly(unsigned char *area) {
    int ends[2];
    unsigned char back[3 * PAGE];
    CALL(pipe(ends));
    CHECK(write(ends[1], area, 3 * PAGE) == 2 * PAGE, "a write gives the part that there is");
    CHECK(read(ends[0], back, sizeof back) == 2 * PAGE, "and that is all");
    check_pattern(back, 2 * PAGE, 5, "what was written");
    fails(write(ends[1], area + 2 * PAGE, 10), "a write of nothing of ours");
    CALL(write(ends[1], back, 2 * PAGE));
    ssize_t part = read(ends[0], area + PAGE, 2 * PAGE);
    CHECK(part == PAGE, "a read fills the part that there is: %zd", part);
    check_pattern(area, PAGE, 5, "what is before it");
    CHECK(memcmp(area + PAGE, back, PAGE) == 0, "what was read");
    fails(read(ends[0], area + 2 * PAGE, 10), "a read into nothing of ours");
    CHECK(read(ends[0], back, PAGE) == PAGE, "what could not be delivered is still there");
    CALL(close(ends[0]));
    CALL(close(ends[1]));

    int file = CALL(open("partial", O_RDWR | O_CREAT | O_TRUNC, 0600));
    CHECK(write(file, area, 3 * PAGE) == 2 * PAGE, "a file gets the part that there is");
    CHECK(lseek(file, 0, SEEK_CUR) == 2 * PAGE, "and stands after it");
    CHECK(pread(file, area + PAGE, 2 * PAGE, 0) == PAGE, "a file gives the part that there is room for");
    CALL(mprotect(area + PAGE, PAGE, PROT_READ));
    CHECK(pread(file, area, 2 * PAGE, 0) == PAGE, "memory that cannot be written is no room");
    CALL(mprotect(area + PAGE, PAGE, PROT_READ | PROT_WRITE));
    CALL(close(file));
    CALL(unlink("partial"));
    CHECK(open((char *)area + 2 * PAGE, O_RDONLY) == -1 && errno == EFAULT, "a path that is nowhere");
    CHECK(write(-1, area + 2 * PAGE, 10) == -1 && errno == EBADF, "a bad descriptor comes first");
}

static void *use(void *argument) {
    (void)argument;
    ZERO(pthread_mutex_lock(&turn));
    unsigned char *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(area != MAP_FAILED, "%s", strerror(errno));
    CALL(munmap(area + 2 * PAGE, PAGE));
    fill_pattern(area, 2 * PAGE, 5);
    partly(area);
    CALL(munmap(area, 4 * PAGE));
    ZERO(pthread_mutex_unlock(&turn));
    return NULL;
}

int main(void) {
    use(NULL);
    run_threads(THREADS, use);
    return finish();
}
