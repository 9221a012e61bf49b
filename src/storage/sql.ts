/**
 * The `sql` tag builds a statement without an engine; an engine renders it with its own
 * placeholders. Values are never put into the text.
 *
 * The portable subset: ids made by us, integers for times (epoch ms) and for booleans (0, 1), JSON
 * as text, `in ${sql.list(values)}`, `returning`, `on conflict`. No casts, arrays or `ilike`.
 */
export type SqlValue = string | number | null | Uint8Array;

export interface Statement<Row = Record<string, unknown>> {
  /** Text pieces; `values[i]` stands between `texts[i]` and `texts[i + 1]`. */
  readonly texts: readonly string[];
  readonly values: readonly SqlValue[];
  /** Never set: carries the row type. */
  readonly row?: Row;
}

export interface SqlList {
  readonly list: readonly SqlValue[];
}

type Part = SqlValue | SqlList | Statement<unknown>;

/** A statement, or a fragment of one: a Statement may stand as a value inside another. */
export function sql<Row = Record<string, unknown>>(
  strings: TemplateStringsArray,
  ...parts: Part[]
): Statement<Row> {
  if (parts.every(isValue)) return { texts: strings, values: parts as SqlValue[] };
  const texts: string[] = [strings[0] as string];
  const values: SqlValue[] = [];
  const append = (text: string): void => {
    texts[texts.length - 1] += text;
  };
  parts.forEach((part, index) => {
    if (isValue(part)) {
      values.push(part);
      texts.push("");
    } else if ("list" in part) {
      append("(");
      part.list.forEach((value, position) => {
        if (position > 0) append(", ");
        values.push(value);
        texts.push("");
      });
      append(part.list.length === 0 ? "null)" : ")");
    } else {
      append(part.texts[0] as string);
      part.values.forEach((value, position) => {
        values.push(value);
        texts.push(part.texts[position + 1] as string);
      });
    }
    append(strings[index + 1] as string);
  });
  return { texts, values };
}

/** `in ${sql.list(ids)}`; an empty list matches nothing. */
sql.list = (list: readonly SqlValue[]): SqlList => ({ list });

/** No text at all, for an optional fragment. */
sql.empty = { texts: [""], values: [] } as Statement<never>;

function isValue(part: Part): part is SqlValue {
  return part === null || typeof part !== "object" || part instanceof Uint8Array;
}
