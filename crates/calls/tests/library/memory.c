/* Memory of the program that the library frees, grows and shrinks, and the other way round. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef PROGRAM
void memory_free(void *memory) { free(memory); }
void *memory_resize(void *memory, size_t bytes) { return realloc(memory, bytes); }
void *memory_array(void *memory, size_t count, size_t bytes) { return reallocarray(memory, count, bytes); }
int memory_holds(void *memory, size_t bytes) { return malloc_usable_size(memory) >= bytes; }
char *memory_appended(char *text, const char *more)
{
    text = realloc(text, strlen(text) + strlen(more) + 1);
    return strcat(text, more);
}
char *memory_fresh(const char *text) { return strdup(text); }
#else
void memory_free(void *), *memory_resize(void *, size_t), *memory_array(void *, size_t, size_t);
int memory_holds(void *, size_t);
char *memory_appended(char *, const char *), *memory_fresh(const char *);
int main(void)
{
    for (int i = 0; i < 100; i++)
        memory_free(malloc(i * 100));
    memory_free(0);
    char *text = strdup("a");
    for (int i = 0; i < 50; i++)
        text = memory_appended(text, "word ");
    printf("%zu %s\n", strlen(text), text);
    printf("%d\n", memory_holds(text, 251));
    text = memory_resize(text, 1 << 20);
    memset(text + 300, 'x', (1 << 20) - 300);
    text = memory_array(text, 3, 2);
    printf("%.5s\n", text);
    printf("%p\n", memory_array(text, (size_t)-1, 16));
    printf("%p\n", memory_resize(text, 0));
    text = memory_fresh("from the library");
    text = realloc(text, 100);
    strcat(text, ", grown here");
    text = memory_appended(text, " and there");
    puts(text);
    memory_free(text);
    free(memory_fresh("freed here"));
    return 0;
}
#endif
