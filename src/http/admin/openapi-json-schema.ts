/**
 * From arktype's JSON Schema (2020-12) to that of the API's document: what stands there under a name
 * of its own is referred to, and what a type cannot say is added. Loaded with the document alone.
 */
import type { NamedSchema } from "./openapi-examples.ts";

type JsonSchema = { [keyword: string]: unknown };

/** Wire times are ISO 8601, and their names say that they are times. */
const timeName = /^(?:at|\w+_at)$/;

/** Gives the JSON Schema of one of these, in which the others stand by reference. */
export function referring(schemas: readonly NamedSchema[]): (one: NamedSchema) => JsonSchema {
  const names = new Map(schemas.map((one) => [JSON.stringify(jsonSchemaOf(one)), one.name]));
  const refer = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(refer);
    if (!isObject(node)) return node;
    const name = names.get(JSON.stringify(node));
    return name === undefined ? membersOf(node) : { $ref: `#/components/schemas/${name}` };
  };
  const membersOf = (node: JsonSchema): JsonSchema => mapped(node, refer);
  return (one) => ({ description: one.description, ...membersOf(jsonSchemaOf(one)) });
}

function jsonSchemaOf({ schema }: NamedSchema): JsonSchema {
  const { $schema: _dialect, ...made } = schema.toJsonSchema() as JsonSchema;
  return completed(made) as JsonSchema;
}

/** Adds to every schema below what JSON Schema lets out: the type of an enum, the format of a time. */
function completed(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(completed);
  if (!isObject(node)) return node;
  const made = mapped(node, completed);
  if (isObject(made.properties)) {
    made.properties = mapped(made.properties, (value, name) =>
      timeName.test(name) && isObject(value) && value.type === "string"
        ? { ...value, format: "date-time" }
        : value,
    );
  }
  const values = Array.isArray(made.enum) ? made.enum : "const" in made ? [made.const] : [];
  const [type] = values.map((value) => typeof value);
  const isPlain = type === "string" || type === "number";
  return isPlain && values.every((value) => typeof value === type) ? { type, ...made } : made;
}

function mapped(node: JsonSchema, map: (value: unknown, name: string) => unknown): JsonSchema {
  return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, map(value, name)]));
}

function isObject(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
