/**
 * Argon2id behind a bounded queue: each run takes 19 MB and 20 to 50 ms of a core, so a flood of
 * logins must neither fill the memory nor starve the requests.
 */
import { Semaphore, SemaphoreFull } from "../base/semaphore.ts";
import { PicError } from "../domain/errors.ts";
import {
  passwordHashQueueMax,
  passwordHashSlots,
  passwordHashWaitMsMax,
} from "../domain/limits.ts";

const parameters = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;

const phcPrefix = "$argon2id$";

/** The hash of a random text that nobody kept: verifying against it takes as long as any other. */
const nobodysHash =
  "$argon2id$v=19$m=19456,t=2,p=1$6BQVZ5+tYrsogwrUenFlwS/cgnuD88m9Lz112FRcnbc$CAYL4DmOzv4m2Ge9UnLxLR8ay7FYc1Rb1puVxAmdVsE";

export class Passwords {
  readonly #queue = new Semaphore({
    slots: passwordHashSlots,
    waiting: passwordHashQueueMax,
    waitMsMax: passwordHashWaitMsMax,
  });

  /** @returns Argon2id in PHC form. Throws PicError `overloaded`. */
  hash(password: string): Promise<string> {
    return this.#queued(() => Bun.password.hash(normal(password), parameters));
  }

  /**
   * Takes the same time whether or not there is a hash to compare with. What is no hash of ours, as of an
   * account without a password, fits no password.
   * @param admit called when the work is about to begin; may throw to refuse it
   * Throws PicError `overloaded`, and what `admit` throws.
   */
  verify(password: string, hash: string | null, admit: () => void): Promise<boolean> {
    return this.#queued(async () => {
      admit();
      const isHash = hash?.startsWith(phcPrefix) === true;
      const right = await Bun.password.verify(normal(password), isHash ? hash : nobodysHash);
      return right && isHash;
    });
  }

  async #queued<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#queue.run(work);
    } catch (error) {
      if (!(error instanceof SemaphoreFull)) throw error;
      throw new PicError("overloaded", "Too many logins at once", { retry_after_s: 2 });
    }
  }
}

/** The same password typed on another keyboard may arrive in another Unicode form (RFC 8265). */
function normal(password: string): string {
  return password.normalize("NFC");
}
