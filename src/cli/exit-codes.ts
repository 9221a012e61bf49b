/** What `pic` ends with. Scripts rely on these numbers: they do not change. */
export const EXIT = {
  done: 0,
  /** The server refused it, or it failed there; the message says why. */
  failure: 1,
  /** The command line is wrong, or something was not given and may not be asked. */
  usage: 2,
  notSignedIn: 3,
  forbidden: 4,
  notFound: 5,
  conflict: 6,
  /** No answer, or none of a PiCloud. */
  unreachable: 7,
  /** Ctrl-C in a prompt: 128 + SIGINT, as a shell says it. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];
