/* See the header. Plain on purpose: the tests compare calls from afar with calls in place. */
#define _GNU_SOURCE
#include "rows.h"
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int64_t rows_integers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h, _Bool i, enum colour j)
{
    uint64_t sum = (uint64_t)a * 3 + b * 5u + (uint64_t)c * 7 + d * 11u + (uint64_t)(int64_t)e * 13 + (uint64_t)f * 17;
    return (int64_t)(sum + (uint64_t)g * 19 + h * 23 + i * 29u + (uint64_t)j * 31);
}
double rows_reals(float a, double b, float c, double d, double e, double f, double g, double h, double i, float j, int k)
{
    return a - b * 2 + c * 3 - d * 4 + e * 5 - f * 6 + g * 7 - h * 8 + i * 9 - j * 10 + k;
}
float rows_float(float a) { return a * 0.5f + 1; }
long double rows_long_double(int a, long double b, double c, long double d) { return a + b * 2 - c + d / 3; }
struct point rows_point(struct point p, double by) { return (struct point){p.y * by, p.x - by}; }
struct mixed rows_mixed(struct mixed m, struct mixed n) { return (struct mixed){m.a - n.a, m.b * n.b}; }
struct floats rows_floats(struct floats f) { return (struct floats){f.z, f.x, -f.y}; }
struct pair rows_pair(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, struct pair p, int64_t f)
{
    uint64_t first = (uint64_t)a + 2 * (uint64_t)b + 3 * (uint64_t)c + 4 * (uint64_t)d;
    return (struct pair){(int64_t)(first + 5 * (uint64_t)e + (uint64_t)p.a), (int64_t)((uint64_t)p.b - (uint64_t)f)};
}
struct large rows_large(struct large l, int by)
{
    struct large r = {l.c, l.a ^ by, l.b, l.d / 2, ""};
    for (int i = 0; i < 8; i++) r.text[i] = l.text[7 - i];
    return r;
}
struct wide rows_wide(struct wide w) { return (struct wide){w.value * 2}; }
union either rows_either(union either e) { e.number ^= 0x7f; return e; }
bits rows_bits(bits b) { bits r = {b.b & 7, b.a + b.b, {b.c[3], b.c[2], b.c[1], b.c[0]}}; return r; }
double complex rows_complex(double complex z, float complex w) { return z * 2 + w; }
struct packed rows_packed(struct packed p) { p.b++; return p; }

uint64_t rows_string(const char *text)
{
    uint64_t hash = 14695981039346656037u;
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return hash;
}
int64_t rows_counted(const int32_t *values, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) sum += values[i] * (int64_t)(i + 1);
    return sum;
}
void rows_image(uint8_t *out, size_t width, size_t height, int first)
{
    for (size_t i = 0; i < width * height; i++) out[i] = (uint8_t)(first + i);
}
void rows_reverse(char *text)
{
    for (size_t i = 0, n = strlen(text); i < n / 2; i++) {
        char swap = text[i];
        text[i] = text[n - 1 - i];
        text[n - 1 - i] = swap;
    }
}
int rows_capacity(char *out, size_t *length, const char *in, size_t in_length)
{
    size_t used = 0;
    for (size_t i = 0; i < in_length; i++) {
        if (used + 2 > *length) { *length = in_length * 2; return -5; }
        out[used++] = "0123456789abcdef"[(unsigned char)in[i] >> 4];
        out[used++] = "0123456789abcdef"[in[i] & 15];
    }
    *length = used;
    return 0;
}
int64_t rows_tree(struct tree *tree)
{
    if (!tree) return 0;
    int64_t sum = tree->value + (int64_t)strlen(tree->name) + rows_tree(tree->left) * 3 + rows_tree(tree->right) * 5;
    tree->value = -tree->value;
    tree->name[0] ^= 0x20;
    struct tree *swap = tree->left;
    tree->left = tree->right;
    tree->right = swap;
    return sum;
}
static const int32_t *kept;
static size_t kept_count;
void rows_keep(const int32_t *values, size_t count) { kept = values; kept_count = count; }
int64_t rows_kept(void) { return rows_counted(kept, kept_count); }

struct session { int64_t value, steps; char *name; };
session *rows_open(int64_t start)
{
    session *s = malloc(sizeof *s);
    *s = (session){start, 0, malloc(64)};
    return s;
}
int64_t rows_step(session *s, int64_t by) { s->steps++; return s->value += by; }
const char *rows_name(session *s, int64_t *count)
{
    *count = s->steps;
    snprintf(s->name, 64, "session at %ld", (long)s->value);
    return s->name;
}
void rows_close(session *s) { free(s->name); free(s); }
char *rows_repeat(const char *text, int times)
{
    size_t n = strlen(text);
    char *all = malloc(n * (size_t)times + 1);
    for (int i = 0; i < times; i++) memcpy(all + n * (size_t)i, text, n);
    all[n * (size_t)times] = 0;
    return all;
}
double rows_visit(visitor f, int64_t count, const char *text, void *data)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += f(i, (double)i / 4, text + i, data, 1, -2, 3, i * i);
    return sum;
}
void rows_sort(int32_t *values, size_t count, int (*compare)(const void *, const void *)) { qsort(values, count, 4, compare); }
int64_t rows_recurse(int64_t (*f)(int64_t, void *), int64_t depth, void *data) { return depth > 0 ? f(depth, data) + 1 : 0; }
void rows_longjmp(void (*f)(void *), void *data) { f(data); abort(); }
int rows_own_jump(int value)
{
    jmp_buf here;
    volatile int seen = value;
    if (setjmp(here)) return seen * 2;
    seen++;
    longjmp(here, 1);
}
int rows_list(char *out, size_t size, const char *format, va_list list) { return vsnprintf(out, size, format, list); }
int rows_format(char *out, size_t size, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(out, size, format, list);
    va_end(list);
    return n;
}
int64_t rows_total(int count, ...)
{
    va_list list;
    int64_t sum = 0;
    va_start(list, count);
    for (int i = 0; i < count; i++) sum = sum * 31 + va_arg(list, int64_t);
    va_end(list);
    return sum;
}
int rows_write(FILE *file, const char *text, int number)
{
    int n = fprintf(file, "%s=%d;", text, number);
    return fputs("\n", file) < 0 ? -1 : n;
}
int rows_read(FILE *file, char *line, int size) { return fgets(line, size, file) ? (int)strlen(line) : -1; }
int64_t rows_copy(int from, int to)
{
    char buffer[1000];
    int64_t all = 0;
    for (ssize_t n; (n = read(from, buffer, sizeof buffer)) > 0; all += n)
        if (write(to, buffer, (size_t)n) != n) return -1;
    return all;
}
int rows_say(const char *text, int number) { return printf("%s %d\n", text, number); }
int rows_errno(int value) { errno = value; return -1; }
void rows_die(int how)
{
    switch (how) {
    case 1: exit(3);
    case 2: abort();
    case 3: *(volatile int *)8 = 1; break;
    case 4: for (;;) ;
    }
}
int64_t rows_counter = 41;
const char *rows_title = "a title";
const char *const rows_words[3] = {"one", "two", "three"};
void rows_count(void) { rows_counter++; }
int64_t rows_title_length(void) { return (int64_t)strlen(rows_title); }
