// A fault that a checker finds: checked race, checked leak; and one that none has to find: checked nothing.
#include "check.h"

static volatile int shared;
static void *volatile lost;

static void *add(void *argument) {
    for (int i = 0; i < 1000; i++) shared++;
    return argument;
}

int main(int count, char **arguments) {
    pthread_t threads[2];
    if (count > 1 && strcmp(arguments[1], "race") == 0) {
        for (int i = 0; i < 2; i++) ZERO(pthread_create(&threads[i], NULL, add, NULL));
        for (int i = 0; i < 2; i++) ZERO(pthread_join(threads[i], NULL));
    }
    if (count > 1 && strcmp(arguments[1], "leak") == 0) {
        for (int i = 0; i < 10; i++) lost = malloc(100);
        lost = NULL;
    }
    return finish();
}
