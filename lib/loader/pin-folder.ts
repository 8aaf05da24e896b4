import {
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import type { NativeMap, NativeProgram } from '../addon/binding.ts';
import { EbpfError } from '../core/errors.ts';
import { bpffsAt, openPin, pin, pinPath } from '../handle/pin.ts';
import type { BpfMap } from '../map/map.ts';
import type { BpfProgram } from '../program/program.ts';

// A program of the loader's under pinRoot, found again by recover() in another process:
//
//   <pinRoot>/<folder>/about          a symbolic link whose text is JSON: what the kernel does not keep of a program
//   <pinRoot>/<folder>/program
//   <pinRoot>/<folder>/maps/<name>    those of the object; its sections' have a dot in their names, and no pin
//   <pinRoot>/<folder>/hooks/<hook>/  one for each attachment, made before it
//   <pinRoot>/<folder>/hooks/<hook>/link

/** What the kernel does not keep, or keeps cut off. */
export interface About {
  program: string;
  /** Of the instructions, so that another program in its place shows. */
  tag: string;
  section: string;
  source: string;
}

// A symbolic link holds a path: 4,095 bytes.
const SOURCE_BYTES = 3000;

/** One program under pinRoot. */
export class PinFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  get name(): string {
    return basename(this.path);
  }

  /**
   * Makes the folder `name`, or the next number of it that is free, and pins a program and its maps there: all, or
   * nothing stays.
   *
   * @throws EbpfError `ERR_EBPF_NO_BPFFS`, `ERR_EBPF_PIN_NAME`
   */
  static create(
    root: string,
    name: string,
    program: BpfProgram,
    maps: readonly BpfMap[],
    source: string,
  ): PinFolder {
    const full = pinRootPath(root);
    if (bpffsAt(join(full, 'x')) === false) {
      throw new EbpfError(`pin ${program.name} under ${full}: it is not in a BPF file system`, {
        code: 'ERR_EBPF_NO_BPFFS',
        hint: 'mount one: mount -t bpf bpf /sys/fs/bpf',
      });
    }
    const folder = filesystem(`pin ${program.name} under ${full}`, () => {
      mkdirSync(full, { recursive: true, mode: 0o700 });
      return new PinFolder(makeFree(full, name.replaceAll('.', '_')));
    });
    try {
      folder.#fill(program, maps, source);
      return folder;
    } catch (error) {
      folder.remove();
      throw error;
    }
  }

  /** Whether it still has its program: another process may have unloaded it. */
  get whole(): boolean {
    return existsSync(join(this.path, 'program'));
  }

  /** Every folder there; none where the root is absent. */
  static list(root: string): PinFolder[] {
    const full = pinRootPath(root);
    if (!existsSync(full)) return [];
    return filesystem(`look under ${full}`, () =>
      readdirSync(full, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => new PinFolder(join(full, entry.name))),
    );
  }

  // `about` is first and the program second: what has both can be taken over, and unloaded, whatever came of the rest.
  #fill(program: BpfProgram, maps: readonly BpfMap[], source: string): void {
    const { name, tag, section } = program;
    const about: About = { program: name, tag, section, source: source.slice(0, SOURCE_BYTES) };
    filesystem(`pin ${name} in ${this.path}`, () => {
      symlinkSync(JSON.stringify(about), join(this.path, 'about'));
      mkdirSync(join(this.path, 'maps'));
      mkdirSync(join(this.path, 'hooks'));
    });
    pin(program.native, `program ${name}`, join(this.path, 'program'));
    for (const map of maps) {
      if (!map.name.includes('.')) pin(map.native, `map ${map.name}`, join(this.path, 'maps', map.name));
    }
  }

  /**
   * Opens what is pinned. The caller closes it.
   *
   * @throws EbpfError `ERR_EBPF_PIN_CONTENT` where it is not what create() made: nothing is open then
   */
  open(): { about: About; program: NativeProgram; maps: NativeMap[] } {
    const about = this.#about();
    const { handle: program } = openPin(join(this.path, 'program'), 'program', {
      name: about.program,
      section: about.section,
    });
    const maps: NativeMap[] = [];
    try {
      const { tag } = program.describe();
      if (tag !== about.tag) {
        throw this.#content(`program ${tag} is pinned there, not ${about.tag} ("${about.program}")`);
      }
      for (const name of this.#names('maps')) {
        maps.push(openPin(join(this.path, 'maps', name), 'map', { name }).handle);
      }
      return { about, program, maps };
    } catch (error) {
      for (const handle of [program, ...maps]) handle.close();
      throw error;
    }
  }

  #about(): About {
    try {
      const about = JSON.parse(readlinkSync(join(this.path, 'about'))) as About;
      if ([about.program, about.tag, about.section, about.source].every((text) => typeof text === 'string'))
        return about;
    } catch {
      // absent, or not JSON
    }
    throw this.#content('nothing there says which program it is');
  }

  #content(what: string): EbpfError {
    return new EbpfError(`recover ${this.path}: ${what}`, {
      code: 'ERR_EBPF_PIN_CONTENT',
      hint: 'it is left as it is; remove it if nobody else is making it',
    });
  }

  /** The names of the hooks that something was to be attached to. */
  hooks(): string[] {
    return this.#names('hooks');
  }

  /** Where the link of a hook is pinned. */
  linkPath(hook: string): string {
    return join(this.path, 'hooks', hook, 'link');
  }

  hasLink(hook: string): boolean {
    return existsSync(this.linkPath(hook));
  }

  /** When the hook's link was pinned, or the attachment recorded. */
  hookTime(hook: string): Date {
    const path = join(this.path, 'hooks', hook);
    return filesystem(`look at ${path}`, () => statSync(path)).mtime;
  }

  /** False where it is recorded already: by another process, or by one that was killed. */
  addHook(hook: string): boolean {
    return filesystem(`record ${hook} in ${this.path}`, () => {
      const hooks = join(this.path, 'hooks');
      // Absent where a process was killed while it unloaded the program. Not `recursive`: that stats what is there, and
      // fails where another process takes it away in between.
      unless(['EEXIST'], () => mkdirSync(hooks));
      return unless(['EEXIST'], () => mkdirSync(join(hooks, hook)));
    });
  }

  /** Forgets a hook, unless a link is pinned there: that is another process's. */
  dropHook(hook: string): void {
    filesystem(`forget ${hook} in ${this.path}`, () =>
      unless(['ENOENT', 'ENOTEMPTY'], () => rmdirSync(join(this.path, 'hooks', hook))),
    );
  }

  unpinLink(hook: string): void {
    filesystem(`unpin the link of ${hook} in ${this.path}`, () =>
      gone(() => unlinkSync(this.linkPath(hook))),
    );
  }

  /** Forgets a hook whose attachment is gone. */
  removeHook(hook: string): void {
    this.unpinLink(hook);
    filesystem(`forget ${hook} in ${this.path}`, () => gone(() => rmdirSync(join(this.path, 'hooks', hook))));
  }

  /** Removes the pins and the folder, the program last: until then it can be taken over. */
  remove(): void {
    filesystem(`unpin ${this.path}`, () => {
      for (const hook of this.hooks()) this.removeHook(hook);
      for (const map of this.#names('maps')) gone(() => unlinkSync(join(this.path, 'maps', map)));
      for (const folder of ['hooks', 'maps']) gone(() => rmdirSync(join(this.path, folder)));
      for (const file of ['program', 'about']) gone(() => unlinkSync(join(this.path, file)));
      gone(() => rmdirSync(this.path));
    });
  }

  #names(folder: string): string[] {
    const path = join(this.path, folder);
    let names: string[] = [];
    filesystem(`look under ${path}`, () =>
      unless(['ENOENT'], () => {
        names = readdirSync(path).sort();
      }),
    );
    return names;
  }
}

// The rules for a pin's name hold for the folder too.
function pinRootPath(root: string): string {
  return pinPath(root.endsWith('/') ? root.slice(0, -1) : root);
}

function makeFree(root: string, name: string): string {
  const stem = name.replace(/-\d+$/, '');
  for (let number = 0; ; number++) {
    const path = join(root, number === 0 ? name : `${stem}-${number}`);
    try {
      mkdirSync(path, { mode: 0o700 });
      return path;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function gone(remove: () => void): void {
  unless(['ENOENT'], remove);
}

/** Whether it was done. */
function unless(codes: readonly string[], work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (!codes.includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return false;
  }
}

function filesystem<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const { code, errno, syscall, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const options = { code, syscall, cause: error, ...(errno === undefined ? {} : { errno: -errno }) };
    throw new EbpfError(`${what}: ${message}`, options);
  }
}
