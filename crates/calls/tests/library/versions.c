/* A function of two versions, of which one has no other name: its node in the linker's script is empty. */
#ifndef PROGRAM
__asm__(".symver one_old, versions_one@V1");
int one_old(void) { return 1; }
__asm__(".symver one_new, versions_one@@V2");
int one_new(void) { return 2; }
#else
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
int versions_one(void);
int main(void)
{
    int (*old)(void) = dlvsym(RTLD_DEFAULT, "versions_one", "V1");
    printf("%d %d\n", versions_one(), old());
    return 0;
}
#endif
