/* A library that hands memory of its program to the kernel without having touched it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifndef PROGRAM
#define OR_ERROR(result) ((result) < 0 ? -errno : 0)
int kernel_open(const char *path) { int file = open(path, O_RDONLY); return file < 0 ? -errno : close(file); }
int kernel_fopen(const char *path) { FILE *file = fopen(path, "r"); return file ? fclose(file) : -errno; }
int kernel_stat(const char *path, struct stat *to) { return OR_ERROR(stat(path, to)); }
int kernel_access(const char *path) { return OR_ERROR(access(path, R_OK)); }
int kernel_read(const char *path, char *to, size_t bytes)
{
    int file = open(path, O_RDONLY), got = read(file, to, bytes), error = errno;
    close(file);
    return got < 0 ? -error : got;
}
int kernel_fread(const char *path, char *to, size_t bytes)
{
    FILE *file = fopen(path, "r");
    int got = fread(to, 1, bytes, file), error = errno;
    fclose(file);
    return got ? got : -error;
}
int kernel_readv(const char *path, char *to, size_t bytes, char *more, size_t more_bytes)
{
    struct iovec parts[] = {{to, bytes}, {more, more_bytes}};
    int file = open(path, O_RDONLY), got = readv(file, parts, 2), error = errno;
    close(file);
    return got < 0 ? -error : got;
}
int kernel_write(const char *path, const char *from, size_t bytes)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600), put = write(file, from, bytes), error = errno;
    close(file);
    return put < 0 ? -error : put;
}
int kernel_fwrite(const char *path, const char *from, size_t bytes)
{
    FILE *file = fopen(path, "w");
    int put = fwrite(from, 1, bytes, file), error = errno;
    return fclose(file) ? -error : put;
}
int kernel_through_pipe(const char *from, char *to, size_t bytes)
{
    int ends[2];
    if (pipe(ends))
        return -errno;
    int put = write(ends[1], from, bytes), error = errno;
    int got = put < 0 ? -error : read(ends[0], to, bytes);
    got = got < 0 && put >= 0 ? -errno : got;
    close(ends[0]);
    close(ends[1]);
    return got;
}
int kernel_through_socket(const char *from, char *to, size_t bytes)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        return -errno;
    int put = send(ends[0], from, bytes, 0), error = errno;
    int got = put < 0 ? -error : recv(ends[1], to, bytes, 0);
    got = got < 0 && put >= 0 ? -errno : got;
    close(ends[0]);
    close(ends[1]);
    return got;
}
int kernel_pipe(int *ends) { return pipe(ends) < 0 ? -errno : close(ends[0]) + close(ends[1]); }
int kernel_random(char *to, int bytes) { return OR_ERROR(getrandom(to, bytes, 0)); }
int kernel_getcwd(char *to, int bytes) { return getcwd(to, bytes) ? 0 : -errno; }
int kernel_sleep(struct timespec *time) { return OR_ERROR(nanosleep(time, 0)); }
int kernel_clock(struct timespec *time) { return OR_ERROR(clock_gettime(CLOCK_MONOTONIC, time)); }
int kernel_cpu_time(struct timespec *time) { return OR_ERROR(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, time)); }
int kernel_poll(struct pollfd *polls, int count) { return OR_ERROR(poll(polls, count, 0)); }
int kernel_select(int count, fd_set *set, struct timeval *time) { return OR_ERROR(select(count, set, 0, 0, time)); }
int kernel_readlink(const char *path, char *to, int bytes) { return OR_ERROR(readlink(path, to, bytes)); }
int kernel_run(const char *command) { return system(command); }
int kernel_touched(char *to, int bytes) { to[0] = 1; return OR_ERROR(getrandom(to, bytes, 0)); }
int kernel_closes_all(const char *path)
{
    for (int file = 3; file < 2000; file++)
        close(file);
    return OR_ERROR(access(path, R_OK));
}
#else
int kernel_open(const char *), kernel_fopen(const char *), kernel_stat(const char *, struct stat *);
int kernel_access(const char *), kernel_read(const char *, char *, size_t), kernel_fread(const char *, char *, size_t);
int kernel_readv(const char *, char *, size_t, char *, size_t), kernel_write(const char *, const char *, size_t);
int kernel_fwrite(const char *, const char *, size_t), kernel_through_pipe(const char *, char *, size_t);
int kernel_through_socket(const char *, char *, size_t), kernel_pipe(int *), kernel_random(char *, int);
int kernel_getcwd(char *, int), kernel_sleep(struct timespec *), kernel_clock(struct timespec *);
int kernel_cpu_time(struct timespec *), kernel_poll(struct pollfd *, int), kernel_select(int, fd_set *, struct timeval *);
int kernel_readlink(const char *, char *, int), kernel_run(const char *);
int kernel_touched(char *, int), kernel_closes_all(const char *);
static char own[256];
/* On pages that nothing else brings. */
static void *fresh(size_t bytes)
{
    bytes = (bytes + 8191) / 4096 * 4096;
    return memset(aligned_alloc(4096, bytes), 0, bytes);
}
static char *text(const char *text) { return strcpy(fresh(strlen(text) + 1), text); }
/* The last bytes before memory that is not there. */
static char *last(size_t bytes)
{
    char *pages = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 2 * 4096, 4096);
    return pages + 2 * 4096 - bytes;
}
static unsigned sum(const char *of, size_t bytes)
{
    unsigned sum = 0;
    while (bytes--)
        sum = sum * 31 + (unsigned char)*of++;
    return sum;
}
static void say(const char *what, int result) { printf("%-14s %d %s\n", what, result, result < 0 ? strerror(-result) : ""); }
int main(int count, char **arguments)
{
    const char *program = text(arguments[0]), *out = text(arguments[1]);
    char *big = fresh(1 << 20), *other = fresh(1 << 20);
    say("open", kernel_open(text(program)));
    say("no file", kernel_open(text("/no/such/file")));
    say("fopen", kernel_fopen(text(program)));
    struct stat *found = fresh(sizeof *found);
    say("stat", kernel_stat(text(program), found));
    printf("%d\n", found->st_size > 0);
    say("access", kernel_access(text(program)));
    say("read", kernel_read(text(program), fresh(100), 100));
    say("read much", kernel_read(text("/dev/zero"), big, 1 << 20));
    memset(big, 7, 1 << 20);
    big[1 << 19] = 9;
    say("write", kernel_write(text(out), big, 1 << 20));
    say("fread", kernel_fread(text(out), other, 1 << 16));
    say("readv", kernel_readv(text(out), other, 5000, big, 900000));
    say("read back", kernel_read(text(out), other, 1 << 20));
    printf("%u %u\n", sum(big, 1 << 20), sum(other, 1 << 20));
    say("fwrite", kernel_fwrite(text(out), other, 100000));
    say("fread", kernel_fread(text(out), fresh(200000), 200000));
    char *here = fresh(5000), *there = fresh(5000);
    memset(here, 3, 5000);
    say("pipe", kernel_through_pipe(here, there, 5000));
    say("socket", kernel_through_socket(here + 1, there + 3, 4900));
    printf("%u\n", sum(there, 5000));
    say("descriptors", kernel_pipe(fresh(8)));
    say("random", kernel_random(fresh(16), 16));
    say("getcwd", kernel_getcwd(fresh(4096), 4096));
    struct timespec *time = fresh(sizeof *time);
    time->tv_nsec = 1000;
    say("sleep", kernel_sleep(time));
    say("clock", kernel_clock(fresh(sizeof *time)));
    say("cpu time", kernel_cpu_time(fresh(sizeof *time)));
    struct pollfd *polls = fresh(sizeof *polls);
    polls->fd = -1;
    say("poll", kernel_poll(polls, 1));
    say("select", kernel_select(0, fresh(sizeof(fd_set)), fresh(sizeof(struct timeval))));
    say("readlink", kernel_readlink(text("/proc/self/exe"), fresh(4096), 4096));
    say("system", kernel_run(text("exit 3")));
    /* Memory that is not there, before, at and after its border; on the stack; and in the program's data. */
    say("no memory", kernel_random((char *)0x123400000000, 16));
    say("no text", kernel_open((char *)0x123400001000));
    say("null", kernel_access(0));
    say("border", kernel_read(text("/dev/zero"), last(100), 200));
    say("past it", kernel_read(text("/dev/zero"), last(0), 200));
    say("two pages", kernel_read(text(out), last(5000), 9000));
    say("write border", kernel_write(text(out), last(5000), 9000));
    say("pipe border", kernel_through_pipe(last(100), fresh(300), 300));
    char local[300];
    say("stack", kernel_read(text("/dev/zero"), local, 300));
    say("data", kernel_read(text("/dev/zero"), own, 256));
    say("touched", kernel_touched(fresh(9000), 9000));
    /* Where there was no memory comes some. */
    char *none = last(0);
    say("none", kernel_read(text("/dev/zero"), none, 10));
    mmap(none, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    say("now some", kernel_read(text("/dev/zero"), none, 10));
    say("closes all", kernel_closes_all(text(program)));
    say("open again", kernel_open(text(program)));
    return 0;
}
#endif
