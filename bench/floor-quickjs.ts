/**
 * The floor for computing: the same function in a bare QuickJS-WASM context, called in a loop by
 * nobody else. `bun bench/floor-quickjs.ts <seconds>` prints calls a second.
 */
import variant from "@jitl/quickjs-wasmfile-release-sync";
import { newQuickJSWASMModuleFromVariant } from "quickjs-emscripten";

const seconds = Number(process.argv[2] ?? 2);
const quickjs = await newQuickJSWASMModuleFromVariant(variant);
const vm = quickjs.newContext();
vm.unwrapResult(
  vm.evalCode(
    "function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2) } function run() { return fib(20) }",
  ),
).dispose();
const run = vm.getProp(vm.global, "run");
const startedAt = performance.now();
let calls = 0;
while (performance.now() - startedAt < seconds * 1000) {
  const result = vm.unwrapResult(vm.callFunction(run, vm.undefined));
  if (vm.getNumber(result) !== 6765) throw new Error("fib(20) is 6765");
  result.dispose();
  calls += 1;
}
console.log(calls / ((performance.now() - startedAt) / 1000));
