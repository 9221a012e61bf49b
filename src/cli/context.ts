/**
 * What every command of `pic` gets: the server it is meant for, its output, and whom to ask. A command
 * is `register…(program, pic)` in commands/<noun>.ts; it prints with `pic.output`, throws PicFailure
 * or lets the client's errors pass, and returns nothing: pic.ts alone makes exit codes of errors.
 */
import { PicClient } from "../client.ts";
import {
  chosenServer,
  chosenUrl,
  type FetchOptions,
  guardedFetch,
  type Server,
} from "./connection.ts";
import type { Surroundings } from "./environment.ts";
import { type Format, Output } from "./output.ts";
import { noPrompts, type Prompts, terminalPrompts } from "./prompts.ts";

/** Options that every command takes, before or after its name: no command has its own of these names. */
export interface GlobalOptions {
  url?: string;
  output?: Format;
  /** False: --no-input. */
  input: boolean;
  /** False: --no-color. */
  color: boolean;
}

export interface PicContext {
  readonly around: Surroundings;
  readonly output: Output;
  readonly prompts: Prompts;
  /** Whether a person can be asked. */
  readonly isInteractive: boolean;
  /** The address that is meant, or null when none is known. */
  url(): string | null;
  /** The address and the token. Throws PicFailure when nobody is signed in. */
  server(): Server;
  /** The API of that server, signed in. */
  client(options?: FetchOptions): PicClient;
  /** The API of any server: without a token unless one is given. */
  clientOf(url: string, token?: string, options?: FetchOptions): PicClient;
  /** A request to that server beside the API, with the token. @param path begins with a slash. */
  fetch(path: string, init: RequestInit, options?: FetchOptions): Promise<Response>;
}

/** The context of one run. Options are known once the command line is parsed: `begin`. */
export class PicRun implements PicContext {
  output: Output;
  prompts: Prompts;
  isInteractive = false;
  /** The command that runs: `pic routes match`. */
  path = "pic";
  #flagUrl: string | null = null;

  constructor(
    readonly around: Surroundings,
    private readonly given: Prompts | null,
  ) {
    this.prompts = given ?? noPrompts;
    this.output = this.#outputFor(null, true);
  }

  begin({ url, output, input, color }: GlobalOptions, path: string): void {
    this.path = path;
    this.#flagUrl = url ?? null;
    this.output = this.#outputFor(output ?? null, color);
    const { stdin, stderr } = this.around;
    this.isInteractive = input && stdin.isTTY === true && stderr.isTTY === true;
    this.prompts = this.isInteractive ? (this.given ?? terminalPrompts) : noPrompts;
  }

  url(): string | null {
    return chosenUrl(this.around, this.#flagUrl);
  }

  server(): Server {
    return chosenServer(this.around, this.#flagUrl);
  }

  client(options?: FetchOptions): PicClient {
    const { url, token } = this.server();
    return this.clientOf(url, token, options);
  }

  clientOf(url: string, token?: string, options?: FetchOptions): PicClient {
    return new PicClient({
      base_url: url,
      ...(token === undefined ? {} : { token }),
      fetch: guardedFetch(this.around, url, options),
    });
  }

  async fetch(path: string, init: RequestInit, options?: FetchOptions): Promise<Response> {
    const { url, token } = this.server();
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${token}`);
    const request = new Request(`${url}${path}`, { ...init, headers });
    return guardedFetch(this.around, url, options)(request);
  }

  #outputFor(format: Format | null, colours: boolean): Output {
    const { stdout, stderr, env } = this.around;
    return new Output({ stdout, stderr, env, format, colours });
  }
}
