import { constants } from 'node:os';
import { native } from '../addon/native.ts';
import { EbpfError, EbpfNotSupportedError, EbpfPermissionError, errnoName } from '../core/errors.ts';
import { missingCapabilities, permissionHint } from '../kernel/capabilities.ts';
import { EbpfLoader, type LoaderOptions } from './loader.ts';

/**
 * A loader where eBPF can be used, and otherwise the reason why not: for an application that starts either way, and
 * whose health page says why eBPF is off. Asks the kernel for what every load takes; what one program takes beyond that
 * (CAP_NET_ADMIN for XDP and TC, CAP_PERFMON for tracing) its own load tells.
 *
 * @returns `loader`, or `reason`: EbpfPermissionError in a container without capabilities, EbpfNotSupportedError on a
 *   platform without the addon; each with a `hint`
 * @example
 * const { loader, reason } = await tryCreateLoader();
 * if (reason) console.warn(`eBPF is off: ${reason.message} (${reason.hint})`);
 */
export async function tryCreateLoader(options: LoaderOptions = {}): Promise<
  | {
      /** Ready to load. */
      loader: EbpfLoader;
      /** Undefined: eBPF can be used. */
      reason?: undefined;
    }
  | {
      /** Undefined: eBPF cannot be used. */
      loader?: undefined;
      /** Why not; its `hint` says what to do. */
      reason: EbpfError;
    }
> {
  try {
    const reason = unavailable();
    return reason ? { reason } : { loader: new EbpfLoader(options) };
  } catch (error) {
    if (error instanceof EbpfError) return { reason: error };
    throw error;
  }
}

function unavailable(): EbpfError | undefined {
  const { map: errno } = native().refusals();
  const message = `use eBPF: the kernel refuses to create a map (${errnoName(errno)})`;
  const { EPERM, EACCES, ENOSYS, EINVAL } = constants.errno;
  switch (errno) {
    case 0:
      return undefined;
    case EPERM:
    case EACCES: {
      const missing = missingCapabilities(['CAP_BPF']);
      const more = missing.length > 0 ? '; CAP_NET_ADMIN too for XDP and TC, CAP_PERFMON for tracing' : '';
      const hint = `${permissionHint(missing)}${more}`;
      return new EbpfPermissionError(message, {
        code: errnoName(errno),
        errno,
        syscall: 'bpf',
        missing,
        hint,
      });
    }
    case ENOSYS:
    case EINVAL: {
      const hint = 'it takes a kernel of 5.10 or newer with CONFIG_BPF_SYSCALL';
      const details = { feature: 'bpf', minKernel: '5.10', errno, syscall: 'bpf', hint };
      return new EbpfNotSupportedError(message, details);
    }
    default:
      return new EbpfError(message, {
        code: errnoName(errno),
        errno,
        syscall: 'bpf',
        hint: 'it may pass: the machine, or the limits of this process, are at their end',
      });
  }
}
