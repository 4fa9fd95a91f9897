/* Calls that Rust has no words for, made by a compiler that has. */
#include "rows.h"
#include <errno.h>
#include <setjmp.h>
#include <string.h>

typedef long double (*long_double_function)(int, long double, double, long double);
void host_long_double(long_double_function f, int a, double b, double c, double d, char out[16])
{
    long double r = f(a, (long double)b / 3, c, (long double)d / 7);
    memset(out, 0, 16);
    memcpy(out, &r, 10);
}
void host_wide(struct wide (*f)(struct wide), double a, char out[16])
{
    struct wide r = f((struct wide){(long double)a / 3});
    memset(out, 0, 16);
    memcpy(out, &r, 10);
}
int host_list(int (*f)(char *, size_t, const char *, va_list), char *out, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = f(out, size, format, list);
    va_end(list);
    return n;
}
static _Thread_local jmp_buf back;
static void jump(void *data) { ++*(int *)data; longjmp(back, 5); }
int host_longjmp(void (*f)(void (*)(void *), void *), int times)
{
    volatile int done = 0;
    int seen = 0;
    int how = setjmp(back);
    if (how && how != 5) return -1;
    if (done++ < times) f(jump, &seen);
    return seen;
}
int host_long_format(int (*f)(char *, size_t, const char *, ...), char *out, size_t size, double a)
{
    int at = -1;
    int n = f(out, size, "%Lf %s%n %d %d %d %d %.3f %.3f %.3f %.3f %.3f %.3f %.3f %.3f %.3f %Lf", (long double)a / 3, "text",
        &at, 1, 2, 3, 4, a, a + 1, a + 2, a + 3, a + 4, a + 5, a + 6, a + 7, a + 8, (long double)a / 7);
    return n * 1000 + at;
}
