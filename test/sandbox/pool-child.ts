/**
 * A stand-in for the sandbox child: it speaks the protocol and keeps the cell, but instead of guest
 * code it follows the steps that the job's input lists. So the pool's rules are tested without an
 * engine, and a test can have a child misbehave in ways a real one should not.
 */
import {
  type FrameChannel,
  joinPayload,
  openFrameChannel,
  splitPayload,
} from "../../src/sandbox/frames.ts";
import {
  CELL_CPU_MS,
  CELL_ENTRIES,
  CELL_RUNNING,
  callHeader,
  type DoneHeader,
  FRAME_CALL,
  FRAME_CANCEL,
  FRAME_DONE,
  FRAME_FORGET,
  FRAME_NEED,
  FRAME_PROGRAM,
  FRAME_READY,
  FRAME_REPLY,
  FRAME_REST,
  FRAME_RUN,
  type Program,
  type RunHeader,
  readReplyHeader,
} from "../../src/sandbox/protocol.ts";

export type Step =
  | ["spin", number] // runs for so many milliseconds; nothing can stop it
  | ["hang"] // runs for ever; nothing can stop it
  | ["loop"] // runs until its own CPU limit, then ends as budget_exceeded
  | ["sleep", number]
  | ["call", string, unknown] // a host call whose reply is awaited
  | ["callAway", string, unknown] // a host call that nobody awaits
  | ["waitCancel"] // for ever, but ends when cancelled
  | ["deaf"] // for ever, and does not answer a cancel
  | ["crash", number] // ends the process with this exit code
  | ["kill"] // ends the process by SIGKILL
  | ["grow", number] // keeps so many megabytes
  | ["answerTwice"]
  | ["garbage"] // sends what is no frame
  | ["dropProgram"] // the child forgets the program by itself
  | ["pid"]; // the result is this child's process id

interface Execution {
  header: RunHeader;
  steps: Step[];
  value: unknown;
  calls: number;
  cpuMs: number;
  replies: Map<number, (text: string) => void>;
  entered: boolean;
  ended: boolean;
}

const mode = process.argv[2];
const cellPath = process.argv.find((arg) => arg.startsWith("--cell="))?.slice("--cell=".length);
const bytes = Bun.mmap(cellPath as string, { shared: true });
const cell = new Int32Array(bytes.buffer, bytes.byteOffset, 16);
const programs = new Map<string, Program>();
const executions = new Map<number, Execution>();
const kept: Uint8Array[] = [];
let rests = 0;
let channel: FrameChannel;

if (mode === "die") process.exit(3);
if (mode === "never-ready") await new Promise(() => setInterval(() => {}, 1_000));
channel = await openFrameChannel(3, { onFrame, onClose: () => process.exit(0) });
if (mode === "slow") await Bun.sleep(200);
channel.send(FRAME_READY, 0, JSON.stringify({ pid: process.pid, warm: false }));

function onFrame(type: number, number: number, text: string): void {
  if (type === FRAME_PROGRAM) {
    const program = JSON.parse(text) as Program;
    programs.set(program.id, program);
    for (const [waiting, execution] of executions) {
      const { header, entered } = execution;
      if (header.program === program.id && !entered) enter(waiting, execution);
    }
  } else if (type === FRAME_FORGET) {
    programs.delete(JSON.parse(text) as string);
  } else if (type === FRAME_REST) {
    rests += 1;
  } else if (type === FRAME_CANCEL) {
    const execution = executions.get(number);
    if (execution !== undefined && execution.steps[0]?.[0] !== "deaf") {
      done(number, execution, { status: "timeout" });
    }
  } else if (type === FRAME_REPLY) {
    const { header, text: value } = splitPayload(text);
    const { call } = readReplyHeader(header);
    executions.get(number)?.replies.get(call)?.(value);
  } else if (type === FRAME_RUN) {
    const { header, text: input } = splitPayload(text);
    const { steps, value } = JSON.parse(input) as { steps: Step[]; value: unknown };
    const run: Execution = {
      header: JSON.parse(header) as RunHeader,
      steps,
      value,
      calls: 0,
      cpuMs: 0,
      replies: new Map(),
      entered: false,
      ended: false,
    };
    executions.set(number, run);
    if (programs.has(run.header.program)) enter(number, run);
    else channel.send(FRAME_NEED, number, JSON.stringify(run.header.program));
  }
}

/** Guest code runs from here until it waits for something. */
function enter(number: number, execution: Execution): void {
  if (execution.ended) return;
  execution.entered = true;
  cell[CELL_CPU_MS] = Math.ceil(execution.cpuMs);
  cell[CELL_ENTRIES] = (cell[CELL_ENTRIES] ?? 0) + 1;
  Atomics.store(cell, CELL_RUNNING, number);
  const from = performance.now();
  const waits = advance(number, execution);
  execution.cpuMs += performance.now() - from;
  Atomics.store(cell, CELL_RUNNING, 0);
  if (!waits && !execution.ended) done(number, execution, { status: "success" });
}

/** Follows the steps; returns whether the execution now waits. */
function advance(number: number, execution: Execution): boolean {
  const goOn = (): void => {
    execution.steps.shift();
    enter(number, execution);
  };
  while (execution.steps.length > 0) {
    const step = execution.steps[0] as Step;
    if (step[0] === "sleep") return setTimeout(goOn, step[1]) !== undefined;
    if (step[0] === "waitCancel" || step[0] === "deaf") return true;
    if (step[0] === "call" || step[0] === "callAway") {
      execution.calls += 1;
      const call = execution.calls;
      channel.send(
        FRAME_CALL,
        number,
        joinPayload(callHeader(call, step[1]), JSON.stringify(step[2])),
      );
      if (step[0] === "call") {
        execution.replies.set(call, (text) => {
          execution.value = JSON.parse(text);
          goOn();
        });
        return true;
      }
    } else {
      act(number, execution, step);
      if (execution.ended) return true;
    }
    execution.steps.shift();
  }
  return false;
}

function act(number: number, execution: Execution, step: Step): void {
  const from = performance.now();
  const ranFor = (): number => performance.now() - from;
  if (step[0] === "spin") while (ranFor() < step[1]);
  else if (step[0] === "hang") for (;;);
  else if (step[0] === "loop") {
    while (ranFor() < execution.header.limits.cpu_ms);
    execution.cpuMs += ranFor();
    done(number, execution, { status: "budget_exceeded", budget: "cpu_ms" });
  } else if (step[0] === "crash") process.exit(step[1]);
  else if (step[0] === "kill") process.kill(process.pid, "SIGKILL");
  else if (step[0] === "grow") kept.push(new Uint8Array(step[1] * 1024 * 1024).fill(1));
  else if (step[0] === "answerTwice") done(number, { ...execution }, { status: "success" });
  else if (step[0] === "dropProgram") programs.delete(execution.header.program);
  else if (step[0] === "garbage") channel.send(200, number, "");
  else if (step[0] === "pid") execution.value = { pid: process.pid, rests };
}

function done(
  number: number,
  execution: Execution,
  end: Pick<DoneHeader, "status" | "budget">,
): void {
  execution.ended = true;
  executions.delete(number);
  const header: DoneHeader = {
    ...end,
    status_code: 200,
    headers: {},
    body_kind: "json",
    error: null,
    logs: [],
    logs_dropped: 0,
    cpu_ms: Math.round(execution.cpuMs),
    memory_bytes: 0,
    host_calls: execution.calls,
  };
  channel.send(
    FRAME_DONE,
    number,
    joinPayload(JSON.stringify(header), JSON.stringify(execution.value ?? null)),
  );
}
