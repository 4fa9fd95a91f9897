/* Threads of the program in the library, threads of the library, and what each thread has alone. */
#include "torture.h"
#include <pthread.h>
#ifndef PROGRAM
#include <stdlib.h>
#include <unistd.h>
static __thread int mine = 1;
int h_mine(int add) { return mine += add; }
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long guarded;
long h_locked(long add) { pthread_mutex_lock(&lock); long value = guarded += add; pthread_mutex_unlock(&lock); return value; }
void h_lock(void) { pthread_mutex_lock(&lock); }
void h_unlock(void) { pthread_mutex_unlock(&lock); }
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int times;
static void first(void) { times++; }
int h_once(void) { pthread_once(&once, first); return times; }
static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static void make_key(void) { pthread_key_create(&key, 0); }
void h_set(void *value) { pthread_once(&key_once, make_key); pthread_setspecific(key, value); }
void *h_get(void) { pthread_once(&key_once, make_key); return pthread_getspecific(key); }
static void *square(void *number) { return (void *)((long)number * (long)number); }
long h_own_thread(long number) { pthread_t thread; void *result = 0; if (pthread_create(&thread, 0, square, (void *)number)) return -1; pthread_join(thread, &result); return (long)result; }
static void *add_all(void *argument) { struct t_work *work = argument; for (int i = 0; i < work->count; i++) work->sum += work->values[i]; return 0; }
long h_on_values(const int *values, int count) { struct t_work work = {values, count, 0}; pthread_t thread; if (pthread_create(&thread, 0, add_all, &work)) return -1; pthread_join(thread, 0); return work.sum; }
static void *call(void *argument) { struct t_function *f = argument; f->number = f->function(f->number); return 0; }
int h_calls_back(int (*f)(int), int a) { struct t_function work = {f, a}; pthread_t thread; if (pthread_create(&thread, 0, call, &work)) return -1; pthread_join(thread, 0); return work.number; }
static void *show(void *argument) { struct t_function *f = argument; struct t_work local = {0, f->number, 40}; ((int (*)(struct t_work *))f->function)(&local); f->number = (int)local.sum; return 0; }
int h_shows(int (*f)(struct t_work *), int a) { struct t_function work = {(int (*)(int))f, a}; pthread_t all[3]; for (int i = 0; i < 3; i++) if (pthread_create(&all[i], 0, show, &work)) return -1; else pthread_join(all[i], 0); return work.number; }
static struct t_work later;
static pthread_t later_thread;
int h_start(const int *values, int count) { later = (struct t_work){values, count, 0}; return pthread_create(&later_thread, 0, add_all, &later); }
long h_finish(void) { pthread_join(later_thread, 0); return later.sum; }
int h_is_same(void) { static __thread int *address; int *before = address; address = &mine; return before == 0 || before == &mine; }
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int is_set;
void h_wait(void) { pthread_mutex_lock(&lock); while (!is_set) pthread_cond_wait(&condition, &lock); is_set = 0; pthread_mutex_unlock(&lock); }
void h_signal(void) { pthread_mutex_lock(&lock); is_set = 1; pthread_cond_signal(&condition); pthread_mutex_unlock(&lock); }
#else
#include "rows.h"
#include <unistd.h>
static void *count(void *times) { for (long i = 0; i < (long)times; i++) h_locked(1); return (void *)(long)h_mine(1); }
static void *waiter(void *unused) { (void)unused; h_wait(); return (void *)1; }
static void *setter(void *unused) { (void)unused; void *before = h_get(); h_set((void *)8); return before; }
static int plus(int a) { return a + 10; }
static int add_to(struct t_work *work) { work->sum += work->count + h_locked(0) * 0; return 0; }
static int values[2000];
#define ROWS(X) \
    X(h_mine, say("%d %d", h_mine(1), h_mine(1))) \
    X(h_locked, pthread_t all[6]; long sum = 0; for (int i = 0; i < 6; i++) pthread_create(&all[i], 0, count, (void *)100); for (int i = 0; i < 6; i++) { void *r; pthread_join(all[i], &r); sum += (long)r; } say("%ld %ld", sum, h_locked(0))) \
    X(h_lock, h_lock(); h_unlock(); say("unlocked")) \
    X(h_unlock, h_lock(); h_unlock(); say("%ld", h_locked(1))) \
    X(h_once, say("%d %d", h_once(), h_once())) \
    X(h_set, h_set((void *)5); pthread_t t; void *r; pthread_create(&t, 0, setter, 0); pthread_join(t, &r); say("%ld %ld", (long)h_get(), (long)r)) \
    X(h_get, say("%ld", (long)h_get())) \
    X(h_own_thread, say("%ld", h_own_thread(12))) \
    X(h_on_values, for (int i = 0; i < 2000; i++) values[i] = i; say("%ld", h_on_values(values, 2000))) \
    X(h_calls_back, say("%d", h_calls_back(plus, 5))) \
    X(h_shows, say("%d", h_shows(add_to, 2))) \
    X(h_start, say("%d", h_start(values, 2000)); say(" %ld", h_finish())) \
    X(h_is_same, say("%d %d", h_is_same(), h_is_same())) \
    X(h_wait, pthread_t t; pthread_create(&t, 0, waiter, 0); usleep(20000); h_signal(); void *r; pthread_join(t, &r); say("%ld", (long)r)) \
    X(h_signal, h_signal(); h_wait(); say("went on"))
SUBJECT(threads)
#endif
