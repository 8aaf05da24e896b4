/** 1234567 → `1,234,567`; from ten million on three digits are enough: `12.3 M`. */
export function count(value: number): string {
  if (value < 1e7) return Math.round(value).toLocaleString('en-US');
  return scaled(value, [' M', ' G', ' T', ' P', ' E'], 1e6);
}

/** 1234 → `1.23 kB`. Decimal units, as network rates have. */
export function bytes(value: number): string {
  if (Math.round(value) < 1000) return `${Math.round(value)} B`;
  return scaled(value, [' kB', ' MB', ' GB', ' TB', ' PB', ' EB'], 1e3);
}

/** A number per second. Below ten its first decimal is worth seeing. */
export function rate(value: number): string {
  if (value < 0) return `-${rate(-value)}`;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

export function duration(seconds: number): string {
  return seconds < 100 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds).toLocaleString('en-US')} s`;
}

/** 2896 → `2.90 µs`; nothing for NaN, a time of no call. */
export function latency(ns: number): string {
  if (Number.isNaN(ns)) return '–';
  if (Math.round(ns) < 1000) return `${Math.round(ns)} ns`;
  return scaled(ns, [' µs', ' ms', ' s'], 1e3);
}

/** 12:34:56, in the time zone of the process. */
export function clock(time: Date): string {
  return [time.getHours(), time.getMinutes(), time.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/** `1 map`, `2 maps`. */
export function plural(number: number, noun: string): string {
  return `${number.toLocaleString('en-US')} ${noun}${number === 1 ? '' : 's'}`;
}

/** A bar of `width` cells, filled to `share` (0 to 1), in eighths of a cell where the terminal has them. */
export function bar(share: number, width: number, blocks: boolean): string {
  const eighths = Math.round(Math.min(Math.max(share, 0), 1) * width * 8);
  if (!blocks) return '#'.repeat(Math.round(eighths / 8));
  return '█'.repeat(Math.floor(eighths / 8)) + ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8];
}

// Three digits: 1.23, 12.3, 123. Rounding may carry into the next unit: 999,999 bytes are 1.00 MB.
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
