/*
 * How fast uevents can be drained at all: many in one call, of which the texts are walked and their
 * properties counted.
 *
 * It subscribes, says so in a line of standard output, waits for the number of events in a line of
 * standard input, drains as many, and prints the nanoseconds that it took.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define AT_ONCE 64
#define LONGEST 8192

static char texts[AT_ONCE][LONGEST];
static unsigned long properties;

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void walk(const char *text, size_t length)
{
	const char *end = text + length;

	while (text < end) {
		const char *nul = memchr(text, 0, end - text);

		if (!nul)
			return;
		properties += memchr(text, '=', nul - text) != NULL;
		text = nul + 1;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int size = argc > 1 ? atoi(argv[1]) : 0;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
	struct mmsghdr messages[AT_ONCE] = { 0 };
	struct iovec vectors[AT_ONCE];
	long long start;
	long wanted;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) ||
	    bind(fd, (void *)&group, sizeof group)) {
		perror("drain");
		return 1;
	}
	for (int i = 0; i < AT_ONCE; i++) {
		vectors[i] = (struct iovec){ texts[i], LONGEST };
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	puts("ready");
	fflush(stdout);
	if (scanf("%ld", &wanted) != 1)
		return 1;
	start = now();
	while (wanted > 0) {
		int got = recvmmsg(fd, messages, AT_ONCE, MSG_WAITFORONE, NULL);

		if (got < 0) {
			perror("drain");
			return 1;
		}
		for (int i = 0; i < got; i++)
			walk(texts[i], messages[i].msg_len);
		wanted -= got;
	}
	printf("%lld\n", now() - start);
	return properties == 0;
}
