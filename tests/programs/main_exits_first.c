// The main thread ends first by pthread_exit; the others go on, see its state and print the result.
// With an argument, the last thread ends the process by exit(5).
#include "check.h"

static pthread_t main_thread;
static atomic_int working = THREADS;
static atomic_long sum;
static int with_status;

static void *work(void *argument) {
    intptr_t self = (intptr_t)argument;
    if (self == 0) {
        ZERO(pthread_join(main_thread, NULL));
        sleep_ms(10);
    }
    sum += self;
    if (--working == 0) {
        printf("the main thread has ended, sum %ld\n", sum);
        puts("ok");
        if (with_status) exit(5);
    }
    return NULL;
}

int main(int count, char **arguments) {
    (void)arguments;
    with_status = count > 1;
    main_thread = pthread_self();
    for (int index = 0; index < THREADS; index++) {
        pthread_t thread;
        ZERO(pthread_create(&thread, NULL, work, (void *)(intptr_t)index));
        ZERO(pthread_detach(thread));
    }
    pthread_exit(NULL);
}
