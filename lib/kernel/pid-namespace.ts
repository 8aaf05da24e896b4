import { statSync } from 'node:fs';

/** The PID namespace of this process. */
export interface PidNamespace {
  /** Whether it is the initial namespace of the machine. */
  initial: boolean;
  /** Device and inode number, as bpf_get_ns_current_pid_tgid() takes them. */
  dev: bigint;
  ino: bigint;
}

const INITIAL = 0xefff_fffcn; // include/linux/proc_ns.h, PROC_PID_INIT_INO

export function pidNamespace(): PidNamespace {
  const { dev, ino } = statSync('/proc/self/ns/pid', { bigint: true });
  return { initial: ino === INITIAL, dev: kernelDevice(dev), ino };
}

/**
 * stat(2) interleaves the bits of a device's major and minor numbers; the kernel stores them one after the
 * other (linux/kdev_t.h).
 */
export function kernelDevice(dev: bigint): bigint {
  const major = (dev >> 8n) & 0xfffn;
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xfff00n);
  return (major << 20n) | minor;
}
