// Resolves the custom properties of page.css in the current theme: a canvas cannot use them.

const probe = document.createElement('i');
probe.hidden = true;
document.documentElement.append(probe);
const known = new Map<string, string>();

/** Returns a custom property, such as `--tcp` for `tcp`, as a colour for a canvas. */
export function colour(name: string): string {
  let value = known.get(name);
  if (value === undefined) {
    probe.style.color = `var(--${name})`;
    value = getComputedStyle(probe).color;
    known.set(name, value);
  }
  return value;
}

/** Calls `changed` when the theme changes. */
export function onTheme(changed: () => void): void {
  const forget = () => {
    known.clear();
    changed();
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', forget);
  new MutationObserver(forget).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}

/** Mixes two colours of the theme, and returns `rgb(1 2 3)`. */
export function between(from: string, to: string, share: number): string {
  const [a, b] = [numbers(colour(from)), numbers(colour(to))];
  const mixed = a.map((part, i) => Math.round(part + ((b[i] ?? part) - part) * share));
  return `rgb(${mixed.join(' ')})`;
}

function numbers(rgb: string): number[] {
  return (rgb.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}
