// Memory in a known state, and then nothing: each thread writes some pages of its own, all of them read some
// others, and all stand still until the program is ended from outside.
//
// The file "slots" then says which pages: "written THREAD PAGE COUNT" for each thread, by its id, and
// "read PAGE COUNT" for those that all have read. Says "ready" when it stands.
#include "check.h"
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096L
#define SLOT (512 * PAGE)  // Far enough from each other that what is fetched ahead is nobody else's.
#define WRITTEN 8
#define READ 4

static char *memory;
static pthread_barrier_t barrier;
static int turn;
static pid_t ids[THREADS];

static void *run(void *argument) {
    int self = (int)(intptr_t)argument;
    ids[self] = syscall(SYS_gettid);
    // One after another, so that nothing is wanted by two at a time.
    for (int next = 0; next < THREADS; next++) {
        pthread_barrier_wait(&barrier);
        if (next != self) continue;
        for (int page = 0; page < WRITTEN; page++) memory[self * SLOT + page * PAGE] = (char)(self + 1);
        for (int page = 0; page < READ; page++)
            CHECK(memory[THREADS * SLOT + page * PAGE] == 'r', "page %d was not written", page);
    }
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    return NULL;
}

int main(void) {
    char *mapped = mmap(NULL, (THREADS + 2) * SLOT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapped != MAP_FAILED, "no memory");
    memory = (char *)(((uintptr_t)mapped + SLOT - 1) / SLOT * SLOT);
    for (int page = 0; page < READ; page++) memory[THREADS * SLOT + page * PAGE] = 'r';
    ZERO(pthread_barrier_init(&barrier, NULL, THREADS + 1));
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++)
        ZERO(pthread_create(&threads[index], NULL, run, (void *)(intptr_t)index));
    for (turn = 0; turn <= THREADS; turn++) pthread_barrier_wait(&barrier);
    FILE *slots = fopen("slots", "w");
    CHECK(slots != NULL, "no file");
    for (int index = 0; index < THREADS; index++)
        fprintf(slots, "written %d %ld %d\n", ids[index], (long)(uintptr_t)(memory + index * SLOT) / PAGE, WRITTEN);
    fprintf(slots, "read %ld %d\n", (long)(uintptr_t)(memory + THREADS * SLOT) / PAGE, READ);
    fclose(slots);
    puts("ready");
    fflush(stdout);
    for (;;) pause();
}
