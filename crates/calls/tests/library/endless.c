/* A library one of whose functions always fails, and programs that call it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef PROGRAM
int endless_next(void) { abort(); }
int endless_other(void) { return 3; }
#else
int endless_next(void), endless_other(void);
int main(int count, char **words) {
    if (!strcmp(words[1], "until"))
        while (!endless_next()) ;
    long sum = 0;
    for (long left = count > 2 ? atol(words[2]) : 0; left > 0; left--) {
        sum += endless_next();
        if (!strcmp(words[1], "between")) sum += endless_other() - 3;
    }
    printf("%ld\n", sum);
    return 0;
}
#endif
