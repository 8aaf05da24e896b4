// SPDX-License-Identifier: Apache-2.0
// The first process of a guest of machine.js, statically linked: loads modules, mounts an overlay in memory
// over the host's root, runs one command there, and reports how it ended.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A device of the bus appears some milliseconds after its driver.
#define TRIES 500
#define PAUSE_US 10000

static int status_port = -1;

static void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

// Sends one line to the host. The last line is `exit N` or `fail WHY`.
__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	dprintf(STDERR_FILENO, "init: %s\n", line);
	if (status_port >= 0)
		dprintf(status_port, "%s\n", line);
}

static void die(const char *what)
{
	report("fail %s: %s", what, strerror(errno));
	power_off();
}

static char *read_file(const char *path, size_t *length)
{
	size_t capacity = 1 << 16, used = 0;
	char *text = malloc(capacity + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0 || !text)
		die(path);
	while ((got = read(fd, text + used, capacity - used)) > 0) {
		used += got;
		if (used == capacity && !(text = realloc(text, (capacity *= 2) + 1)))
			die(path);
	}
	close(fd);
	text[used] = 0;
	if (length)
		*length = used;
	return text;
}

// Reads the strings of a file, each terminated by a zero.
static char **read_strings(const char *path)
{
	size_t length, count = 0;
	char *text = read_file(path, &length);
	char **strings;

	for (size_t i = 0; i < length; i++)
		count += text[i] == 0;
	strings = calloc(count + 1, sizeof(*strings));
	if (!strings)
		die(path);
	for (size_t i = 0; i < count; i++) {
		strings[i] = text;
		text += strlen(text) + 1;
	}
	return strings;
}

static void load_modules(void)
{
	char **paths = read_strings("/vm/modules");

	for (; *paths; paths++) {
		int fd = open(*paths, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			report("note module %s: %s", *paths, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
}

static int open_port(int number)
{
	char path[32];

	for (int i = 0; i < TRIES; i++) {
		for (int device = 0; device < 4; device++) {
			snprintf(path, sizeof(path), "/dev/vport%dp%d", device, number);
			int fd = open(path, O_WRONLY | O_CLOEXEC);
			if (fd >= 0)
				return fd;
		}
		usleep(PAUSE_US);
	}
	return -1;
}

// Mounts the required file systems, and the optional ones that the kernel has.
static void mount_must(const char *source, const char *target, const char *type, unsigned long flags,
                       const char *data)
{
	mkdir(target, 0755);
	if (mount(source, target, type, flags, data))
		die(target);
}

static void mount_may(const char *type, const char *target, const char *data)
{
	if (mount(type, target, type, 0, data))
		report("note %s on %s: %s", type, target, strerror(errno));
}

// The guest's writes go to memory and are lost when it ends.
static void mount_root(void)
{
	mkdir("/host", 0755);
	for (int i = 0; mount("host", "/host", "virtiofs", MS_RDONLY, ""); i++) {
		if (i == TRIES)
			die("virtiofs");
		usleep(PAUSE_US);
	}
	mount_must("tmpfs", "/layer", "tmpfs", 0, "mode=755");
	mkdir("/layer/upper", 0755);
	mkdir("/layer/work", 0755);
	mount_must("overlay", "/r", "overlay", 0, "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work");
	mount_must("tmpfs", "/r/run", "tmpfs", 0, "mode=755");
	mount_must("proc", "/r/proc", "proc", 0, "");
	mount_must("sysfs", "/r/sys", "sysfs", 0, "");
	mount_must("devtmpfs", "/r/dev", "devtmpfs", 0, "");
	mount_must("tmpfs", "/r/dev/shm", "tmpfs", 0, "mode=1777");
	mount_must("devpts", "/r/dev/pts", "devpts", 0, "");
	symlink("/proc/self/fd", "/r/dev/fd");
	symlink("/proc/self/fd/0", "/r/dev/stdin");
	symlink("/proc/self/fd/1", "/r/dev/stdout");
	symlink("/proc/self/fd/2", "/r/dev/stderr");
	mount_may("bpf", "/r/sys/fs/bpf", "mode=700");
	mount_may("cgroup2", "/r/sys/fs/cgroup", "");
	mount_may("securityfs", "/r/sys/kernel/security", "");
	mount_may("tracefs", "/r/sys/kernel/tracing", "");
	mount_may("debugfs", "/r/sys/kernel/debug", "");
}

static void up_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		die("lo");
	close(fd);
}

static pid_t start(int out, int err)
{
	char **arguments = read_strings("/vm/command"), **environment = read_strings("/vm/environment");
	char *folder = read_file("/vm/folder", NULL);
	struct rlimit descriptors = {65536, 65536};
	pid_t pid;

	if (chdir("/r") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("switching the root");
	pid = fork();
	if (pid)
		return pid;
	setsid();
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	setrlimit(RLIMIT_NOFILE, &descriptors);
	environ = environment;
	if (chdir(folder) == 0)
		execvpe(arguments[0], arguments, environment);
	fprintf(stderr, "init: %s in %s: %s\n", arguments[0], folder, strerror(errno));
	_exit(127);
}

// Writing to a port blocks while the host is slow, so that no part of a line is lost.
static void write_all(int fd, const char *bytes, ssize_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, bytes, length);
		if (written <= 0)
			die("writing to the host");
		bytes += written;
		length -= written;
	}
}

// Passes on the command's output, and reaps all orphans. Does not wait for processes that outlive the command
// and hold its pipes.
static int follow(pid_t pid, const int from[2], const int to[2])
{
	struct pollfd pipes[2] = {{.fd = from[0], .events = POLLIN}, {.fd = from[1], .events = POLLIN}};
	static char bytes[1 << 16];
	int status, ended = 0, open_pipes = 2, quiet;

	for (;;) {
		quiet = poll(pipes, 2, 100) == 0;
		for (int i = 0; i < 2; i++) {
			if (pipes[i].fd < 0 || !pipes[i].revents)
				continue;
			ssize_t got = read(pipes[i].fd, bytes, sizeof(bytes));
			if (got > 0) {
				write_all(to[i], bytes, got);
			} else {
				pipes[i].fd = -1;
				open_pipes--;
			}
		}
		for (pid_t one; (one = waitpid(-1, &status, WNOHANG)) > 0;) {
			if (one != pid)
				continue;
			ended = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
			pid = 0;
		}
		if (pid == 0 && (quiet || !open_pipes))
			return ended;
	}
}

int main(void)
{
	int out[2], err[2], console;

	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, "");
	console = open("/dev/console", O_RDWR);
	for (int fd = 0; fd < 3 && console >= 0; fd++)
		dup2(console, fd);
	load_modules();
	int to[2] = {open_port(1), open_port(2)};
	status_port = open_port(3);
	if (to[0] < 0 || to[1] < 0 || status_port < 0)
		die("the ports");
	mount_root();
	up_loopback();
	sethostname("guest", 5);
	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		die("pipe");
	pid_t pid = start(out[1], err[1]);
	if (pid < 0)
		die("fork");
	close(out[1]);
	close(err[1]);
	int from[2] = {out[0], err[0]};
	report("exit %d", follow(pid, from, to));
	power_off();
}
