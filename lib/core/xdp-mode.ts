/**
 * `drv`: in the driver; `skb`: generic, in the network stack, on any interface; `hw`: on the network card.
 */
export type XdpMode = 'skb' | 'drv' | 'hw';

/** An XDP mode that failed, and the error code that it gave. */
export interface TriedMode {
  /** The mode that was tried. */
  mode: XdpMode;
  /** An EbpfError.code, such as EOPNOTSUPP if the driver has no XDP. */
  code: string;
}
