/** One way to show samples: open, then show once a second, then close with the last one. */
export interface View<S> {
  open(sample: S): void;
  show(sample: S): void;
  close(sample: S): void;
}
