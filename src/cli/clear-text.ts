/** Whether what is sent to an address can be read by strangers on its way. */
import { BlockList, isIP } from "node:net";

/** Loopback, private and link-local networks, and what providers and VPNs share out (RFC 6598). */
const NEAR: readonly [network: string, prefix: number, family: "ipv4" | "ipv6"][] = [
  ["127.0.0.0", 8, "ipv4"],
  ["10.0.0.0", 8, "ipv4"],
  ["172.16.0.0", 12, "ipv4"],
  ["192.168.0.0", 16, "ipv4"],
  ["169.254.0.0", 16, "ipv4"],
  ["100.64.0.0", 10, "ipv4"],
  ["::1", 128, "ipv6"],
  ["fc00::", 7, "ipv6"],
  ["fe80::", 10, "ipv6"],
];

/** Names that only a network at home resolves: of one word, or below what no registry gives away. */
const nearName = /^[^.]+$|\.(localhost|local|lan|home|internal|private|test|home\.arpa)$/;

/** True for plain http to somewhere beyond this machine and its own network, by the look of the address. */
export function isReadOnTheWay(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  if (protocol !== "http:") return false;
  const host = hostname.replace(/^\[(.*)\]$/, "$1").replace(/\.$/, "");
  const family = isIP(host);
  if (family === 0) return !nearName.test(host);
  const near = new BlockList();
  for (const [network, prefix, kind] of NEAR) near.addSubnet(network, prefix, kind);
  return !near.check(host, family === 4 ? "ipv4" : "ipv6");
}
