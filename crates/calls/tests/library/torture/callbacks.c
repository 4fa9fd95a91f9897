/* Functions of the program that the library calls: their arguments and results, when, and what they do. */
#include "torture.h"
#ifndef PROGRAM
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
int c_int(int (*f)(int), int a) { return f(a) + f(a + 1); }
double c_double(double (*f)(double, float), double a) { return f(a, 1.5f) * 2; }
long double c_long_double(long double (*f)(long double), long double a) { return f(a) + f(a / 3); }
int c_long_double_in(int (*f)(int, long double, long double), long double a) { return f(3, a, a * 2); }
struct t_pair c_pair(struct t_pair (*f)(struct t_pair), struct t_pair a) { return f(f(a)); }
struct t_large c_large(struct t_large (*f)(struct t_large, int), struct t_large a) { a.values[0]++; return f(a, 2); }
struct t_point c_point(struct t_point (*f)(struct t_point)) { return f((struct t_point){1.5, 2.5}); }
long c_twelve(long (*f)(long, long, long, long, long, long, long, long, long, long, long, long)) { return f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12); }
long c_twenty_four(long (*f)(long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long, long,
                             long, long, long, long, long, long, long))
{
    return f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24);
}
double c_ten_doubles(double (*f)(double, double, double, double, double, double, double, double, double, double)) { return f(1, 2, 3, 4, 5, 6, 7, 8, 9, 10); }
int c_variadic(int (*f)(const char *, ...), int a) { return f("%d %g %s %d %d %d %d %d %d %d %d %d %d %d", a, 2.5, "three", 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14); }
_Bool c_bool(_Bool (*f)(signed char, unsigned short)) { return f(-5, 65535); }
void *c_pointer(void *(*f)(void *), void *a) { return f(f(a)); }
const char *c_text(const char *(*f)(const char *)) { return f("of the library"); }
long c_each(const int *values, size_t count, int (*f)(int, void *), void *data) { long sum = 0; for (size_t i = 0; i < count; i++) sum += f(values[i], data); return sum; }
void c_sort(void *values, size_t count, size_t size, int (*f)(const void *, const void *)) { qsort(values, count, size, f); }
void *c_search(const void *key, const void *values, size_t count, size_t size, int (*f)(const void *, const void *)) { return bsearch(key, values, count, size, f); }
int c_sort_own(int (*f)(const void *, const void *)) { int own[] = {5, 3, 9, 1}; qsort(own, 4, sizeof *own, f); return own[0] * 1000 + own[1] * 100 + own[2] * 10 + own[3]; }
long c_nested(long (*f)(long), long depth) { return depth ? 1 + f(depth - 1) : 0; }
static int (*hook)(int);
int (*c_hook(int (*f)(int)))(int) { int (*before)(int) = hook; hook = f; return before; }
int c_call_hook(int a) { return hook ? hook(a) : -1; }
int c_table(const struct t_operations *operations, int a) { return operations->open(a) + operations->step(operations->data, a); }
static const struct t_operations *registered;
void c_register(const struct t_operations *operations) { registered = operations; }
int c_registered(int a) { return registered->step(registered->data, a); }
static int own_open(int a) { return a + 1; }
static int own_step(void *data, int a) { return *(int *)data + a; }
static int own_data = 40;
static const struct t_operations own = {own_open, own_step, &own_data};
const struct t_operations *c_own_table(void) { return &own; }
static int twice(int a) { return 2 * a; }
static int thrice(int a) { return 3 * a; }
int (*c_choose(int which))(int) { return which ? thrice : twice; }
int c_given_back(int (*f)(int), int a) { return f(a); }
int c_is_own(int (*f)(int)) { return f == twice; }
int c_changes(int *value, void (*f)(void)) { int before = *value; f(); return before * 100 + *value; }
int c_writes(int *value, int (*f)(void)) { *value = 5; return f(); }
int c_errno(int (*f)(void)) { errno = 0; f(); return errno; }
int c_errno_before(int (*f)(void)) { errno = EDOM; return f(); }
int c_stack(int (*f)(int *)) { int own[50]; for (int i = 0; i < 50; i++) own[i] = i; int r = f(own); return r * 1000 + own[49]; }
int c_own_memory(int (*f)(char *, size_t)) { char *own = malloc(6000); memset(own, 1, 6000); int r = f(own, 6000); r = r * 10 + own[5999]; free(own); return r; }
int c_null(int (*f)(int)) { return f ? f(1) : -7; }
static void *root;
int c_tree_add(const int *key, int (*f)(const void *, const void *)) { const int **node = tsearch(key, &root, f); return **node; }
int c_tree_find(const int *key, int (*f)(const void *, const void *)) { const int **node = tfind(key, &root, f); return node ? **node : -1; }
int c_while(int (*f)(int)) { int i = 0; while (f(i)) i++; return i; }
int c_list(int (*f)(va_list), ...) { va_list list; va_start(list, f); int r = f(list); va_end(list); return r; }
#else
#include "rows.h"
#include <errno.h>
#include <stdarg.h>
static int plus(int a) { return a + 10; }
static double scaled(double a, float b) { return a * b; }
static long double third(long double a) { return a / 3; }
static int more(int a, long double b, long double c) { return a + (b < c) * 10; }
static struct t_pair swapped(struct t_pair a) { return (struct t_pair){a.b + 1, a.a}; }
static struct t_large times(struct t_large a, int by) { for (int i = 0; i < 5; i++) a.values[i] *= by; return a; }
static struct t_point mirrored(struct t_point a) { return (struct t_point){a.y, a.x}; }
static long twelve(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l)
{
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k + 12 * l;
}
static long twenty_four(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l, long m,
                        long n, long o, long p, long q, long r, long s, long t, long u, long v, long w, long x)
{
    return twelve(a, b, c, d, e, f, g, h, i, j, k, l) + 2 * m + 3 * n + 4 * o + 5 * p + 6 * q + 7 * r + 8 * s + 9 * t + 10 * u + 11 * v + 12 * w + 13 * x;
}
static double ten(double a, double b, double c, double d, double e, double f, double g, double h, double i, double j)
{
    return a - b + c - d + e - f + g - h + 2 * i - 3 * j;
}
static char text[300];
static int formatted(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    return n;
}
static int listed(va_list list) { int a = va_arg(list, int); double b = va_arg(list, double); return a * 10 + (int)b; }
static _Bool both(signed char a, unsigned short b) { return a == -5 && b == 65535; }
static void *next(void *a) { return (char *)a + 1; }
static const char *behind(const char *a) { return a + 3; }
static int add(int a, void *data) { return *(int *)data += a; }
static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static long inner(long depth) { return 2 + c_nested(inner, depth); }
static int shared;
static void change(void) { shared = 8; }
static int look(void) { return shared; }
static int fails(void) { errno = ENOENT; return -1; }
static int errno_is(void) { return errno; }
static int sum_stack(int *own) { int sum = 0; for (int i = 0; i < 50; i++) sum += own[i]; own[49] = 7; return sum; }
static int sum_own(char *own, size_t count) { int sum = 0; for (size_t i = 0; i < count; i++) sum += own[i]; own[count - 1] = 9; return sum; }
static int below(int a) { return a < 1000; }
static int data = 5;
static int opened(int a) { return a * 7; }
static int stepped(void *at, int a) { return *(int *)at * a; }
static const struct t_operations operations = {opened, stepped, &data};
static int keys[] = {4, 2, 8};
#define ROWS(X) \
    X(c_int, say("%d", c_int(plus, 5))) \
    X(c_double, say("%g", c_double(scaled, 3))) \
    X(c_long_double, say("%La", c_long_double(third, 1))) \
    X(c_long_double_in, say("%d", c_long_double_in(more, 1))) \
    X(c_pair, struct t_pair r = c_pair(swapped, (struct t_pair){1, 2}); say("%ld %ld", r.a, r.b)) \
    X(c_large, struct t_large r = c_large(times, (struct t_large){{1, 2, 3, 4, 5}}); say("%ld %ld", r.values[0], r.values[4])) \
    X(c_point, struct t_point r = c_point(mirrored); say("%g %g", r.x, r.y)) \
    X(c_twelve, say("%ld", c_twelve(twelve))) \
    X(c_twenty_four, say("%ld", c_twenty_four(twenty_four))) \
    X(c_ten_doubles, say("%g", c_ten_doubles(ten))) \
    X(c_variadic, int n = c_variadic(formatted, 1); say("%d %s", n, text)) \
    X(c_bool, say("%d", c_bool(both))) \
    X(c_pointer, say("%d", c_pointer(next, text) == text + 2)) \
    X(c_text, say("%s", c_text(behind))) \
    X(c_each, int sum = 0; int v[] = {1, 2, 3, 4}; say("%ld %d", c_each(v, 4, add, &sum), sum)) \
    X(c_sort, int v[200]; for (int i = 0; i < 200; i++) v[i] = i * 7919 % 1000; c_sort(v, 200, sizeof *v, by_value); say("%x", sum_of(v, sizeof v))) \
    X(c_search, int v[] = {1, 3, 5, 9}; int k = 5; say("%d", (int)((int *)c_search(&k, v, 4, sizeof *v, by_value) - v))) \
    X(c_sort_own, say("%d", c_sort_own(by_value))) \
    X(c_nested, say("%ld", c_nested(inner, 5))) \
    X(c_hook, say("%d", c_hook(plus) == 0); say(" %d", c_hook(plus) == plus)) \
    X(c_call_hook, c_hook(plus); say("%d", c_call_hook(3))) \
    X(c_table, say("%d", c_table(&operations, 2))) \
    X(c_register, c_register(&operations); say("%d", c_registered(3))) \
    X(c_registered, data = 6; say("%d", c_registered(3))) \
    X(c_own_table, const struct t_operations *o = c_own_table(); say("%d %d", o->open(1), o->step(o->data, 2))) \
    X(c_choose, say("%d %d", c_choose(0)(21), c_choose(1)(21))) \
    X(c_given_back, say("%d %d", c_given_back(c_choose(0), 4), c_given_back(plus, 4))) \
    X(c_is_own, say("%d %d", c_is_own(c_choose(0)), c_is_own(plus))) \
    X(c_changes, shared = 3; say("%d", c_changes(&shared, change))) \
    X(c_writes, shared = 3; say("%d", c_writes(&shared, look))) \
    X(c_errno, say("%d", c_errno(fails))) \
    X(c_errno_before, say("%d", c_errno_before(errno_is))) \
    X(c_stack, say("%d", c_stack(sum_stack))) \
    X(c_own_memory, say("%d", c_own_memory(sum_own))) \
    X(c_null, say("%d %d", c_null(0), c_null(plus))) \
    X(c_tree_add, say("%d %d", c_tree_add(&keys[0], by_value), c_tree_add(&keys[1], by_value))) \
    X(c_tree_find, int k = 2; int none = 3; say("%d %d", c_tree_find(&k, by_value), c_tree_find(&none, by_value))) \
    X(c_while, say("%d", c_while(below))) \
    X(c_list, say("%d", c_list(listed, 4, 2.5)))
SUBJECT(callbacks)
#endif
