/**
 * One emulated board: QEMU with the processor of a Raspberry Pi, no network but the ports that the
 * host forwards to it, its console as text. Off → booting → on → off; a SIGKILL of the emulator is
 * what pulling the plug is to a board: what the guest had not handed to its disk is gone.
 */
import { createServer } from "node:net";
import {
  type Control,
  guestAddress,
  guestPorts,
  type HostPrograms,
  type Kernel,
} from "./boards-guest.ts";

export interface Board {
  readonly name: string;
  /** QEMU's name. Never `max`: its SVE corrupts the runtime in QEMU 7.2. */
  readonly cpu: "cortex-a53" | "cortex-a72" | "cortex-a76";
  readonly memoryMb: number;
}

export interface MachineParts {
  readonly board: Board;
  readonly kernel: Kernel;
  /** A raw image. */
  readonly disk: string;
  readonly programs: HostPrograms;
}

/** As many as the boards have; the runtime sizes its pools by it. */
const cores = 4;
/** Emulation yields to whoever else uses this machine. */
const niceness = "15";
const pollMs = 50;
const controlMsMax = 60_000;

export class Machine implements AsyncDisposable {
  #console = "";
  readonly #began = performance.now();
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;

  private constructor(
    command: string[],
    /** Where the guest's listeners are to be found on this machine. */
    readonly url: string,
    readonly controlUrl: string,
  ) {
    this.#child = Bun.spawn(command, { stdio: ["ignore", "pipe", "pipe"] });
    void this.#collect(this.#child.stdout);
    void this.#collect(this.#child.stderr);
  }

  static async boot({ board, kernel, disk, programs }: MachineParts): Promise<Machine> {
    const [publicPort, controlPort] = [await freePort(), await freePort()];
    const forward = (port: number, guest: number): string =>
      `hostfwd=tcp:127.0.0.1:${port}-${guestAddress}:${guest}`;
    const ports = [
      forward(publicPort, guestPorts.public),
      forward(controlPort, guestPorts.control),
    ];
    const command = [
      ...["nice", "-n", niceness, ...programs.command("qemu-system-aarch64")],
      ...["-L", programs.emulatorData, "-nodefaults", "-display", "none", "-no-reboot"],
      ...[
        "-machine",
        "virt",
        "-cpu",
        board.cpu,
        "-smp",
        String(cores),
        "-m",
        String(board.memoryMb),
      ],
      // The guest's clock counts instructions, 2 ns each: its deadlines see a slow board that is the
      // same every time, and not how busy this machine is. With its own clock and four threads a
      // sandbox child took longer than its 5 s to be ready; with this one 0.6 s.
      ...["-accel", "tcg,thread=single", "-icount", "shift=1", "-serial", "stdio"],
      ...["-kernel", kernel.vmlinuz, "-initrd", kernel.initramfs],
      ...["-append", "console=ttyAMA0 quiet panic=-1"],
      // Without a write cache on the host, a write that the guest has flushed is a write on the disk.
      ...["-drive", `file=${disk},format=raw,if=none,id=disk,cache=writethrough`],
      ...["-device", "virtio-blk-pci,drive=disk"],
      ...["-netdev", `user,id=net,restrict=on,${ports.join(",")}`],
      ...["-device", "virtio-net-pci,netdev=net,romfile="],
      ...["-device", "virtio-rng-pci"],
    ];
    return new Machine(
      command,
      `http://127.0.0.1:${publicPort}`,
      `http://127.0.0.1:${controlPort}`,
    );
  }

  /** All that the console has printed. */
  get console(): string {
    return this.#console;
  }

  /** Milliseconds from power-on until the console has printed the text. Throws when it never does. */
  async printed(text: string, msMax: number): Promise<number> {
    const deadline = performance.now() + msMax;
    for (;;) {
      if (this.#console.includes(text)) return performance.now() - this.#began;
      if (this.#hasEnded()) throw new Error(`the machine ended before "${text}"`);
      if (performance.now() > deadline) throw new Error(`no "${text}" after ${msMax / 1_000} s`);
      await Bun.sleep(pollMs);
    }
  }

  /** Asks the guest's own web server. */
  async ask(control: Control): Promise<string[]> {
    const response = await fetch(`${this.controlUrl}/cgi-bin/${control}`, {
      signal: AbortSignal.timeout(controlMsMax),
    });
    if (!response.ok) throw new Error(`${control}: the guest answered ${response.status}`);
    return (await response.text()).split("\n").filter((line) => line !== "");
  }

  /** Pulls the plug. */
  async kill9(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  /** Waits until the guest has switched itself off; the emulator's exit code. */
  async off(msMax: number): Promise<number> {
    const deadline = performance.now() + msMax;
    while (!this.#hasEnded()) {
      if (performance.now() > deadline) throw new Error(`not off after ${msMax / 1_000} s`);
      await Bun.sleep(pollMs);
    }
    return this.#child.exitCode ?? -1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill9();
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) this.#console += decoder.decode(chunk, { stream: true });
  }
}

/** The emulator cannot be asked which port it took, so it is told one that was free just now. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        resolve(typeof address === "object" && address !== null ? address.port : 0),
      );
    });
  });
}
