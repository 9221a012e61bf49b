/** The guest's own JavaScript: file name → module source. */
import { embedModules } from "./embed.ts" with { type: "macro" };

export const guestModules: Readonly<Record<string, string>> = embedModules();
