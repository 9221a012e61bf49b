export interface Item {
  name: string;
  cents: number;
  count?: number;
}

/** What is to be paid, in cents. */
export function total(items: readonly Item[]): number {
  return items.reduce((sum, { cents, count = 1 }) => sum + cents * count, 0);
}

export const inEuros = (cents: number): string => `${(cents / 100).toFixed(2)} €`;
