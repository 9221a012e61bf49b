/**
 * One spelling for every host: lower-case, without port and trailing dot, IDN as punycode, IPv6 in
 * brackets and compressed.
 */
import { hostCharsMax } from "./limits.ts";

const NAME = /^([a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*)\.?(?::([0-9]{0,5}))?$/;
const IPV6 = /^(\[[0-9a-f:.]{2,45}\])(?::([0-9]{0,5}))?$/;
const IPV4 = /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.|$)){4}$/;
/** A URL parser takes a name whose last label is a number for an IPv4 address (WHATWG URL §3.5). */
const NUMERIC_END = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$/;
/** What would end the host part of a URL, or be decoded or dropped inside of it. */
const NOT_IN_A_TYPED_HOST = /[\s/?#@\\:%[\]]/;
const portMax = 65_535;

/** The host of a Host header, or null when it is malformed. */
export function normaliseHost(authority: string): string | null {
  const text = authority.toLowerCase();
  const name = NAME.exec(text);
  if (name !== null) {
    const host = name[1] as string;
    if (host.length > hostCharsMax || Number(name[2] ?? 0) > portMax) return null;
    if (NUMERIC_END.test(host)) return isIpv4(host) ? host : null;
    return host.includes("xn--") && resolve(host) !== host ? null : host;
  }
  const address = IPV6.exec(text);
  if (address === null || Number(address[2] ?? 0) > portMax) return null;
  return resolve(address[1] as string);
}

/** The host that a person typed into a route: Unicode is welcome, a port is not. Null when malformed. */
export function normaliseTypedHost(typed: string): string | null {
  if (typed.startsWith("[")) return typed.endsWith("]") ? normaliseHost(typed) : null;
  if (typed === "" || NOT_IN_A_TYPED_HOST.test(typed)) return null;
  const resolved = /^[\x21-\x7e]+$/.test(typed) ? typed : resolve(typed);
  return resolved === null ? null : normaliseHost(resolved);
}

/** True for a dotted quad, and for nothing that only a URL parser would take for one. */
export function isIpv4(host: string): boolean {
  return IPV4.test(host) && !host.endsWith(".");
}

function resolve(host: string): string | null {
  try {
    return new URL(`http://${host}/`).hostname;
  } catch {
    return null;
  }
}
