import { describe, expect, test } from "bun:test";
import { zstdCompressSync } from "node:zlib";
import { PicError } from "../../src/domain/errors.ts";
import { backupBlockBytes } from "../../src/domain/limits.ts";
import {
  BackupEncoder,
  type BackupHeader,
  type BackupPart,
  readBackup,
} from "../../src/services/backup-format.ts";
import type { TableShape } from "../../src/storage/port.ts";
import type { SqlValue } from "../../src/storage/sql.ts";

const header: BackupHeader = {
  product: "1.2.3",
  schema: 4,
  engine: "sqlite",
  created_at: "2026-01-02T03:04:05.678Z",
  public_base_url: "https://pi.example",
};
const kv: TableShape = { name: "kv", columns: ["key", "value"] };
const empty: TableShape = { name: "empty", columns: ["id"] };
const rows: SqlValue[][] = [
  ["a", "line\nfeed \u2028 ключ 🥧 \u0001"],
  ["b", null],
  ["c", 9007199254740991],
  ["d", -0.25],
  ["e", new Uint8Array([0, 255, 10])],
];

function encode(
  tables: readonly [TableShape, readonly SqlValue[][]][],
  counts?: [string, number][],
) {
  const encoder = new BackupEncoder();
  const pieces: (Buffer | null)[] = [encoder.begin(header)];
  for (const [table, list] of tables) {
    pieces.push(encoder.table(table));
    for (const row of list) pieces.push(encoder.row(row));
    pieces.push(encoder.flush());
  }
  const all = counts ?? tables.map(([table, list]): [string, number] => [table.name, list.length]);
  pieces.push(encoder.end(new Map(all)));
  return Buffer.concat(pieces.filter((piece) => piece !== null));
}

async function* chunked(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Uint8Array, chunkBytes = 64 * 1024): Promise<BackupPart[]> {
  const parts: BackupPart[] = [];
  for await (const part of readBackup(chunked(bytes, chunkBytes))) parts.push(part);
  return parts;
}

/** What the reader says against it. */
async function refusal(bytes: Uint8Array): Promise<string> {
  try {
    await read(bytes);
  } catch (error) {
    if (error instanceof PicError && error.code === "invalid") return error.message;
    throw error;
  }
  return "read";
}

const whole = encode([
  [empty, []],
  [kv, rows],
]);

describe("a backup", () => {
  test("is read as it was written, in whatever pieces it comes", async () => {
    for (const size of [1, 7, whole.length]) {
      expect(await read(whole, size)).toEqual([
        { kind: "header", header },
        { kind: "table", table: empty },
        { kind: "table", table: kv },
        {
          kind: "rows",
          rows: rows.map((row) => row.map((v) => (v instanceof Uint8Array ? Buffer.from(v) : v))),
        },
        {
          kind: "end",
          counts: new Map([
            ["empty", 0],
            ["kv", 5],
          ]),
        },
      ]);
    }
  });

  test("comes in blocks, and a row larger than a block is one of its own", async () => {
    const large: SqlValue[] = ["x".repeat(backupBlockBytes), "y"];
    const many = Array.from({ length: 5_000 }, (_, index): SqlValue[] => [
      `k${index}`,
      "v".repeat(100),
    ]);
    const blocks = (await read(encode([[kv, [large, ...many]]]))).flatMap((part) =>
      part.kind === "rows" ? [part.rows] : [],
    );
    expect(blocks.length).toBeGreaterThan(2);
    expect(blocks[0]).toEqual([large]);
    expect(blocks.flat()).toEqual([large, ...many]);
  });

  test("keeps no number that would come back as another one", () => {
    for (const number of [2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new BackupEncoder().row([number])).toThrow("cannot keep");
    }
  });
});

/** The frame of the end: its head, its text and its checksum. */
const endBytes = 9 + JSON.stringify({ rows: { empty: 0, kv: 5 } }).length + 32;

describe("damage", () => {
  test("of any single bit of any byte is found", async () => {
    for (let at = 0; at < whole.length; at += 1) {
      const bytes = Buffer.from(whole);
      bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (at % 8)), at);
      expect(await refusal(bytes)).toMatch(/damaged|no backup of PiCloud|not whole|has format/);
    }
  });

  test("is found wherever it is cut, and when something follows", async () => {
    for (let length = 0; length < whole.length; length += 1) {
      expect(await refusal(whole.subarray(0, length))).toMatch(/not whole|no backup of PiCloud/);
    }
    expect(await refusal(Buffer.concat([whole, Buffer.from("\n")]))).toContain("damaged");
    expect(await refusal(Buffer.concat([whole, whole]))).toContain("damaged");
  });

  test("is found where frames of another backup were put in their place", async () => {
    const other = encode([
      [empty, []],
      [kv, rows.toReversed()],
    ]);
    const mixed = Buffer.concat([other.subarray(0, -endBytes), whole.subarray(-endBytes)]);
    expect(await refusal(mixed)).toContain("damaged");
  });
});

describe("what others made", () => {
  test("is refused when it is no backup", async () => {
    for (const text of [
      "",
      "\n",
      "hello\n",
      "picloud-backup 0\n",
      "picloud-backup 01\n",
      "x".repeat(9_999),
    ]) {
      expect(await refusal(Buffer.from(text))).toContain("no backup of PiCloud");
    }
  });

  test("is refused when its format is newer, with both numbers", async () => {
    expect(await refusal(Buffer.from("picloud-backup 2\nwhatever"))).toBe(
      "The backup has format 2, and this PiCloud knows format 1: use a newer PiCloud.",
    );
  });

  test("is refused when its counts are not those of its rows", async () => {
    expect(await refusal(encode([[kv, rows]], [["kv", 4]]))).toContain("damaged");
    expect(await refusal(encode([[kv, rows]], []))).toContain("damaged");
    expect(
      await refusal(
        encode(
          [[kv, rows]],
          [
            ["kv", 5],
            ["more", 0],
          ],
        ),
      ),
    ).toContain("damaged");
    expect(
      await refusal(
        encode([
          [kv, rows],
          [kv, rows],
        ]),
      ),
    ).toContain("damaged");
  });

  test("is refused when a row is of another width, or no row", async () => {
    expect(await refusal(encode([[kv, [["a"]]]]))).toContain("damaged");
    expect(await refusal(encode([[{ name: "kv", columns: [] }, [["a"]]]]))).toContain("damaged");
  });

  test("is refused when its frames come in another order", async () => {
    const encoder = new BackupEncoder();
    const pieces = [encoder.begin(header), encoder.row(rows[0] ?? []), encoder.flush()];
    expect(await refusal(Buffer.concat(pieces.filter((piece) => piece !== null)))).toContain(
      "damaged",
    );
    const twice = new BackupEncoder();
    const again = twice.begin(header);
    // The second header's frame, with a checksum that fits.
    const second = twice.begin(header).subarray(again.indexOf("\n") + 1);
    expect(await refusal(Buffer.concat([again, second]))).toContain("damaged");
  });

  test("cannot make the reader take more memory than a block may", async () => {
    const bomb = zstdCompressSync(Buffer.alloc(80 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(100_000);
    for (const claimed of [1, 1_000, 0xffff_ffff]) {
      const bytes = withFrame({ kind: "R", claimed, stored: bomb });
      expect(await refusal(bytes)).toContain("damaged");
    }
    const claim = Buffer.concat([
      whole.subarray(0, 17),
      Buffer.from("H\xff\xff\xff\xff\xff\xff\xff\xff", "latin1"),
    ]);
    expect(await refusal(claim)).toContain("damaged");
  });
});

/** A backup that has reached the table kv, and then a frame whose checksum fits. */
function withFrame(frame: { kind: string; claimed: number; stored: Buffer }): Buffer {
  const encoder = new BackupEncoder();
  const before = Buffer.concat([encoder.begin(header), encoder.table(kv)]);
  const head = Buffer.alloc(9);
  head.write(frame.kind, 0, "latin1");
  head.writeUInt32BE(frame.claimed, 1);
  head.writeUInt32BE(frame.stored.length, 5);
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of [before.subarray(-32), head, frame.stored]) hasher.update(part);
  return Buffer.concat([before, head, frame.stored, hasher.digest()]);
}
