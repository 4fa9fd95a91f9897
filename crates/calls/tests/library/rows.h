/* One function for each way in which C passes something. */
#ifndef ROWS_H
#define ROWS_H
#include <complex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

enum colour { RED, GREEN = 7, BLUE };
struct point { double x, y; };
struct mixed { int32_t a; double b; };
struct floats { float x, y, z; };
struct pair { int64_t a, b; };
struct large { int64_t a, b, c; double d; char text[8]; };
struct wide { long double value; };
struct packed { char a; int64_t b; } __attribute__((packed));
union either { int32_t number; float real; };
typedef struct { unsigned a : 3, b : 30; uint8_t c[4]; } bits;
struct tree { int64_t value; struct tree *left, *right; char *name; };
typedef struct session session;
typedef double (*visitor)(int64_t, double, const char *, void *, int, int, int, int64_t);

/* Scalars. */
int64_t rows_integers(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, int64_t g, uint64_t h, _Bool i, enum colour j);
double rows_reals(float a, double b, float c, double d, double e, double f, double g, double h, double i, float j, int k);
float rows_float(float a);
long double rows_long_double(int a, long double b, double c, long double d);
/* Structures by value. */
struct point rows_point(struct point p, double by);
struct mixed rows_mixed(struct mixed m, struct mixed n);
struct floats rows_floats(struct floats f);
struct pair rows_pair(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, struct pair p, int64_t f);
struct large rows_large(struct large l, int by);
struct wide rows_wide(struct wide w);
union either rows_either(union either e);
bits rows_bits(bits b);
double complex rows_complex(double complex z, float complex w);
struct packed rows_packed(struct packed p);
/* Buffers. */
uint64_t rows_string(const char *text);
int64_t rows_counted(const int32_t *values, size_t count);
void rows_image(uint8_t *out, size_t width, size_t height, int first);
void rows_reverse(char *text);
int rows_capacity(char *out, size_t *length, const char *in, size_t in_length);
int64_t rows_tree(struct tree *tree);
void rows_keep(const int32_t *values, size_t count);
int64_t rows_kept(void);
/* Memory of the callee. */
session *rows_open(int64_t start);
int64_t rows_step(session *s, int64_t by);
const char *rows_name(session *s, int64_t *count);
void rows_close(session *s);
char *rows_repeat(const char *text, int times);
/* Call-backs. */
double rows_visit(visitor f, int64_t count, const char *text, void *data);
void rows_sort(int32_t *values, size_t count, int (*compare)(const void *, const void *));
int64_t rows_recurse(int64_t (*f)(int64_t, void *), int64_t depth, void *data);
void rows_longjmp(void (*f)(void *), void *data);
int rows_own_jump(int value);
/* Any number of arguments. */
int rows_format(char *out, size_t size, const char *format, ...);
int rows_list(char *out, size_t size, const char *format, va_list list);
int64_t rows_total(int count, ...);
/* Files and descriptors. */
int rows_write(FILE *file, const char *text, int number);
int rows_read(FILE *file, char *line, int size);
int64_t rows_copy(int from, int to);
int rows_say(const char *text, int number);
/* The rest. */
int rows_errno(int value);
void rows_die(int how);
extern int64_t rows_counter;
extern const char *rows_title;
extern const char *const rows_words[3];
void rows_count(void);
int64_t rows_title_length(void);
#endif
