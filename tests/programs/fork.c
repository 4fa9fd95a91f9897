// Says whether a copy of the process works. Under Banyan it is refused for now; the test expects "refused", and is
// to be turned round when it works.
#include "check.h"
#include <sys/wait.h>

static void *idle(void *argument) {
    (void)argument;
    for (;;) pause();
    return NULL;
}

int main(void) {
    pthread_t thread;
    ZERO(pthread_create(&thread, NULL, idle, NULL));
    pid_t child = fork();
    if (child == 0) _exit(7);
    int error = child < 0 ? errno : 0, status = 0;
    if (!error) CHECK(CALL(waitpid(child, &status, 0)) == child && WEXITSTATUS(status) == 7, "status %x", status);
    if (error) printf("fork refused: %s\n", strerror(error));
    else printf("fork works\n");
    return 0;
}
