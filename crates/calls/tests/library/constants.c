/* Constants and variables with addresses in them, and a program that reads them before and after its first
 * call. The loader makes the program's copies of constants read-only before anything of it runs. */
#include <stdio.h>
struct row {
    const char *name;
    int number;
};
#ifndef PROGRAM
const int constants_length = 3;
const char *const constants_names[] = {"zero", "one", "two"};
const struct row constants_rows[] = {{"first", 1}, {"second", 2}};
const char *constants_version = "1.2";
static int twice(int number) { return 2 * number; }
int (*constants_hook)(int) = twice;
int (*const constants_fixed_hook)(int) = twice;
int constants_add(int a, int b)
{
    constants_version = "1.3";
    return a + b;
}
#else
extern const int constants_length;
extern const char *const constants_names[3];
extern const struct row constants_rows[2];
extern const char *constants_version;
extern int (*constants_hook)(int);
extern int (*const constants_fixed_hook)(int);
int constants_add(int, int);
static void show(const char *when)
{
    printf("%s: %d %s %s %s %s %d %d\n", when, constants_length, constants_names[0], constants_names[2],
           constants_rows[1].name, constants_version, constants_hook(4), constants_fixed_hook(5));
}
__attribute__((constructor)) static void early(void) { show("early"); }
int main(void)
{
    show("main");
    printf("%d\n", constants_add(1, 2));
    show("called");
    return 0;
}
#endif
