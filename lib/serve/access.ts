import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

const TOKEN_BYTES = 24;

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** A token that nobody guesses. */
export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

/**
 * Who may ask. Where only this machine can reach the server everybody there may, but no page of another site that had its name
 * resolve to 127.0.0.1 (DNS rebinding): the Host that it asks for is not ours. Elsewhere who knows the token.
 */
export class Access {
  readonly #token: Buffer | undefined;

  /** @param token undefined: the address is a loopback one */
  constructor(token: string | undefined) {
    this.#token = token === undefined ? undefined : digest(token);
  }

  /** Whether the request is meant for this server. */
  isOurs({ headers: { host = '' } }: IncomingMessage): boolean {
    return this.#token !== undefined || isLoopback(hostname(host));
  }

  /** Whether it may have what is measured. */
  isAllowed({ headers: { authorization = '' } }: IncomingMessage): boolean {
    if (!this.#token) return true;
    const [, given = ''] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
    return timingSafeEqual(digest(given), this.#token);
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function hostname(host: string): string {
  const [, bracketed, plain = ''] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(host) ?? [];
  return (bracketed ?? plain).toLowerCase();
}
