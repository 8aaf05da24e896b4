import { type Command, Option } from 'commander';
import type { TcDirection } from '../../attach/tc.ts';
import type { Attachment } from '../../loader/attachment.ts';
import type { EbpfLoader } from '../../loader/loader.ts';
import type { AttachMode } from '../../program/xdp-negotiation.ts';
import { wholeNumber } from '../terminal/arguments.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { attachmentLine } from './load.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

interface AttachOptions extends PinnedOptions {
  mode: AttachMode;
  strict?: true;
  direction: TcDirection;
  via: 'auto' | 'tcx' | 'clsact';
  priority?: number;
  netns?: string;
}

export function addAttach(program: Command): void {
  pinnedCommand(program, 'attach', 'attach a loaded program, and keep it attached when this command ends')
    .argument('<handle>', 'the handle that load printed')
    .argument(
      '[iface]',
      'the interface; omit it if the SEC() of the program names the target, such as a tracepoint',
    )
    .addOption(
      new Option(
        '--mode <mode>',
        'XDP: mode to try first; hw falls back to drv, then skb; drv falls back to skb',
      )
        .choices(['hw', 'drv', 'skb'])
        .default('drv'),
    )
    .option('--strict', 'XDP: try no other mode')
    .addOption(
      new Option('--direction <way>', 'TC: direction of the packets')
        .choices(['ingress', 'egress'])
        .default('ingress'),
    )
    .addOption(
      new Option('--via <how>', 'TC: kind of attachment').choices(['auto', 'tcx', 'clsact']).default('auto'),
    )
    .option('--priority <n>', 'TC: priority of the clsact filter', wholeNumber())
    .option('--netns <path>', 'network namespace of the interface, such as /run/netns/blue')
    .addHelpText(
      'after',
      `
An interface that is down is brought up. If another program holds the hook, the command fails and names it.

Examples:
  $ node-ebpf attach xdp_counter-1 eth0
  $ node-ebpf attach tc_count-1 eth0 --direction egress --via clsact --priority 100
  $ node-ebpf attach on_switch-1`,
    )
    .action(async (handle: string, iface: string | undefined, options: AttachOptions) => {
      await withPinned(options, async (loader) => {
        const attachment = await attach(loader, handle, iface, options);
        if (options.json) printJson({ handle, ...attachmentLine(attachment) });
        else print(`${printable(handle)} is attached to ${printable(targetOf(attachment))}`);
      });
    });
}

function attach(
  loader: EbpfLoader,
  handle: string,
  iface: string | undefined,
  { mode, strict, direction, via, priority, netns }: AttachOptions,
): Promise<Attachment> {
  const pin = true;
  if (iface === undefined) return loader.attach(handle, { pin });
  const target = netns === undefined ? { iface } : { iface, netns };
  if (loader.getProgram(handle)?.type !== 'sched_cls') {
    return loader.attachXdp(handle, { ...target, mode, strict: strict === true, pin });
  }
  const order = priority === undefined ? {} : { priority };
  return loader.attachTc(handle, { ...target, direction, via, ...order, pin });
}

function targetOf({ hook, iface, mode }: Attachment): string {
  if (iface === undefined) return `its SEC() (${hook})`;
  return `${iface} (${mode ?? hook})`;
}
