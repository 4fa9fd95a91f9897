/* Functions that a program gets by address only, at any byte: short, static, aligned as the compiler likes. */
#include <stdio.h>
typedef int (*function)(int);
#ifndef PROGRAM
#define STEP(n) static int step_##n(int x) { return x + n; }
STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) STEP(10) STEP(11) STEP(12)
STEP(13) STEP(14) STEP(15) STEP(16) STEP(17) STEP(18) STEP(19) STEP(20) STEP(21) STEP(22) STEP(23) STEP(24)
static int zero(int x) { return 0; }
static int same(int x) { return x; }
static int shifted(int x) { return x << 3; }
static int negated(int x) { return -x; }
static int loop(int x)
{
    volatile int sum = 0;
    for (int i = 0; i < x; i++)
        sum += i;
    return sum;
}
static const function all[] = {
    step_1,  step_2,  step_3,  step_4,  step_5,  step_6,  step_7,  step_8,  step_9,  step_10,
    step_11, step_12, step_13, step_14, step_15, step_16, step_17, step_18, step_19, step_20,
    step_21, step_22, step_23, step_24, zero,    same,    shifted, negated, loop,
};
static int other(int x) { return x + 1000; }
static function pick(void) { return other; }
int functions_chosen(int) __attribute__((ifunc("pick")));
int functions_plain(int x) { return 3 * x; }
int functions_alias(int) __attribute__((alias("functions_plain")));
__attribute__((weak)) int functions_weak(int x) { return 5 * x; }
int functions_count(void) { return sizeof all / sizeof *all; }
function functions_get(int number) { return all[number]; }
function functions_exported(void) { return functions_plain; }
function functions_chosen_one(void) { return functions_chosen; }
int functions_is_plain(function f) { return f == functions_plain; }
int functions_apply(function f, int x) { return f(x) + (f == functions_weak); }
function functions_echo(function f) { return f; }
#else
#include <dlfcn.h>
int functions_chosen(int), functions_plain(int), functions_weak(int), functions_count(void);
#ifdef __PIC__
int functions_alias(int);
#else
#define functions_alias functions_plain
#endif
function functions_get(int);
function functions_exported(void), functions_chosen_one(void), functions_echo(function);
int functions_is_plain(function), functions_apply(function, int);
static int mine(int x) { return x - 1; }
__attribute__((constructor)) static void early(void) { printf("early %d\n", functions_plain(1)); }
__attribute__((destructor)) static void late(void) { printf("late %d\n", functions_plain(2)); }
int main(void)
{
    for (int i = 0; i < functions_count(); i++)
        printf("%d ", functions_get(i)(i));
    printf("\n%d %d %d %d\n", functions_chosen(1), functions_plain(1), functions_alias(1), functions_weak(1));
    function found = dlsym(RTLD_DEFAULT, "functions_plain");
    printf("%d %d\n", found(3), functions_exported()(4));
    /* Each side knows the other's address for its own. */
    printf("equal %d %d\n", functions_exported() == functions_plain, found == functions_plain);
    printf("chosen %d %d\n", functions_chosen_one() == functions_chosen, functions_chosen_one()(1));
    printf("known %d %d\n", functions_is_plain(functions_plain), functions_is_plain(mine));
#ifdef __PIC__
    /* At a fixed address each name would have an entry of the program's own. */
    printf("alias %d %d\n", functions_plain == functions_alias, functions_is_plain(functions_alias));
#endif
    printf("applied %d %d %d\n", functions_apply(functions_weak, 2), functions_apply(functions_plain, 2), functions_apply(mine, 2));
    printf("echoed %d %d %d\n", functions_echo(functions_weak) == functions_weak, functions_echo(mine) == mine, functions_echo(functions_get(0)) == functions_get(0));
    return 0;
}
#endif
