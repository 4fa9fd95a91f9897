#include "fragile.h"
#include <stdlib.h>

int fragile_sum(const char *text)
{
    int sum = 0;
    if (!*text)
        *(volatile int *)0 = 1; /* the defect */
    while (*text) {
        char *end;
        sum += (int)strtol(text, &end, 10);
        if (end == text)
            return -1;
        text = *end ? end + 1 : end;
    }
    return sum;
}

int fragile_wait(int from)
{
    volatile int left = from;
    while (left)
        left = left < 0 ? left : left - 1;
    return 0;
}
