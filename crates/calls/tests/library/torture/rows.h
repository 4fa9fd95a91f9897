/* The program's side: a subject is a table of rows, and a row prints one line about the export of its name. */
#ifndef ROWS_H
#define ROWS_H
#include "torture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct row {
    const char *name;
    void (*run)(void);
};
#define DEFINE(name, ...) static void name##_row(void) { __VA_ARGS__; }
#define LIST(name, ...) {#name, name##_row},
/* `ROWS` of a file lists its rows as X(export, statements). */
#define SUBJECT(subject) \
    ROWS(DEFINE) \
    const struct row subject[] = {ROWS(LIST){0}};
#define say printf
/* What bytes hold, in one number. */
static inline unsigned sum_of(const void *bytes, size_t count)
{
    const unsigned char *at = bytes;
    unsigned sum = 2166136261u;
    while (count--)
        sum = (sum ^ *at++) * 16777619u;
    return sum;
}
#endif
