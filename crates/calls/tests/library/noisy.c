/* A library that prints lines of 64 kilobytes on standard error, in each way, and its program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef PROGRAM
void noisy_print(int way, int lines) {
    static char line[(64 << 10) + 1];
    for (int number = 0; number < lines; number++) {
        int start = snprintf(line, sizeof line, "%d %d ", way, number);
        memset(line + start, '.', (64 << 10) - 1 - start);
        strcpy(line + (64 << 10) - 1, "\n");
        if (way == 0) fprintf(stderr, "%s", line);
        if (way == 1) fputs(line, stderr);
        if (way == 2) fwrite(line, 1, 64 << 10, stderr);
        if (way == 3 && write(2, line, 64 << 10) != 64 << 10) abort();
    }
}
#else
void noisy_print(int, int);
int main(int count, char **words) {
    noisy_print(atoi(words[1]), atoi(words[2]));
    puts("printed");
    return 0;
}
#endif
