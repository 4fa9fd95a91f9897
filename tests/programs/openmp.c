// OpenMP as gcc compiles it: parallel for with each schedule, reduction, critical, atomic, sections,
// single, barrier, ordered, tasks with dependences, locks and thread-private data.
#include "check.h"
#include <omp.h>

#define LENGTH 60000

static double values[LENGTH];
static int marks[LENGTH];
static int private_number = 5;
#pragma omp threadprivate(private_number)

static long fibonacci(int number) {
    if (number < 2) return number;
    long one, two;
#pragma omp task shared(one) if (number > 12)
    one = fibonacci(number - 1);
#pragma omp task shared(two) if (number > 12)
    two = fibonacci(number - 2);
#pragma omp taskwait
    return one + two;
}

int main(void) {
    omp_set_dynamic(0);
    omp_set_num_threads(THREADS);
    int team = 0;
#pragma omp parallel
    {
#pragma omp master
        team = omp_get_num_threads();
    }
    CHECK(team == THREADS, "a team of %d", team);

#pragma omp parallel for schedule(static)
    for (int index = 0; index < LENGTH; index++) values[index] = index * 0.5;
    double sum = 0;
    long count = 0;
    double largest = -1;
#pragma omp parallel for reduction(+ : sum, count) reduction(max : largest) schedule(dynamic, 5000)
    for (int index = 0; index < LENGTH; index++) {
        sum += values[index];
        count++;
        if (values[index] > largest) largest = values[index];
    }
    CHECK(sum == 0.5 * LENGTH * (LENGTH - 1.0) / 2 && count == LENGTH && largest == (LENGTH - 1) * 0.5,
          "sum %f, count %ld, largest %f", sum, count, largest);
#pragma omp parallel for schedule(guided, 1000)
    for (int index = 0; index < LENGTH; index++) marks[index]++;
    for (int index = 0; index < LENGTH; index++) CHECK(marks[index] == 1, "%d was visited %d times", index, marks[index]);

    long in_critical = 0, in_atomic = 0, singles = 0, by_section[3] = {0};
    omp_lock_t lock;
    omp_init_lock(&lock);
    long locked = 0;
#pragma omp parallel
    {
        for (int round = 0; round < 40; round++) {
#pragma omp critical
            in_critical++;
#pragma omp atomic
            in_atomic += 2;
            omp_set_lock(&lock);
            locked++;
            omp_unset_lock(&lock);
        }
#pragma omp barrier
#pragma omp single
        singles++;
#pragma omp sections
        {
#pragma omp section
            by_section[0] = 1;
#pragma omp section
            by_section[1] = 2;
#pragma omp section
            by_section[2] = 3;
        }
        CHECK(private_number == 5, "the private number starts as %d", private_number);
        private_number += omp_get_thread_num();
#pragma omp barrier
        CHECK(private_number == 5 + omp_get_thread_num(), "the private number became %d", private_number);
    }
    omp_destroy_lock(&lock);
    CHECK(in_critical == 40 * THREADS && in_atomic == 80 * THREADS && locked == 40 * THREADS, "%ld %ld %ld", in_critical, in_atomic, locked);
    CHECK(singles == 1, "%ld singles", singles);
    CHECK(by_section[0] + by_section[1] + by_section[2] == 6, "sections");

    int order[30], next = 0;
#pragma omp parallel for ordered schedule(dynamic)
    for (int index = 0; index < 30; index++) {
#pragma omp ordered
        order[next++] = index;
    }
    for (int index = 0; index < 30; index++) CHECK(order[index] == index, "place %d holds %d", index, order[index]);

    long answer = 0;
#pragma omp parallel
#pragma omp single
    answer = fibonacci(20);
    CHECK(answer == 6765, "fibonacci %ld", answer);

    int chain = 0;
#pragma omp parallel
#pragma omp single
    for (int step = 0; step < 20; step++) {
#pragma omp task depend(inout : chain) firstprivate(step)
        {
            CHECK(chain == step, "the chain is %d at %d", chain, step);
            chain++;
        }
    }
    printf("sum %.1f, fibonacci %ld, chain %d\n", sum, answer, chain);
    return finish();
}
