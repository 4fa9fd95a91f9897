// Dynamic thread-local storage: a library loaded at run time, by a thread that need not be the main
// one, gives each thread its own copy at first use.
#include "check.h"
#include <dlfcn.h>

static void *library;
static int *(*number_address)(void);
static char *(*space_address)(void);
static pthread_barrier_t loaded;
static const char *path;

static void *use(void *argument) {
    int self = (int)(intptr_t)argument;
    if (self == 1) {
        library = dlopen(path, RTLD_NOW);
        CHECK(library != NULL, "%s", dlerror());
        number_address = (int *(*)(void))dlsym(library, "module_number_address");
        space_address = (char *(*)(void))dlsym(library, "module_space_address");
        CHECK(number_address && space_address, "%s", dlerror());
    }
    pthread_barrier_wait(&loaded);
    CHECK(*number_address() == 7, "starts as %d", *number_address());
    check_zero((unsigned char *)space_address(), 9000, "the module's space");
    *number_address() += self;
    memset(space_address(), self + 1, 9000);
    pthread_barrier_wait(&loaded);
    CHECK(*number_address() == 7 + self, "became %d", *number_address());
    for (int index = 0; index < 9000; index++)
        CHECK(space_address()[index] == self + 1, "byte %d is %d", index, space_address()[index]);
    return NULL;
}

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: tls_dynamic LIBRARY");
    path = arguments[1];
    ZERO(pthread_barrier_init(&loaded, NULL, THREADS));
    run_threads(THREADS, use);
    CHECK(dlclose(library) == 0, "%s", dlerror());
    return finish();
}
