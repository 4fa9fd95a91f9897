/* A library that is called often and uses memory of its program each time, and a program that changes that
 * memory between its calls, in call-backs, in signal handlers and by other threads, in an order by chance. */
#include <stddef.h>
#include <stdint.h>
enum { PAGE = 4096, PAGES = 96 };
typedef uint64_t change(uint64_t word);
#ifndef PROGRAM
/* Walks over words of the memory, some of which it changes; what it found. */
uint64_t chatty_walk(unsigned char *memory, uint64_t from, uint64_t step, uint64_t count, uint64_t add)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t *word = (uint64_t *)(memory + (from + i * step) % (PAGES * PAGE - 8) / 8 * 8);
        sum = sum * 31 + *word;
        if (add && i % 3 == 0)
            *word += add + i;
    }
    return sum;
}
/* Nothing of the program's memory. */
uint64_t chatty_idle(uint64_t number) { return number * 3; }
/* Reads a word, has the program change what it likes, reads it again and writes another. */
uint64_t chatty_ask(uint64_t *one, uint64_t *other, change *ask, uint64_t number)
{
    uint64_t before = *one, answer = ask(number);
    uint64_t after = *one;
    *other += answer;
    return before * 7 + after * 5 + *other;
}
#else
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
uint64_t chatty_walk(unsigned char *, uint64_t, uint64_t, uint64_t, uint64_t), chatty_idle(uint64_t);
uint64_t chatty_ask(uint64_t *, uint64_t *, change *, uint64_t);
struct place {
    unsigned char *memory;
    uint64_t state, sum;
    int depth;
    jmp_buf out;
};
static _Thread_local struct place *here;
static uint64_t random_of(struct place *place)
{
    place->state = place->state * 6364136223846793005u + 1442695040888963407u;
    return place->state >> 33;
}
static uint64_t *word(struct place *place) { return (uint64_t *)(place->memory + random_of(place) % (PAGES * PAGE / 8) * 8); }
static void step(struct place *place);
static uint64_t changes(uint64_t number)
{
    struct place *place = here;
    for (uint64_t i = number % 4; i; i--)
        *word(place) += number + i;
    if (number % 5 == 0 && place->depth < 6) {
        place->depth++;
        step(place);
        place->depth--;
    }
    if (number % 17 == 0 && place->depth == 0)
        longjmp(place->out, 1);
    return number ^ *word(place);
}
/* New memory in the place of one page. */
static void renew(struct place *place)
{
    unsigned char *page = place->memory + random_of(place) % PAGES * PAGE;
    mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    page[random_of(place) % PAGE] = (unsigned char)random_of(place);
}
static void step(struct place *place)
{
    /* Mostly a few pages, again and again. */
    uint64_t kind = random_of(place) % 16, near = random_of(place) % 8 * 5000;
    if (kind < 6)
        place->sum += chatty_walk(place->memory, near, 8 + random_of(place) % 900, 1 + random_of(place) % 20, kind < 3 ? kind : 0);
    else if (kind == 6)
        place->sum += chatty_walk(place->memory, random_of(place), PAGE + 8, random_of(place) % 120, kind);
    else if (kind < 11)
        *(uint64_t *)(place->memory + near) += random_of(place);
    else if (kind < 13)
        place->sum += chatty_ask(word(place), (uint64_t *)(place->memory + near), changes, random_of(place));
    else if (kind == 13)
        for (int i = random_of(place) % 40; i; i--)
            place->sum += chatty_idle(i);
    else if (kind == 14)
        renew(place);
    else
        memset(place->memory + near, (int)random_of(place), random_of(place) % 9000);
}
static void steps(struct place *place, uint64_t seed, int count)
{
    place->state = seed;
    place->memory = mmap(0, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    here = place;
    for (volatile int i = 0; i < count; i++) {
        place->depth = 0;
        if (!setjmp(place->out))
            step(place);
    }
    for (int i = 0; i < PAGES * PAGE; i++)
        place->sum = place->sum * 31 + place->memory[i];
}
struct start { uint64_t seed; int count; struct place place; };
static void *thread(void *start)
{
    struct start *mine = start;
    steps(&mine->place, mine->seed, mine->count);
    return 0;
}
static volatile uint64_t handled;
/* What only handlers use, and what a library finds there. */
static unsigned char memory_of_handlers[PAGES * PAGE];
static uint64_t found_by_handlers;
/* In the middle of a call, or of the first one's preparations; while a page is brought for that, too. */
static void handler(int number)
{
    /* Handlers of several threads may be at work at once. */
    uint64_t mine = handled++ + number;
    if (chatty_idle(mine) != mine * 3)
        printf("the handler's call went wrong\n");
    if (chatty_walk(memory_of_handlers, 0, PAGE, PAGES, 0) != found_by_handlers)
        printf("the handler's call found something else\n");
}
int main(int count, char **arguments)
{
    uint64_t seed = strtoull(arguments[1], 0, 10);
    int steps_each = atoi(arguments[2]), threads = atoi(arguments[3]);
    if (count > 4) {
        for (int i = 0; i < PAGES * PAGE; i++)
            memory_of_handlers[i] = (unsigned char)(i % 251);
        for (uint64_t i = 0, *word; i < PAGES; i++) {
            word = (uint64_t *)(memory_of_handlers + i * PAGE % (PAGES * PAGE - 8) / 8 * 8);
            found_by_handlers = found_by_handlers * 31 + *word;
        }
        signal(SIGALRM, handler);
        struct itimerval every = {{0, atoi(arguments[4])}, {0, atoi(arguments[4])}};
        setitimer(ITIMER_REAL, &every, 0);
    }
    static struct start all[8];
    pthread_t running[8];
    for (int i = 0; i < threads; i++) {
        all[i].seed = seed + i;
        all[i].count = steps_each;
        if (i)
            pthread_create(&running[i], 0, thread, &all[i]);
    }
    thread(&all[0]);
    for (int i = 1; i < threads; i++)
        pthread_join(running[i], 0);
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, 0);
    for (int i = 0; i < threads; i++)
        printf("%llx\n", (unsigned long long)all[i].place.sum);
    return 0;
}
#endif
