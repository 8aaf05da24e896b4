// SPDX-License-Identifier: Apache-2.0
/*
 * Makes system calls that are known to the last one: `syscalls REPORT WORK…`. It stops itself (SIGSTOP)
 * before the work, so that it can be attached to, and makes none of the measured calls beside those that a
 * work names. What it has to say it writes into the memory of REPORT, a file: no call at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t *report;

static void fail(void)
{
	report[7] = errno ? errno : 1;
	_exit(1);
}

static long must(long result)
{
	if (result < 0)
		fail();
	return result;
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * UINT64_C(1000000000) + at.tv_nsec;
}

static void files(long reads, long writes)
{
	int zero = must(open("/dev/zero", O_RDONLY)), null = must(open("/dev/null", O_WRONLY));
	char bytes[16];

	while (reads-- > 0)
		must(syscall(SYS_read, zero, bytes, sizeof(bytes)));
	while (writes-- > 0)
		must(syscall(SYS_write, null, bytes, sizeof(bytes)));
}

static void datagrams(long pairs)
{
	int ends[2];
	char byte = 0;

	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
	while (pairs-- > 0) {
		must(syscall(SYS_sendto, ends[0], &byte, 1, 0, NULL, 0));
		must(syscall(SYS_recvfrom, ends[1], &byte, 1, 0, NULL, NULL));
	}
}

/* Of every five connections three are taken by accept, two by accept4. Then `refused` accepts that find none.
 */
static void connections(long count, long refused)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	/* A name that the kernel chooses, in no file system. */
	socklen_t length = sizeof(sa_family_t);
	int listener = must(socket(AF_UNIX, SOCK_STREAM, 0));

	must(bind(listener, (void *)&at, length));
	length = sizeof(at);
	must(getsockname(listener, (void *)&at, &length));
	must(listen(listener, 8));
	for (long i = 0; i < count; i++) {
		int client = must(socket(AF_UNIX, SOCK_STREAM, 0)), server;

		must(syscall(SYS_connect, client, &at, length));
		if (i % 5 < 3)
			server = must(syscall(SYS_accept, listener, NULL, NULL));
		else
			server = must(syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC));
		close(server);
		close(client);
	}
	must(fcntl(listener, F_SETFL, O_NONBLOCK));
	while (refused-- > 0)
		if (syscall(SYS_accept, listener, NULL, NULL) != -1 || errno != EAGAIN)
			fail();
}

/* A recvfrom that waits in vain: how long, at most, is in report[0]. */
static void waiting(long ms)
{
	struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int ends[2];
	char byte;
	uint64_t start;

	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
	must(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)));
	start = now();
	if (syscall(SYS_recvfrom, ends[0], &byte, 1, 0, NULL, NULL) != -1 || errno != EAGAIN)
		fail();
	report[0] = now() - start;
}

static void *blocked(void *unused)
{
	char byte;

	syscall(SYS_read, 0, &byte, 1);
	return unused;
}

/* So many threads inside a read of standard input, until that ends. */
static void threads(long count)
{
	pthread_t made[64];

	for (long i = 0; i < count; i++)
		if (pthread_create(&made[i], NULL, blocked, NULL))
			fail();
	for (long i = 0; i < count; i++)
		pthread_join(made[i], NULL);
}

static void *executing(void *arguments)
{
	files(1, 0);
	execv("/proc/self/exe", arguments);
	fail();
	return NULL;
}

/* A thread that is not the first makes a read and becomes a process with other work: in its number. */
static void execute(char *path, char *report_path)
{
	char *arguments[] = {path, report_path, "nothing", NULL};
	pthread_t thread;

	if (pthread_create(&thread, NULL, executing, arguments))
		fail();
	pthread_join(thread, NULL);
}

static void on_signal(int number)
{
	(void)number;
	report[0]++;
}

/* A read of standard input that SIGUSR1 may interrupt; report[0] says how often it did, and report[1] what
 * read gave. */
static void interrupted(int flags)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
	char byte;
	long got;

	must(sigaction(SIGUSR1, &action, NULL));
	got = syscall(SYS_read, 0, &byte, 1);
	report[1] = got < 0 ? (uint64_t)errno : 0;
}

#ifdef __x86_64__
static long int80(long number, long first)
{
	long result;

	__asm__ volatile("int $0x80"
	                 : "=a"(result)
	                 : "a"(number), "b"(first)
	                 : "memory", "r8", "r9", "r10", "r11");
	return result;
}

/* Calls by their 32-bit numbers, which are those of 64-bit accept, sendto, recvfrom and accept4. */
static void compat(long count)
{
	while (count-- > 0) {
		must(int80(43 /* times */, 0));
		int80(44 /* prof, which there is none of */, 0);
		must(int80(45 /* brk */, 0));
		int80(288 /* keyctl */, -1);
	}
}

/* Clears rcx, which SYSCALL overwrites, before and after each call of `pid`, until that exits; report[2]: it
 * has begun to. */
static void trace(pid_t pid)
{
	int status;

	must(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD));
	must(ptrace(PTRACE_INTERRUPT, pid, 0, 0));
	while (waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status)) {
		report[2] = 1;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			must(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rcx), 0));
		if (ptrace(PTRACE_SYSCALL, pid, 0, 0))
			break;
	}
	_exit(0);
}

/* Reads whose registers are not what the instruction SYSCALL leaves. */
static void traced(long count)
{
	pid_t self = getpid();

	if (!must(fork()))
		trace(self);
	while (!report[2])
		sched_yield();
	files(count, 0);
}

static void on_fault(int number)
{
	(void)number;
	_exit(1);
}
#endif

/* Exit status 0 where the kernel takes 32-bit system calls of 64-bit programs. */
static int has_compat(void)
{
#ifdef __x86_64__
	signal(SIGSEGV, on_fault);
	return int80(20 /* getpid */, 0) == getpid() ? 0 : 1;
#else
	return 1;
#endif
}

int main(int argc, char **argv)
{
	int file;

	if (argc == 2 && !strcmp(argv[1], "has-compat"))
		return has_compat();
	if (argc < 3)
		return 2;
	file = open(argv[1], O_RDWR);
	report = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (report == MAP_FAILED)
		return 2;
	close(file);
	raise(SIGSTOP);
	for (char **at = argv + 2; *at; at++) {
		char *name = *at, *rest = strchr(name, '=');
		long first = rest ? strtol(rest + 1, &rest, 10) : 0;
		long second = rest && *rest == ',' ? strtol(rest + 1, NULL, 10) : 0;

		if (!strncmp(name, "files=", 6))
			files(first, second);
		else if (!strncmp(name, "datagrams=", 10))
			datagrams(first);
		else if (!strncmp(name, "connections=", 12))
			connections(first, second);
		else if (!strncmp(name, "waiting=", 8))
			waiting(first);
		else if (!strncmp(name, "threads=", 8))
			threads(first);
		else if (!strcmp(name, "stopped"))
			raise(SIGSTOP);
		else if (!strcmp(name, "execute"))
			execute(argv[0], argv[1]);
		else if (!strcmp(name, "restarted"))
			interrupted(SA_RESTART);
		else if (!strcmp(name, "interrupted"))
			interrupted(0);
#ifdef __x86_64__
		else if (!strncmp(name, "compat=", 7))
			compat(first);
		else if (!strncmp(name, "traced=", 7))
			traced(first);
#endif
		else if (strcmp(name, "nothing"))
			fail();
	}
	return 0;
}
