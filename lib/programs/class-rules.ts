import { LITTLE_ENDIAN } from '../core/endian.ts';

// Which class a packet is of: what tc_classifier.h has as class_rules and marks, from what the caller says.

/** Packets of this protocol that go to or come from this port are of this class. */
export interface ClassRule {
  /** Of IPv4 and IPv6 alike. */
  protocol: 'tcp' | 'udp';
  /** 1 to 65535. */
  port: number;
  /** Letters, digits, `_`, `-` and `.`; several rules may name one class. Not `other`: that is what no rule names. */
  class: string;
}

/** The class of what no rule names. */
export const OTHER = 'other';
/** TC_CLASSES of tc_classifier.h. */
const MOST_CLASSES = 256;
const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17 };
const CLASS_NAME = /^[\w.-]{1,64}$/;
const KEY_SIZE = 4;
const MARK_SIZE = 8;
/** Rules as the program takes them. */
export interface RuleTable {
  /** By their numbers. */
  classes: readonly string[];
  count: number;
  keys: Uint8Array;
  values: Uint8Array;
}

/** @throws TypeError, RangeError for what is no rule, for two rules of one port, for more than 255 classes */
export function ruleTable(rules: readonly ClassRule[]): RuleTable {
  if (!Array.isArray(rules)) throw new TypeError(`Expected an array for rules but received ${typeof rules}`);
  const classes = [OTHER];
  const keys = new Uint8Array(rules.length * KEY_SIZE);
  const values = new Uint8Array(rules.length * 4);
  const taken = new Map<string, number>();
  for (const [index, rule] of rules.entries()) {
    const place = `rules[${index}]`;
    const { protocol, port, name } = checkedRule(place, rule);
    const hook = `${protocol}/${port}`;
    const first = taken.get(hook);
    if (first !== undefined) {
      throw new RangeError(`Expected one rule for ${hook} but rules[${first}] and ${place} are both for it`);
    }
    taken.set(hook, index);
    if (!classes.includes(name)) classes.push(name);
    const key = new DataView(keys.buffer, index * KEY_SIZE, KEY_SIZE);
    key.setUint8(0, PROTOCOLS[protocol] ?? 0);
    key.setUint16(2, port); // in network order
    new DataView(values.buffer).setUint32(index * 4, classes.indexOf(name), LITTLE_ENDIAN);
  }
  if (classes.length > MOST_CLASSES) {
    throw new RangeError(
      `Expected at most ${MOST_CLASSES - 1} classes in rules but received ${classes.length - 1}`,
    );
  }
  return { classes, count: rules.length, keys, values };
}

function checkedRule(place: string, rule: ClassRule): { protocol: string; port: number; name: string } {
  if (typeof rule !== 'object' || rule === null) {
    throw new TypeError(`Expected { protocol, port, class } for ${place} but received ${String(rule)}`);
  }
  const { protocol, port, class: name } = rule;
  if (typeof protocol !== 'string' || !Object.hasOwn(PROTOCOLS, protocol)) {
    throw new TypeError(`Expected tcp or udp for ${place}.protocol but received ${String(protocol)}`);
  }
  if (!Number.isInteger(port) || port < 1 || port > 0xffff) {
    throw new RangeError(
      `Expected an integer from 1 to 65535 for ${place}.port but received ${String(port)}`,
    );
  }
  if (typeof name !== 'string' || !CLASS_NAME.test(name)) {
    throw new TypeError(
      `Expected 1 to 64 letters, digits, "_", "-" and "." for ${place}.class but received ${String(name)}`,
    );
  }
  if (name === OTHER) {
    throw new RangeError(`Expected another name than ${OTHER} for ${place}.class: it is what no rule names`);
  }
  return { protocol, port, name };
}

/**
 * The bytes of `marks`: for each class whether it has a priority, and which.
 *
 * @throws TypeError, RangeError for a class that no rule names, for what is no priority
 */
export function markBytes(classes: readonly string[], mark: Readonly<Record<string, number>>): Uint8Array {
  const bytes = new Uint8Array(MOST_CLASSES * MARK_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [name, priority] of Object.entries(mark)) {
    const row = classes.indexOf(name);
    if (row < 0) {
      throw new RangeError(`Expected a class (${classes.join(', ')}) in mark but received ${name}`);
    }
    if (!Number.isInteger(priority) || priority < 0 || priority > 0xffff_ffff) {
      throw new RangeError(
        `Expected an integer from 0 to 4294967295 for mark.${name} but received ${String(priority)}`,
      );
    }
    view.setUint32(row * MARK_SIZE, 1, LITTLE_ENDIAN);
    view.setUint32(row * MARK_SIZE + 4, priority, LITTLE_ENDIAN);
  }
  return bytes;
}
