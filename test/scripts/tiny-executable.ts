/**
 * A program of some 200 bytes for a test of install.sh: an ELF file that prints one line whatever it
 * is asked, made for either machine, so that no compiler and no copy of a large file is needed.
 */
import { chmodSync, writeFileSync } from "node:fs";

export type Machine = "x64" | "arm64";

const headerBytes = 64 + 56;
const loadAddress = 0x400000n;
/** elf.h: EM_X86_64, EM_AARCH64. */
const MACHINES: Readonly<Record<Machine, number>> = { x64: 0x3e, arm64: 0xb7 };

/** Writes the program to `path`; it prints `line`, at most 200 bytes of it, and ends with 0. */
export function writeTinyExecutable(path: string, machine: Machine, line: string): void {
  const text = Buffer.from(`${line}\n`);
  const code = machine === "x64" ? codeX64(text.length) : codeArm64(text.length);
  const bytes = headerBytes + code.length + text.length;
  const file = Buffer.concat([header(machine, bytes), code, text]);
  writeFileSync(path, file);
  chmodSync(path, 0o755);
}

/** Elf64_Ehdr and one Elf64_Phdr, which loads the whole file readable and executable. */
function header(machine: Machine, bytes: number): Buffer {
  const elf = Buffer.alloc(headerBytes);
  elf.write("\x7fELF\x02\x01\x01", "latin1");
  elf.writeUInt16LE(2, 16); // e_type: ET_EXEC
  elf.writeUInt16LE(MACHINES[machine], 18);
  elf.writeUInt32LE(1, 20);
  elf.writeBigUInt64LE(loadAddress + BigInt(headerBytes), 24); // e_entry
  elf.writeBigUInt64LE(64n, 32); // e_phoff
  elf.writeUInt16LE(64, 52);
  elf.writeUInt16LE(56, 54);
  elf.writeUInt16LE(1, 56); // e_phnum
  elf.writeUInt32LE(1, 64); // p_type: PT_LOAD
  elf.writeUInt32LE(5, 68); // p_flags: read, execute
  elf.writeBigUInt64LE(loadAddress, 80);
  elf.writeBigUInt64LE(loadAddress, 88);
  elf.writeBigUInt64LE(BigInt(bytes), 96);
  elf.writeBigUInt64LE(BigInt(bytes), 104);
  elf.writeBigUInt64LE(0x10000n, 112); // p_align: pages of 4 and of 16 KiB
  return elf;
}

/** write(1, text, length); exit(0). The text follows the code. */
function codeX64(length: number): Buffer {
  return Buffer.from([
    ...[0xb8, 1, 0, 0, 0], // mov eax, 1 (write)
    ...[0xbf, 1, 0, 0, 0], // mov edi, 1
    ...[0x48, 0x8d, 0x35, 16, 0, 0, 0], // lea rsi, [rip + 16]
    ...[0xba, length, 0, 0, 0], // mov edx, length
    ...[0x0f, 0x05], // syscall
    ...[0xb8, 60, 0, 0, 0], // mov eax, 60 (exit)
    ...[0x31, 0xff], // xor edi, edi
    ...[0x0f, 0x05], // syscall
  ]);
}

function codeArm64(length: number): Buffer {
  const words = [
    0xd2800000 | (64 << 5) | 8, // mov x8, #64 (write)
    0xd2800000 | (1 << 5), // mov x0, #1
    0x10000000 | (6 << 5) | 1, // adr x1, text: six instructions on
    0xd2800000 | (length << 5) | 2, // mov x2, #length
    0xd4000001, // svc #0
    0xd2800000 | (93 << 5) | 8, // mov x8, #93 (exit)
    0xd2800000, // mov x0, #0
    0xd4000001, // svc #0
  ];
  const code = Buffer.alloc(words.length * 4);
  words.forEach((word, index) => {
    code.writeUInt32LE(word >>> 0, index * 4);
  });
  return code;
}
