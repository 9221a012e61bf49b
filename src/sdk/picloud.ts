/** The module `picloud`: what a script imports. */
export { base64 } from "./base64.ts";
export { docs } from "./docs.ts";
export { hex } from "./hex.ts";
export { kv } from "./kv.ts";
export { log } from "./log.ts";
export { tx } from "./tx.ts";
