/** `drv`: in the driver; `skb`: generic, in the stack, on any interface; `hw`: on the card. */
export type XdpMode = 'skb' | 'drv' | 'hw';

/** A mode that was not taken, and the code that the kernel gave for it. */
export interface TriedMode {
  /** One of those that were asked for. */
  mode: XdpMode;
  /** As EbpfError.code: EOPNOTSUPP where the driver has no XDP, for one. */
  code: string;
}
