/* A program over the subject library, which knows nothing of isolation. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int subject_fail(int how);
int subject_count(void);
int *subject_make(int value);
void subject_drop(int *p);
static void leave(int signal) { (void)signal; _exit(subject_count() == 42 ? 9 : 8); }
int main(int count, char **texts)
{
    const char *what = count > 1 ? texts[1] : "";
    if (!strcmp(what, "loop") || !strcmp(what, "handle")) {
        if (*what == 'h') signal(SIGINT, leave);
        puts("looping");
        fflush(stdout);
        subject_fail(7);
    } else if (!strcmp(what, "many")) {
        int errors = 0;
        for (int i = 0; i < 400; i++) {
            errors += subject_count() <= 0;
            if (!i) { puts("counting"); fflush(stdout); }
            usleep(2000);
        }
        return errors == 0;
    } else if (!strcmp(what, "exit")) {
        subject_count();
        return 5;
    } else if (!strcmp(what, "crash")) {
        errno = 0;
        subject_fail(1);
        return errno != EIO;
    } else if (!strcmp(what, "abort")) {
        subject_count();
        abort();
    } else if (!strcmp(what, "memory")) {
        int *p = subject_make(7);
        p = realloc(p, 100000);
        printf("%d\n", *p);
        free(p);
        for (int i = 0; i < 1000; i++) free(subject_make(i));
        int **all = calloc(100, sizeof *all);
        for (int i = 0; i < 100; i++) all[i] = reallocarray(subject_make(i), 50, sizeof(int));
        for (int i = 0; i < 100; i++) { printf("%d ", *all[i]); free(all[i]); }
        subject_drop(subject_make(1));
        p = realloc(NULL, 10);
        *p = 3;
        p = realloc(p, 20);
        printf("%d\n", *p);
        free(p);
        free(all);
    }
    return 0;
}
