/* Numbers by value, in every register and on the stack, and any number of them. */
#include "torture.h"
#ifndef PROGRAM
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
signed char s_char(signed char a, unsigned char b) { return a - b; }
unsigned char s_uchar(unsigned char a) { return a + 200; }
short s_short(short a, unsigned short b) { return a * 3 - b; }
unsigned short s_ushort(unsigned short a) { return ~a; }
int s_int(int a, unsigned b) { return a ^ (int)b; }
unsigned s_unsigned(unsigned a) { return a * 2654435761u; }
long s_long(long a, long b) { return a * 31 + b; }
unsigned long s_ulong(unsigned long a) { return ~a; }
_Bool s_bool(_Bool a, _Bool b) { return a && !b; }
enum torture_colour s_enum(enum torture_colour a) { return a == BLUE ? RED : BLUE; }
wchar_t s_wchar(wchar_t a) { return a + 1; }
void *s_pointer(void *a) { return a; }
const char *s_null(void) { return 0; }
void s_nothing(void) {}
__int128 s_int128(__int128 a, long b) { return a * b; }
__int128 s_int128_spilled(long a, long b, long c, long d, long e, __int128 f) { return f + a + b + c + d + e; }
float s_float(float a, float b) { return a / b; }
double s_double(double a, double b) { return a / b; }
long double s_long_double(long double a) { return a / 3; }
long double s_long_double_more(int a, long double b, double c, long double d, int e) { return a + b * c - d / e; }
int s_long_double_in(long double a, long double b) { return a > b; }
long double s_long_double_from_int(int a) { return 1.0L / a; }
_Complex float s_complex_float(_Complex float a) { return a * a; }
_Complex double s_complex_double(_Complex double a, _Complex double b) { return a * b; }
_Complex long double s_complex_long_double(_Complex long double a) { return a * 2; }
vector s_vector(vector a, vector b) { return a * b; }
double s_mixed(int a, double b, long c, float d, short e, double f, char g, double h) { return a + b * c - d * e + f * g - h; }
long s_seven(long a, long b, long c, long d, long e, long f, long g) { return a - b + c - d + e - f + g; }
long s_twelve(long a, long b, long c, long d, long e, long f, long g, int h, short i, char j, long k, long l)
{
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l;
}
double s_ten_doubles(double a, double b, double c, double d, double e, double f, double g, double h, double i, double j)
{
    return a - b + c - d + e - f + g - h + 2 * i - 3 * j;
}
double s_both_spilled(long a, long b, long c, long d, long e, long f, long g, double h, double i, double j, double k, double l,
                      double m, double n, double o, double p, float q)
{
    return a + b + c + d + e + f + 2 * g + h + i + j + k + l + m + n + o + 3 * p + 5 * q;
}
long s_thirty(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l, long m, long n,
              long o, long p, long q, long r, long s, long t, long u, long v, long w, long x, long y, long z, long aa, long bb,
              long cc, long dd)
{
    return a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v + w + x + y * 3 + z * 5 +
           aa * 7 + bb * 11 + cc * 13 + dd * 17;
}
long s_variadic(int count, ...)
{
    va_list list;
    long sum = 0;
    va_start(list, count);
    while (count--)
        sum = sum * 3 + va_arg(list, long);
    va_end(list);
    return sum;
}
double s_variadic_doubles(int count, ...)
{
    va_list list;
    double sum = 0;
    va_start(list, count);
    while (count--)
        sum = sum / 2 + va_arg(list, double);
    va_end(list);
    return sum;
}
long double s_variadic_long_doubles(int count, ...)
{
    va_list list;
    long double sum = 0;
    va_start(list, count);
    while (count--)
        sum = sum / 2 + va_arg(list, long double);
    va_end(list);
    return sum;
}
int s_variadic_until_null(const char *first, ...)
{
    va_list list;
    int length = 0;
    va_start(list, first);
    for (; first; first = va_arg(list, const char *))
        length = length * 5 + (int)strlen(first);
    va_end(list);
    return length;
}
void s_variadic_out(int count, ...)
{
    va_list list;
    va_start(list, count);
    for (int i = 0; i < count; i++)
        *va_arg(list, int *) = i * i + 1;
    va_end(list);
}
struct t_pair s_variadic_structure(int count, ...)
{
    va_list list;
    struct t_pair sum = {0, 0};
    va_start(list, count);
    while (count--) {
        struct t_pair one = va_arg(list, struct t_pair);
        sum.a += one.a;
        sum.b -= one.b;
    }
    va_end(list);
    return sum;
}
long s_list(int count, va_list list)
{
    long sum = 0;
    while (count--)
        sum = sum * 3 + va_arg(list, long);
    return sum;
}
int s_format(char *out, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(out, size, format, list);
    va_end(list);
    return length;
}
int s_list_twice(char *out, size_t size, const char *format, va_list list)
{
    va_list again;
    va_copy(again, list);
    int first = vsnprintf(0, 0, format, list), second = vsnprintf(out, size, format, again);
    va_end(again);
    return first * 1000 + second;
}
int s_old_style();
int s_old_style(a, b) int a; double b; { return a + (int)b; }
#else
#include "rows.h"
#include <complex.h>
#include <stdarg.h>
static long list_of(int count, ...)
{
    va_list list;
    va_start(list, count);
    long sum = s_list(count, list);
    va_end(list);
    return sum;
}
static int format_of(char *out, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = s_list_twice(out, size, format, list);
    va_end(list);
    return length;
}
#define L(n) n##1L, n##2L, n##3L, n##4L, n##5L
#define LONGS L(1), L(2), L(3), L(4), L(5), L(6)
static char text[200];
#define ROWS(X) \
    X(s_char, say("%d", s_char(-100, 27))) \
    X(s_uchar, say("%d", s_uchar(100))) \
    X(s_short, say("%d", s_short(-30000, 60000))) \
    X(s_ushort, say("%d", s_ushort(7))) \
    X(s_int, say("%d", s_int(-2, 4000000000u))) \
    X(s_unsigned, say("%u", s_unsigned(77))) \
    X(s_long, say("%ld", s_long(-1L << 40, 5))) \
    X(s_ulong, say("%lu", s_ulong(12))) \
    X(s_bool, say("%d %d", s_bool(1, 0), s_bool(1, 1))) \
    X(s_enum, say("%d %d", s_enum(BLUE), s_enum(RED))) \
    X(s_wchar, say("%d", (int)s_wchar(L'\x20ac'))) \
    X(s_pointer, say("%d", s_pointer(text) == text)) \
    X(s_null, say("%d", s_null() == 0)) \
    X(s_nothing, s_nothing(); say("returned")) \
    X(s_int128, __int128 r = s_int128((__int128)-7 << 70, 9); say("%lx %lx", (long)(r >> 64), (long)r)) \
    X(s_int128_spilled, __int128 r = s_int128_spilled(1, 2, 3, 4, 5, (__int128)6 << 80); say("%lx %lx", (long)(r >> 64), (long)r)) \
    X(s_float, say("%a", s_float(1, 3))) \
    X(s_double, say("%a", s_double(1, 3))) \
    X(s_long_double, say("%La", s_long_double(1))) \
    X(s_long_double_more, say("%La", s_long_double_more(1, 2.5L, 3, 4.25L, 7))) \
    X(s_long_double_in, say("%d %d", s_long_double_in(2, 1), s_long_double_in(1, 2))) \
    X(s_long_double_from_int, say("%La", s_long_double_from_int(7))) \
    X(s_complex_float, _Complex float r = s_complex_float(1 + 2 * I); say("%g %g", crealf(r), cimagf(r))) \
    X(s_complex_double, _Complex double r = s_complex_double(1 + 2 * I, 3 - I); say("%g %g", creal(r), cimag(r))) \
    X(s_complex_long_double, _Complex long double r = s_complex_long_double(1 + 2 * I); say("%Lg %Lg", creall(r), cimagl(r))) \
    X(s_vector, vector r = s_vector((vector){1, 2, 3, 4}, (vector){5, 6, 7, 8}); say("%g %g %g %g", r[0], r[1], r[2], r[3])) \
    X(s_mixed, say("%g", s_mixed(1, 2.5, 3, 4.5f, 5, 6.5, 7, 8.5))) \
    X(s_seven, say("%ld", s_seven(1, 20, 300, 4000, 50000, 600000, 7000000))) \
    X(s_twelve, say("%ld", s_twelve(1, 2, 3, 4, 5, 6, 7, -8, -9, -10, 11, 12))) \
    X(s_ten_doubles, say("%g", s_ten_doubles(1, 2, 3, 4, 5, 6, 7, 8, 9, 10))) \
    X(s_both_spilled, say("%g", s_both_spilled(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17))) \
    X(s_thirty, say("%ld", s_thirty(LONGS))) \
    X(s_variadic, say("%ld %ld %ld %ld", s_variadic(0), s_variadic(3, L(1)), s_variadic(20, LONGS), s_variadic(59, LONGS, LONGS)); say("%ld %ld", s_variadic(90, LONGS, LONGS, LONGS), s_variadic(300, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS, LONGS))) \
    X(s_variadic_doubles, say("%a", s_variadic_doubles(12, 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.))) \
    X(s_variadic_long_doubles, say("%La", s_variadic_long_doubles(5, 1.L, 2.L, 3.L, 4.L, 5.L))) \
    X(s_variadic_until_null, say("%d", s_variadic_until_null("one", "three", "", "four", "nine or ten", "x", "yy", "zzz", (char *)0))) \
    X(s_variadic_out, int a = 0; int b = 0; int c = 0; s_variadic_out(3, &a, &b, &c); say("%d %d %d", a, b, c)) \
    X(s_variadic_structure, struct t_pair r = s_variadic_structure(4, (struct t_pair){1, 2}, (struct t_pair){3, 4}, (struct t_pair){5, 6}, (struct t_pair){7, 8}); say("%ld %ld", r.a, r.b)) \
    X(s_list, say("%ld %ld", list_of(4, L(1)), list_of(30, LONGS))) \
    X(s_format, int n = s_format(text, sizeof text, "%d %s %.3f %Lf %c %5ld|%-6s|%p", -3, "word", 2.5, 3.25L, 'c', 99L, "left", (void *)0x123); say("%d %s", n, text)) \
    X(s_list_twice, int n = format_of(text, sizeof text, "%s-%d-%g-%s", "a", 1, 1.5, "b"); say("%d %s", n, text)) \
    X(s_old_style, say("%d", ((int (*)(int, double))s_old_style)(3, 4.5)))
SUBJECT(scalars)
#endif
