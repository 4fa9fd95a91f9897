// process_vm_readv and process_vm_writev of a process on itself, from a thread on every node: what is copied, and where
// it ends when memory does.
#include "check.h"
#include <sys/mman.h>
#include <sys/uio.h>

#define PAGE 4096ul

static unsigned char *pages(int count, int value) {
    unsigned char *made = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(made != MAP_FAILED, "%s", strerror(errno));
    memset(made, value, count * PAGE);
    return made;
}

static void *copy(void *argument) {
    unsigned char *here = pages(4, 1), *there = pages(4, 2);
    struct iovec to[2] = {{here + 10, 100}, {here + PAGE, 3 * PAGE}};
    struct iovec from[3] = {{there, 50}, {there, 0}, {there + PAGE - 5, 3 * PAGE}};
    there[20] = 20;
    there[PAGE - 5 + 50] = 70;
    CHECK(process_vm_readv(getpid(), to, 2, from, 3, 0) == 50 + 3 * PAGE, "%s", strerror(errno));
    CHECK(here[9] == 1 && here[10] == 2 && here[30] == 20 && here[109] == 2 && here[110] == 1, "the first vector");
    CHECK(here[PAGE] == 70 && here[4 * PAGE - 51] == 2 && here[4 * PAGE - 50] == 1, "the second vector");
    CHECK(process_vm_writev(getpid(), to, 1, from, 1, 0) == 50 && there[20] == 20 && there[49] == 2, "written");
    here[15] = 33;
    CHECK(process_vm_writev(gettid(), to, 1, from, 1, 0) == 50 && there[5] == 33, "written by the thread's id");

    struct iovec all = {here, 4 * PAGE}, part = {there, 4 * PAGE}, wrong[2] = {{here, 1}, {here, -1}};
    CALL(munmap(there + 2 * PAGE, PAGE));
    CHECK(process_vm_readv(getpid(), &all, 1, &part, 1, 0) == 2 * PAGE, "up to a hole");
    part.iov_base = there + 2 * PAGE;
    CHECK(process_vm_readv(getpid(), &all, 1, &part, 1, 0) == -1 && errno == EFAULT, "a hole");
    CALL(mprotect(there, PAGE, PROT_READ));
    part.iov_base = there;
    CHECK(process_vm_writev(getpid(), &all, 1, &part, 1, 0) == -1 && errno == EFAULT, "memory that is only read");
    CHECK(process_vm_readv(getpid(), &all, 1, &part, 1, 1) == -1 && errno == EINVAL, "flags");
    CHECK(process_vm_readv(getpid(), wrong, 2, &part, 1, 0) == -1 && errno == EINVAL, "a negative length");
    CHECK(process_vm_readv(getpid(), &all, 1025, &part, 1, 0) == -1 && errno == EINVAL, "too many vectors");
    CHECK(process_vm_readv(getpid(), (void *)(there + 2 * PAGE), 1, &part, 1, 0) == -1 && errno == EFAULT, "no vectors");
    CHECK(process_vm_readv(getpid(), NULL, 0, &part, 1, 0) == 0, "nothing to copy to");
    CHECK(process_vm_readv(0x3fffffff, &all, 1, &part, 1, 0) == -1 && errno == ESRCH, "no process");
    CALL(munmap(here, 4 * PAGE));
    CALL(munmap(there, 4 * PAGE));
    return argument;
}

int main(void) {
    copy(NULL);
    run_threads(THREADS, copy);
    return finish();
}
