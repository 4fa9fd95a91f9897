// What every program here shares: checks that say what went wrong, and a way to run threads.
//
// A program prints the same bytes on every run and ends with the line "ok", so that a run under
// Banyan can be compared with a native one. A failed check says where and what on stderr, and
// ends the program with status 99.
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

// Enough threads that each of three nodes gets two.
#define THREADS 6

static inline void check_failed(const char *file, int line, const char *condition, const char *format, ...) {
    char text[512];
    int length = snprintf(text, sizeof text, "%s:%d: check failed: %s: ", file, line, condition);
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(text + length, sizeof text - length - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof text - 2) length = sizeof text - 2;
    text[length++] = '\n';
    // One write, so that the lines of two failing threads do not mix; and no exit handlers.
    if (write(2, text, length) < 0) { /* nothing better to do */ }
    _exit(99);
}

// CHECK(condition, format, ...): what must hold, and what to say if it does not.
#define CHECK(condition, ...)                                                       \
    do {                                                                            \
        if (!(condition)) check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__); \
    } while (0)

// For calls that return -1 and set errno.
#define CALL(expression)                                                                        \
    ({                                                                                          \
        __typeof__(expression) call_result = (expression);                                      \
        if (call_result == (__typeof__(expression))-1)                                          \
            check_failed(__FILE__, __LINE__, #expression, "%s", strerror(errno));               \
        call_result;                                                                            \
    })

// For calls that return an errno, as the pthread functions do.
#define ZERO(expression)                                                                        \
    do {                                                                                        \
        int zero_result = (expression);                                                         \
        if (zero_result != 0)                                                                   \
            check_failed(__FILE__, __LINE__, #expression, "%s", strerror(zero_result));         \
    } while (0)

// Runs `body(0) .. body(count - 1)`, each on its own thread, and joins them all.
static inline void run_threads(int count, void *(*body)(void *)) {
    pthread_t threads[64];
    CHECK(count <= 64, "at most 64 threads, not %d", count);
    for (int index = 0; index < count; index++)
        ZERO(pthread_create(&threads[index], NULL, body, (void *)(intptr_t)index));
    for (int index = 0; index < count; index++) ZERO(pthread_join(threads[index], NULL));
}

// A small generator of the same numbers everywhere.
static inline uint64_t next_number(uint64_t *state) {
    uint64_t value = *state;
    value ^= value << 13;
    value ^= value >> 7;
    value ^= value << 17;
    return *state = value;
}

// Fills memory with bytes that tell their place, and checks them again.
static inline void fill_pattern(unsigned char *bytes, size_t length, uint64_t seed) {
    for (size_t index = 0; index < length; index++)
        bytes[index] = (unsigned char)((index * 31 + (index >> 12) * 7 + seed * 131) & 0xff);
}

static inline void check_pattern(const unsigned char *bytes, size_t length, uint64_t seed, const char *what) {
    for (size_t index = 0; index < length; index++) {
        unsigned char expected = (unsigned char)((index * 31 + (index >> 12) * 7 + seed * 131) & 0xff);
        CHECK(bytes[index] == expected, "%s: byte %zu is %u, not %u", what, index, bytes[index], expected);
    }
}

static inline void check_zero(const unsigned char *bytes, size_t length, const char *what) {
    for (size_t index = 0; index < length; index++)
        CHECK(bytes[index] == 0, "%s: byte %zu is %u, not 0", what, index, bytes[index]);
}

static inline int64_t now_ns(clockid_t clock) {
    struct timespec time;
    CALL(clock_gettime(clock, &time));
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static inline void sleep_ms(long milliseconds) {
    struct timespec time = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {}
}

static inline int finish(void) {
    puts("ok");
    return 0;
}

#endif
