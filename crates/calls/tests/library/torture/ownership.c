/* Memory that one side allocates and the other reads, writes, resizes or frees; handles and their life. */
#include "torture.h"
#include <stdlib.h>
#include <string.h>
#ifndef PROGRAM
#include <malloc.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
char *o_copy(const char *text) { return strdup(text); }
char *o_zeroed(size_t count) { return calloc(1, count); }
void *o_aligned(size_t align, size_t count) { void *at = 0; return posix_memalign(&at, align, count) ? 0 : memset(at, 3, count); }
char *o_resize(char *text, size_t count) { return realloc(text, count); }
void o_free(void *memory) { free(memory); }
int o_out(char **out, size_t *length) { *out = strdup("made by the library"); *length = strlen(*out); return 0; }
char **o_strings(int count) { char **all = calloc(count + 1, sizeof *all); for (int i = 0; i < count; i++) if (asprintf(&all[i], "text %d", i) < 0) return 0; return all; }
void o_strings_free(char **all) { for (char **one = all; *one; one++) free(*one); free(all); }
const char *o_literal(void) { return "a literal"; }
const char *o_static(int number) { static char text[40]; snprintf(text, sizeof text, "number %d", number); return text; }
static const char *const words[] = {"zero", "one", "two"};
const char *o_table(int number) { return words[number]; }
const char *const *o_table_whole(void) { return words; }
void *o_large(size_t count) { char *at = malloc(count); for (size_t i = 0; i < count; i += 4096) at[i] = (char)(i / 4096); return at; }
char *o_mapped(size_t count) { char *at = mmap(0, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); return at == MAP_FAILED ? 0 : strcpy(at, "mapped"); }
void o_unmap(char *at, size_t count) { munmap(at, count); }
struct t_handle { int references; long value; char *name; };
struct t_handle *o_open(const char *name) { struct t_handle *h = malloc(sizeof *h); *h = (struct t_handle){1, 0, strdup(name)}; return h; }
struct t_handle *o_share(struct t_handle *h) { h->references++; return h; }
long o_step(struct t_handle *h, long by) { return h->value += by; }
const char *o_name(const struct t_handle *h) { return h->name; }
int o_rename(struct t_handle *h, const char *name) { free(h->name); h->name = strdup(name); return (int)strlen(name); }
int o_close(struct t_handle *h) { int left = --h->references; if (!left) { free(h->name); free(h); } return left; }
struct t_link *o_push(struct t_link *list, long value) { struct t_link *link = malloc(sizeof *link); *link = (struct t_link){value, list}; return link; }
void o_pop_all(struct t_link *list) { while (list) { struct t_link *next = list->next; free(list); list = next; } }
static void *adopted;
void o_adopt(void *memory) { free(adopted); adopted = memory; }
char *o_release(void) { char *memory = adopted; adopted = 0; return memory; }
void *o_allocate_with(void *(*allocate)(size_t), size_t count) { return memset(allocate(count), 'a', count); }
void o_free_with(void (*release)(void *), void *memory) { release(memory); }
size_t o_usable(void *memory, size_t at_least) { return malloc_usable_size(memory) >= at_least; }
char *o_break(void) { char *at = sbrk(4096); return at == (void *)-1 ? 0 : strcpy(at, "break"); }
char *o_stream_text(int number) { char *text; size_t length; FILE *stream = open_memstream(&text, &length); fprintf(stream, "stream %d", number); fclose(stream); return text; }
char *o_grow(char *text, char with) { size_t n = strlen(text); text = realloc(text, n + 2); text[n] = with; text[n + 1] = 0; return text; }
long o_churn(int times) { long sum = 0; for (int i = 0; i < times; i++) { char *at = malloc(i % 3000 + 1); at[i % 3000] = (char)i; sum += at[i % 3000]; free(at); } return sum; }
struct tm *o_broken_time(long at) { time_t t = at; return gmtime(&t); }
#else
#include "rows.h"
#include <time.h>
static char *mine(const char *text) { return strdup(text); }
#define ROWS(X) \
    X(o_copy, char *t = o_copy("copied"); t[0] = 'C'; say("%s", t); free(t)) \
    X(o_zeroed, char *t = o_zeroed(9000); say("%x", sum_of(t, 9000)); free(t)) \
    X(o_aligned, char *t = o_aligned(4096, 100); say("%d %d", (int)((unsigned long)t % 4096), t[99]); free(t)) \
    X(o_resize, char *t = o_resize(mine("mine"), 50000); t[49999] = 1; say("%s", t); t = realloc(t, 100); say(" %s", t); free(t)) \
    X(o_free, for (int i = 0; i < 50; i++) o_free(malloc(i * 100 + 1)); o_free(0); say("freed")) \
    X(o_out, char *t; size_t n; int r = o_out(&t, &n); say("%d %zu %s", r, n, t); free(t)) \
    X(o_strings, char **all = o_strings(30); say("%s %s %d", all[0], all[29], all[30] == 0); for (int i = 0; i < 30; i++) free(all[i]); free(all)) \
    X(o_strings_free, char **all = o_strings(3); free(all[1]); all[1] = mine("the program's"); o_strings_free(all); say("freed")) \
    X(o_literal, say("%s", o_literal())) \
    X(o_static, const char *a = o_static(1); const char *b = o_static(2); say("%s %s %d", a, b, a == b)) \
    X(o_table, say("%s", o_table(2))) \
    X(o_table_whole, say("%s", o_table_whole()[1])) \
    X(o_large, char *t = o_large(40 << 20); say("%x", sum_of(t, 40 << 20)); free(t)) \
    X(o_mapped, char *t = o_mapped(10000); say("%s", t); t[9999] = 1; o_unmap(t, 10000)) \
    X(o_unmap, char *t = o_mapped(5000); o_unmap(t, 5000); say("unmapped")) \
    X(o_open, struct t_handle *h = o_open("name"); say("%s", o_name(h)); o_close(h)) \
    X(o_share, struct t_handle *h = o_open("x"); o_share(h); int left = o_close(h); say("%d %d", left, o_close(h))) \
    X(o_step, struct t_handle *h = o_open("x"); for (int i = 0; i < 100; i++) o_step(h, i); say("%ld", o_step(h, 0)); o_close(h)) \
    X(o_name, struct t_handle *h = o_open("a name that is rather long"); say("%s", o_name(h)); o_close(h)) \
    X(o_rename, struct t_handle *h = o_open("x"); o_rename(h, "other"); say("%s", o_name(h)); o_close(h)) \
    X(o_close, struct t_handle *all[100]; for (int i = 0; i < 100; i++) all[i] = o_open("x"); int sum = 0; for (int i = 0; i < 100; i++) sum += o_close(all[i]); say("%d", sum)) \
    X(o_push, struct t_link mine = {9, 0}; struct t_link *l = o_push(o_push(&mine, 2), 3); say("%ld %ld %ld", l->value, l->next->value, l->next->next->value); free(l->next); free(l)) \
    X(o_pop_all, struct t_link *l = malloc(sizeof *l); *l = (struct t_link){1, 0}; o_pop_all(o_push(o_push(l, 2), 3)); say("freed")) \
    X(o_adopt, o_adopt(mine("first")); o_adopt(mine("second")); say("adopted")) \
    X(o_release, char *t = o_release(); say("%s", t); free(t)) \
    X(o_allocate_with, char *t = o_allocate_with(malloc, 5000); say("%x", sum_of(t, 5000)); free(t)) \
    X(o_free_with, o_free_with(free, o_copy("x")); o_free_with(free, mine("y")); say("freed")) \
    X(o_usable, char *t = malloc(100); say("%zu", o_usable(t, 100)); free(t)) \
    X(o_break, char *t = o_break(); say("%s", t ? t : "none")) \
    X(o_stream_text, char *t = o_stream_text(5); say("%s", t); free(t)) \
    X(o_grow, char *t = mine(""); for (int i = 0; i < 300; i++) t = o_grow(t, (char)('a' + i % 26)); say("%x", sum_of(t, 301)); free(t)) \
    X(o_churn, say("%ld", o_churn(20000))) \
    X(o_broken_time, struct tm *t = o_broken_time(1000000000); say("%d-%d-%d", t->tm_year, t->tm_mon, t->tm_mday))
SUBJECT(ownership)
#endif
