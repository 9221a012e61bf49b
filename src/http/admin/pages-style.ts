/** How the plain pages look: one column, light or dark as the browser wishes. */

/** A cloud, as an address that needs no request. */
export const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E" +
  "%3Cpath fill='%23c7365f' d='M7 19a5 5 0 0 1-.6-9.96A6.5 6.5 0 0 1 19 10.6 4.25 4.25 0 0 1 18.5 19z'/%3E%3C/svg%3E";

export const style = [
  ":root{color-scheme:light dark;--paper:light-dark(#fff,#1d2027);--ground:light-dark(#f3f4f6,#14161b);",
  "--ink:light-dark(#1c1f26,#e8eaee);--quiet:light-dark(#5b6270,#a3abb9);--line:light-dark(#9aa1ad,#5d6675);",
  "--accent:light-dark(#b12a52,#d9486f);--bad:light-dark(#b00020,#ff8a95);--good:light-dark(#176b3a,#7bd6a0)}",
  "*{box-sizing:border-box}",
  "body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:6vh 1rem;background:var(--ground);color:var(--ink)}",
  "main{max-width:32rem;margin:0 auto;padding:2rem;background:var(--paper);border-radius:.75rem;",
  "box-shadow:0 1px 3px #0003}",
  ".brand{display:flex;gap:.5rem;align-items:center;margin:0 0 1.5rem;font-weight:600;color:var(--quiet)}",
  "h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}",
  "label{display:block;font-weight:600;margin-top:1.25rem}",
  "input,button{display:block;width:100%;font:inherit;border-radius:.375rem;padding:.625rem .75rem}",
  "input{margin-top:.25rem;color:inherit;background:var(--paper);border:1px solid var(--line)}",
  "input:focus-visible,button:focus-visible,a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}",
  "[aria-invalid]{border:2px solid var(--bad)}",
  ".note{margin:.25rem 0 0;font-size:.875rem;color:var(--quiet)}",
  "[role=alert]{color:var(--bad)}.good{color:var(--good)}a{color:var(--accent)}",
  "button{margin-top:1.75rem;border:0;background:#b12a52;color:#fff;font-weight:600;cursor:pointer}",
  "button:hover{background:#93203f}",
  "pre{overflow-x:auto;padding:.75rem;border-radius:.375rem;background:var(--ground)}",
  "pre,code{font:.875rem/1.5 ui-monospace,monospace;white-space:pre}",
  "@media(max-width:30rem){body{padding:0}main{border-radius:0;min-height:100vh;padding:1.5rem}}",
].join("");
