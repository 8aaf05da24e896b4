// What a process holds open, by /proc.
import { readdirSync, readFileSync } from 'node:fs';

/** The ids of the programs or maps that a process has descriptors of; a link's own program is not among them. */
export function heldIds(noun: 'prog' | 'map', pid: number | 'self' = 'self'): number[] {
  const ids = readdirSync(`/proc/${pid}/fdinfo`).flatMap((fd) => {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1');
    } catch {
      return []; // closed meanwhile
    }
    const [, id] = new RegExp(`^${noun}_id:\\s*(\\d+)$`, 'm').exec(text) ?? [];
    return id === undefined || /^link_type:/m.test(text) ? [] : [Number(id)];
  });
  return [...new Set(ids)];
}
