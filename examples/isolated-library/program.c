/* Knows nothing of Banyan: it calls a library, and looks at what comes back. */
#include "fragile.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **texts)
{
    for (int i = 1; i < count; i++) {
        int is_wait = !strcmp(texts[i], "wait");
        errno = 0;
        int result = is_wait ? fragile_wait(-1) : fragile_sum(texts[i]);
        printf("%s: %d%s%s\n", texts[i], result, errno ? ", " : "", errno ? strerror(errno) : "");
        fflush(stdout);
    }
    return 0;
}
