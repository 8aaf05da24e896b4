import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';

const TOKEN_BYTES = 24;

/** Whether an address is a loopback one, which only this machine can reach. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Makes a random token. */
export function newToken(): string {
  return randomBytes(TOKEN_BYTES).toString('base64url');
}

/**
 * Decides which requests are answered. On a loopback address every local client is allowed, except requests
 * whose Host header is not ours (DNS rebinding). On any other address a request needs the token.
 */
export class Access {
  readonly #token: Buffer | undefined;

  /** @param token undefined if the address is a loopback one, and no token was given */
  constructor(token: string | undefined) {
    this.#token = token === undefined ? undefined : digest(token);
  }

  /** Whether the Host header names this server. With a token, every Host is accepted. */
  isOurs({ headers: { host = '' } }: IncomingMessage): boolean {
    return this.#token !== undefined || isLoopback(hostname(host));
  }

  /** Whether the request may see measurements. */
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
