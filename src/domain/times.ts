/** Times as people and files write them: ISO 8601. */

/** A date and a time of day; without seconds they are 0. The zone is said. */
const isoPattern = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)$/;

/** Epoch milliseconds, or null for a text that is no such time. */
export function parseTime(text: string): number | null {
  const time = isoPattern.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(time) ? null : time;
}
