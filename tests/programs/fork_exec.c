// Says of a copy of the process, and of another program in its place, whether it works: fork_exec fork|exec.
// Under Banyan these are refused for now; the tests expect "refused", and are to be turned round when
// they work.
#include "check.h"
#include <sys/wait.h>

extern char **environ;

static void *idle(void *argument) {
    (void)argument;
    for (;;) pause();
    return NULL;
}

static void report(const char *what, int error) {
    if (error) printf("%s refused: %s\n", what, strerror(error));
    else printf("%s works\n", what);
    fflush(stdout);
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: fork_exec fork|exec");
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, idle, NULL));
    if (strcmp(arguments[1], "fork") == 0) {
        pid_t child = fork();
        if (child == 0) _exit(7);
        int error = child < 0 ? errno : 0, status = 0;
        if (!error) CHECK(CALL(waitpid(child, &status, 0)) == child && WEXITSTATUS(status) == 7, "status %x", status);
        report("fork", error);
    } else {
        char *echo[] = {"/bin/echo", "exec works", NULL};
        fflush(stdout);
        execve(echo[0], echo, environ);
        report("exec", errno);
    }
    return 0;
}
