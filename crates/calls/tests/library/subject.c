/* A library with one function for each kind of argument and each way to fail. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct inner { int64_t value; struct inner *next; };
struct big { int64_t a, b, c; double d; };
struct small { int32_t a; double b; };
static int counter = 41;
const char *subject_version(void) { return "subject 1"; }
int64_t subject_add(int64_t a, int32_t b, int16_t c, int8_t d, uint64_t e, uint8_t f, int64_t g, int64_t h) {
    return a + b + c + d + (int64_t)e + f + g + h;
}
double subject_scale(double a, float b, int c, double d) { return a * b + c - d; }
long double subject_long(long double a) { return a * 2; }
int64_t subject_sum(const int32_t *values, size_t count) {
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i];
    return sum;
}
void subject_fill(unsigned char *out, size_t count, int start) {
    for (size_t i = 0; i < count; i++) out[i] = (unsigned char)(start + i);
}
void subject_double(int32_t *values, size_t count) { for (size_t i = 0; i < count; i++) values[i] *= 2; }
int64_t subject_list(struct inner *list) {
    int64_t sum = 0;
    for (; list; list = list->next) { sum += list->value; list->value = -list->value; }
    return sum;
}
struct big subject_big(struct big v) { v.a++; v.b--; v.c *= 2; v.d /= 2; return v; }
struct small subject_small(struct small v) { v.a = -v.a; v.b = -v.b; return v; }
int *subject_make(int value) { int *p = malloc(sizeof *p); *p = value; return p; }
void subject_drop(int *p) { free(p); }
int subject_count(void) { return ++counter; }
int *subject_counter(void) { return &counter; }
int64_t subject_apply(int64_t (*f)(int64_t, double, void *), int64_t v, void *data) { return f(v, v / 2.0, data) + 1; }
int subject_errno(int value) { errno = value; return -1; }
int subject_format(char *out, size_t size, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int n = vsnprintf(out, size, format, list);
    va_end(list);
    return n;
}
int subject_vformat(char *out, size_t size, const char *format, va_list list) { return vsnprintf(out, size, format, list); }
int subject_write(FILE *file, const char *text) { return (int)fwrite(text, 1, strlen(text), file); }
static int deep(int n) { volatile char frame[4096]; frame[0] = (char)n; return n ? deep(n + 1) + frame[0] : 0; }
int subject_fail(int how) {
    switch (how) {
    case 0: return 7;
    case 1: *(volatile int *)8 = 1; break;
    case 2: kill(getpid(), SIGKILL); break;
    case 3: kill(getpid(), SIGSTOP); for (int i = 0; i < 100; i++) usleep(10000); break;
    case 4: abort();
    case 5: exit(3);
    case 6: return deep(1);
    case 7: for (;;) ;
    case 8: for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); }
    case 9: for (;;) if (fork() < 0) abort();
    case 10: for (int i = 0; i < 1024; i++) close(i); return 7;
    case 11: { /* write to every page that can be written; and all of them, should that have hit nothing that matters */
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512];
        static unsigned long from[4096], to[4096];
        int n = 0;
        if (!maps) abort();
        while (fgets(line, sizeof line, maps) && n < 4096) {
            char rights[5];
            if (sscanf(line, "%lx-%lx %4s", &from[n], &to[n], rights) == 3 && rights[1] == 'w') n++;
        }
        for (int step = 4096; step >= 8; step -= 4088)
            for (int i = 0; i < n; i++)
                for (unsigned long p = from[i]; p < to[i] && p < from[i] + (16 << 20); p += step) *(volatile long *)p = 0x5a5a5a5a5a5a5a5a;
        return 7; }
    case 12: ((void (*)(void))0x123456789000)(); break;
    case 13: socket(AF_INET, SOCK_STREAM, 0); return errno;
    case 14: { volatile int zero = 0, one = 1; return one / zero; }
    case 15: _exit(4);
    case 16: *(volatile int *)0x7ead00000000 = 1; break;
    case 17: syscall(SYS_tgkill, getppid(), getppid(), SIGKILL); break;
    case 18: { struct rlimit none = {0, 0}; prlimit(getppid(), RLIMIT_CPU, &none, NULL); break; }
    case 20: syscall(SYS_exit, 0); break;
    case 19: return raise(0) || getrlimit(RLIMIT_CPU, &(struct rlimit){0, 0}) ? 1 : 7;
    }
    return 0;
}
static int calls_until_crash = 40;
/* Crashes at its fortieth call, after scribbling over what it was given. */
int subject_flaky(char *out, size_t size, const char *format, ...) {
    if (--calls_until_crash == 0) { memset(out, 0xee, size); *(volatile int *)8 = 1; }
    va_list list;
    va_start(list, format);
    int n = vsnprintf(out, size, format, list);
    va_end(list);
    return n;
}
void subject_touch(char *p, size_t bytes) { for (size_t i = 0; i < bytes; i += 4096) p[i] = 1; }
int subject_dirty_crash(size_t bytes) { char *p = malloc(bytes); if (!p) return -1; subject_touch(p, bytes); return 0; }
/* Starts processes that do not end, each of which appends its number to a file, and waits: 0 by the shell, 1 a
 * child and its child, 2 one that has left its parents and their session; 3 by the shell, without waiting. */
static int forever(const char *path) {
    FILE *file = fopen(path, "a");
    fprintf(file, "%d\n", getpid());
    fclose(file);
    for (;;) sleep(1000);
}
int subject_start(int how, const char *path) {
    static char command[4096], own[1024];
    /* A child has none of the program's memory. */
    path = strncpy(own, path, sizeof own - 1);
    snprintf(command, sizeof command, "sh -c 'echo $$ >> %s; exec sleep 1000' %s", path, how == 3 ? "&" : "");
    if (how == 0 || how == 3) return system(command);
    if (!fork()) {
        if (how == 1 && fork()) forever(path);
        if (how == 2) {
            setsid();
            if (fork()) _exit(0);
        }
        forever(path);
    }
    for (;;) sleep(1000);
}
/* A structure of the program that holds a pointer of the library's: made, and used. */
struct holder { int64_t calls; int64_t *state; };
int subject_hold(struct holder *holder, int64_t value) {
    holder->calls = 0;
    holder->state = malloc(sizeof *holder->state);
    *holder->state = value;
    return 0;
}
int64_t subject_held(struct holder *holder) { holder->calls++; return *holder->state; }
