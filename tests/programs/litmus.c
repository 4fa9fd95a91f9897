// Litmus tests of the memory order that x86 promises, with every variable on its own page and again
// with all on one: litmus NAME. Each runs many times, for two seconds at most.
#include "check.h"
#include <sched.h>

#define MAXIMUM 3000
#define SECONDS 2

struct cell {
    _Alignas(4096) atomic_int value;
};

static struct cell apart[8];
static atomic_int together[8];
static int on_one_page;
static int outcomes[4];
static atomic_int arrived, generation;
static int parties;
static atomic_int over;

static atomic_int *cell(int index) { return on_one_page ? &together[index] : &apart[index].value; }

#define relaxed_load(index) atomic_load_explicit(cell(index), memory_order_relaxed)
#define relaxed_store(index, number) atomic_store_explicit(cell(index), number, memory_order_relaxed)

// A spinning barrier: the parties start each round close together.
static void meet(void) {
    int now = generation;
    if (atomic_fetch_add(&arrived, 1) + 1 == parties) {
        arrived = 0;
        generation = now + 1;
    } else {
        for (int spin = 0; generation == now; spin++)
            if (spin % 64 == 63) sched_yield();
    }
}

// What one thread does in one round.
static void (*act)(int self);
// What must hold of the outcomes of a round.
static void (*judge)(int round);

static void *rounds(void *argument) {
    int self = (int)(intptr_t)argument;
    int64_t end = now_ns(CLOCK_MONOTONIC) + SECONDS * 1000000000ll;
    for (int round = 0; round < MAXIMUM; round++) {
        if (self == 0) {
            for (int index = 0; index < 8; index++) relaxed_store(index, 0);
            if (now_ns(CLOCK_MONOTONIC) > end) over = 1;
        }
        meet();
        if (over) return NULL;
        act(self);
        meet();
        if (self == 0) judge(round);
        // Nobody reads `over` for the next round before it is decided: thread 0 sets it before meeting.
    }
    return NULL;
}

static void barrier_of_compiler(void) { atomic_signal_fence(memory_order_seq_cst); }

// Message passing: a thread that sees the flag sees the message.
static void message_passing(int self) {
    if (self == 0) {
        relaxed_store(0, 1);
        barrier_of_compiler();
        relaxed_store(1, 1);
    } else {
        int flag = relaxed_load(1);
        barrier_of_compiler();
        int message = relaxed_load(0);
        outcomes[self] = flag && !message;
    }
}

static void judge_messages(int round) {
    for (int self = 1; self < parties; self++)
        CHECK(!outcomes[self], "round %d: thread %d saw the flag and not the message", round, self);
}

// Store buffering with a fence: one of the two must see the other's store.
static void store_buffering(int self) {
    relaxed_store(self, 1);
    atomic_thread_fence(memory_order_seq_cst);
    outcomes[self] = relaxed_load(1 - self);
}

static void judge_stores(int round) { CHECK(outcomes[0] || outcomes[1], "round %d: both saw nothing", round); }

// Load buffering: a load never sees a store that comes after it in a circle.
static void load_buffering(int self) {
    outcomes[self] = relaxed_load(self);
    barrier_of_compiler();
    relaxed_store(1 - self, 1);
}

static void judge_loads(int round) { CHECK(!(outcomes[0] && outcomes[1]), "round %d: both saw the future", round); }

// Independent reads of independent writes: two readers agree on the order of two writes.
static int reads[2][2];

static void independent_reads(int self) {
    if (self < 2) {
        relaxed_store(self, 1);
    } else {
        int first = self == 2 ? 0 : 1;
        reads[self - 2][0] = relaxed_load(first);
        barrier_of_compiler();
        reads[self - 2][1] = relaxed_load(1 - first);
    }
}

static void judge_reads(int round) {
    int one = reads[0][0] && !reads[0][1], other = reads[1][0] && !reads[1][1];
    CHECK(!(one && other), "round %d: the readers saw the writes in opposite orders", round);
}

// Coherence of one location: a reader never sees an older value after a newer one.
static void coherence(int self) {
    if (self == 0) {
        for (int number = 1; number <= 20; number++) relaxed_store(0, number);
    } else {
        int before = 0;
        for (int number = 0; number < 20; number++) {
            int now = relaxed_load(0);
            if (now < before) outcomes[self] = 1;
            before = now;
        }
    }
}

// Mutual exclusion without atomic read-modify-write: Dekker's and Peterson's algorithms.
static long guarded[512];
static int inside_wrongly;

static void guarded_section(void) {
    long before = guarded[0];
    guarded[256] = before;
    guarded[0] = before + 1;
    if (guarded[256] != before) inside_wrongly = 1;
}

static void dekker(int self) {
    int other = 1 - self;
    atomic_store(cell(self), 1);
    while (atomic_load(cell(other))) {
        if (atomic_load(cell(2)) != self) {
            atomic_store(cell(self), 0);
            while (atomic_load(cell(2)) != self) sched_yield();
            atomic_store(cell(self), 1);
        } else {
            sched_yield();
        }
    }
    guarded_section();
    atomic_store(cell(2), other);
    atomic_store(cell(self), 0);
}

static void peterson(int self) {
    int other = 1 - self;
    atomic_store(cell(self), 1);
    atomic_store(cell(2), other);
    while (atomic_load(cell(other)) && atomic_load(cell(2)) == other) sched_yield();
    guarded_section();
    atomic_store(cell(self), 0);
}

// A ticket lock, and plain atomic counters of every width.
static void ticket(int self) {
    (void)self;
    int mine = atomic_fetch_add(cell(0), 1);
    while (atomic_load(cell(1)) != mine) sched_yield();
    guarded_section();
    atomic_fetch_add(cell(1), 1);
}

static void judge_exclusion(int round) {
    CHECK(!inside_wrongly, "round %d: two were inside", round);
    CHECK(guarded[0] == (long)(round + 1) * parties, "round %d: counted %ld", round, guarded[0]);
}

static atomic_uchar narrow[4];
static atomic_ulong wide;
static unsigned __int128 widest __attribute__((aligned(16)));

static void counters(int self) {
    atomic_fetch_add(&narrow[self], 1);
    atomic_fetch_add(&wide, 3);
    unsigned long expected = atomic_load(&wide);
    while (!atomic_compare_exchange_weak(&wide, &expected, expected - 2)) {}
    // A locked instruction across two pages' boundary is not used: programs do not.
    atomic_fetch_xor(cell(3), 1 << self);
    __atomic_add_fetch((unsigned short *)&widest, 1, __ATOMIC_SEQ_CST);
}

static void judge_counters(int round) {
    for (int self = 0; self < parties; self++)
        CHECK(narrow[self] == (unsigned char)(round + 1), "round %d: byte %d is %d", round, self, narrow[self]);
    CHECK(wide == (unsigned long)(round + 1) * parties, "round %d: the wide counter is %lu", round, wide);
    CHECK(*cell(3) == (1 << parties) - 1, "round %d: the bits are %x", round, *cell(3));
    CHECK((unsigned short)widest == (unsigned short)((round + 1) * parties), "round %d: short counter", round);
}

static const struct {
    const char *name;
    int parties;
    void (*act)(int);
    void (*judge)(int);
} tests[] = {
    {"message-passing", 3, message_passing, judge_messages},
    {"store-buffering", 2, store_buffering, judge_stores},
    {"load-buffering", 2, load_buffering, judge_loads},
    {"independent-reads", 4, independent_reads, judge_reads},
    {"coherence", 3, coherence, judge_messages},
    {"dekker", 2, dekker, judge_exclusion},
    {"peterson", 2, peterson, judge_exclusion},
    {"ticket", 3, ticket, judge_exclusion},
    {"counters", 4, counters, judge_counters},
};

int main(int count, char **arguments) {
    CHECK(count == 2, "usage: litmus NAME");
    for (size_t index = 0; index < sizeof tests / sizeof *tests; index++) {
        if (strcmp(arguments[1], tests[index].name) != 0) continue;
        for (on_one_page = 0; on_one_page < 2; on_one_page++) {
            parties = tests[index].parties;
            act = tests[index].act;
            judge = tests[index].judge;
            arrived = generation = over = 0;
            memset(outcomes, 0, sizeof outcomes);
            memset(guarded, 0, sizeof guarded);
            memset(narrow, 0, sizeof narrow);
            wide = 0;
            widest = 0;
            run_threads(parties, rounds);
        }
        printf("%s holds\n", arguments[1]);
        return finish();
    }
    CHECK(0, "unknown: %s", arguments[1]);
}
