// Canvases know no custom properties: what those of page.css are in the theme of the moment.

const probe = document.createElement('i');
probe.hidden = true;
document.documentElement.append(probe);
const known = new Map<string, string>();

/** `--tcp` as a colour that a canvas takes. */
export function colour(name: string): string {
  let value = known.get(name);
  if (value === undefined) {
    probe.style.color = `var(--${name})`;
    value = getComputedStyle(probe).color;
    known.set(name, value);
  }
  return value;
}

/** Calls back when the theme is another one. */
export function onTheme(changed: () => void): void {
  const forget = () => {
    known.clear();
    changed();
  };
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', forget);
  new MutationObserver(forget).observe(document.documentElement, { attributeFilter: ['data-theme'] });
}

/** Between two colours of the theme, as `rgb(1 2 3)`. */
export function between(from: string, to: string, share: number): string {
  const [a, b] = [numbers(colour(from)), numbers(colour(to))];
  const mixed = a.map((part, i) => Math.round(part + ((b[i] ?? part) - part) * share));
  return `rgb(${mixed.join(' ')})`;
}

function numbers(rgb: string): number[] {
  return (rgb.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}
