/** An address in network byte order, in words; IPv6 as RFC 5952 writes it. @internal */
export function addressWords(view: DataView, at: number, version: number): string {
  if (version === 4) {
    return [0, 1, 2, 3].map((octet) => view.getUint8(at + octet)).join('.');
  }
  return ipv6Words(Array.from({ length: 8 }, (_, group) => view.getUint16(at + 2 * group)));
}

// RFC 5952: no leading zeros, the longest run of two or more zeros as ::, the first of equal ones, IPv4-mapped in dots.
function ipv6Words(groups: readonly number[]): string {
  const mapped = groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff;
  if (mapped) {
    const octets = groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]);
    return `::ffff:${octets.join('.')}`;
  }
  let longest = { at: -1, length: 1 };
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0) length++;
    if (length > longest.length) longest = { at, length };
  }
  const words = (from: number, to?: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  if (longest.at < 0) return words(0);
  return `${words(0, longest.at)}::${words(longest.at + longest.length)}`;
}
