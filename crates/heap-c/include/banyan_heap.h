/*
 * Explicit heaps: memory that processes share by name, at the same address in each of them, with locks that
 * survive their holders.
 *
 *   bn_heap *heap;
 *   bn_options options = BN_OPTIONS_INIT;
 *   double *field;
 *   if (bn_open("grid", &options, &heap) != 0 ||
 *       bn_root_make(heap, "field", 1000 * sizeof *field, 0, &BN_F64S, (void **)&field) != 0)
 *       errx(1, "%s", bn_message());
 *   field[7] = 0.5;
 *
 * Functions that give an int give 0 or more, or a negative error number (-EINVAL, -ENOENT, ...), for which
 * bn_message() has a text. All may be called by any thread; none in a signal handler that may have interrupted
 * one of them, except that such a call fails with -EDEADLK instead of waiting for itself.
 *
 * Heaps are of one machine for now. bn_free, and everything else that takes a pointer into a heap, trusts that
 * the heap stays open until the call ends.
 *
 * Link with `pkg-config --cflags --libs banyan-heap`.
 */
#ifndef BANYAN_HEAP_H
#define BANYAN_HEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An open heap. */
typedef struct bn_heap bn_heap;

/* The text of this thread's last error; valid until its next one. Never NULL. */
const char *bn_message(void);

/* ---- heaps ---- */

enum { BN_ATTACH_OR_CREATE = 0, BN_ATTACH = 1, BN_CREATE = 2 };
enum { BN_SEQUENTIAL = 1, BN_RELEASE = 2, BN_EVENTUAL = 3 };
enum { BN_RESERVED = 0, BN_ON_TOUCH = 1 };

typedef struct bn_options {
    size_t struct_size;    /* by BN_OPTIONS_INIT */
    uint64_t size;         /* bytes for objects; 0: as the heap has, or 16 GiB for a new one */
    uint32_t existing;     /* BN_ATTACH_OR_CREATE, BN_ATTACH, BN_CREATE */
    uint32_t model;        /* 0: as the heap has, or BN_SEQUENTIAL for a new one */
    uint32_t mode;         /* who may attach to a new heap, as the mode of a file; 0: 0600 */
    uint32_t room;         /* BN_RESERVED: memory is taken by bn_alloc, which fails where it is short;
                              BN_ON_TOUCH: by the first access, which then ends in SIGBUS */
    uint64_t lease_ns;     /* a new heap ends when unused for this long; 0: when unlinked */
    const char *directory; /* where heaps are; NULL: $BANYAN_HEAPS, or this user's own in /dev/shm */
    uint64_t address;      /* of a new heap, a multiple of 2 MiB; 0: chosen */
} bn_options;

#define BN_OPTIONS_INIT {sizeof(bn_options), 0, 0, 0, 0, 0, 0, 0, 0}

/* Opens a heap; options may be NULL. */
int bn_open(const char *name, const bn_options *options, bn_heap **heap);
/* Closes it in this process, which may then not use its memory. The heap stays. */
int bn_close(bn_heap *heap);
/* Takes a heap's name away; those who have it open keep it. directory may be NULL. */
int bn_unlink(const char *name, const char *directory);
/* Its first address, the same in every process. */
void *bn_address(const bn_heap *heap);

typedef struct bn_stats {
    size_t struct_size; /* by BN_STATS_INIT */
    uint64_t size;      /* bytes for objects */
    uint64_t used;      /* bytes of objects */
    uint64_t roots;
    uint64_t participants;    /* processes that are attached */
    uint64_t deaths;          /* processes that ended without closing, as far as it was noticed */
    uint64_t waiting_threads; /* for a lock, for longer than a moment */
} bn_stats;

#define BN_STATS_INIT {sizeof(bn_stats), 0, 0, 0, 0, 0, 0}

int bn_stat(const bn_heap *heap, bn_stats *stats);

/* This node, and how many there are: 0 and 1. */
uint32_t bn_node(void);
uint32_t bn_nodes(void);

/* ---- memory ---- */

/* Memory for an object, not cleared. align: a power of two up to 65,536, 0 is 16. near: an object that this one
 * is used with, or NULL; of no meaning on one machine. */
int bn_alloc(const bn_heap *heap, size_t size, size_t align, const void *near, void **object);
/* Frees it; -EINVAL if no object begins there, as after it was freed. NULL is no object and no error. */
int bn_free(const bn_heap *heap, void *object);
/* Makes an object larger; it may move, and is then aligned to 16. Nobody else uses it meanwhile. */
int bn_realloc(const bn_heap *heap, void *object, size_t size, void **moved);
/* Bytes that an object may use. */
int bn_size(const bn_heap *heap, void *object, size_t *size);

/* ---- roots: names in a heap ---- */

/* What a root names; processes agree on all three. Rust's `slice::<f64>` is BN_F64S. */
typedef struct bn_type {
    const char *name;
    size_t size;  /* of an element */
    size_t align; /* of an element */
} bn_type;

#if defined(__GNUC__)
#define BN_UNUSED __attribute__((unused))
#else
#define BN_UNUSED
#endif
static const bn_type BN_BYTES BN_UNUSED = {"[]u8", 1, 1};
static const bn_type BN_I32S BN_UNUSED = {"[]i32", 4, 4};
static const bn_type BN_I64S BN_UNUSED = {"[]i64", 8, 8};
static const bn_type BN_U64S BN_UNUSED = {"[]u64", 8, 8};
static const bn_type BN_F32S BN_UNUSED = {"[]f32", 4, 4};
static const bn_type BN_F64S BN_UNUSED = {"[]f64", 8, 8};

/* The object with this name, or a new one of zeroes; made once for all processes. -EPROTOTYPE if it has another
 * type or length. align: as in bn_alloc, but 0 is 64. type: NULL is BN_BYTES. */
int bn_root_make(const bn_heap *heap, const char *name, size_t bytes, size_t align, const bn_type *type,
                 void **object);
/* Names a place of the heap, in place of what had the name. */
int bn_root_set(const bn_heap *heap, const char *name, void *object, size_t bytes, const bn_type *type);
/* The place with this name; waits for it, -ETIMEDOUT. type: NULL is any. bytes may be NULL. */
int bn_root_get(const bn_heap *heap, const char *name, uint64_t timeout_ns, const bn_type *type, void **object,
                size_t *bytes);
/* Takes a name away, not the object. */
int bn_root_remove(const bn_heap *heap, const char *name);

/* ---- locks: cells of 64 bytes, anywhere in a heap ---- */

#if defined(__GNUC__)
#define BN_CELL __attribute__((aligned(64)))
#else
#define BN_CELL
#endif
typedef struct bn_mutex { uint64_t words[8]; } BN_CELL bn_mutex;
typedef struct bn_rwlock { uint64_t words[8]; } BN_CELL bn_rwlock;
typedef struct bn_cond { uint64_t words[8]; } BN_CELL bn_cond;
typedef struct bn_barrier { uint64_t words[8]; } BN_CELL bn_barrier;
typedef struct bn_once_cell { uint64_t words[8]; } BN_CELL bn_once_cell;

/* A cell is made once, by one process, before others use it: -EINVAL until then.
 *
 * -EOWNERDEAD: the lock is HELD; its last holder's process died, so what it protects may be half changed. Every
 * next holder hears so until one says bn_.._consistent.
 * -EDEADLK: not held; threads wait for each other in a circle, or this one for itself.
 * -ETIMEDOUT: not held. -EPERM: this thread has no such lock to give up. */
int bn_mutex_init(bn_mutex *mutex);
int bn_mutex_destroy(bn_mutex *mutex);
int bn_mutex_lock(bn_mutex *mutex);
int bn_mutex_lock_timed(bn_mutex *mutex, uint64_t timeout_ns);
int bn_mutex_trylock(bn_mutex *mutex); /* -EBUSY */
int bn_mutex_unlock(bn_mutex *mutex);
int bn_mutex_consistent(bn_mutex *mutex);

int bn_rwlock_init(bn_rwlock *lock);
int bn_rwlock_destroy(bn_rwlock *lock);
int bn_rwlock_rdlock(bn_rwlock *lock);
int bn_rwlock_rdlock_timed(bn_rwlock *lock, uint64_t timeout_ns);
int bn_rwlock_wrlock(bn_rwlock *lock);
int bn_rwlock_wrlock_timed(bn_rwlock *lock, uint64_t timeout_ns);
int bn_rwlock_unlock(bn_rwlock *lock);
int bn_rwlock_consistent(bn_rwlock *lock); /* by a writer */

/* A wait may end for no reason, and does every 50 ms: wait in a loop. The results are those of bn_mutex_lock for
 * the mutex, and -ETIMEDOUT once the deadline is over, with the mutex held. */
int bn_cond_init(bn_cond *condition);
int bn_cond_destroy(bn_cond *condition);
int bn_cond_wait(bn_cond *condition, bn_mutex *mutex);
int bn_cond_wait_until(bn_cond *condition, bn_mutex *mutex, uint64_t deadline_ns); /* of bn_now */
int bn_cond_signal(bn_cond *condition);
int bn_cond_broadcast(bn_cond *condition);
/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t bn_now(void);

/* For count threads, 1 to 65,535. bn_barrier_wait gives 1 to the last that comes and 0 to the others;
 * -EOWNERDEAD if a process that has come before died: all hear so until bn_barrier_reset. count 0: as before. */
int bn_barrier_init(bn_barrier *barrier, uint32_t count);
int bn_barrier_destroy(bn_barrier *barrier);
int bn_barrier_wait(bn_barrier *barrier);
int bn_barrier_wait_timed(bn_barrier *barrier, uint64_t timeout_ns);
int bn_barrier_reset(bn_barrier *barrier, uint32_t count);

/* Has function called once for all processes; again if the process that called it died in it. */
int bn_once_init(bn_once_cell *once);
int bn_once_destroy(bn_once_cell *once);
int bn_once(bn_once_cell *once, void (*function)(void *argument), void *argument);

/* ---- atomics: sequentially consistent, on aligned places that all use by these functions ---- */

#define BN_ATOMICS(bits)                                                                                       \
    uint##bits##_t bn_load_u##bits(uint##bits##_t *place);                                                     \
    void bn_store_u##bits(uint##bits##_t *place, uint##bits##_t value);                                        \
    uint##bits##_t bn_add_u##bits(uint##bits##_t *place, uint##bits##_t value);      /* gives what was there */ \
    uint##bits##_t bn_exchange_u##bits(uint##bits##_t *place, uint##bits##_t value); /* gives what was there */ \
    uint##bits##_t bn_cas_u##bits(uint##bits##_t *place, uint##bits##_t expected, uint##bits##_t value);

BN_ATOMICS(8)
BN_ATOMICS(16)
BN_ATOMICS(32)
BN_ATOMICS(64)
#undef BN_ATOMICS

/* Order what this thread did before with what it does after. What memory in a range says is everybody's at once on
 * one machine; programs for the model BN_RELEASE call these where they would have to elsewhere. */
int bn_acquire(const void *place, size_t bytes);
int bn_release(const void *place, size_t bytes);

/* ---- threads ---- */

enum { BN_ANY_NODE = -1 };
typedef struct bn_thread bn_thread;

/* Runs function in a new thread, on a node; -ENODEV for one that is not there. Join it once. */
int bn_thread_create(int node, void *(*function)(void *argument), void *argument, bn_thread **thread);
int bn_thread_join(bn_thread *thread, void **result);

#ifdef __cplusplus
}
#endif

#endif
