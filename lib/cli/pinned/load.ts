import { type Command, Option } from 'commander';
import type { LoadedProgram } from '../../loader/loaded.ts';
import { ProgramType } from '../../object-file/program-type.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

interface LoadCommandOptions extends PinnedOptions {
  program?: string;
  type?: ProgramType;
}

/** What `load --json`, and each row of `list --json`, prints. */
export interface ProgramLine {
  handle: string;
  program: string;
  id: number;
  type: string;
  tag: string;
  state: LoadedProgram['state'];
  source: string;
  maps: Record<string, number>;
  attachments: AttachmentLine[];
}

export interface AttachmentLine {
  hook: string;
  interface?: string;
  ifindex?: number;
  netns?: string;
  mode?: string;
  linkId?: number;
  attachedAt: string;
}

export function addLoad(program: Command): void {
  pinnedCommand(program, 'load', 'load a program of an object file, and keep it loaded')
    .argument('<file>', 'an object file that clang -target bpf made')
    .option('--program <name>', 'which of its programs')
    .addOption(new Option('--type <type>', 'what it must be').choices(Object.values(ProgramType)))
    .addHelpText(
      'after',
      `
The program and its maps are pinned under the folder of --pin-root, and stay loaded when this command ends. The handle
that it prints is the name for attach, detach and unload.

Examples:
  $ node-ebpf load xdp_counter.bpf.o
  xdp_counter-1
  $ node-ebpf attach xdp_counter-1 eth0`,
    )
    .action(async (file: string, options: LoadCommandOptions) => {
      await withPinned(options, async (loader) => {
        const { program: name, type } = options;
        const named = name === undefined ? {} : { program: name };
        const handle = await loader.loadProgram(file, type, { pin: true, ...named });
        const loaded = loader.getProgram(handle);
        if (options.json && loaded) printJson(programLine(loaded));
        else print(printable(handle));
      });
    });
}

export function programLine({ handle, program, object, state, type, ...rest }: LoadedProgram): ProgramLine {
  const { name, id, tag } = program;
  return {
    handle,
    program: name,
    id,
    type,
    tag,
    state,
    source: rest.source,
    maps: Object.fromEntries(Object.values(object.maps).map((map) => [map.name, map.id])),
    attachments: rest.attachments.map(attachmentLine),
  };
}

export function attachmentLine(attachment: LoadedProgram['attachments'][number]): AttachmentLine {
  const { hook, iface, ifindex, netns, mode, link, attachedAt } = attachment;
  return {
    hook,
    ...(iface === undefined ? {} : { interface: iface }),
    ...(ifindex === undefined ? {} : { ifindex }),
    ...(netns === undefined ? {} : { netns }),
    ...(mode === undefined ? {} : { mode }),
    ...(link.id === undefined ? {} : { linkId: link.id }),
    attachedAt: attachedAt.toISOString(),
  };
}
