import { type Command, Option } from 'commander';
import type { LoadedProgram } from '../../loader/loaded.ts';
import { ProgramType } from '../../object-file/program-type.ts';
import { print, printable, printJson } from '../terminal/output.ts';
import { type PinnedOptions, pinnedCommand, withPinned } from './pinned.ts';

interface LoadCommandOptions extends PinnedOptions {
  program?: string;
  type?: ProgramType;
}

/** The object that `load --json` prints, and each row of `list --json`. */
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
  pinnedCommand(program, 'load', 'load a program from an object file, and keep it loaded')
    .argument('<file>', 'an object file made by clang -target bpf')
    .option('--program <name>', 'the program to load, if the file has several')
    .addOption(
      new Option('--type <type>', 'the type of the program to load').choices(Object.values(ProgramType)),
    )
    .addHelpText(
      'after',
      `
The program and its maps are pinned in a folder under --pin-root, and stay loaded when this command ends. attach,
detach and unload take the handle that is printed.

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
