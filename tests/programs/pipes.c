// Pipes and sockets between threads: a ring of threads passes tokens, streams keep every byte, and
// file descriptors opened by one thread work in all.
#include "check.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define TURNS 40
#define STREAM (400 * 1024)

static int ring[THREADS][2];

static void *pass_on(void *argument) {
    int self = (int)(intptr_t)argument;
    for (int turn = 0; turn < TURNS; turn++) {
        int token;
        CHECK(CALL(read(ring[self][0], &token, sizeof token)) == sizeof token, "a short token");
        CHECK(token == turn * THREADS + self, "thread %d got token %d", self, token);
        token++;
        if (self == THREADS - 1 && turn == TURNS - 1) break;
        CALL(write(ring[(self + 1) % THREADS][1], &token, sizeof token));
    }
    return NULL;
}

static int streams[3][2];

static void *stream(void *argument) {
    int self = (int)(intptr_t)argument, lane = self / 2;
    unsigned char *bytes = malloc(STREAM);
    if (self % 2 == 0) {
        fill_pattern(bytes, STREAM, lane);
        for (size_t done = 0; done < STREAM;) {
            size_t part = STREAM - done < 70000 ? STREAM - done : 70000;
            done += CALL(write(streams[lane][1], bytes + done, part));
        }
        CALL(lane == 0 ? close(streams[lane][1]) : shutdown(streams[lane][1], SHUT_WR));
    } else {
        size_t done = 0;
        ssize_t received;
        while ((received = CALL(read(streams[lane][0], bytes + done, STREAM - done ? STREAM - done : 1))) > 0) done += received;
        CHECK(done == STREAM, "lane %d: %zu bytes", lane, done);
        check_pattern(bytes, STREAM, lane, "the stream");
    }
    free(bytes);
    return NULL;
}

static int listener;
static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "listening"};

static void *serve(void *argument) {
    intptr_t self = (intptr_t)argument;
    if (self == 0) {
        for (int client = 0; client < THREADS - 1; client++) {
            int connection = CALL(accept(listener, NULL, NULL));
            long number;
            CHECK(CALL(recv(connection, &number, sizeof number, MSG_WAITALL)) == sizeof number, "a short request");
            number *= number;
            CALL(send(connection, &number, sizeof number, 0));
            CALL(close(connection));
        }
        return NULL;
    }
    int connection = CALL(socket(AF_UNIX, SOCK_STREAM, 0));
    CALL(connect(connection, (struct sockaddr *)&address, sizeof address));
    long number = self;
    struct iovec part = {&number, sizeof number};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    CALL(sendmsg(connection, &message, 0));
    CHECK(CALL(recvmsg(connection, &message, MSG_WAITALL)) == sizeof number, "a short answer");
    CHECK(number == self * self, "the answer is %ld", number);
    CALL(close(connection));
    return NULL;
}

static int opened;

static void *open_file(void *argument) {
    (void)argument;
    opened = CALL(open("from-a-thread", O_RDWR | O_CREAT, 0640));
    CALL(dprintf(opened, "written by a thread\n"));
    return NULL;
}

int main(void) {
    for (int index = 0; index < THREADS; index++) CALL(pipe(ring[index]));
    int token = 0;
    CALL(write(ring[0][1], &token, sizeof token));
    run_threads(THREADS, pass_on);
    CALL(pipe(streams[0]));
    CALL(socketpair(AF_UNIX, SOCK_STREAM, 0, streams[1]));
    CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, streams[2]));
    run_threads(6, stream);
    listener = CALL(socket(AF_UNIX, SOCK_STREAM, 0));
    CALL(bind(listener, (struct sockaddr *)&address, sizeof address));
    CALL(listen(listener, 8));
    run_threads(THREADS, serve);
    CALL(unlink(address.sun_path));
    run_threads(1, open_file);
    struct stat status;
    CALL(fstat(opened, &status));
    printf("the file has %ld bytes, mode %o\n", (long)status.st_size, status.st_mode & 0777);
    return finish();
}
