/* Variables and constants of the library that the program uses by name. */
#include "torture.h"
#include <stdlib.h>
#include <string.h>
#ifndef PROGRAM
int g_number = 5;
int g_zero;
const int g_constant = 77;
double g_real = 2.5;
char g_text[32] = "initial";
const char g_title[] = "the title";
const char *g_pointer = "pointed at";
const char *const g_names[] = {"zero", "one", "two"};
struct t_pair g_pair = {1, 2};
const struct t_named g_table[] = {{"first", 1}, {"second", 2}, {0, 0}};
int *g_own = &g_number;
struct t_link g_links[2] = {{1, &g_links[1]}, {2, 0}};
int g_large[3000] = {1, 2, 3};
_Bool g_flag = 1;
long double g_long_double = 1.5L;
static int twice(int a) { return 2 * a; }
int (*g_hook)(int) = twice;
int (*const g_fixed)(int) = twice;
const struct t_operations g_operations = {twice, 0, &g_number};
void *(*g_allocate)(size_t) = malloc;
__thread int g_thread = 9;
char *g_made;
int g_weak __attribute__((weak)) = 3;
extern int g_alias __attribute__((alias("g_number")));
int g_get(void) { return g_number; }
void g_set(int value) { g_number = value; }
int g_sum(void) { int sum = 0; for (int i = 0; i < 3000; i++) sum += g_large[i]; return sum; }
void g_change(void) { g_zero++; g_real *= 2; strcpy(g_text, "changed"); g_pointer = "another"; g_pair.a = 11; g_large[2999] = 4; }
int g_call_hook(int a) { return g_hook(a); }
int g_text_length(void) { return (int)strlen(g_text); }
void g_make(void) { free(g_made); g_made = strdup("made"); }
const char *g_made_here(void) { return g_made; }
int g_flag_is(void) { return g_flag; }
static int (*watcher)(void);
int g_watch(int (*f)(void)) { g_number = 123; watcher = f; int r = watcher(); return r * 1000 + g_number; }
#else
#include "rows.h"
/* A drop-in has no variables of threads. */
#pragma weak g_thread
static int thrice(int a) { return 3 * a; }
static int watch(void) { int seen = g_number; g_number = 321; return seen; }
#define ROWS(X) \
    X(g_number, say("%d", g_number)) \
    X(g_zero, say("%d", g_zero)) \
    X(g_constant, say("%d", g_constant)) \
    X(g_real, say("%g", g_real)) \
    X(g_text, say("%s", g_text)) \
    X(g_title, say("%s", g_title)) \
    X(g_pointer, say("%s", g_pointer)) \
    X(g_names, say("%s %s", g_names[0], g_names[2])) \
    X(g_pair, say("%ld %ld", g_pair.a, g_pair.b)) \
    X(g_table, say("%s %d %d", g_table[1].name, g_table[1].number, g_table[2].name == 0)) \
    X(g_own, say("%d", *g_own)) \
    X(g_links, say("%ld %ld", g_links[0].value, g_links[0].next->value)) \
    X(g_large, say("%d %d", g_large[2], g_large[2999])) \
    X(g_flag, say("%d", g_flag)) \
    X(g_long_double, say("%La", g_long_double)) \
    X(g_hook, say("%d", g_hook(4))) \
    X(g_fixed, say("%d", g_fixed(4))) \
    X(g_operations, say("%d %d", g_operations.open(4), *(int *)g_operations.data)) \
    X(g_allocate, char *t = g_allocate(10); strcpy(t, "by hook"); say("%s", t); free(t)) \
    X(g_made, say("%d", g_made == 0)) \
    X(g_weak, say("%d", g_weak)) \
    X(g_alias, say("%d", g_alias)) \
    X(g_get, g_number = 42; say("%d", g_get())) \
    X(g_set, g_set(43); say("%d %d", g_number, *g_own)) \
    X(g_sum, g_large[100] = 50; say("%d", g_sum())) \
    X(g_change, g_change(); say("%d %g %s %s %ld %d", g_zero, g_real, g_text, g_pointer, g_pair.a, g_large[2999])) \
    X(g_call_hook, g_hook = thrice; say("%d", g_call_hook(5))) \
    X(g_text_length, strcpy(g_text, "set by the program"); say("%d", g_text_length())) \
    X(g_make, g_make(); say("%s", g_made)) \
    X(g_made_here, free(g_made); g_made = strdup("the program's"); say("%s", g_made_here())) \
    X(g_flag_is, g_flag = 0; say("%d", g_flag_is())) \
    X(g_watch, say("%d", g_watch(watch)); say(" %d", g_number)) \
    X(g_thread, say("%d", g_thread))
SUBJECT(variables)
#endif
