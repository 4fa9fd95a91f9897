// A private mapping past the end of its file: SIGBUS beyond the file's last page, on every thread; what the file gets
// when it grows; private writes, discarding, new rights and remapping over both parts. And one that is larger than any
// memory, of a file that is nearly all hole.
#include "past_end.h"
#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 4, LENGTH = PAGE + 100 };

static unsigned char *map;
static pthread_barrier_t barrier;

static void *touch(void *argument) {
    int self = (int)(intptr_t)argument;
    check_pattern(map, LENGTH, 3, "the file");
    check_zero(map + LENGTH, 2 * PAGE - LENGTH, "the rest of its last page");
    for (int round = 0; round < 3; round++)
        for (int page = 2; page < PAGES; page++)
            for (int writes = 0; writes < 2; writes++)
                CHECK(ends(map + page * PAGE + 8 * self, writes), "page %d is there", page);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void *use_grown(void *argument) {
    int self = (int)(intptr_t)argument;
    CHECK(map[2 * PAGE] == 'c' && map[3 * PAGE] == 'd', "%d and %d", map[2 * PAGE], map[3 * PAGE]);
    pthread_barrier_wait(&barrier);
    map[2 * PAGE + 100 + self] = (unsigned char)(10 + self);
    map[PAGE + 100 + self] = (unsigned char)(20 + self);
    pthread_barrier_wait(&barrier);
    for (int other = 0; other < THREADS; other++)
        CHECK(map[2 * PAGE + 100 + other] == 10 + other && map[PAGE + 100 + other] == 20 + other, "of thread %d", other);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void larger_than_memory(void) {
    const off_t large = (off_t)1 << 36;
    int file = CALL(open("large", O_RDWR | O_CREAT | O_TRUNC, 0600));
    CALL(unlink("large"));
    CALL(ftruncate(file, large));
    CHECK(pwrite(file, "end", 3, large - 3) == 3, "%s", strerror(errno));
    unsigned char *all = mmap(NULL, large, PROT_READ, MAP_PRIVATE, file, 0);
    CHECK(all != MAP_FAILED, "%s", strerror(errno));
    CHECK(memcmp(all + large - 3, "end", 3) == 0 && all[large / 2] == 0, "its end");
    CALL(munmap(all, large));
    CALL(close(file));
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    CALL(sigaction(SIGBUS, &action, NULL));
    unsigned char contents[LENGTH], there[PAGE];
    fill_pattern(contents, LENGTH, 3);
    int file = CALL(open("short", O_RDWR | O_CREAT | O_TRUNC, 0600));
    CHECK(write(file, contents, LENGTH) == LENGTH, "%s", strerror(errno));
    map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(map != MAP_FAILED, "%s", strerror(errno));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, touch);
    CHECK(ends(map + 2 * PAGE, 0) && !ends(map, 1) && *map == 1, "the first thread");
    CHECK(pwrite(file, map + 2 * PAGE, 1, 0) == -1 && errno == EFAULT, "a call that reads there: %s", strerror(errno));
    CALL(ftruncate(file, PAGES * PAGE));
    CHECK(pwrite(file, "c", 1, 2 * PAGE) == 1 && pwrite(file, "d", 1, 3 * PAGE) == 1, "%s", strerror(errno));
    run_threads(THREADS, use_grown);
    CHECK(pread(file, there, PAGE, 2 * PAGE) == PAGE && there[0] == 'c' && there[100] == 0, "the file has private writes");
    CALL(mprotect(map, PAGES * PAGE, PROT_READ));
    CALL(mprotect(map, PAGES * PAGE, PROT_READ | PROT_WRITE));
    CALL(madvise(map, PAGES * PAGE, MADV_DONTNEED));
    CHECK(map[2 * PAGE] == 'c' && map[2 * PAGE + 100] == 0, "after it was discarded");
    CHECK(map[PAGE + 100] == 0 && map[5] == contents[5], "and before the end");
    unsigned char *moved = mremap(map, PAGES * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED, "%s", strerror(errno));
    CHECK(moved[5] == contents[5] && moved[2 * PAGE] == 'c', "after it was moved");
    CALL(munmap(moved, 8 * PAGE));
    CHECK(lseek(file, 0, SEEK_CUR) == LENGTH, "the place in the file has moved");
    CALL(close(file));
    // A mapping that begins where nothing is, and one in place of others.
    file = CALL(open("short", O_RDONLY));
    unsigned char *behind = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 16 * PAGE);
    CHECK(behind != MAP_FAILED, "%s", strerror(errno));
    CHECK(ends(behind, 0), "there is something behind the end");
    unsigned char *anonymous = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(anonymous != MAP_FAILED, "%s", strerror(errno));
    memset(anonymous, 7, 8 * PAGE);
    unsigned char *over = mmap(anonymous, 6 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0);
    CHECK(over == anonymous, "%s", strerror(errno));
    CHECK(over[3 * PAGE] == 'd' && ends(over + 4 * PAGE, 0) && over[6 * PAGE] == 7, "in place of others");
    over = mmap(over + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(over != MAP_FAILED && *over == 0 && ends(over + PAGE, 0) && over[2 * PAGE] == 7, "in place of the end");
    larger_than_memory();
    return finish();
}
