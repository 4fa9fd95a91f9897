/* Streams and descriptors that one side opens and the other uses, and what is printed in which order. */
#include "torture.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifndef PROGRAM
#include <dirent.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
void f_say(const char *text) { printf("<%s>", text); puts(text); fputs(text, stdout); putchar('!'); }
int f_print(FILE *stream, const char *text, int number) { return fprintf(stream, "%s %d\n", text, number); }
int f_list(FILE *stream, const char *format, va_list list) { return vfprintf(stream, format, list); }
int f_put(FILE *stream, const void *bytes, size_t count) { return (int)fwrite(bytes, 1, count, stream); }
int f_get(FILE *stream, void *bytes, size_t count) { return (int)fread(bytes, 1, count, stream); }
char *f_line(FILE *stream, char *line, int size) { return fgets(line, size, stream); }
int f_scan(FILE *stream, int *number, char *word) { return fscanf(stream, "%d %20s", number, word); }
long f_seek(FILE *stream, long to) { return fseek(stream, to, SEEK_SET) ? -1 : ftell(stream); }
int f_character(FILE *stream) { int c = getc(stream); ungetc(c, stream); return c; }
int f_end(FILE *stream) { while (getc(stream) != EOF) {} int end = feof(stream) != 0; clearerr(stream); return end * 10 + (feof(stream) != 0); }
int f_number(FILE *stream) { return fileno(stream) >= 0; }
long f_getline(FILE *stream, char *out) { char *line = 0; size_t size = 0; long n = getline(&line, &size, stream); if (n > 0) strcpy(out, line); free(line); return n; }
FILE *f_open(const char *path, const char *mode) { return fopen(path, mode); }
FILE *f_opened_by(FILE *(*opens)(const char *), const char *path) { FILE *stream = opens(path); if (stream) fputs("from the library\n", stream); return stream; }
long f_hidden(FILE *stream, int descriptor) { char *text = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); strcpy(text, "hidden\n"); fputs(text, stream); long n = fwrite(text, 1, 6, stream); n = n * 10 + write(descriptor, text, 3); munmap(text, 4096); return n; }
const char *f_map_whole(int descriptor) { return mmap(0, 20, PROT_READ, MAP_SHARED, descriptor, 0); }
int f_close(FILE *stream) { return fclose(stream); }
FILE *f_temporary(void) { FILE *file = tmpfile(); if (file) { fputs("temporary\n", file); rewind(file); } return file; }
FILE *f_memory(char *bytes, size_t count) { return fmemopen(bytes, count, "r"); }
FILE *f_wrap(int descriptor) { return fdopen(descriptor, "w"); }
long f_write(int descriptor, const char *text) { return write(descriptor, text, strlen(text)); }
long f_read(int descriptor, char *out, size_t count) { return read(descriptor, out, count); }
long f_size(int descriptor) { struct stat s; return fstat(descriptor, &s) ? -1 : s.st_size; }
int f_open_descriptor(const char *path) { return open(path, O_RDONLY); }
int f_close_descriptor(int descriptor) { return close(descriptor); }
int f_pipe(int *ends) { return pipe(ends); }
int f_dup(int descriptor) { return dup(descriptor); }
int f_poll(int descriptor) { struct pollfd one = {descriptor, POLLIN, 0}; return poll(&one, 1, 0) * 100 + one.revents; }
long f_map(int descriptor, size_t count) { unsigned char *at = mmap(0, count, PROT_READ, MAP_PRIVATE, descriptor, 0); if (at == MAP_FAILED) return -1; long sum = 0; for (size_t i = 0; i < count; i++) sum += at[i]; munmap(at, count); return sum; }
long f_offset(int descriptor, long to) { return lseek(descriptor, to, SEEK_SET); }
int f_truncate(int descriptor, long to) { return ftruncate(descriptor, to); }
int f_flags(int descriptor) { return fcntl(descriptor, F_GETFL) & O_ACCMODE; }
int f_exists(const char *path) { return access(path, R_OK) == 0; }
int f_remove(const char *path) { return unlink(path); }
int f_rename(const char *from, const char *to) { return rename(from, to); }
int f_count(const char *path) { DIR *directory = opendir(path); int n = 0; while (directory && readdir(directory)) n++; if (directory) closedir(directory); return n; }
void f_error(const char *text) { fprintf(stderr, "%s\n", text); perror(text); }
int f_flush(FILE *stream) { return fflush(stream); }
void f_buffer(FILE *stream) { setvbuf(stream, 0, _IONBF, 0); }
#else
#include "rows.h"
#include <poll.h>
#include <stdarg.h>
static char line[200];
static FILE *sample(void)
{
    FILE *file = tmpfile();
    fputs("12 word\nsecond line\nthird\n", file);
    rewind(file);
    return file;
}
static int list_of(FILE *stream, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = f_list(stream, format, list);
    va_end(list);
    return n;
}
static const char *path(void)
{
    static char name[] = "/tmp/banyan-torture-XXXXXX";
    static int made;
    if (!made++) {
        int descriptor = mkstemp(name);
        if (write(descriptor, "the file\n", 9) < 0) abort();
        close(descriptor);
    }
    return name;
}
static char *contents(FILE *file)
{
    static char all[500];
    rewind(file);
    all[fread(all, 1, sizeof all - 1, file)] = 0;
    return all;
}
static FILE *opens(const char *name) { return fopen(name, "w"); }
#define ROWS(X) \
    X(f_say, printf("before "); f_say("library"); printf(" after")) \
    X(f_print, FILE *f = tmpfile(); fputs("a ", f); int n = f_print(f, "text", 5); fputs("z", f); say("%d %s", n, contents(f)); fclose(f)) \
    X(f_list, say(" %d", list_of(stdout, "%d-%s-%g", 3, "x", 1.5))) \
    X(f_put, FILE *f = tmpfile(); for (int i = 0; i < 20; i++) f_put(f, "0123456789", 10); say("%ld %.12s", ftell(f), contents(f)); fclose(f)) \
    X(f_get, FILE *f = sample(); line[f_get(f, line, 7)] = 0; say("%s %c", line, fgetc(f) == '\n' ? 'n' : '-'); fclose(f)) \
    X(f_line, FILE *f = sample(); f_line(f, line, 100); say("%.7s %d", f_line(f, line, 8), fgetc(f)); fclose(f)) \
    X(f_scan, FILE *f = sample(); int n = 0; int r = f_scan(f, &n, line); say("%d %d %s", r, n, line); fclose(f)) \
    X(f_seek, FILE *f = sample(); say("%ld %c", f_seek(f, 8), fgetc(f)); fclose(f)) \
    X(f_character, FILE *f = sample(); say("%c %c", f_character(f), fgetc(f)); fclose(f)) \
    X(f_end, FILE *f = sample(); say("%d", f_end(f)); fclose(f)) \
    X(f_number, FILE *f = sample(); say("%d", f_number(f)); fclose(f)) \
    X(f_getline, FILE *f = sample(); long n = f_getline(f, line); say("%ld %.7s", n, line); fclose(f)) \
    X(f_open, FILE *f = f_open(path(), "r"); say("%s", fgets(line, 100, f) ? "read" : "none"); fclose(f)) \
    X(f_opened_by, FILE *f = f_opened_by(opens, path()); fprintf(f, "%s %d\n", "from the program", 7); f_print(f, "both", 3); f_close(f); f = f_open(path(), "r"); while (f_line(f, line, 100)) say("%.4s ", line); fclose(f)) \
    X(f_hidden, int ends[2]; if (pipe(ends)) abort(); FILE *f = tmpfile(); long n = f_hidden(f, ends[1]); say("%ld %.10s", n, contents(f)); line[read(ends[0], line, 9)] = 0; say(" %s", line); fclose(f)) \
    X(f_map_whole, FILE *f = sample(); fflush(f); say("%.7s", f_map_whole(fileno(f))); fclose(f)) \
    X(f_close, FILE *f = f_open(path(), "a"); int n = f_print(f, "more", 2); say("%d %d", n, f_close(f)); FILE *g = sample(); say(" %d", f_close(g))) \
    X(f_temporary, FILE *f = f_temporary(); f_line(f, line, 100); say("%.9s", line); f_close(f)) \
    X(f_memory, FILE *f = f_memory((char *)"in memory", 9); f_line(f, line, 100); say("%s", line); f_close(f)) \
    X(f_wrap, int ends[2]; if (pipe(ends)) abort(); FILE *f = f_wrap(ends[1]); f_print(f, "wrapped", 1); f_close(f); line[read(ends[0], line, 100)] = 0; say("%.9s", line); close(ends[0])) \
    X(f_write, int ends[2]; if (pipe(ends)) abort(); long n = f_write(ends[1], "through a pipe"); line[read(ends[0], line, 100)] = 0; say("%ld %s", n, line); close(ends[0]); close(ends[1])) \
    X(f_read, FILE *f = sample(); long n = f_read(fileno(f), line, 5); say("%ld %.5s", n, line); fclose(f)) \
    X(f_size, FILE *f = sample(); fflush(f); say("%ld", f_size(fileno(f))); fclose(f)) \
    X(f_open_descriptor, int d = f_open_descriptor(path()); long n = f_read(d, line, 8); say("%ld %.8s", n, line); f_close_descriptor(d)) \
    X(f_close_descriptor, int d = dup(0); say("%d", f_close_descriptor(d)); say(" %d", fcntl(d, F_GETFD))) \
    X(f_pipe, int ends[2]; int r = f_pipe(ends); f_write(ends[1], "pipe"); long n = f_read(ends[0], line, 10); say("%d %ld %.4s", r, n, line); f_close_descriptor(ends[0]); f_close_descriptor(ends[1])) \
    X(f_dup, int ends[2]; if (pipe(ends)) abort(); int d = f_dup(ends[1]); long n = f_write(d, "dup"); say("%ld", n); if (n > 0) { line[read(ends[0], line, 9)] = 0; say(" %s", line); }) \
    X(f_poll, int ends[2]; if (pipe(ends) || write(ends[1], "x", 1) < 1) abort(); say("%d", f_poll(ends[0]))) \
    X(f_map, FILE *f = sample(); fflush(f); say("%ld", f_map(fileno(f), 25)); fclose(f)) \
    X(f_offset, FILE *f = sample(); say("%ld", f_offset(fileno(f), 8)); say(" %ld", lseek(fileno(f), 0, SEEK_CUR)); fclose(f)) \
    X(f_truncate, FILE *f = sample(); int r = f_truncate(fileno(f), 3); say("%d %ld", r, lseek(fileno(f), 0, SEEK_END)); fclose(f)) \
    X(f_flags, int ends[2]; if (pipe(ends)) abort(); say("%d %d", f_flags(ends[0]), f_flags(ends[1]))) \
    X(f_exists, say("%d %d", f_exists(path()), f_exists("/no/such/file"))) \
    X(f_rename, char other[100]; sprintf(other, "%s-2", path()); say("%d", f_rename(path(), other)); say(" %d %d", f_exists(path()), f_exists(other)); f_rename(other, path())) \
    X(f_remove, say("%d %d", f_remove(path()), f_exists(path()))) \
    X(f_count, say("%d", f_count("/proc/self/fdinfo/none"))) \
    X(f_error, f_error("on standard error"); say("said")) \
    X(f_flush, FILE *f = tmpfile(); fputs("buffered", f); f_flush(f); say("%ld", f_size(fileno(f))); fclose(f)) \
    X(f_buffer, FILE *f = tmpfile(); f_buffer(f); fputs("at once", f); say("%ld", f_size(fileno(f))); fclose(f))
SUBJECT(files)
#endif
