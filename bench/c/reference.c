// SPDX-License-Identifier: Apache-2.0
// The reference for bench/: the same reads with libbpf, as a Node-API addon, so that C and Node take turns in
// one process. Each operation runs its loop here and returns nanoseconds per operation.
#define _GNU_SOURCE
#define NAPI_VERSION 8
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <linux/if_ether.h>
#include <node_api.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../bpf/snapshot.h"

struct subject {
	int fd;
	struct bpf_map_info info;
	unsigned cpus; /* values per slot */
	size_t fields; /* 64-bit words of a value */
	size_t slot;   /* bytes that a lookup writes */
	__u32 rows;    /* read by the last read */
	unsigned char *keys;
	__u64 *values;
	__u64 *sums;
	__u64 total; /* sum of all numbers of the last read */

	const __u64 *memory; /* mapped, or NULL */
	size_t memory_size;

	struct bpf_object *object;
	int program;
	const __u64 *snapshot;
	size_t snapshot_size;
	size_t snapshot_words; /* per row: the key, then the sums */
	size_t snapshot_at;    /* where the sums begin in a row */

	pthread_t thread;
	atomic_int sampling;
	long interval;
	double samples, missed;
};

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static int is_array(const struct subject *s)
{
	return s->info.type == BPF_MAP_TYPE_ARRAY || s->info.type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

/* Sums each field of each row over the CPUs. */
static void add_up(struct subject *s)
{
	size_t fields = s->fields, cpus = s->cpus, words = s->slot / 8;
	__u64 total = 0;

	for (size_t row = 0; row < s->rows; row++) {
		const __u64 *slot = s->values + row * words;

		for (size_t field = 0; field < fields; field++) {
			__u64 sum = 0;

			for (size_t cpu = 0; cpu < cpus; cpu++)
				sum += slot[cpu * fields + field];
			s->sums[row * fields + field] = sum;
			total += sum;
		}
	}
	s->total = total;
}

static int batch(struct subject *s)
{
	__u64 cursor = 0;
	void *from = NULL;
	int error = 0;

	s->rows = 0;
	while (!error && s->rows < s->info.max_entries) {
		__u32 count = s->info.max_entries - s->rows;

		error = bpf_map_lookup_batch(s->fd, from, &cursor,
		                             s->keys + (size_t)s->rows * s->info.key_size,
		                             (char *)s->values + s->rows * s->slot, &count, NULL);
		if (error && error != -ENOENT)
			return error;
		s->rows += count;
		from = &cursor;
	}
	add_up(s);
	return 0;
}

static int lookup(struct subject *s)
{
	__u32 size = s->info.key_size;
	unsigned char *key = s->keys, *previous = NULL;

	for (s->rows = 0; s->rows < s->info.max_entries; s->rows++, previous = key, key += size) {
		int error;

		if (is_array(s))
			memcpy(key, &s->rows, sizeof s->rows);
		else if (bpf_map_get_next_key(s->fd, previous, key))
			break;
		error = bpf_map_lookup_elem(s->fd, key, (char *)s->values + s->rows * s->slot);
		if (error)
			return error;
	}
	add_up(s);
	return 0;
}

/* The kernel writes this memory, so each number is read by one load, as in READ_ONCE(). */
static int snapshot(struct subject *s)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	const volatile __u64 *row = s->snapshot + s->snapshot_at;
	int error = bpf_prog_test_run_opts(s->program, &opts);
	__u64 total = 0;

	if (error)
		return error;
	s->rows = opts.retval;
	for (__u32 i = 0; i < s->rows; i++, row += s->snapshot_words)
		for (size_t field = 0; field < s->fields; field++)
			total += row[field];
	s->total = total;
	return 0;
}

static int mapped_sum(struct subject *s)
{
	const volatile __u64 *at = s->memory;
	size_t words = s->info.max_entries * s->fields;
	__u64 total = 0;

	for (size_t i = 0; i < words; i++)
		total += at[i];
	s->total = total;
	return 0;
}

static int mapped_copy(struct subject *s)
{
	const volatile __u64 *at = s->memory;
	size_t words = s->info.max_entries * s->fields;

	for (size_t i = 0; i < words; i++)
		s->sums[i] = at[i];
	__asm__ volatile("" : : "r"(s->sums) : "memory");
	return 0;
}

/* Looks up one hot key: the first. */
static int get(struct subject *s)
{
	return bpf_map_lookup_elem(s->fd, s->keys, s->values);
}

/* Frees the contents; the subject itself is freed with its handle. */
static void empty(struct subject *s)
{
	if (s->memory)
		munmap((void *)s->memory, s->memory_size);
	if (s->snapshot)
		munmap((void *)s->snapshot, s->snapshot_size);
	bpf_object__close(s->object);
	if (s->fd >= 0)
		close(s->fd);
	free(s->keys);
	free(s->values);
	free(s->sums);
	memset(s, 0, sizeof *s);
	s->fd = -1;
}

static void finalize(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	empty(data);
	free(data);
}

static napi_value fail(napi_env env, const char *what, int error)
{
	char text[256];

	snprintf(text, sizeof text, "C reference: %s: %s", what, strerror(error < 0 ? -error : error));
	napi_throw_error(env, NULL, text);
	return NULL;
}

static size_t pages(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

/* open(fd): opens a map, with room for all of its rows. */
static napi_value open_subject(napi_env env, napi_callback_info info)
{
	struct subject *s = calloc(1, sizeof *s);
	__u32 length = sizeof s->info;
	size_t argc = 1;
	napi_value argument, result;
	int fd = -1;

	if (!s)
		return fail(env, "calloc", ENOMEM);
	napi_get_cb_info(env, info, &argc, &argument, NULL, NULL);
	napi_get_value_int32(env, argument, &fd);
	s->fd = dup(fd);
	if (s->fd < 0 || bpf_map_get_info_by_fd(s->fd, &s->info, &length)) {
		int error = errno;

		finalize(env, s, NULL);
		return fail(env, "open", error);
	}
	s->cpus = s->info.type == BPF_MAP_TYPE_PERCPU_ARRAY || s->info.type == BPF_MAP_TYPE_PERCPU_HASH
	                  ? (unsigned)libbpf_num_possible_cpus()
	                  : 1;
	s->fields = s->info.value_size / 8;
	s->slot = (size_t)s->info.value_size * s->cpus;
	s->keys = calloc(s->info.max_entries, s->info.key_size);
	s->values = calloc(s->info.max_entries, s->slot);
	s->sums = calloc(s->info.max_entries, s->info.value_size);
	if (s->info.map_flags & BPF_F_MMAPABLE) {
		s->memory_size = pages((size_t)s->info.max_entries * s->info.value_size);
		s->memory = mmap(NULL, s->memory_size, PROT_READ, MAP_SHARED, s->fd, 0);
		if (s->memory == MAP_FAILED)
			s->memory = NULL;
	}
	if (!s->keys || !s->values || !s->sums || (s->info.map_flags & BPF_F_MMAPABLE && !s->memory)) {
		finalize(env, s, NULL);
		return fail(env, "open", ENOMEM);
	}
	if (!is_array(s))
		bpf_map_get_next_key(s->fd, NULL, s->keys);
	napi_create_external(env, s, finalize, NULL, &result);
	return result;
}

/* Sets a `const volatile` variable of the program. */
static int set_constant(struct bpf_object *object, const char *name, const void *value, size_t size)
{
	const struct btf *btf = bpf_object__btf(object);
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	__s32 section = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *type = section < 0 ? NULL : btf__type_by_id(btf, (__u32)section);
	size_t room;
	char *data = map ? bpf_map__initial_value(map, &room) : NULL;

	for (__u32 i = 0; data && type && i < btf_vlen(type); i++) {
		const struct btf_var_secinfo *var = btf_var_secinfos(type) + i;
		const struct btf_type *of = btf__type_by_id(btf, var->type);

		if (strcmp(btf__name_by_offset(btf, of->name_off), name) == 0 && var->size >= size &&
		    var->offset + size <= room) {
			memcpy(data + var->offset, value, size);
			return 0;
		}
	}
	return -ENOENT;
}

static int load_snapshot(struct subject *s, const char *path)
{
	struct snapshot_field fields[SNAPSHOT_FIELDS] = {0};
	__u32 count = (__u32)s->fields, area = is_array(s) ? 0 : (s->info.key_size + 7) / 8 * 8;
	const char *name = s->info.type == BPF_MAP_TYPE_ARRAY          ? "array"
	                   : s->info.type == BPF_MAP_TYPE_PERCPU_ARRAY ? "percpu_array"
	                   : s->info.type == BPF_MAP_TYPE_HASH         ? "hash"
	                                                               : "percpu_hash";
	struct bpf_program *program;
	struct bpf_map *source, *sums;
	int error;

	for (__u32 i = 0; i < count; i++)
		fields[i] = (struct snapshot_field){8 * i, 8, 0};
	s->object = bpf_object__open_file(path, NULL);
	if (!s->object)
		return -errno;
	bpf_object__for_each_program(program, s->object)
	        bpf_program__set_autoload(program, strcmp(bpf_program__name(program), name) == 0);
	source = bpf_object__find_map_by_name(s->object, "source");
	sums = bpf_object__find_map_by_name(s->object, "sums");
	if (!source || !sums)
		return -ENOENT;
	s->snapshot_at = area / 8;
	s->snapshot_words = area / 8 + count;
	if ((error = set_constant(s->object, "rows", &s->info.max_entries, 4)) ||
	    (error = set_constant(s->object, "cpus", &s->cpus, 4)) ||
	    (error = set_constant(s->object, "field_count", &count, 4)) ||
	    (error = set_constant(s->object, "fields", fields, sizeof fields)) ||
	    (error = set_constant(s->object, "key_size", &s->info.key_size, 4)) ||
	    (error = bpf_map__reuse_fd(source, s->fd)) ||
	    (error = bpf_map__set_max_entries(sums, s->info.max_entries)) ||
	    (error = bpf_map__set_value_size(sums, (__u32)(8 * s->snapshot_words))) ||
	    (error = bpf_object__load(s->object)))
		return error;
	s->program = bpf_program__fd(bpf_object__find_program_by_name(s->object, name));
	s->snapshot_size = pages(8 * s->snapshot_words * s->info.max_entries);
	s->snapshot = mmap(NULL, s->snapshot_size, PROT_READ, MAP_SHARED, bpf_map__fd(sums), 0);
	if (s->snapshot == MAP_FAILED) {
		s->snapshot = NULL;
		return -errno;
	}
	return 0;
}

static struct subject *subject_of(napi_env env, napi_value value)
{
	void *data = NULL;

	napi_get_value_external(env, value, &data);
	return data;
}

/* prepareSnapshot(map, path) */
static napi_value prepare_snapshot(napi_env env, napi_callback_info info)
{
	napi_value arguments[2];
	size_t argc = 2;
	char path[4096];
	int error;

	napi_get_cb_info(env, info, &argc, arguments, NULL, NULL);
	napi_get_value_string_utf8(env, arguments[1], path, sizeof path, NULL);
	error = load_snapshot(subject_of(env, arguments[0]), path);
	return error ? fail(env, "load the snapshot", error) : NULL;
}

/* close(map) */
static napi_value close_subject(napi_env env, napi_callback_info info)
{
	napi_value argument;
	size_t argc = 1;

	napi_get_cb_info(env, info, &argc, &argument, NULL, NULL);
	empty(subject_of(env, argument));
	return NULL;
}

/* readAndWrite(loops): read(2) and write(2) of one byte; returns nanoseconds per pair. */
static napi_value read_and_write(napi_env env, napi_callback_info info)
{
	napi_value argument, result;
	size_t argc = 1;
	__u32 loops = 1;
	char byte;
	int from = open("/dev/zero", O_RDONLY | O_CLOEXEC), to = open("/dev/null", O_WRONLY | O_CLOEXEC);
	int failed = from < 0 || to < 0;
	double start;

	napi_get_cb_info(env, info, &argc, &argument, NULL, NULL);
	napi_get_value_uint32(env, argument, &loops);
	start = now();
	for (__u32 i = 0; i < loops && !failed; i++)
		failed = read(from, &byte, 1) != 1 || write(to, &byte, 1) != 1;
	napi_create_double(env, (now() - start) / loops, &result);
	close(from);
	close(to);
	return failed ? fail(env, "read and write", EIO) : result;
}

#define FRAMES 64

struct frame {
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	char payload[22];
} __attribute__((packed));

/* sendPackets(interface, count): sends UDP in batches, a flow for each packet; returns ns per packet. */
static napi_value send_packets(napi_env env, napi_callback_info info)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
	static struct frame frames[FRAMES];
	struct iovec parts[FRAMES];
	struct mmsghdr messages[FRAMES] = {0};
	napi_value arguments[2], result;
	size_t argc = 2;
	char name[IF_NAMESIZE];
	__u32 count = 1, sent = 0;
	double start;
	int fd, error = 0;

	napi_get_cb_info(env, info, &argc, arguments, NULL, NULL);
	napi_get_value_string_utf8(env, arguments[0], name, sizeof name, NULL);
	napi_get_value_uint32(env, arguments[1], &count);
	at.sll_ifindex = (int)if_nametoindex(name);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at)) {
		error = errno;
		if (fd >= 0)
			close(fd);
		return fail(env, "open a packet socket", error);
	}
	for (int i = 0; i < FRAMES; i++) {
		struct frame *frame = frames + i;

		memset(frame->ethernet.h_dest, 0xff, sizeof frame->ethernet.h_dest);
		frame->ethernet.h_proto = htons(ETH_P_IP);
		frame->ip.version = 4;
		frame->ip.ihl = 5;
		frame->ip.ttl = 1;
		frame->ip.protocol = IPPROTO_UDP;
		frame->ip.tot_len = htons(sizeof *frame - sizeof frame->ethernet);
		frame->udp.source = htons((unsigned short)(1024 + i));
		frame->udp.dest = htons(9);
		frame->udp.len = htons(sizeof frame->udp + sizeof frame->payload);
		parts[i] = (struct iovec){frame, sizeof *frame};
		messages[i].msg_hdr.msg_iov = parts + i;
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	start = now();
	while (sent < count && !error) {
		int now_sent = sendmmsg(fd, messages, count - sent < FRAMES ? count - sent : FRAMES, 0);

		if (now_sent >= 0)
			sent += (__u32)now_sent;
		else if (errno == ENOBUFS) /* the receiver is too slow */
			sched_yield();
		else
			error = errno;
	}
	napi_create_double(env, (now() - start) / count, &result);
	close(fd);
	return error ? fail(env, "send", error) : result;
}

typedef int (*operation)(struct subject *);

/* batch(map, loops) and the other operations: return nanoseconds per operation. */
static napi_value measure(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], result;
	size_t argc = 2;
	void *data;
	operation *run;
	struct subject *s;
	__u32 loops = 1;
	double start;

	napi_get_cb_info(env, info, &argc, arguments, NULL, &data);
	run = data;
	s = subject_of(env, arguments[0]);
	napi_get_value_uint32(env, arguments[1], &loops);
	start = now();
	for (__u32 i = 0; i < loops; i++) {
		int error = (*run)(s);

		if (error)
			return fail(env, "read", error);
	}
	napi_create_double(env, (now() - start) / loops, &result);
	return result;
}

/* total(map): returns the sum of all numbers of the last read. */
static napi_value total(napi_env env, napi_callback_info info)
{
	napi_value argument, result;
	size_t argc = 1;

	napi_get_cb_info(env, info, &argc, &argument, NULL, NULL);
	napi_create_double(env, (double)subject_of(env, argument)->total, &result);
	return result;
}

static void *sample(void *data)
{
	struct subject *s = data;
	double deadline;

	prctl(PR_SET_TIMERSLACK, 1);
	for (deadline = now() + (double)s->interval; s->sampling; deadline += (double)s->interval) {
		long at = (long)deadline;
		struct timespec until = {at / 1000000000, at % 1000000000};
		double late;

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			;
		late = (double)(long)((now() - deadline) / (double)s->interval);
		if (late > 0) {
			s->missed += late;
			deadline += late * (double)s->interval;
		}
		if (batch(s))
			break;
		s->samples++;
	}
	return NULL;
}

/* startSampling(map, microseconds): reads by batch, like the library's sampler of an array. */
static napi_value start_sampling(napi_env env, napi_callback_info info)
{
	napi_value arguments[2];
	size_t argc = 2;
	struct subject *s;
	__u32 interval = 0;

	napi_get_cb_info(env, info, &argc, arguments, NULL, NULL);
	s = subject_of(env, arguments[0]);
	napi_get_value_uint32(env, arguments[1], &interval);
	s->interval = 1000L * interval;
	s->samples = s->missed = 0;
	s->sampling = 1;
	return pthread_create(&s->thread, NULL, sample, s) ? fail(env, "start a thread", EAGAIN) : NULL;
}

/* stopSampling(map): [samples, missed] */
static napi_value stop_sampling(napi_env env, napi_callback_info info)
{
	napi_value argument, result, number;
	size_t argc = 1;
	struct subject *s;

	napi_get_cb_info(env, info, &argc, &argument, NULL, NULL);
	s = subject_of(env, argument);
	s->sampling = 0;
	pthread_join(s->thread, NULL);
	napi_create_array(env, &result);
	napi_create_double(env, s->samples, &number);
	napi_set_element(env, result, 0, number);
	napi_create_double(env, s->missed, &number);
	napi_set_element(env, result, 1, number);
	return result;
}

static void expose(napi_env env, napi_value exports, const char *name, napi_callback callback, void *data)
{
	napi_value function;

	napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function);
	napi_set_named_property(env, exports, name, function);
}

NAPI_MODULE_INIT()
{
	static struct {
		const char *name;
		operation run;
	} operations[] = {
	        {"batch", batch},          {"lookup", lookup},          {"snapshot", snapshot},
	        {"mappedSum", mapped_sum}, {"mappedCopy", mapped_copy}, {"get", get},
	};

	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		expose(env, exports, operations[i].name, measure, &operations[i].run);
	expose(env, exports, "open", open_subject, NULL);
	expose(env, exports, "prepareSnapshot", prepare_snapshot, NULL);
	expose(env, exports, "close", close_subject, NULL);
	expose(env, exports, "total", total, NULL);
	expose(env, exports, "readAndWrite", read_and_write, NULL);
	expose(env, exports, "sendPackets", send_packets, NULL);
	expose(env, exports, "startSampling", start_sampling, NULL);
	expose(env, exports, "stopSampling", stop_sampling, NULL);
	return exports;
}
