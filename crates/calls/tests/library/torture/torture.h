/* A library of what C libraries do. Each export is one shape of an argument, a result, ownership, threads,
 * variables, call-backs, streams, errno, locale, jumps, signals or processes; a file for each subject. */
#ifndef TORTURE_H
#define TORTURE_H
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>
#include <time.h>

enum torture_colour { RED, GREEN = 7, BLUE };
typedef float vector __attribute__((vector_size(16)));
struct t_one { char c; };
struct t_pair { long a, b; };
struct t_point { double x, y; };
struct t_mixed { int number; double real; };
struct t_mixed_other { double real; long number; };
struct t_floats { float x, y, z; };
struct t_two_floats { float x, y; };
struct t_float_int { float real; int number; };
struct t_large { long values[5]; };
struct t_huge { long values[32]; };
struct t_wide { long double value; };
struct t_packed { char a; long b; } __attribute__((packed));
union t_either { unsigned bits; float real; };
union t_either_long { unsigned long bits; double real; };
struct t_bits { unsigned a : 4, b : 20; int c : 6; };
struct t_text { char text[3]; };
struct t_nested { int tag; struct t_pair inner; };
struct t_empty {};
struct t_pointers { int *number; const char *text; };
struct t_function { int (*function)(int); int number; };
struct t_aligned { long values[2]; } __attribute__((aligned(16)));
struct t_named { const char *name; int number; };
struct t_link { long value; struct t_link *next; };
struct t_deep { int ***values; int number; };
struct t_handle;
struct t_operations { int (*open)(int); int (*step)(void *, int); void *data; };
struct t_work { const int *values; int count; long sum; };

/* scalars.c */
signed char s_char(signed char a, unsigned char b);
unsigned char s_uchar(unsigned char a);
short s_short(short a, unsigned short b);
unsigned short s_ushort(unsigned short a);
int s_int(int a, unsigned b);
unsigned s_unsigned(unsigned a);
long s_long(long a, long b);
unsigned long s_ulong(unsigned long a);
_Bool s_bool(_Bool a, _Bool b);
enum torture_colour s_enum(enum torture_colour a);
wchar_t s_wchar(wchar_t a);
void *s_pointer(void *a);
const char *s_null(void);
void s_nothing(void);
__int128 s_int128(__int128 a, long b);
__int128 s_int128_spilled(long a, long b, long c, long d, long e, __int128 f);
float s_float(float a, float b);
double s_double(double a, double b);
long double s_long_double(long double a);
long double s_long_double_more(int a, long double b, double c, long double d, int e);
int s_long_double_in(long double a, long double b);
long double s_long_double_from_int(int a);
_Complex float s_complex_float(_Complex float a);
_Complex double s_complex_double(_Complex double a, _Complex double b);
_Complex long double s_complex_long_double(_Complex long double a);
vector s_vector(vector a, vector b);
double s_mixed(int a, double b, long c, float d, short e, double f, char g, double h);
long s_seven(long a, long b, long c, long d, long e, long f, long g);
long s_twelve(long a, long b, long c, long d, long e, long f, long g, int h, short i, char j, long k, long l);
double s_ten_doubles(double a, double b, double c, double d, double e, double f, double g, double h, double i,
           double j);
double s_both_spilled(long a, long b, long c, long d, long e, long f, long g, double h, double i, double j,
           double k, double l, double m, double n, double o, double p, float q);
long s_thirty(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k, long l,
           long m, long n, long o, long p, long q, long r, long s, long t, long u, long v, long w, long x, long y,
           long z, long aa, long bb, long cc, long dd);
long s_variadic(int count, ...);
double s_variadic_doubles(int count, ...);
long double s_variadic_long_doubles(int count, ...);
int s_variadic_until_null(const char *first, ...);
void s_variadic_out(int count, ...);
struct t_pair s_variadic_structure(int count, ...);
long s_list(int count, va_list list);
int s_format(char *out, size_t size, const char *format, ...);
int s_list_twice(char *out, size_t size, const char *format, va_list list);
int s_old_style();

/* structures.c */
struct t_one v_one(struct t_one a);
struct t_pair v_pair(struct t_pair a);
struct t_point v_point(struct t_point a, double by);
struct t_mixed v_mixed(struct t_mixed a, int by);
struct t_mixed_other v_mixed_other(struct t_mixed_other a);
struct t_floats v_floats(struct t_floats a);
struct t_two_floats v_two_floats(struct t_two_floats a);
struct t_float_int v_float_int(struct t_float_int a);
struct t_large v_large(struct t_large a, int by);
struct t_large v_large_from(int by);
long v_large_in(struct t_large a, struct t_large b);
struct t_wide v_wide(struct t_wide a);
struct t_packed v_packed(struct t_packed a);
union t_either v_either(union t_either a);
union t_either_long v_either_long(union t_either_long a);
struct t_bits v_bits(struct t_bits a);
struct t_text v_text(struct t_text a);
struct t_nested v_nested(struct t_nested a);
struct t_empty v_empty(struct t_empty a, int b);
struct t_pointers v_pointers(struct t_pointers a);
struct t_function v_function(struct t_function a);
struct t_pair v_pair_spilled(long a, long b, long c, long d, long e, struct t_pair f, long g);
struct t_point v_point_spilled(double a, double b, double c, double d, double e, double f, double g,
           struct t_point h, double i);
struct t_mixed v_mixed_spilled(long a, long b, long c, long d, long e, long f, struct t_mixed g);
struct t_aligned v_aligned(int a, struct t_aligned b);
double v_many(struct t_point a, struct t_pair b, struct t_mixed c, struct t_large d, struct t_floats e,
           struct t_one f);
struct t_huge v_huge(struct t_huge a);

/* buffers.c */
unsigned b_sum(const void *bytes, size_t count);
void b_fill(void *bytes, size_t count, int with);
void b_invert(unsigned char *bytes, size_t count);
void b_upper(char *text);
void b_move(char *to, const char *from, size_t count);
int b_capacity(char *out, size_t *length, const char *in);
long b_list(const struct t_link *link);
void b_list_change(struct t_link *link);
struct t_link *b_list_reverse(struct t_link *link);
struct t_link *b_list_unlink(struct t_link **first, long value);
int b_strings(const char *const *texts);
void b_strings_swap(char **texts, int count);
char *b_find(const char *text, int byte);
size_t b_gather(const struct iovec *parts, int count, char *out);
int b_may_be_null(const char *a, int *b);
long b_unaligned(const void *at);
int b_bit(unsigned char *bits, int number);
void b_keep(const int *values, size_t count);
long b_kept(void);
void b_keep_out(int *out);
void b_write_kept(int value);
int b_wide(const wchar_t *text, wchar_t *out);
void b_sparse(char *bytes, size_t count);
int b_two(const int *a, int *b);
void b_swap_deep(struct t_deep *deep);
void b_tokens(char *text, char **rest);
int b_compare(const void *a, const void *b, size_t count);
long b_number(const char *text, char **end);
void b_atomic(long *counter);
size_t b_length(const char *text, size_t most);
long b_matrix(int rows, int columns, long (*matrix)[columns]);

/* ownership.c */
char *o_copy(const char *text);
char *o_zeroed(size_t count);
void *o_aligned(size_t align, size_t count);
char *o_resize(char *text, size_t count);
void o_free(void *memory);
int o_out(char **out, size_t *length);
char **o_strings(int count);
void o_strings_free(char **all);
const char *o_literal(void);
const char *o_static(int number);
const char *o_table(int number);
const char *const *o_table_whole(void);
void *o_large(size_t count);
char *o_mapped(size_t count);
void o_unmap(char *at, size_t count);
struct t_handle *o_open(const char *name);
struct t_handle *o_share(struct t_handle *h);
long o_step(struct t_handle *h, long by);
const char *o_name(const struct t_handle *h);
int o_rename(struct t_handle *h, const char *name);
int o_close(struct t_handle *h);
struct t_link *o_push(struct t_link *list, long value);
void o_pop_all(struct t_link *list);
void o_adopt(void *memory);
char *o_release(void);
void *o_allocate_with(void *(*allocate)(size_t), size_t count);
void o_free_with(void (*release)(void *), void *memory);
size_t o_usable(void *memory, size_t at_least);
char *o_break(void);
char *o_stream_text(int number);
char *o_grow(char *text, char with);
long o_churn(int times);
struct tm *o_broken_time(long at);

/* callbacks.c */
int c_int(int (*f)(int), int a);
double c_double(double (*f)(double, float), double a);
long double c_long_double(long double (*f)(long double), long double a);
int c_long_double_in(int (*f)(int, long double, long double), long double a);
struct t_pair c_pair(struct t_pair (*f)(struct t_pair), struct t_pair a);
struct t_large c_large(struct t_large (*f)(struct t_large, int), struct t_large a);
struct t_point c_point(struct t_point (*f)(struct t_point));
long c_twelve(long (*f)(long, long, long, long, long, long, long, long, long, long, long, long));
long c_twenty_four(long (*f)(long, long, long, long, long, long, long, long, long, long, long, long, long, long,
           long, long, long, long, long, long, long, long, long, long));
double c_ten_doubles(double (*f)(double, double, double, double, double, double, double, double, double, double));
int c_variadic(int (*f)(const char *, ...), int a);
_Bool c_bool(_Bool (*f)(signed char, unsigned short));
void *c_pointer(void *(*f)(void *), void *a);
const char *c_text(const char *(*f)(const char *));
long c_each(const int *values, size_t count, int (*f)(int, void *), void *data);
void c_sort(void *values, size_t count, size_t size, int (*f)(const void *, const void *));
void *c_search(const void *key, const void *values, size_t count, size_t size, int (*f)(const void *, const void *));
int c_sort_own(int (*f)(const void *, const void *));
long c_nested(long (*f)(long), long depth);
int (*c_hook(int (*f)(int)))(int);
int c_call_hook(int a);
int c_table(const struct t_operations *operations, int a);
void c_register(const struct t_operations *operations);
int c_registered(int a);
const struct t_operations *c_own_table(void);
int (*c_choose(int which))(int);
int c_given_back(int (*f)(int), int a);
int c_is_own(int (*f)(int));
int c_changes(int *value, void (*f)(void));
int c_writes(int *value, int (*f)(void));
int c_errno(int (*f)(void));
int c_errno_before(int (*f)(void));
int c_stack(int (*f)(int *));
int c_own_memory(int (*f)(char *, size_t));
int c_null(int (*f)(int));
int c_tree_add(const int *key, int (*f)(const void *, const void *));
int c_tree_find(const int *key, int (*f)(const void *, const void *));
int c_while(int (*f)(int));
int c_list(int (*f)(va_list), ...);

/* variables.c */
extern int g_number;
extern int g_zero;
extern const int g_constant;
extern double g_real;
extern char g_text[32];
extern const char g_title[];
extern const char *g_pointer;
extern const char *const g_names[];
extern struct t_pair g_pair;
extern const struct t_named g_table[];
extern int *g_own;
extern struct t_link g_links[2];
extern int g_large[3000];
extern _Bool g_flag;
extern long double g_long_double;
extern const struct t_operations g_operations;
extern __thread int g_thread;
extern char *g_made;
extern int g_weak;
extern int g_alias;
extern int (*g_hook)(int);
extern int (*const g_fixed)(int);
extern void *(*g_allocate)(size_t);
int g_get(void);
void g_set(int value);
int g_sum(void);
void g_change(void);
int g_call_hook(int a);
int g_text_length(void);
void g_make(void);
const char *g_made_here(void);
int g_flag_is(void);
int g_watch(int (*f)(void));

/* files.c */
void f_say(const char *text);
int f_print(FILE *stream, const char *text, int number);
int f_list(FILE *stream, const char *format, va_list list);
int f_put(FILE *stream, const void *bytes, size_t count);
int f_get(FILE *stream, void *bytes, size_t count);
char *f_line(FILE *stream, char *line, int size);
int f_scan(FILE *stream, int *number, char *word);
long f_seek(FILE *stream, long to);
int f_character(FILE *stream);
int f_end(FILE *stream);
int f_number(FILE *stream);
long f_getline(FILE *stream, char *out);
FILE *f_open(const char *path, const char *mode);
FILE *f_opened_by(FILE *(*opens)(const char *), const char *path);
long f_hidden(FILE *stream, int descriptor);
const char *f_map_whole(int descriptor);
int f_close(FILE *stream);
FILE *f_temporary(void);
FILE *f_memory(char *bytes, size_t count);
FILE *f_wrap(int descriptor);
long f_write(int descriptor, const char *text);
long f_read(int descriptor, char *out, size_t count);
long f_size(int descriptor);
int f_open_descriptor(const char *path);
int f_close_descriptor(int descriptor);
int f_pipe(int *ends);
int f_dup(int descriptor);
int f_poll(int descriptor);
long f_map(int descriptor, size_t count);
long f_offset(int descriptor, long to);
int f_truncate(int descriptor, long to);
int f_flags(int descriptor);
int f_exists(const char *path);
int f_remove(const char *path);
int f_rename(const char *from, const char *to);
int f_count(const char *path);
void f_error(const char *text);
int f_flush(FILE *stream);
void f_buffer(FILE *stream);

/* jumps.c */
int j_own(int value);
void j_calls(void (*f)(void *), void *data);
int j_calls_deep(int depth, void (*f)(void *), void *data);
void j_jump(void *buffer, int value);
int j_protected(int (*f)(void *), void *data);
void j_throw(int value);
int j_over(int depth, int (*f)(int));
int j_over_start(int depth, int (*f)(int));
int j_after(void);
int j_clean(int value);

/* threads.c */
int h_mine(int add);
long h_locked(long add);
void h_lock(void);
void h_unlock(void);
int h_once(void);
void h_set(void *value);
void *h_get(void);
long h_own_thread(long number);
long h_on_values(const int *values, int count);
int h_calls_back(int (*f)(int), int a);
int h_shows(int (*f)(struct t_work *), int a);
int h_start(const int *values, int count);
long h_finish(void);
int h_is_same(void);
void h_wait(void);
void h_signal(void);

/* processes.c */
int p_errno(int value);
int p_errno_kept(void);
int p_fails(void);
const char *p_error_text(int number);
const char *p_environment(const char *name);
int p_set_environment(const char *name, const char *value);
const char *p_locale(void);
const char *p_set_locale(const char *name);
const char *p_radix(void);
int p_is_letter(int c);
long p_wide(const char *text);
const char *p_directory(void);
long p_hour(long at);
const char *p_time_text(long at);
int p_random(unsigned seed);
int p_random_next(void);
double p_math(double a);
int p_process(long given);
int p_parent(long given);
int p_user(long given);
int p_raise(int number);
int p_catch(int number);
int p_handler(int number, void (*f)(int));
int p_block(int number);
int p_kill(long process, int number);
int p_fork(int status);
int p_fork_apart(int rounds);
const char *p_environment_of_hidden(void);
long p_child(void);
int p_system(const char *command);
int p_output(const char *command, char *out, int size);
int p_at_exit(void);
int p_at_exit_of(void (*f)(void));
int p_built(void);
double p_rounding(double a);
unsigned p_sleep(void);
int p_name(char *out, size_t size);
long p_page(void);
const char *p_program(void);
#endif
