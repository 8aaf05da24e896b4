/** Returns the names that are most similar to `wanted`, at most `most`, for hints. */
export function nearest(wanted: string, names: readonly string[], most = 5): string[] {
  return names
    .map((name) => ({ name, distance: editDistance(wanted, name) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ name }) => name);
}

// The Levenshtein distance, computed row by row.
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

/** nearest() for the many names of a kernel or a program: filters them first. */
export function nearestOfMany(wanted: string, names: readonly string[], most = 5): string[] {
  const lower = wanted.toLowerCase();
  const alike = names.filter(
    (name) =>
      name.toLowerCase().includes(lower) ||
      (Math.abs(name.length - wanted.length) <= 3 && name[0] === wanted[0]),
  );
  return nearest(wanted, alike, most);
}
