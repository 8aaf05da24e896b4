import { InvalidArgumentError } from 'commander';

/** Makes a parser of whole numbers in decimal digits, from `least` to `most`. */
export function wholeNumber({ least = 0, most = Number.POSITIVE_INFINITY } = {}): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    const range =
      most < Number.POSITIVE_INFINITY
        ? ` from ${least} to ${most}`
        : least > 0
          ? ` of at least ${least}`
          : '';
    throw new InvalidArgumentError(`Expected a whole number${range}.`);
  };
}

/** Parses a number above 0, such as `10`, `0.5` or `.5`. */
export function positiveNumber(text: string): number {
  const value = Number(text);
  if (/^\d*\.?\d+$/.test(text) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}
