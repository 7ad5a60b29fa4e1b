/*
 * The floor: what the kernel itself takes for a dump of TCP sockets as everybody asks for it, IPv4
 * and then IPv6, received with a large buffer, of which nothing is looked at but the end.
 *
 * And what a compiled program would take for what the library does: one walk for both families, by
 * the old request (net/ipv4/inet_diag.c: inet_diag_rcv_msg_compat), whose rows are counted.
 *
 * One measurement for each struct order on standard input, its nanoseconds in a line of standard
 * output: so no start of a process is in the figure, and it can take turns with what it is compared
 * with.  A negative number is an errno.
 */
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CACHE_LINE 64

struct order {
	uint32_t extensions;
	uint32_t states;
	uint32_t thrash; /* bytes to walk first, so that the caches hold nothing of use */
	uint32_t counting; /* one walk, and every row counted */
};

static char buffer[1 << 20];
static unsigned long counts[16];
static unsigned long long queued[2];

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void thrash(uint32_t bytes)
{
	static volatile char *memory;
	static uint32_t size;

	if (size < bytes) {
		free((void *)memory);
		memory = malloc(bytes);
		size = memory ? bytes : 0;
	}
	for (uint32_t at = 0; at < bytes && at < size; at += CACHE_LINE)
		memory[at]++;
}

static int dump(int fd, const void *question, size_t length)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	const struct nlmsghdr *header = (const void *)buffer;

	if (sendto(fd, question, length, 0, (void *)&kernel, sizeof kernel) < 0)
		return errno;
	do {
		if (recv(fd, buffer, sizeof buffer, 0) < 0)
			return errno;
		if (header->nlmsg_type == NLMSG_ERROR)
			return -((const struct nlmsgerr *)NLMSG_DATA(header))->error;
	} while (header->nlmsg_type != NLMSG_DONE);
	return 0;
}

static int dump_family(int fd, const struct order *order, int family)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} question = {
		.header = { .nlmsg_len = sizeof question,
			    .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			    .nlmsg_seq = 1 },
		.request = { .sdiag_family = family,
			     .sdiag_protocol = IPPROTO_TCP,
			     .idiag_ext = order->extensions,
			     .idiag_states = order->states },
	};

	return dump(fd, &question, sizeof question);
}

/* Whether there is more to come; a negative number is an errno. */
static int count(const char *rows, ssize_t length)
{
	const struct nlmsghdr *header = (const void *)rows;

	for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
		const struct inet_diag_msg *row = NLMSG_DATA(header);

		if (header->nlmsg_type == NLMSG_DONE)
			return 0;
		if (header->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
		counts[row->idiag_state & 15]++;
		queued[0] += row->idiag_rqueue;
		queued[1] += row->idiag_wqueue;
	}
	return 1;
}

static int dump_and_count(int fd, const struct order *order)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct {
		struct nlmsghdr header;
		struct inet_diag_req request;
	} question = {
		.header = { .nlmsg_len = sizeof question,
			    .nlmsg_type = TCPDIAG_GETSOCK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			    .nlmsg_seq = 1 },
		.request = { .idiag_ext = order->extensions, .idiag_states = order->states },
	};
	int more = 1;

	if (sendto(fd, &question, sizeof question, 0, (void *)&kernel, sizeof kernel) < 0)
		return errno;
	while (more > 0) {
		ssize_t length = recv(fd, buffer, sizeof buffer, 0);

		more = length < 0 ? -errno : count(buffer, length);
	}
	return -more;
}

static long long measure(const struct order *order)
{
	long long start = now();
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
	int error;

	if (fd < 0)
		return -errno;
	error = order->counting ? dump_and_count(fd, order) : dump_family(fd, order, AF_INET);
	if (!error && !order->counting)
		error = dump_family(fd, order, AF_INET6);
	close(fd);
	return error ? -error : now() - start;
}

int main(void)
{
	struct order order;

	while (fread(&order, sizeof order, 1, stdin) == 1) {
		thrash(order.thrash);
		printf("%lld\n", measure(&order));
		fflush(stdout);
	}
	return 0;
}
