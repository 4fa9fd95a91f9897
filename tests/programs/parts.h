// For programs that make processes and have several parts, of which one is run: see `run_parts`.
#ifndef PARTS_H
#define PARTS_H

#include "check.h"
#include <sys/wait.h>

// How a child ended: its status, or the negated number of the signal.
static inline int ended(pid_t child) {
    int status;
    CHECK(CALL(waitpid(child, &status, 0)) == child, "another child");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// A program of several parts runs the one that its argument names: in the first thread, then in threads of every
// node, all at once or one after the other.
struct part {
    const char *name;
    void (*function)(void);
    enum { AT_ONCE, IN_TURN } threads;
};

static inline void *run_part(void *argument) {
    static pthread_mutex_t in_turn = PTHREAD_MUTEX_INITIALIZER;
    static const struct part *part;
    // The first thread says which part.
    if (argument != NULL && part == NULL) part = argument;
    int alone = part->threads == IN_TURN;
    if (alone) ZERO(pthread_mutex_lock(&in_turn));
    part->function();
    if (alone) ZERO(pthread_mutex_unlock(&in_turn));
    return NULL;
}

static inline int run_parts(const struct part *parts, size_t count, int words, char **arguments) {
    CHECK(words == 2, "usage: %s PART", arguments[0]);
    for (size_t at = 0; at < count; at++)
        if (strcmp(parts[at].name, arguments[1]) == 0) {
            run_part((void *)&parts[at]);
            fflush(stdout);
            run_threads(THREADS, run_part);
            return finish();
        }
    CHECK(0, "unknown: %s", arguments[1]);
    return 1;
}

#endif
