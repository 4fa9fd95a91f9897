/* Functions that only compute, variables, and functions that do something: what a check may try. */
#include <stdlib.h>
static int state = 1;
const int checked_constant = 7;
int checked_variable = 8;
const char *checked_version(void) { return "1.0"; }
int checked_sum(int a, int b) { return 3 * a + b; }
double checked_half(double a) { return a / 2; }
float checked_third(float a) { return a / 3; }
long double checked_quarter(long double a) { return a / 4; }
short checked_short(int a) { return (short)(a * 1000); }
_Bool checked_is_odd(int a) { return a & 1; }
int checked_larger(int a, int b) { return a > b ? a : b; }
int checked_seventh(int a, int b, int c, int d, int e, int f, int g) { return f + g; }
void checked_exit(void) { exit(3); }
int checked_count(void) { return ++state; }
int checked_first(const int *values) { return *values; }
void checked_loop(void) { for (;;) state ^= 1; }
