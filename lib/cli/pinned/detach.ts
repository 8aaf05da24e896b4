import { type Command, Option } from 'commander';
import type { TcDirection } from '../../attach/tc.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

interface DetachOptions extends PinnedOptions {
  direction?: TcDirection;
  netns?: string;
}

export function addDetach(program: Command): void {
  pinnedCommand(program, 'detach', 'take a program off an interface, and keep it loaded')
    .argument('<handle>', 'what load printed')
    .argument('[iface]', 'the interface; none for a program whose SEC() says where')
    .addOption(
      new Option('--direction <way>', 'TC: this one alone, not every hook of the interface').choices([
        'ingress',
        'egress',
      ]),
    )
    .option('--netns <path>', 'the network namespace of the interface')
    .addHelpText(
      'after',
      `
Only the program itself is taken off. Where another one has its place now, that one stays, and this is an error.

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
