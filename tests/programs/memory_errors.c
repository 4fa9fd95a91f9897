// What memory calls answer to mistakes and at limits, from every thread.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { PAGE = 4096 };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static void fails(long result, int error, const char *what) {
    CHECK(result == -1 && errno == error, "%s: %ld, %s", what, result, strerror(errno));
}

static long map(void *at, size_t length, int rights, int flags, int file, off_t offset) {
    return syscall(SYS_mmap, at, length, rights, flags, file, offset);
}

static void mappings(char *page) {
    int zero = CALL(open("/dev/zero", O_RDWR)), null = CALL(open("/dev/null", O_RDWR));
    int file = CALL(open("errors", O_RDWR | O_CREAT, 0600)), blind = CALL(open("errors", O_WRONLY));
    int seen = CALL(open("errors", O_RDONLY)), folder = CALL(open(".", O_RDONLY | O_DIRECTORY));
    char *zeroes = (char *)CALL(map(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0));
    check_zero((unsigned char *)zeroes, 2 * PAGE, "memory from /dev/zero");
    zeroes[PAGE] = 1;
    CALL(munmap(zeroes, 2 * PAGE));
    fails(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, blind, 0), EACCES, "a file that cannot be read");
    fails(map(NULL, PAGE, PROT_WRITE, MAP_SHARED, seen, 0), EACCES, "a file that cannot be written");
    fails(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, 9999, 0), EBADF, "no file");
    fails(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, null, 0), ENODEV, "a device without memory");
    fails(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, folder, 0), ENODEV, "a folder");
    fails(map(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 100), EINVAL, "an odd offset");
    fails(map(NULL, 0, PROT_READ, MAP_PRIVATE, file, 0), EINVAL, "no length");
    fails(map(NULL, PAGE, PROT_READ, 0, file, 0), EINVAL, "no kind of sharing");
    fails(map(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL, "no kind of sharing of nothing");
    fails(map(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0), EINVAL, "checking nothing");
    fails(map(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x2000000, file, 0), EOPNOTSUPP, "an unknown flag");
    fails(map(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, file, 0), EOPNOTSUPP, "MAP_SYNC");
    int in_place = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    fails(map(page, PAGE, PROT_READ, in_place, -1, 0), EEXIST, "a place that is taken");
    int files[] = {zero, null, file, blind, seen, folder};
    for (int index = 0; index < 6; index++) CALL(close(files[index]));
    CALL(unlink("errors"));
}

static void looks(char *page) {
    unsigned char resident[4];
    fails(msync(page, PAGE, MS_SYNC | MS_ASYNC), EINVAL, "both ways to write back");
    fails(msync(page, PAGE, 64), EINVAL, "an unknown way to write back");
    fails(msync(page + 1, PAGE, MS_SYNC), EINVAL, "an unaligned start");
    fails(msync(page + PAGE, PAGE, MS_SYNC), ENOMEM, "writing back nothing");
    CALL(msync(page, PAGE, MS_SYNC));
    fails(mincore(page + 1, PAGE, resident), EINVAL, "an unaligned question");
    fails(mincore(page + PAGE, PAGE, resident), ENOMEM, "a question about nothing");
    fails(mincore(page, PAGE, (unsigned char *)16), EFAULT, "an answer to nowhere");
    CALL(mincore(page, PAGE, resident));
    fails(syscall(SYS_get_robust_list, 0x3ffffff, resident, resident), ESRCH, "the list of nobody");
    fails(mlock(page + PAGE, PAGE), ENOMEM, "locking nothing");
    fails(munlock(page + PAGE, PAGE), ENOMEM, "unlocking nothing");
    fails(syscall(SYS_mlock2, page, PAGE, 8), EINVAL, "locking in an unknown way");
    fails(mlockall(0), EINVAL, "locking all of nothing");
    fails(mlockall(16), EINVAL, "locking all in an unknown way");
}

static void *use(void *argument) {
    (void)argument;
    ZERO(pthread_mutex_lock(&turn));
    char *page = (char *)CALL(map(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CALL(munmap(page + PAGE, PAGE));
    mappings(page);
    looks(page);
    CALL(munmap(page, PAGE));
    ZERO(pthread_mutex_unlock(&turn));
    return NULL;
}

static void *limited(void *argument) {
    (void)argument;
    ZERO(pthread_mutex_lock(&turn));
    CHECK(malloc((size_t)1 << 30) == NULL && errno == ENOMEM, "more than the limit of addresses");
    CHECK(sbrk(1 << 30) == (void *)-1 && errno == ENOMEM, "the same with the break");
    char *small = malloc(1 << 16);
    CHECK(small != NULL, "less than the limit");
    memset(small, 1, 1 << 16);
    free(small);
    ZERO(pthread_mutex_unlock(&turn));
    return NULL;
}

int main(void) {
    use(NULL);
    run_threads(THREADS, use);
    char *four = (char *)CALL(map(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (geteuid() == 0) CALL(setuid(65534));
    struct rlimit lock = {2 * PAGE, 2 * PAGE}, all = {1 << 29, 1 << 29};
    CALL(setrlimit(RLIMIT_MEMLOCK, &lock));
    CALL(mlock(four, 2 * PAGE));
    fails(mlock(four + 2 * PAGE, PAGE), ENOMEM, "more than the limit of locked memory");
    CALL(munlock(four, PAGE));
    CALL(mlock(four + 2 * PAGE, PAGE));
    fails(mlockall(MCL_CURRENT), ENOMEM, "everything");
    lock.rlim_cur = lock.rlim_max = 0;
    CALL(setrlimit(RLIMIT_MEMLOCK, &lock));
    fails(mlock(four, PAGE), EPERM, "anything at all");
    CALL(setrlimit(RLIMIT_AS, &all));
    limited(NULL);
    run_threads(THREADS, limited);
    return finish();
}
