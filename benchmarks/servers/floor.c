/* The floor: an echo over epoll with nothing between the kernel and itself. What it takes, every server takes.
 *
 * `floor tcp` or `floor udp`; prints `port N` when it serves, and runs until it is killed. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 256, CHUNK = 256 * 1024 };

static char buffer[CHUNK];
static int poller;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on_free_port(int type) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    if (type == SOCK_STREAM && listen(fd, 1024)) die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &length)) die("getsockname");
    printf("port %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void accept_one(int listener) {
    int one = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(fd);
}

/* Waiting for room blocks the other connections; it happens only with large messages, and briefly. */
static int send_all(int fd, const char *bytes, ssize_t left) {
    while (left > 0) {
        ssize_t sent = send(fd, bytes, left, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return -1;
        if (sent < 0) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, -1);
            continue;
        }
        bytes += sent;
        left -= sent;
    }
    return 0;
}

static void echo_stream(int fd) {
    ssize_t length = recv(fd, buffer, sizeof buffer, 0);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0 || send_all(fd, buffer, length)) close(fd);
}

/* One socket serves all: it is emptied at one go, or every datagram would cost an epoll_wait. */
static void echo_datagrams(int fd) {
    struct sockaddr_in from;
    for (;;) {
        socklen_t size = sizeof from;
        ssize_t length = recvfrom(fd, buffer, sizeof buffer, 0, (struct sockaddr *)&from, &size);
        if (length < 0) return;
        sendto(fd, buffer, length, 0, (struct sockaddr *)&from, size);
    }
}

int main(int argc, char **argv) {
    int udp = argc > 1 && !strcmp(argv[1], "udp");
    struct epoll_event events[BATCH];
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on_free_port(udp ? SOCK_DGRAM : SOCK_STREAM);
    watch(listener);
    for (;;) {
        int ready = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != listener)
                echo_stream(fd);
            else if (udp)
                echo_datagrams(fd);
            else
                accept_one(fd);
        }
    }
}
