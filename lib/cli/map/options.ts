export interface RowOptions {
  perCpu?: true;
  json?: true;
}

export interface WatchOptions extends RowOptions {
  interval: number;
  seconds?: number;
  fields?: (string | number)[];
}
