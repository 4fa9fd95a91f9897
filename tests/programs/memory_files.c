// File mappings: a private one shows the file, its writes stay in the process and are seen by all
// threads; a shared one that is read only shows the file; offsets and the zero tail are right.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096
#define LENGTH (50 * PAGE + 1000)
#define MAPPED (51 * PAGE)

static unsigned char *private_map, *shared_map, *offset_map;
static pthread_barrier_t barrier;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    check_pattern(private_map, LENGTH, 5, "the private mapping");
    check_zero(private_map + LENGTH, MAPPED - LENGTH, "the tail of the last page");
    check_pattern(shared_map, LENGTH, 5, "the shared mapping");
    for (int index = 0; index < PAGE; index++)
        CHECK(offset_map[index] == shared_map[7 * PAGE + index], "byte %d at an offset", index);
    pthread_barrier_wait(&barrier);
    for (int page = self; page < 50; page += THREADS) private_map[page * PAGE + 100] = (unsigned char)(200 + self);
    pthread_barrier_wait(&barrier);
    for (int page = 0; page < 50; page++) {
        CHECK(private_map[page * PAGE + 100] == 200 + page % THREADS, "page %d shows %d", page, private_map[page * PAGE + 100]);
        CHECK(private_map[page * PAGE + 99] == shared_map[page * PAGE + 99], "page %d lost its file's bytes", page);
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    static unsigned char contents[LENGTH], again[LENGTH];
    fill_pattern(contents, LENGTH, 5);
    int file = CALL(open("mapped.data", O_RDWR | O_CREAT | O_TRUNC, 0644));
    CHECK(write(file, contents, LENGTH) == LENGTH, "write: %s", strerror(errno));
    private_map = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(private_map != MAP_FAILED, "%s", strerror(errno));
    int reader = CALL(open("mapped.data", O_RDONLY));
    shared_map = mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, reader, 0);
    CHECK(shared_map != MAP_FAILED, "%s", strerror(errno));
    offset_map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, reader, 7 * PAGE);
    CHECK(offset_map != MAP_FAILED, "%s", strerror(errno));
    CALL(close(reader));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, use);
    CHECK(pread(file, again, LENGTH, 0) == LENGTH, "pread: %s", strerror(errno));
    check_pattern(again, LENGTH, 5, "the file after private writes");
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 9999, 0) == MAP_FAILED && errno == EBADF, "no such file descriptor");
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 100) == MAP_FAILED && errno == EINVAL, "an unaligned offset");
    CALL(munmap(private_map, LENGTH));
    CALL(munmap(shared_map, LENGTH));
    CALL(close(file));
    return finish();
}
