/* Everything of banyan_heap.h, by several processes. Compiled as C and as C++. Prints `ok`.
 * usage: heap DIRECTORY [ADDRESS] */
#include <banyan_heap.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                       \
    do {                                                                                                       \
        if (!(condition)) {                                                                                    \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, bn_message());                  \
            exit(1);                                                                                           \
        }                                                                                                      \
    } while (0)

enum { SECOND = 1000000000 };

struct node {
    struct node *next;
    int value;
};

/* What the processes share, under one root. */
struct shared {
    bn_mutex mutex;
    bn_rwlock lock;
    bn_cond condition;
    bn_barrier barrier;
    bn_once_cell once;
    uint64_t counter;
    uint64_t done;
    struct node *list;
};

static const bn_type SHARED = {"test's shared", sizeof(struct shared), 64};
static bn_options options = BN_OPTIONS_INIT;

static struct shared *find(bn_heap *heap) {
    void *place;
    size_t bytes;
    CHECK(bn_root_get(heap, "shared", 10ull * SECOND, &SHARED, &place, &bytes) == 0);
    CHECK(bytes == sizeof(struct shared));
    return (struct shared *)place;
}

static void do_once(void *argument) {
    bn_add_u64((uint64_t *)argument, 1);
}

/* Makes a process that runs `role` on the heap; it ends with 0. */
static pid_t start(void (*role)(bn_heap *, struct shared *)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        bn_heap *heap;
        alarm(60);
        /* The copy has the heap already: this is the same attachment. */
        CHECK(bn_open("c", &options, &heap) == 0);
        role(heap, find(heap));
        CHECK(bn_close(heap) == 0);
        /* As a program ends that has more handles. */
        _exit(0);
    }
    return child;
}

static void ends_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void add(bn_heap *heap, struct shared *shared) {
    for (int round = 0; round < 2000; round++) {
        void *node;
        CHECK(bn_alloc(heap, sizeof(struct node), 0, NULL, &node) == 0);
        CHECK(bn_mutex_lock(&shared->mutex) == 0);
        ((struct node *)node)->value = round;
        ((struct node *)node)->next = shared->list;
        shared->list = (struct node *)node;
        shared->counter++;
        CHECK(bn_mutex_unlock(&shared->mutex) == 0);
        CHECK(bn_rwlock_rdlock(&shared->lock) == 0);
        CHECK(bn_rwlock_unlock(&shared->lock) == 0);
        CHECK(bn_once(&shared->once, do_once, &shared->done) == 0);
    }
    CHECK(bn_barrier_wait(&shared->barrier) >= 0);
}

static void hold_and_die(bn_heap *heap, struct shared *shared) {
    (void)heap;
    CHECK(bn_mutex_lock(&shared->mutex) == 0);
    kill(getpid(), SIGKILL);
}

static void wait_for_list(bn_heap *heap, struct shared *shared) {
    (void)heap;
    CHECK(bn_mutex_lock(&shared->mutex) == 0);
    while (shared->list != NULL)
        CHECK(bn_cond_wait(&shared->condition, &shared->mutex) == 0);
    CHECK(bn_mutex_unlock(&shared->mutex) == 0);
}

static void *in_thread(void *argument) {
    CHECK(bn_mutex_trylock((bn_mutex *)argument) == -EBUSY);
    return argument;
}

static void objects(bn_heap *heap) {
    void *object, *moved;
    size_t usable;
    CHECK(bn_alloc(heap, 100, 64, NULL, &object) == 0 && (uintptr_t)object % 64 == 0);
    CHECK(bn_size(heap, object, &usable) == 0 && usable >= 100);
    memset(object, 7, usable);
    CHECK(bn_realloc(heap, object, 100000, &moved) == 0);
    CHECK(((char *)moved)[99] == 7);
    CHECK(bn_free(heap, object) == -EINVAL && strstr(bn_message(), "no object") != NULL);
    CHECK(bn_free(heap, moved) == 0 && bn_free(heap, NULL) == 0);
    CHECK(bn_alloc(heap, 1ull << 40, 0, NULL, &object) == -ENOSPC && strstr(bn_message(), "field has") != NULL);
    CHECK(bn_alloc(heap, 1, 3, NULL, &object) == -EINVAL);
    CHECK(bn_free(heap, &usable) == -EINVAL);
}

static void misuse(bn_heap *heap) {
    void *place;
    bn_mutex here;
    bn_heap *other;
    bn_options wrong = options;
    CHECK(bn_mutex_lock(&here) == -EINVAL && strstr(bn_message(), "no open heap") != NULL);
    CHECK(bn_root_make(heap, "mutex", sizeof(bn_mutex), 0, NULL, &place) == 0);
    CHECK(bn_mutex_lock((bn_mutex *)place) == -EINVAL && strstr(bn_message(), "no mutex") != NULL);
    CHECK(bn_barrier_init((bn_barrier *)place, 0) == -EINVAL);
    CHECK(bn_root_make(heap, "field", 8, 0, &BN_F64S, &place) == -EPROTOTYPE);
    CHECK(bn_root_get(heap, "field", 0, &BN_I32S, &place, NULL) == -EPROTOTYPE);
    CHECK(bn_root_get(heap, "none", SECOND / 100, NULL, &place, NULL) == -ETIMEDOUT);
    CHECK(bn_root_remove(heap, "none") == -ENOENT);
    wrong.size = 1 << 20;
    CHECK(bn_open("c", &wrong, &other) == -EINVAL && strstr(bn_message(), "not 1048576") != NULL);
    wrong.existing = BN_CREATE;
    CHECK(bn_open("c", &wrong, &other) == -EEXIST);
    wrong.struct_size = 8;
    CHECK(bn_open("c", &wrong, &other) == -EINVAL);
    CHECK(bn_open("a/b", &options, &other) == -EINVAL && bn_open(NULL, &options, &other) == -EINVAL);
    CHECK(bn_thread_create(1, in_thread, NULL, NULL) == -EINVAL);
}

int main(int argc, char **argv) {
    bn_heap *heap, *same;
    bn_stats stats = BN_STATS_INIT;
    bn_thread *thread;
    void *place, *result;
    CHECK(argc >= 2);
    options.size = 32 << 20;
    options.directory = argv[1];
    options.address = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
    CHECK(bn_open("c", &options, &heap) == 0);
    CHECK(bn_open("c", &options, &same) == 0 && bn_address(heap) == bn_address(same));
    CHECK(bn_close(same) == 0);
    CHECK(bn_node() == 0 && bn_nodes() == 1);

    CHECK(bn_root_make(heap, "field", 1000 * sizeof(double), 0, &BN_F64S, &place) == 0);
    ((double *)place)[999] = 0.5;
    CHECK(bn_alloc(heap, sizeof(struct shared), 64, NULL, &place) == 0);
    struct shared *shared = (struct shared *)place;
    memset(shared, 0, sizeof *shared);
    CHECK(bn_mutex_init(&shared->mutex) == 0 && bn_rwlock_init(&shared->lock) == 0);
    CHECK(bn_cond_init(&shared->condition) == 0 && bn_barrier_init(&shared->barrier, 3) == 0);
    CHECK(bn_once_init(&shared->once) == 0);
    CHECK(bn_root_set(heap, "shared", shared, sizeof *shared, &SHARED) == 0);

    pid_t children[2] = {start(add), start(add)};
    CHECK(bn_barrier_wait_timed(&shared->barrier, 60ull * SECOND) >= 0);
    ends_well(children[0]);
    ends_well(children[1]);
    CHECK(shared->counter == 4000 && bn_load_u64(&shared->done) == 1);

    pid_t waiting = start(wait_for_list);
    CHECK(bn_mutex_lock(&shared->mutex) == 0);
    CHECK(bn_mutex_lock(&shared->mutex) == -EDEADLK && bn_rwlock_unlock(&shared->lock) == -EPERM);
    while (shared->list != NULL) {
        struct node *node = shared->list;
        shared->list = node->next;
        CHECK(bn_free(heap, node) == 0);
    }
    CHECK(bn_mutex_unlock(&shared->mutex) == 0 && bn_mutex_unlock(&shared->mutex) == -EPERM);
    CHECK(bn_cond_broadcast(&shared->condition) == 0);
    ends_well(waiting);

    pid_t dying = start(hold_and_die);
    int status;
    CHECK(waitpid(dying, &status, 0) == dying && WIFSIGNALED(status));
    CHECK(bn_mutex_lock_timed(&shared->mutex, 10ull * SECOND) == -EOWNERDEAD);
    CHECK(bn_mutex_consistent(&shared->mutex) == 0 && bn_mutex_unlock(&shared->mutex) == 0);
    CHECK(bn_mutex_lock(&shared->mutex) == 0);
    CHECK(bn_cond_wait_until(&shared->condition, &shared->mutex, bn_now()) == -ETIMEDOUT);
    CHECK(bn_thread_create(BN_ANY_NODE, in_thread, &shared->mutex, &thread) == 0);
    CHECK(bn_thread_join(thread, &result) == 0 && result == &shared->mutex);
    CHECK(bn_thread_create(7, in_thread, NULL, &thread) == -ENODEV);
    CHECK(bn_mutex_unlock(&shared->mutex) == 0);
    CHECK(bn_rwlock_wrlock(&shared->lock) == 0 && bn_rwlock_rdlock_timed(&shared->lock, 1) == -EDEADLK);
    CHECK(bn_rwlock_unlock(&shared->lock) == 0);

    CHECK(bn_cas_u32((uint32_t *)&shared->counter, 4000, 5) == 4000 && bn_load_u32((uint32_t *)&shared->counter) == 5);
    CHECK(bn_exchange_u8((uint8_t *)&shared->counter, 6) == 5 && bn_add_u16((uint16_t *)&shared->counter, 1) == 6);
    CHECK(bn_acquire(NULL, 0) == 0 && bn_release(NULL, 0) == 0);

    objects(heap);
    misuse(heap);
    CHECK(bn_stat(heap, &stats) == 0 && stats.roots == 3 && stats.participants == 1 && stats.size == 32 << 20);
    CHECK(bn_mutex_destroy(&shared->mutex) == 0 && bn_mutex_lock(&shared->mutex) == -EINVAL);
    CHECK(bn_unlink("c", argv[1]) == 0 && bn_unlink("c", argv[1]) == -ENOENT);
    CHECK(bn_close(heap) == 0);
    puts("ok");
    return 0;
}
