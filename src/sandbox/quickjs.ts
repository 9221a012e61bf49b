/**
 * One QuickJS in one WebAssembly memory, driven through the package's own FFI.
 *
 * The host keeps no handle into the guest but a few numbers (runtime, context, the entry functions),
 * which are addresses that every image shares: a memory can be overwritten by another image at any
 * moment between two entries. The guest reaches the host through one imported function.
 *
 * The addresses below belong to the pinned build of the package; `boot` asserts each of them, so that
 * another build fails at start and not in the middle of somebody's request.
 */
import createModule from "@jitl/quickjs-wasmfile-release-sync/emscripten-module";
import { QuickJSFFI } from "@jitl/quickjs-wasmfile-release-sync/ffi";
import wasmFile from "@jitl/quickjs-wasmfile-release-sync/wasm" with { type: "file" };
import { guestStackBytes } from "../domain/limits.ts";
import { assertLayout, type ImportFunction, QuickJsMemory, STACK_TOP } from "./quickjs-memory.ts";

const STACK_BYTES = 5 * 1024 * 1024;
export const STATIC_END = STACK_TOP - STACK_BYTES;
/** Where the allocator keeps the end of the heap, and what it is before there is a runtime. */
const SBRK_WORD = 86_864;
const HEAP_END_AT_START = 5_341_184;

/** Most frames stay within this part of the C stack; what lies deeper is zeroed when it was touched. */
const STACK_ZEROED_BYTES = guestStackBytes + 16 * 1024;
const STACK_PROBE_BYTES = 4_096;
const JOBS_PER_CALL = 1_000;
/** The random state is looked for in so many bytes of the context. */
const CONTEXT_BYTES = 4_096;

/** What the guest can make the host do. Exceptions end the entry: throw none on purpose. */
export interface QuickJsHost {
  /** The one imported function. Returns an owned value pointer, or 0 for undefined. */
  call(argc: number, argv: number): number;
  /** Asked every few thousand steps: true ends the entry, and the guest cannot catch it. */
  interrupt(): boolean;
  /** A module's name from its importer's name and the specifier. */
  resolve(importer: string, specifier: string): string;
  /** A module's source. Null: there is no such module. */
  load(name: string): string | null;
}

/** The emscripten glue, as far as it is used. */
interface Glue {
  HEAPU8: Uint8Array<ArrayBuffer>;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  callbacks: Record<string, (...args: never[]) => unknown>;
}

/** The FFI with its branded pointers as what they are: numbers. */
type Numeric<F> = {
  [K in keyof F]: F[K] extends (...args: infer A) => infer R
    ? (
        ...args: {
          [I in keyof A]: A[I] extends string
            ? string extends A[I]
              ? string
              : number
            : A[I] extends boolean
              ? boolean
              : number;
        }
      ) => R extends void ? void : number
    : never;
};
type Ffi = Numeric<QuickJSFFI>;

let compiled: Promise<WebAssembly.Module> | null = null;

/** Compiles the module once a process. */
async function wasmModule(): Promise<WebAssembly.Module> {
  compiled ??= Bun.file(wasmFile)
    .arrayBuffer()
    .then((bytes) => WebAssembly.compile(bytes));
  return compiled;
}

export class QuickJs {
  readonly runtime: number;
  readonly context: number;
  /** Set by whoever enters the guest. */
  host: QuickJsHost = NO_HOST;

  readonly ffi: Ffi;
  readonly #glue: Glue;
  readonly #exports: Record<string, ImportFunction>;
  readonly #jobContext: number;
  readonly #arguments: number;
  readonly #randomState: number;
  #memory: Buffer<ArrayBuffer>;
  #view: Uint8Array<ArrayBuffer>;

  /** Makes an instance with an empty context. Throws when the build is not the expected one. */
  static async boot(): Promise<QuickJs> {
    const module = await wasmModule();
    const control = new QuickJsMemory();
    let exports: Record<string, ImportFunction> = {};
    const glue = (await (createModule as unknown as (options: object) => Promise<unknown>)({
      wasmMemory: control.memory,
      instantiateWasm(imports: { a: Record<string, ImportFunction> }, done: (i: unknown) => void) {
        control.wrap(imports.a);
        const instance = new WebAssembly.Instance(module, imports as never);
        exports = instance.exports as Record<string, ImportFunction>;
        done(instance);
        return exports;
      },
    })) as Glue;
    return new QuickJs(glue, exports, control);
  }

  private constructor(
    glue: Glue,
    exports: Record<string, ImportFunction>,
    /** Growth, its limit, and the clock. */
    readonly control: QuickJsMemory,
  ) {
    this.#glue = glue;
    this.#exports = exports;
    this.#view = glue.HEAPU8;
    this.#memory = Buffer.from(this.#view.buffer);
    this.ffi = new QuickJSFFI(glue as never) as unknown as Ffi;
    assertLayout(this.stackPointer === STACK_TOP, "the C stack begins elsewhere");
    this.#exports[EXPORT_STACK_SET]?.(STACK_TOP - 16);
    assertLayout(this.stackPointer === STACK_TOP - 16, "the stack pointer is set elsewhere");
    this.resetStack();
    assertLayout(this.heapEnd === HEAP_END_AT_START, "the heap's end is kept elsewhere");
    this.#glue.callbacks = this.#callbacks();
    this.runtime = this.ffi.QTS_NewRuntime();
    this.context = this.ffi.QTS_NewContext(this.runtime, 0);
    this.ffi.QTS_RuntimeSetMaxStackSize(this.runtime, guestStackBytes);
    this.ffi.QTS_RuntimeEnableInterruptHandler(this.runtime);
    this.ffi.QTS_RuntimeEnableModuleLoader(this.runtime, 1);
    this.#jobContext = glue._malloc(4);
    this.#arguments = glue._malloc(16);
    this.#randomState = this.#findRandomState();
    this.#assertClock();
  }

  /** The memory. Do not keep it: growth replaces it. */
  get memory(): Buffer<ArrayBuffer> {
    if (this.#glue.HEAPU8 !== this.#view) {
      this.#view = this.#glue.HEAPU8;
      this.#memory = Buffer.from(this.#view.buffer);
    }
    return this.#memory;
  }

  get heapEnd(): number {
    return this.memory.readUInt32LE(SBRK_WORD);
  }

  get stackPointer(): number {
    return Number(this.#exports[EXPORT_STACK_GET]?.());
  }

  /** After an entry that ended halfway, the C stack must be put back by hand. */
  resetStack(): void {
    this.#exports[EXPORT_STACK_SET]?.(STACK_TOP);
  }

  /** Zeroes what earlier entries left on the C stack. */
  zeroStack(): void {
    const memory = this.memory;
    let at = STACK_TOP - STACK_ZEROED_BYTES;
    memory.fill(0, at, STACK_TOP);
    if (isZero(memory, at - STACK_PROBE_BYTES)) return;
    // Somebody went deep, past QuickJS's own limit. Pages that nobody touched are not touched now.
    for (; at > STATIC_END; at -= STACK_PROBE_BYTES) {
      const from = Math.max(STATIC_END, at - STACK_PROBE_BYTES);
      if (!isZero(memory, from)) memory.fill(0, from, at);
    }
  }

  /** Makes the memory at least so large; for putting back a memory that had grown. */
  reserve(bytes: number): void {
    if (bytes <= this.memory.length) return;
    this.control.heapEndMax = Math.max(this.control.heapEndMax, bytes);
    if (!this.control.resize(bytes)) throw new Error("the sandbox's memory cannot be restored");
  }

  /** Random bytes for Math.random: an image would repeat the same numbers otherwise. */
  seedRandom(seed: Uint8Array): void {
    this.memory.set(seed, this.#randomState);
  }

  /** Changes when the guest has used Math.random. */
  randomState(): string {
    return this.memory.toString("hex", this.#randomState, this.#randomState + 8);
  }

  /** Text to a guest string (an owned pointer), 0 when there is no memory. Cut at NUL: pass JSON. */
  newString(text: string): number {
    const pointer = this.#copyIn(text);
    if (pointer === 0) return 0;
    const value = this.ffi.QTS_NewString(this.context, pointer);
    this.#glue._free(pointer);
    return value;
  }

  /** A guest string as text, up to its first NUL; "" when it cannot be read. */
  readString(value: number): string {
    const pointer = this.ffi.QTS_GetString(this.context, value);
    if (pointer === 0) return "";
    const memory = this.memory;
    const text = memory.toString("utf8", pointer, memory.indexOf(0, pointer));
    this.ffi.QTS_FreeCString(this.context, pointer);
    return text;
  }

  /** A copy of a guest ArrayBuffer's bytes; null when it is none, or there is no memory. */
  readBuffer(value: number): Buffer | null {
    const length = this.ffi.QTS_GetArrayBufferLength(this.context, value);
    if (length === 0) return Buffer.alloc(0);
    const pointer = this.ffi.QTS_GetArrayBuffer(this.context, value);
    if (pointer === 0) return null;
    const bytes = Buffer.from(this.memory.subarray(pointer, pointer + length));
    this.#glue._free(pointer);
    return bytes;
  }

  /** Bytes to a guest ArrayBuffer (an owned pointer), 0 when there is no memory. */
  newBuffer(bytes: Uint8Array): number {
    const pointer = this.#glue._malloc(Math.max(1, bytes.length));
    if (pointer === 0) return 0;
    this.memory.set(bytes, pointer);
    return this.ffi.QTS_NewArrayBuffer(this.context, pointer, bytes.length);
  }

  argument(argv: number, index: number): number {
    return this.ffi.QTS_ArgvGetJSValueConstPointer(argv, index);
  }

  readNumber(value: number): number {
    return this.ffi.QTS_GetFloat64(this.context, value);
  }

  newNumber(value: number): number {
    return this.ffi.QTS_NewFloat64(this.context, value);
  }

  /** Calls a guest function with owned values, which it frees. False: it threw, or could not run. */
  call(functionPointer: number, values: readonly number[]): boolean {
    if (values.includes(0)) return false;
    values.forEach((value, index) => {
      this.memory.writeUInt32LE(value, this.#arguments + index * 4);
    });
    const result = this.ffi.QTS_Call(
      this.context,
      functionPointer,
      this.ffi.QTS_GetUndefined(),
      values.length,
      this.#arguments,
    );
    for (const value of values) this.free(value);
    if (result === 0) return false;
    const thrown = this.ffi.QTS_ResolveException(this.context, result);
    if (thrown !== 0) this.free(thrown);
    this.free(result);
    return thrown === 0;
  }

  /** Runs pending jobs until none is left or `stop` says so (asked every thousand). */
  drain(stop: () => boolean): void {
    while (this.ffi.QTS_IsJobPending(this.runtime) !== 0 && !stop()) {
      const result = this.ffi.QTS_ExecutePendingJob(this.runtime, JOBS_PER_CALL, this.#jobContext);
      if (result === 0) return;
      this.free(result);
    }
  }

  /** Evaluates a script (no module) and returns an owned pointer to its value. Throws what it threw. */
  evaluate(code: string, name: string): number {
    const pointer = this.#copyIn(code);
    const length = Buffer.byteLength(code, "utf8");
    const value = this.ffi.QTS_Eval(this.context, pointer, length, name, 0, 0);
    this.#glue._free(pointer);
    const thrown = this.ffi.QTS_ResolveException(this.context, value);
    if (thrown === 0) return value;
    throw new Error(`the guest's own code failed: ${this.readString(thrown)}`);
  }

  /** The imported function as a guest value, under a global name. */
  defineHostFunction(name: string): void {
    const fn = this.ffi.QTS_NewFunction(this.context, name, 0, false, 1);
    const global = this.ffi.QTS_GetGlobalObject(this.context);
    const key = this.newString(name);
    this.ffi.QTS_SetProp(this.context, global, key, fn);
    for (const value of [fn, global, key]) this.free(value);
  }

  /** An owned pointer to a property of a value. */
  property(value: number, name: string): number {
    const key = this.newString(name);
    const found = this.ffi.QTS_GetProp(this.context, value, key);
    this.free(key);
    return found;
  }

  free(value: number): void {
    this.ffi.QTS_FreeValuePointer(this.context, value);
  }

  /** Text as a NUL-terminated C string, 0 when there is no memory. */
  #copyIn(text: string): number {
    const bytesMax = text.length * 3 <= 4_096 ? text.length * 3 : Buffer.byteLength(text, "utf8");
    const pointer = this.#glue._malloc(bytesMax + 1);
    if (pointer === 0) return 0;
    const length = text.length === 0 ? 0 : this.memory.write(text, pointer, bytesMax, "utf8");
    this.memory[pointer + length] = 0;
    return pointer;
  }

  #callbacks(): Glue["callbacks"] {
    return {
      callFunction: (_: unknown, _context: number, _this: number, argc: number, argv: number) =>
        this.host.call(argc, argv),
      shouldInterrupt: () => (this.host.interrupt() ? 1 : 0),
      normalizeModule: (
        _: unknown,
        _rt: number,
        _context: number,
        importer: string,
        name: string,
      ) => {
        return this.#copyIn(this.host.resolve(importer, name));
      },
      loadModuleSource: (_: unknown, _rt: number, _context: number, name: string) => {
        const source = this.host.load(name);
        return source === null ? this.#throwNotFound(name) : this.#copyIn(source);
      },
      freeHostRef: () => undefined,
    };
  }

  #throwNotFound(name: string): number {
    const error = this.ffi.QTS_NewError(this.context);
    const key = this.newString("message");
    const message = this.newString(`Module "${name}" not found`);
    if (error === 0 || key === 0 || message === 0) return 0;
    this.ffi.QTS_SetProp(this.context, error, key, message);
    this.free(this.ffi.QTS_Throw(this.context, error));
    for (const value of [error, key, message]) this.free(value);
    return 0;
  }

  /** The context's random state is found by its next value: xorshift64* of the one before. */
  #findRandomState(): number {
    const from = this.context;
    const before = Buffer.from(this.memory.subarray(from, from + CONTEXT_BYTES));
    this.free(this.evaluate("Math.random()", "boot"));
    const after = this.memory;
    for (let offset = 0; offset + 8 <= CONTEXT_BYTES; offset += 8) {
      const next = xorshift64(before.readBigUInt64LE(offset));
      if (next !== 0n && next === after.readBigUInt64LE(from + offset)) return from + offset;
    }
    throw new Error("unexpected build of QuickJS: the random state is not where it was");
  }

  #assertClock(): void {
    this.control.frozenAt = 86_400_000;
    const now = this.evaluate("Date.now()", "boot");
    assertLayout(this.readNumber(now) === this.control.frozenAt, "the clock is imported elsewhere");
    this.free(now);
    this.control.frozenAt = null;
  }
}

/** Export names of the pinned build (the packager minified them). */
const EXPORT_STACK_SET = "Ma";
const EXPORT_STACK_GET = "Oa";
const ZEROES = Buffer.alloc(STACK_PROBE_BYTES);

function isZero(memory: Buffer, at: number): boolean {
  return memory.compare(ZEROES, 0, STACK_PROBE_BYTES, at, at + STACK_PROBE_BYTES) === 0;
}

const NO_HOST: QuickJsHost = {
  call: () => 0,
  interrupt: () => false,
  resolve: (_, specifier) => specifier,
  load: () => null,
};

function xorshift64(state: bigint): bigint {
  let x = state;
  x ^= x >> 12n;
  x = BigInt.asUintN(64, x ^ (x << 25n));
  return x ^ (x >> 27n);
}
