/** From the ground up: the rooms of each floor. */
export const FLOORS: Readonly<Record<'lib' | 'native', readonly (readonly string[])[]>>;
/** A sentence for each file of one side that is in no room. */
export function roomless(root: string, side: 'lib' | 'native'): string[];
/** A sentence for each #include of native/ that runs up, aside or in a circle. */
export function wrongIncludes(root: string): string[];
