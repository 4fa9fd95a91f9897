/* An snprintf that scribbles over its buffer and crashes at each fortieth call of a worker. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int calls_until_crash = 40;

int flaky_snprintf(char *out, size_t size, const char *format, ...) {
    if (--calls_until_crash == 0) {
        memset(out, 0xee, size);
        *(volatile int *)8 = 1;
    }
    va_list list;
    va_start(list, format);
    int length = vsnprintf(out, size, format, list);
    va_end(list);
    return length;
}
