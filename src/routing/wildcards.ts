/** The wildcard hosts of a table: which of them cover a host. */
import { routeHostLabelsMax } from "../domain/limits.ts";
import type { Bucket } from "./bucket.ts";
import { noNode } from "./forest.ts";
import type { Literals } from "./literals.ts";
import { Pieces } from "./pieces.ts";
import { TrieDraft, Tries } from "./trie.ts";

export class Wildcards {
  readonly #tries: Tries<Bucket>;
  readonly #labels: Pieces;
  #draft: TrieDraft<Bucket> | null = null;
  #root = noNode;

  constructor(literals: Literals) {
    this.#tries = new Tries(literals);
    this.#labels = new Pieces(literals, routeHostLabelsMax);
  }

  /** The bucket of `*.<name>`; made when there is none. */
  grow(name: string, make: () => Bucket): Bucket {
    this.#draft ??= new TrieDraft();
    return this.#tries.grow(this.#draft, name.split(".").reverse(), make);
  }

  /** To be called once, before `cover`. */
  seal(): void {
    if (this.#draft !== null) this.#root = this.#tries.lay(this.#draft);
    this.#draft = null;
    this.#tries.seal();
  }

  /** How many wildcards cover the host: `found` gives them until the next call. */
  cover(host: string): number {
    if (this.#root === noNode) return 0;
    const labels = this.#labels;
    labels.aim(host);
    labels.cutHost();
    return this.#tries.walk(this.#root, labels, labels.count);
  }

  /** The shortest is the first. */
  found(index: number): Bucket {
    return this.#tries.passed(index);
  }
}
