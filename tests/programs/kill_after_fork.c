// A program that takes what a refused fork returned for the id of a child: the signal must reach no process.
#include "check.h"
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

static void *kill_child(void *argument) {
    pid_t child = *(pid_t *)argument;
    for (int round = 0; round < 3; round++)
        CHECK(kill(child, SIGCONT) == -1 && errno == EPERM, "every process was signalled");
    return NULL;
}

int main(void) {
    // A copy that shares the descriptors of its maker is not served.
    pid_t child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
    if (child == 0) _exit(0);
    // One that is served is a child of its own.
    if (child > 0) return finish();
    pthread_t thread;
    kill_child(&child);
    ZERO(pthread_create(&thread, NULL, kill_child, &child));
    ZERO(pthread_join(thread, NULL));
    return finish();
}
