/* A peer of alarm_daemon.py that knows netlink's header and nothing else.
 *
 *     cc -O2 -Wall -Wextra -o alarm_peer alarm_peer.c
 *     ./alarm_peer PORT COUNT [raise|clear NAME]...
 *
 * It watches, raises and clears what it is told to, prints as many alarms as it is told to, and
 * ends with status 0; or with 1 where a message is none, or out of order.
 */

#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WATCH = NLMSG_MIN_TYPE, RAISE, CLEAR, ALARM };

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void order(int sock, unsigned int port, int type, const char *text)
{
	struct sockaddr_nl daemon = { .nl_family = AF_NETLINK, .nl_pid = port };
	struct nlmsghdr *header;
	char buffer[NLMSG_SPACE(256)] = { 0 };
	size_t length = strnlen(text, 255);

	header = (struct nlmsghdr *)buffer;
	header->nlmsg_len = NLMSG_LENGTH(length);
	header->nlmsg_type = type;
	memcpy(NLMSG_DATA(header), text, length);
	if (sendto(sock, buffer, header->nlmsg_len, MSG_DONTWAIT, (struct sockaddr *)&daemon,
		   sizeof(daemon)) < 0)
		fail("sendto");
}

int main(int argc, char **argv)
{
	struct sockaddr_nl own = { .nl_family = AF_NETLINK };
	struct timeval patience = { .tv_sec = 20 };
	unsigned int port, last = 0;
	long count;
	int sock;

	if (argc < 3 || argc % 2 == 0) {
		fprintf(stderr, "usage: %s PORT COUNT [raise|clear NAME]...\n", argv[0]);
		return 2;
	}
	port = strtoul(argv[1], NULL, 10);
	count = strtol(argv[2], NULL, 10);
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
	if (sock < 0 || bind(sock, (struct sockaddr *)&own, sizeof(own)) < 0)
		fail("netlink socket");
	if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
		fail("SO_RCVTIMEO");

	order(sock, port, WATCH, "");
	for (int i = 3; i < argc; i += 2)
		order(sock, port, strcmp(argv[i], "raise") ? CLEAR : RAISE, argv[i + 1]);

	while (count > 0) {
		char buffer[4096];
		struct sockaddr_nl sender;
		socklen_t size = sizeof(sender);
		ssize_t left = recvfrom(sock, buffer, sizeof(buffer), 0,
					(struct sockaddr *)&sender, &size);
		struct nlmsghdr *header = (struct nlmsghdr *)buffer;

		if (left < 0)
			fail("recvfrom");
		if (sender.nl_pid != port)
			continue;
		for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
			if (header->nlmsg_type != ALARM)
				return 1;
			if (header->nlmsg_seq) {
				if (header->nlmsg_seq <= last)
					return 1;
				last = header->nlmsg_seq;
			}
			printf("%u %.*s\n", header->nlmsg_seq, (int)NLMSG_PAYLOAD(header, 0),
			       (char *)NLMSG_DATA(header));
			count--;
		}
	}
	close(sock);
	return 0;
}
