/** The package exports its WebAssembly file by this name; Bun gives its path, also in a binary. */
declare module "@jitl/quickjs-wasmfile-release-sync/wasm" {
  const path: string;
  export default path;
}
