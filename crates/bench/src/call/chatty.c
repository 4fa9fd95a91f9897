/* Work that calls a library very often, for the bench of isolated libraries: prints how long it took, and what
 * came out. Declares what it uses, so that no headers need be installed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
struct parser;
struct parser *XML_ParserCreate(const char *);
void XML_SetElementHandler(struct parser *, void (*)(void *, const char *, const char **), void (*)(void *, const char *));
void XML_SetCharacterDataHandler(struct parser *, void (*)(void *, const char *, int));
int XML_Parse(struct parser *, const char *, int, int);
int sqlite3_open(const char *, void **), sqlite3_exec(void *, const char *, void *, void *, char **);
int sqlite3_prepare_v2(void *, const char *, int, void **, const char **), sqlite3_step(void *), sqlite3_reset(void *);
int sqlite3_bind_int(void *, int, int), sqlite3_bind_text(void *, int, const char *, int, void *);
long long sqlite3_last_insert_rowid(void *);
unsigned long crc32(unsigned long, const unsigned char *, unsigned);
static long elements, ends, letters;
static void element(void *data, const char *name, const char **attributes) { elements++; }
static void end(void *data, const char *name) { ends++; }
static void text(void *data, const char *some, int length) { letters += length; }
static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}
static long parse(long bytes)
{
    static char piece[1 << 16];
    int length = 0, number = 0;
    struct parser *parser = XML_ParserCreate(0);
    XML_SetElementHandler(parser, element, end);
    XML_SetCharacterDataHandler(parser, text);
    XML_Parse(parser, "<all>", 5, 0);
    for (long done = 0; done < bytes; done += length) {
        for (length = 0; length < (int)sizeof piece - 64; number++)
            length += sprintf(piece + length, "<one>a text of %d</one>", number % 1000);
        if (!XML_Parse(parser, piece, length, 0))
            return -1;
    }
    XML_Parse(parser, "</all>", 6, 1);
    return elements * 7 + ends * 3 + letters;
}
static long insert(long rows)
{
    void *base, *statement;
    if (sqlite3_open(":memory:", &base) || sqlite3_exec(base, "create table t(a, b); begin", 0, 0, 0) ||
        sqlite3_prepare_v2(base, "insert into t values(?, ?)", -1, &statement, 0))
        return -1;
    char word[32];
    for (int row = 0; row < rows; row++) {
        sprintf(word, "the word %d", row);
        sqlite3_bind_int(statement, 1, row);
        sqlite3_bind_text(statement, 2, word, -1, 0);
        sqlite3_step(statement);
        sqlite3_reset(statement);
    }
    sqlite3_exec(base, "commit", 0, 0, 0);
    return sqlite3_last_insert_rowid(base);
}
static long sum(long pages)
{
    unsigned char *memory = malloc(pages * 4096);
    memset(memory, 7, pages * 4096);
    unsigned long all = 0;
    for (int i = 0; i < 1000; i++)
        all += crc32(i, memory, pages * 4096);
    return all & 0xffffff;
}
int main(int count, char **arguments)
{
    long number = atol(arguments[2]), result;
    /* The first call opens the library. */
    crc32(0, (unsigned char *)"", 0);
    void *parser = XML_ParserCreate(0), *base;
    sqlite3_open(":memory:", &base);
    double start = now();
    result = !strcmp(arguments[1], "parse") ? parse(number) : !strcmp(arguments[1], "insert") ? insert(number) : sum(number);
    printf("%.6f %ld\n", now() - start, result);
    return 0;
}
