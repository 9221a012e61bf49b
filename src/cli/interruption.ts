/** Ctrl-C for commands that go on until they are told to end: it is their way to be done. */

/** Aborted by SIGINT or SIGTERM. Disposed of, it leaves signals to whoever had them. */
export function untilInterrupted(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const end = (): void => controller.abort();
  process.once("SIGINT", end);
  process.once("SIGTERM", end);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      process.off("SIGINT", end);
      process.off("SIGTERM", end);
    },
  };
}
