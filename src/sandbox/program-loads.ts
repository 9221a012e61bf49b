/** Programs on their way from the catalog: each is loaded once, for all that wait for it. */
import type { Job } from "./api.ts";
import type { Program } from "./protocol.ts";

export class ProgramLoads {
  readonly #loads = new Map<string, Promise<Program>>();

  /** Throws what the job's `loadProgram` throws. */
  of(job: Job): Promise<Program> {
    const under = this.#loads.get(job.program_id);
    if (under !== undefined) return under;
    const load = loadOf(job);
    this.#loads.set(job.program_id, load);
    const done = (): boolean => this.#loads.delete(job.program_id);
    load.then(done, done);
    return load;
  }
}

async function loadOf(job: Job): Promise<Program> {
  const program = await job.loadProgram();
  if (program.id !== job.program_id) {
    throw new Error(`program ${program.id} was loaded for ${job.program_id}`);
  }
  return program;
}
