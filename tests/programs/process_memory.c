// Memory read by process_vm_readv: the program's own, wherever its newest bytes are, and that of a copy of it.
#include "check.h"
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGES 24
#define PAGE 4096

static unsigned char *memory;
static pthread_barrier_t barrier;

static ssize_t read_from(pid_t process, void *to, const void *from, size_t length) {
    struct iovec local = {to, length}, remote = {(void *)from, length};
    return process_vm_readv(process, &local, 1, &remote, 1, 0);
}

// What all threads have written, each some of the pages, is read by each.
static void *look(void *argument) {
    int self = (int)(intptr_t)argument;
    static unsigned char seen[THREADS][PAGES * PAGE];
    for (int page = self; page < PAGES; page += THREADS) fill_pattern(memory + page * PAGE, PAGE, page + 100);
    pthread_barrier_wait(&barrier);
    CHECK(read_from(getpid(), seen[self], memory, PAGES * PAGE) == PAGES * PAGE, "%s", strerror(errno));
    for (int page = 0; page < PAGES; page++) check_pattern(seen[self] + page * PAGE, PAGE, page + 100, "a page");
    // Into memory in two pieces, and no further than there is some.
    struct iovec two[] = {{seen[self], 5}, {seen[self] + 100, 7}}, from = {memory + 1, 12};
    CHECK(process_vm_readv(getpid(), two, 2, &from, 1, 0) == 12, "%s", strerror(errno));
    CHECK(memcmp(seen[self], memory + 1, 5) == 0 && memcmp(seen[self] + 100, memory + 6, 7) == 0, "other bytes");
    CHECK(read_from(getpid(), seen[self], (void *)8, 8) == -1 && errno == EFAULT, "%s", strerror(errno));
    CHECK(read_from(0x3ffffff, seen[self], memory, 8) == -1 && errno == ESRCH, "%s", strerror(errno));
    CHECK(process_vm_readv(getpid(), two, 2, &from, 1, 1) == -1 && errno == EINVAL, "%s", strerror(errno));
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void) {
    memory = CALL(mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS));
    run_threads(THREADS, look);

    // A copy that changed a page has it, and the program has its own.
    int told[2], go[2];
    CALL(pipe(told));
    CALL(pipe(go));
    pid_t child = CALL(fork());
    if (child == 0) {
        char byte;
        memset(memory, 0xaa, PAGE);
        CALL(write(told[1], "x", 1));
        _exit(read(go[0], &byte, 1) == 1 ? 0 : 1);
    }
    char byte;
    unsigned char seen[2 * PAGE];
    CHECK(CALL(read(told[0], &byte, 1)) == 1, "no word");
    CHECK(read_from(child, seen, memory, sizeof seen) == sizeof seen, "%s", strerror(errno));
    for (int at = 0; at < PAGE; at++) CHECK(seen[at] == 0xaa, "byte %d is %u", at, seen[at]);
    check_pattern(seen + PAGE, PAGE, 101, "a page of the copy");
    check_pattern(memory, PAGE, 100, "a page");
    CALL(write(go[1], "x", 1));
    int status;
    CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0, "status %d", status);
    return finish();
}
