/* A library with threads that read and write memory of its program, in a call and between calls. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define THREADS 4
#ifndef PROGRAM
struct part { unsigned char *to; const unsigned char *from; size_t bytes; int add; };
static void *work(void *argument)
{
    struct part *part = argument;
    for (size_t at = 0; at < part->bytes; at++)
        part->to[at] = part->from[at] + part->add;
    return 0;
}
/* All in one call; the threads' parts begin and end anywhere on a page. */
void threads_add(unsigned char *to, const unsigned char *from, size_t bytes, int add)
{
    pthread_t threads[THREADS];
    struct part parts[THREADS];
    for (int i = 0; i < THREADS; i++) {
        size_t start = bytes * i / THREADS;
        parts[i] = (struct part){to + start, from + start, bytes * (i + 1) / THREADS - start, add};
        pthread_create(&threads[i], 0, work, &parts[i]);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], 0);
}
/* The thread and its caller write the same pages at once, each its own bytes. */
static void *odd(void *argument)
{
    struct part *part = argument;
    for (size_t at = 1; at < part->bytes; at += 2)
        part->to[at] += part->add;
    return 0;
}
void threads_share(unsigned char *to, size_t bytes, int add)
{
    pthread_t thread;
    struct part part = {to, 0, bytes, add};
    pthread_create(&thread, 0, odd, &part);
    for (size_t at = 0; at < bytes; at += 2)
        to[at] += add;
    pthread_join(thread, 0);
}
/* Begun in one call and finished in another. */
static pthread_t behind;
static struct part behind_part;
void threads_begin(unsigned char *to, const unsigned char *from, size_t bytes, int add)
{
    behind_part = (struct part){to, from, bytes, add};
    pthread_create(&behind, 0, work, &behind_part);
}
int threads_nothing(void) { return 7; }
void threads_finish(void) { pthread_join(behind, 0); }
/* A thread that counts in the program's memory until it is told to end. */
static volatile int ends;
static void *count(void *argument)
{
    unsigned *counter = argument;
    while (!ends)
        __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED), usleep(50);
    return 0;
}
static unsigned *counted;
void threads_count(unsigned *counter) { ends = 0; pthread_create(&behind, 0, count, counter); }
unsigned threads_counted(unsigned *counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }
void threads_stop(void) { ends = 1; pthread_join(behind, 0); }
#else
void threads_add(unsigned char *, const unsigned char *, size_t, int), threads_share(unsigned char *, size_t, int);
void threads_begin(unsigned char *, const unsigned char *, size_t, int), threads_finish(void);
void threads_count(unsigned *), threads_stop(void);
unsigned threads_counted(unsigned *);
int threads_nothing(void);
static unsigned sum(const unsigned char *of, size_t bytes)
{
    unsigned sum = 0;
    while (bytes--)
        sum = sum * 31 + *of++;
    return sum;
}
int main(void)
{
    static unsigned char in_data[40000], out_data[40000];
    size_t bytes = 1000003;
    unsigned char *from = malloc(bytes), *to = calloc(1, bytes), local[9000];
    for (size_t at = 0; at < bytes; at++)
        from[at] = at * 7 + at / 251;
    memcpy(in_data, from, sizeof in_data);
    memset(local, 1, sizeof local);
    for (int round = 0; round < 20; round++) {
        threads_add(to, from, bytes, round);
        printf("%u\n", sum(to, bytes));
        threads_add(from, to, bytes, 1);
        threads_add(out_data, in_data, sizeof in_data, 5);
        threads_add(local, in_data, sizeof local, 3);
        threads_share(to, 50000, 3);
        threads_share(local, sizeof local, 9);
        printf("%u %u %u\n", sum(to, bytes), sum(out_data, sizeof out_data), sum(local, sizeof local));
    }
    for (int round = 0; round < 20; round++) {
        threads_begin(to, from, bytes, round);
        for (int i = 0; i < round; i++)
            printf("%d ", threads_nothing());
        threads_finish();
        printf("%u\n", sum(to, bytes));
    }
    /* What is counted is never lost: it only grows, and grows on. */
    unsigned counter = 0, last = 0, shrank = 0;
    threads_count(&counter);
    for (int i = 0; i < 300; i++) {
        unsigned now = threads_counted(&counter);
        shrank += now < last;
        last = now;
        usleep(100);
    }
    threads_stop();
    printf("shrank %u, end %d\n", shrank, counter >= last && last > 0);
    return 0;
}
#endif
