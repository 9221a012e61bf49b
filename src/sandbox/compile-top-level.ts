/**
 * What may stand at the top level of a module: imports and exports, functions, classes, and constants
 * that are made without running any code. Judged on the compiled code, in which types are gone and
 * every variable is a `var`; what the author wrote is asked of the source.
 *
 * Only what is evident is refused. Reading a property or spreading a value may run a getter or an
 * iterator of the author's; that gains nothing (an image is made of whatever ran), and refusing it
 * would take `...others` and `Math.PI` from everybody.
 */
import type { AnyNode, Class, Expression, ExpressionStatement, Statement } from "acorn";

export interface TopLevelProblem {
  node: AnyNode;
  message: string;
}

const ALLOWED = "The top level of a module holds functions, constants, classes, types and imports";

/** In the order of the text. @param wordAt the author's word where an offset of the code comes from */
export function topLevelProblems(
  body: readonly AnyNode[],
  wordAt: (offset: number) => string,
): TopLevelProblem[] {
  return body.flatMap((node) => statementProblems(node, null, wordAt));
}

// ---------------------------------------------------------------------------------------------

type WordAt = (offset: number) => string;

/** @param namespace the name of the enum or namespace whose body this is, or null */
function statementProblems(
  node: AnyNode,
  namespace: string | null,
  wordAt: WordAt,
): TopLevelProblem[] {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportAllDeclaration":
    case "FunctionDeclaration":
    case "EmptyStatement":
      return [];
    case "ExportNamedDeclaration":
      return node.declaration ? statementProblems(node.declaration, namespace, wordAt) : [];
    case "ExportDefaultDeclaration":
      return constantProblems([node.declaration]);
    case "ClassDeclaration":
      return constantProblems(classParts(node));
    case "VariableDeclaration": {
      const word = wordAt(node.start);
      if (word === "let" || word === "var") {
        return [{ node, message: `${ALLOWED}: use const instead of ${word}` }];
      }
      return constantProblems(node.declarations.flatMap(({ id, init }) => [id, init ?? null]));
    }
    case "ExpressionStatement":
      return expressionProblems(node, namespace, wordAt);
    default:
      return [{ node, message: `${ALLOWED}, and no other statements` }];
  }
}

function expressionProblems(
  node: ExpressionStatement,
  namespace: string | null,
  wordAt: WordAt,
): TopLevelProblem[] {
  if ("directive" in node && node.directive) return [];
  const { expression } = node;
  const inner = namespaceBody(expression);
  // the bundler's own begins with the name in the source, one that an author wrote with a bracket
  if (inner !== null && wordAt(node.start) !== "") {
    return inner.body.flatMap((part) => statementProblems(part, inner.name, wordAt));
  }
  const members = namespace === null ? null : memberParts(expression, namespace);
  if (members !== null) return constantProblems(members);
  const [problem] = constantProblems([expression]);
  return [problem ?? { node, message: `${ALLOWED}, and no other statements` }];
}

/**
 * How enums and namespaces are compiled: `((Name) => { … })(Name ||= {})`, in another namespace
 * `(Name = Outer.Name ||= {})`.
 */
function namespaceBody(node: Expression): { name: string; body: Statement[] } | null {
  if (node.type !== "CallExpression" || node.callee.type !== "ArrowFunctionExpression") return null;
  const { params, body, async } = node.callee;
  const [param] = params;
  const [argument] = node.arguments;
  if (async || params.length !== 1 || param?.type !== "Identifier") return null;
  if (body.type !== "BlockStatement" || node.arguments.length !== 1) return null;
  return argument !== undefined && isNewObject(argument)
    ? { name: param.name, body: body.body }
    : null;
}

function isNewObject(argument: AnyNode): boolean {
  let node = argument;
  while (node.type === "AssignmentExpression") node = node.right;
  return node !== argument && node.type === "ObjectExpression" && node.properties.length === 0;
}

/** The expressions in `Name.key = value` and `Name[Name["key"] = value] = "key"`, or null. */
function memberParts(node: Expression, name: string): AnyNode[] | null {
  if (node.type !== "AssignmentExpression" || node.operator !== "=") return null;
  const { left, right } = node;
  if (left.type !== "MemberExpression" || left.object.type !== "Identifier") return null;
  if (left.object.name !== name) return null;
  if (!left.computed) return [right];
  const key = left.property as Expression;
  const inner = key.type === "AssignmentExpression" ? memberParts(key, name) : [key];
  return inner === null ? null : [...inner, right];
}

/** The first part of each that is not made without running code. Iterative, as deep as the code is. */
function constantProblems(roots: readonly (AnyNode | null)[]): TopLevelProblem[] {
  return roots.flatMap((root) => {
    const open = [root];
    while (open.length > 0) {
      const node = open.pop();
      if (node === null || node === undefined) continue;
      const parts = constantParts(node);
      if (parts === null) return [{ node, message: `${ALLOWED}, and ${whatRuns(node)}` }];
      open.push(...parts.reverse());
    }
    return [];
  });
}

/** What a constant consists of, in the order of the text; null for what is none. */
function constantParts(node: AnyNode): (AnyNode | null)[] | null {
  switch (node.type) {
    case "Literal":
    case "Identifier":
    case "PrivateIdentifier":
    case "ThisExpression":
    case "MetaProperty":
    case "FunctionExpression":
    case "FunctionDeclaration":
    case "ArrowFunctionExpression":
      return [];
    case "TemplateLiteral":
      return node.expressions;
    case "ArrayExpression":
    case "ArrayPattern":
      return [...node.elements];
    case "ObjectExpression":
    case "ObjectPattern":
      return [...node.properties];
    case "Property":
      return [node.computed ? node.key : null, node.value];
    case "SpreadElement":
    case "RestElement":
      return [node.argument];
    case "AssignmentPattern":
    case "BinaryExpression":
    case "LogicalExpression":
      return [node.left, node.right];
    case "UnaryExpression":
      return node.operator === "delete" ? null : [node.argument];
    case "ConditionalExpression":
      return [node.test, node.consequent, node.alternate];
    case "SequenceExpression":
      return [...node.expressions];
    case "MemberExpression":
      return [
        node.object.type === "Super" ? null : node.object,
        node.computed ? node.property : null,
      ];
    case "ChainExpression":
      return [node.expression];
    case "ClassDeclaration":
    case "ClassExpression":
      return classParts(node);
    default:
      return null;
  }
}

/** What is evaluated when a class is declared. A static block stands for itself, and is refused. */
function classParts({ superClass, body }: Class): (AnyNode | null)[] {
  const parts: (AnyNode | null)[] = [superClass ?? null];
  for (const member of body.body) {
    if (member.type === "StaticBlock") {
      parts.push(member);
      continue;
    }
    parts.push(member.computed ? member.key : null);
    if (member.type === "PropertyDefinition" && member.static) parts.push(member.value ?? null);
  }
  return parts;
}

const RUNS: Partial<Record<AnyNode["type"], string>> = {
  CallExpression: "no call: make it in a function",
  NewExpression: "nothing made with new: make it in a function",
  TaggedTemplateExpression: "no call: make it in a function",
  ImportExpression: "no import(): write an import declaration",
  AwaitExpression: "no await",
  AssignmentExpression: "no assignment",
  UpdateExpression: "no assignment",
  StaticBlock: "no static block, decorator or accessor field of a class",
};

function whatRuns(node: AnyNode): string {
  return RUNS[node.type] ?? "nothing else that runs";
}
