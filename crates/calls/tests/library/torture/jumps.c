/* Control that leaves a function otherwise than by its end. */
#include "torture.h"
#include <setjmp.h>
#ifndef PROGRAM
#include <stdlib.h>
static jmp_buf own;
static void leave(int value) { longjmp(own, value); }
int j_own(int value) { int r = setjmp(own); if (r) return r * 10; leave(value); return -1; }
void j_calls(void (*f)(void *), void *data) { for (;;) f(data); }
int j_calls_deep(int depth, void (*f)(void *), void *data) { char frame[1000]; frame[depth] = 1; if (!depth) f(data); return j_calls_deep(depth - 1, f, data) + frame[depth]; }
void j_jump(void *buffer, int value) { longjmp(buffer, value); }
int j_protected(int (*f)(void *), void *data) { int r = setjmp(own); return r ? 100 + r : f(data); }
void j_throw(int value) { longjmp(own, value); }
int j_over(int depth, int (*f)(int)) { if (!depth) longjmp(own, 3); return f(depth) + 1; }
int j_over_start(int depth, int (*f)(int)) { int r = setjmp(own); return r ? 100 + r : f(depth); }
int j_after(void) { return 5; }
static int cleaned;
static void clean(int *at) { cleaned = *at * 2; }
int j_clean(int value) { { __attribute__((cleanup(clean))) int at = value; at++; } return cleaned; }
#else
#include "rows.h"
static jmp_buf buffer;
static void jump(void *data) { longjmp(buffer, *(int *)data); }
static int throws(void *data) { j_throw(*(int *)data); return 1; }
static int deeper(int depth) { return j_over(depth - 1, deeper); }
static int returns(void *data) { return *(int *)data; }
#define ROWS(X) \
    X(j_own, say("%d %d", j_own(1), j_own(2))) \
    X(j_calls, int v = 3; int r = setjmp(buffer); if (!r) j_calls(jump, &v); say("%d %d", r, j_after())) \
    X(j_calls_deep, int v = 4; int r = setjmp(buffer); if (!r) j_calls_deep(50, jump, &v); say("%d %d", r, j_after())) \
    X(j_protected, int v = 6; say("%d", j_protected(returns, &v))) \
    X(j_throw, int v = 7; say("%d %d", j_protected(throws, &v), j_after())) \
    X(j_over, int sum = 0; for (int i = 1; i < 20; i++) sum += j_over_start(i, deeper); say("%d %d", sum, j_after())) \
    X(j_jump, int r = setjmp(buffer); if (!r) j_jump(buffer, 9); say("%d", r)) \
    X(j_after, say("%d", j_after())) \
    X(j_clean, say("%d", j_clean(4)))
SUBJECT(jumps)
#endif
