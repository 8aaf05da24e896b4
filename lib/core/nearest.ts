/** The few of `names` that look most like `wanted`: for messages. */
export function nearest(wanted: string, names: readonly string[], most = 5): string[] {
  return names
    .map((name) => ({ name, distance: editDistance(wanted, name) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ name }) => name);
}

// Levenshtein's, one row at a time.
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    let swap = 0;
    let last = 0;
    row = row.map((above, j) => {
      const kept = a[i - 1] === b[j - 1] ? 0 : 1;
      last = j === 0 ? i : Math.min(swap + kept, above + 1, last + 1);
      swap = above;
      return last;
    });
  }
  return row.at(-1) ?? 0;
}

/** nearest() among the names of a whole kernel or program, of which most are no candidates. */
export function nearestOfMany(wanted: string, names: readonly string[], most = 5): string[] {
  const lower = wanted.toLowerCase();
  const alike = names.filter(
    (name) =>
      name.toLowerCase().includes(lower) ||
      (Math.abs(name.length - wanted.length) <= 3 && name[0] === wanted[0]),
  );
  return nearest(wanted, alike, most);
}
