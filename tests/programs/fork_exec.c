// Says of each way to start another process whether it works: fork_exec fork|spawn|exec.
// Under Banyan these are refused for now; the tests expect "refused", and are to be turned round when
// they work.
#include "check.h"
#include <spawn.h>
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
    CHECK(count == 2, "usage: fork_exec fork|spawn|exec");
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, idle, NULL));
    char *command[] = {"/bin/true", NULL};
    if (strcmp(arguments[1], "fork") == 0) {
        pid_t child = fork();
        if (child == 0) _exit(7);
        int error = child < 0 ? errno : 0, status = 0;
        if (!error) CHECK(CALL(waitpid(child, &status, 0)) == child && WEXITSTATUS(status) == 7, "status %x", status);
        report("fork", error);
    } else if (strcmp(arguments[1], "spawn") == 0) {
        pid_t child;
        int error = posix_spawn(&child, command[0], NULL, NULL, command, environ), status = 0;
        if (!error) CHECK(CALL(waitpid(child, &status, 0)) == child && status == 0, "status %x", status);
        report("posix_spawn", error);
    } else {
        char *echo[] = {"/bin/echo", "exec works", NULL};
        fflush(stdout);
        execve(echo[0], echo, environ);
        report("exec", errno);
    }
    return 0;
}
