/* A program over the subject library, which knows nothing of isolation. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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
    } else if (!strcmp(what, "fork")) {
        /* Parent and children go on; what is the parent's stays so, and a child outlives it. */
        int *mine = subject_make(7), *other = subject_make(8), errors = subject_count() != 42;
        for (int round = 0; round < 4; round++) {
            pid_t child = fork();
            if (!child) {
                for (int i = 0; i < 50; i++) errors += subject_count() != 42 + i;
                errors += *mine != 7 || *other != 8;
                int ends[2] = {-1, -1};
                errors += pipe(ends) != 0 || write(ends[1], "word", 4) != 4;
                errors += read(ends[0], mine, 4) != -1 || errno != EFAULT;
                errno = 0;
                subject_drop(mine);
                errors += errno != ESTALE;
                free(other);
                int *own = subject_make(9);
                errors += *own != 9;
                subject_drop(own);
                errno = 0;
                subject_fail(1);
                errors += errno != EIO || subject_count() != 42;
                if (round == 3 && !fork()) {
                    errors += subject_count() != 42 || *mine != 7;
                    usleep(100000);
                    errors += subject_count() != 43;
                    FILE *told = fopen("fork-told", "w");
                    fprintf(told, "%d\n", errors);
                    fclose(told);
                }
                _exit(errors);
            }
            int status, *own[20];
            for (int i = 0; i < 20; i++) own[i] = subject_make(i);
            for (int i = 0; i < 50; i++) errors += subject_count() != 43 + round * 50 + i;
            errors += waitpid(child, &status, 0) != child || status != 0;
            for (int i = 0; i < 20; i++) {
                errors += *own[i] != i || own[i] == mine || own[i] == other;
                subject_drop(own[i]);
            }
        }
        errors += *mine != 7 || *other != 8;
        subject_drop(mine);
        free(other);
        return errors;
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
