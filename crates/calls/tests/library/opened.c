/* A library that its program opens at run time: by its path, by another path of the same file, or by its name. */
#include <stdio.h>
#ifndef PROGRAM
#include <sys/syscall.h>
#include <unistd.h>
int opened_process(void) { return (int)syscall(SYS_getpid); }
#else
#include <dlfcn.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        void *library = dlopen(arguments[i], RTLD_NOW);
        if (!library) {
            puts(dlerror());
            return 1;
        }
        int (*process)(void) = dlsym(library, "opened_process");
        puts(process() == getpid() ? "here" : "isolated");
    }
    puts(dlopen("/no/such/library", RTLD_NOW) ? "found" : "not found");
    return 0;
}
#endif
