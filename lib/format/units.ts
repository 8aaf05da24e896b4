/** Formats 1234567 as `1,234,567`, and numbers from ten million on with three digits: `12.3 M`. */
export function count(value: number): string {
  if (value < 1e7) return Math.round(value).toLocaleString('en-US');
  return scaled(value, [' M', ' G', ' T', ' P', ' E'], 1e6);
}

/** Formats 1234 as `1.23 kB`: decimal units, as are usual for network rates. */
export function bytes(value: number): string {
  if (Math.round(value) < 1000) return `${Math.round(value)} B`;
  return scaled(value, [' kB', ' MB', ' GB', ' TB', ' PB', ' EB'], 1e3);
}

/** Formats a number per second, below ten with one decimal. */
export function rate(value: number): string {
  if (value < 0) return `-${rate(-value)}`;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

/** Formats seconds, below a hundred with one decimal. */
export function duration(seconds: number): string {
  return seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds).toLocaleString('en-US')} s`;
}

/** Formats 2896 ns as `2.90 µs`, and NaN, the time of no calls, as `–`. */
export function latency(ns: number): string {
  if (Number.isNaN(ns)) return '–';
  if (Math.round(ns) < 1000) return `${Math.round(ns)} ns`;
  return scaled(ns, [' µs', ' ms', ' s'], 1e3);
}

/** Formats a time as `12:34:56`, in the time zone of the process. */
export function clock(time: Date): string {
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/** Formats a number with its noun: `1 map`, `2 maps`. */
export function plural(number: number, noun: string): string {
  return `${number.toLocaleString('en-US')} ${noun}${number === 1 ? '' : 's'}`;
}

/** Draws a bar of `width` cells, filled to `share` (0 to 1); `blocks` allows eighths of a cell. */
export function bar(share: number, width: number, blocks: boolean): string {
  const eighths = Math.round(Math.min(Math.max(share, 0), 1) * width * 8);
  if (!blocks) return '#'.repeat(Math.round(eighths / 8));
  return '█'.repeat(Math.floor(eighths / 8)) + ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8];
}

// Three digits: 1.23, 12.3, 123. Rounding can carry into the next unit: 999,999 bytes are 1.00 MB.
function scaled(value: number, units: readonly string[], first: number): string {
  let size = value / first;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  const decimals = size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
  return `${size.toFixed(decimals)}${units[unit]}`;
}
