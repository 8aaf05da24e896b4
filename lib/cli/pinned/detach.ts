import { type Command, Option } from 'commander';
import type { TcDirection } from '../../attach/tc.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

interface DetachOptions extends PinnedOptions {
  direction?: TcDirection;
  netns?: string;
}

export function addDetach(program: Command): void {
  pinnedCommand(program, 'detach', 'detach a program from an interface, and keep it loaded')
    .argument('<handle>', 'the handle that load printed')
    .argument('[iface]', 'the interface; omit it if the SEC() of the program names the target')
    .addOption(
      new Option(
        '--direction <way>',
        'TC: only this direction; default: every hook of the interface',
      ).choices(['ingress', 'egress']),
    )
    .option('--netns <path>', 'network namespace of the interface')
    .addHelpText(
      'after',
      `
Only this program is detached. If another program has taken its place, that one stays, and the command fails.

Examples:
  $ node-ebpf detach xdp_counter-1 eth0
  $ node-ebpf detach tc_count-1 eth0 --direction egress`,
    )
    .action(async (handle: string, iface: string | undefined, options: DetachOptions) => {
      await withPinned(options, async (loader) => {
        const { netns, direction } = options;
        const detached = await (iface === undefined
          ? loader.detach(handle)
          : loader.detachFromInterface(handle, {
              iface,
              ...(netns === undefined ? {} : { netns }),
              ...(direction === undefined ? {} : { direction }),
            }));
        if (!detached) process.exitCode = 1;
        if (options.json) printJson({ handle, detached });
        else if (detached) print(`${printable(handle)} is detached from ${printable(iface ?? 'its SEC()')}`);
      });
    });
}
