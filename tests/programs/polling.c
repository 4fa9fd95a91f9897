// Waiting for events in threads: poll, select, epoll, eventfd, timerfd; time-outs end on time.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/timerfd.h>

static int pipes[THREADS][2], event, answers;

static void *wait_each_way(void *argument) {
    int self = (int)(intptr_t)argument, reader = pipes[self][0];
    char byte;
    for (int round = 0; round < 6; round++) {
        if (round % 3 == 0) {
            struct pollfd wait[2] = {{reader, POLLIN, 0}, {pipes[self][1], 0, 0}};
            CHECK(CALL(poll(wait, 2, 20000)) == 1 && wait[0].revents == POLLIN, "poll: %x", wait[0].revents);
        } else if (round % 3 == 1) {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(reader, &set);
            struct timeval limit = {20, 0};
            CHECK(CALL(select(reader + 1, &set, NULL, NULL, &limit)) == 1 && FD_ISSET(reader, &set), "select");
        } else {
            int set = CALL(epoll_create1(EPOLL_CLOEXEC));
            struct epoll_event interest = {.events = EPOLLIN, .data.u64 = 0x1122334455667788}, found[4];
            CALL(epoll_ctl(set, EPOLL_CTL_ADD, reader, &interest));
            CHECK(CALL(epoll_wait(set, found, 4, 20000)) == 1, "epoll_wait");
            CHECK(found[0].data.u64 == 0x1122334455667788 && found[0].events == EPOLLIN, "epoll: %x", found[0].events);
            CALL(close(set));
        }
        CHECK(CALL(read(reader, &byte, 1)) == 1 && byte == 'a' + round, "byte %c", byte);
        uint64_t one = 1;
        CHECK(CALL(write(answers, &one, sizeof one)) == sizeof one, "a short eventfd write");
    }
    // Nothing comes any more: time-outs.
    struct pollfd quiet = {reader, POLLIN, 0};
    int64_t start = now_ns(CLOCK_MONOTONIC);
    CHECK(CALL(poll(&quiet, 1, 30)) == 0, "poll found something");
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 29000000, "the time-out came early");
    // A timer of its own.
    int timer = CALL(timerfd_create(CLOCK_MONOTONIC, 0));
    struct itimerspec every = {{0, 5000000}, {0, 5000000}};
    CALL(timerfd_settime(timer, 0, &every, NULL));
    uint64_t expired = 0, part;
    while (expired < 4) {
        CHECK(CALL(read(timer, &part, sizeof part)) == sizeof part, "a short timer read");
        expired += part;
    }
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 49000000, "the timer ran fast");
    CALL(close(timer));
    // All wait for one event counter; each takes one.
    CHECK(CALL(read(event, &part, sizeof part)) == sizeof part && part == 1, "the counter gave %lu", part);
    return NULL;
}

int main(void) {
    event = CALL(eventfd(0, EFD_SEMAPHORE));
    answers = CALL(eventfd(0, 0));
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index++) {
        CALL(pipe(pipes[index]));
        ZERO(pthread_create(&threads[index], NULL, wait_each_way, (void *)(intptr_t)index));
    }
    for (int round = 0; round < 6; round++) {
        char byte = (char)('a' + round);
        for (int index = 0; index < THREADS; index++) CALL(write(pipes[index][1], &byte, 1));
        uint64_t answered = 0, part;
        while (answered < THREADS) {
            CHECK(CALL(read(answers, &part, sizeof part)) == sizeof part, "a short eventfd read");
            answered += part;
        }
    }
    sleep_ms(10);
    uint64_t all = THREADS;
    CALL(write(event, &all, sizeof all));
    for (int index = 0; index < THREADS; index++) ZERO(pthread_join(threads[index], NULL));
    return finish();
}
