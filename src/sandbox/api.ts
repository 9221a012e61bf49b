/** What the rest of the system sees of the sandbox: jobs in, outcomes out. */
import type { Binding, BindingContext } from "../domain/bindings.ts";
import type { Budget, ExecutionStatus, GuestError, LogEntry } from "../domain/executions.ts";
import type { ScriptLimits } from "../domain/limits.ts";
import type { BodyKind, Program } from "./protocol.ts";

export interface Job {
  cx: BindingContext;
  /** Names the image; `loadProgram` is asked only when no child holds it. */
  program_id: string;
  loadProgram: () => Promise<Program>;
  /** `ctx` as JSON text. */
  input: string;
  limits: ScriptLimits;
  /** When the wall limit ends, on the monotonic clock. */
  deadline: number;
}

export interface Outcome {
  status: Exclude<ExecutionStatus, "overloaded">;
  budget: Budget | null;
  status_code: number;
  headers: Record<string, string>;
  body_kind: BodyKind;
  body: string;
  /** Positions are those of the compiled code; execution/records maps them to the author's. */
  error: GuestError | null;
  logs: LogEntry[];
  logs_dropped: number;
  cpu_ms: number;
  memory_bytes: number;
  host_calls: number;
  /** Guest code was entered at least once: the attempt counts. */
  entered: boolean;
}

export interface PoolOptions {
  /** How many children serve; a warm spare comes on top while there is traffic. */
  children: number;
  bindings: readonly Binding[];
  image_cache_mb: number;
  /** How a child is started: the executable and its arguments (`[execPath, "sandbox"]`). */
  command: readonly string[];
  /** Called when the pool has come to rest, and once more when it has let the extra children go. */
  onRest?: () => void;
}

export interface SandboxPool {
  /** Never throws for what a script does; throws PicError `unavailable` only after `stop`, and what loadProgram throws. */
  run(job: Job): Promise<Outcome>;
  /** Drops the image of a program that will not run again. */
  forget(programId: string): void;
  /** Resolves when at least one child is ready. */
  ready(): Promise<void>;
  stats(): {
    /** Ready ones; `starting` also counts a start that waits for its next try. */
    children: number;
    starting: number;
    running: number;
    queued: number;
    killed: number;
    private_bytes: number[];
  };
  /** Kills all children; running jobs end as sandbox_lost. May be called twice. */
  stop(): Promise<void>;
}

/** What saving a script asks of the compile role. */
export interface CompileRequest {
  name: string;
  kind: "endpoint" | "module";
  source: string;
}

export interface CompileProblem {
  message: string;
  /** 1-based, in the author's source. */
  line: number;
  column: number;
}

/** Where a specifier is imported first, in the author's source. */
export interface ImportSite {
  specifier: string;
  line: number;
  column: number;
}

export type CompileResult =
  | {
      ok: true;
      code: string;
      source_map: string;
      /** Specifiers of the imports, sorted, each once; `import_sites` has the same. */
      imports: string[];
      import_sites: ImportSite[];
      warnings: CompileProblem[];
    }
  | { ok: false; problems: CompileProblem[] };

export interface Compiler {
  /** Throws PicError `timeout` or `unavailable`; a bad source is `ok: false`. */
  compile(request: CompileRequest): Promise<CompileResult>;
  stop(): Promise<void>;
}
