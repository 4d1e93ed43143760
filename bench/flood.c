/* Sends COUNT UDP packets of 64 bytes (layer 3) from SOURCE:PORT to TARGET:PORT as fast as the stack takes them, and
 * prints the CPU nanoseconds that this thread spent. On veth the receiving side's softirq runs in the sender's
 * context, so this is the whole path's cost but for what ksoftirqd took over (bench/forwarding.py adds that).
 * usage: flood SOURCE SOURCE_PORT TARGET TARGET_PORT COUNT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 32, PAYLOAD = 64 - 20 - 8 };

static struct sockaddr_in address(const char *ip, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, ip, &a.sin_addr) != 1) {
        fprintf(stderr, "flood: not an IPv4 address: %s\n", ip);
        exit(64);
    }
    return a;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: flood SOURCE SOURCE_PORT TARGET TARGET_PORT COUNT\n");
        return 64;
    }
    struct sockaddr_in source = address(argv[1], argv[2]), target = address(argv[3], argv[4]);
    long count = atol(argv[5]);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) || connect(fd, (struct sockaddr *)&target, sizeof target)) {
        perror("flood");
        return 1;
    }
    char payload[PAYLOAD];
    memset(payload, 0, sizeof payload);
    struct iovec piece = {payload, sizeof payload};
    struct mmsghdr messages[BATCH];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BATCH; i++) {
        messages[i].msg_hdr.msg_iov = &piece;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    struct timespec start, end;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
    for (long sent = 0; sent < count;) {
        int n = sendmmsg(fd, messages, count - sent < BATCH ? (unsigned)(count - sent) : BATCH, 0);
        if (n < 0) {
            perror("flood: sendmmsg");
            return 1;
        }
        sent += n;
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
    return 0;
}
