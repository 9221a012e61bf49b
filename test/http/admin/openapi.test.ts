/** The API's document and its page: what they say, who may read them, and that it is the truth. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { PERMISSIONS } from "../../../src/domain/access.ts";
import { declaredEndpoints } from "../../../src/http/admin/app.ts";
import { errorsOf } from "../../../src/http/admin/endpoint.ts";
import { openApiDocument } from "../../../src/http/admin/openapi.ts";
import { problemSchemas } from "../../../src/http/admin/openapi-problems.ts";
import { namedSchemas } from "../../../src/http/admin/openapi-schemas.ts";
import { systemOperations } from "../../../src/http/admin/openapi-system.ts";
import { apiDocumentVersion } from "../../../src/http/api-version.ts";
import { STATUS } from "../../../src/http/errors.ts";
import { ask, serve } from "./server.ts";

const root = resolve(import.meta.dir, "../../..");
const documentPath = "/api/v1/admin/openapi.json";
const pagePath = "/admin/api/";
const pageFiles = [
  ["swagger-ui-bundle.js", "text/javascript; charset=utf-8"],
  ["swagger-ui-bundle.js.LICENSE.txt", "text/plain; charset=utf-8"],
  ["swagger-ui.css", "text/css; charset=utf-8"],
  ["start.js", "text/javascript; charset=utf-8"],
  ["LICENSE", "text/plain; charset=utf-8"],
] as const;

const text = await openApiDocument();
// biome-ignore lint/suspicious/noExplicitAny: the tests below look into every corner of it
const document: any = JSON.parse(text);
// Declarations alone: no service is called.
const endpoints = declaredEndpoints({} as Parameters<typeof declaredEndpoints>[0]);

function arrayOf(scopes: unknown): string[][] | null {
  return Array.isArray(scopes) ? scopes : null;
}

interface Found {
  method: string;
  path: string;
  // biome-ignore lint/suspicious/noExplicitAny: an operation object of OpenAPI
  operation: any;
}

const operations: Found[] = Object.entries(document.paths).flatMap(([path, item]) =>
  Object.entries(item as object).map(([method, operation]) => ({ method, path, operation })),
);

describe("the document", () => {
  test("is docs/openapi.json; `bun scripts/openapi.ts` writes that file anew", async () => {
    const kept = await Bun.file(`${root}/docs/openapi.json`).text();
    // Not toBe: a difference of thousands of lines tells nobody anything.
    expect(kept === text).toBe(true);
  });

  test("is the same text at every call", async () => {
    expect(await openApiDocument()).toBe(text);
  });

  test("passes the linter without a warning", async () => {
    const folder = mkdtempSync(join(tmpdir(), "picloud-lint-"));
    try {
      await Bun.write(`${folder}/openapi.json`, text);
      const linter = `${root}/node_modules/@redocly/cli/bin/cli.js`;
      const child = Bun.spawn(
        [
          process.execPath,
          linter,
          "lint",
          "--extends=recommended-strict",
          "--format=json",
          "openapi.json",
        ],
        {
          cwd: folder,
          // It says nothing about us to anybody, and asks nobody for a newer version of itself.
          env: {
            PATH: process.env.PATH ?? "",
            HOME: folder,
            REDOCLY_TELEMETRY: "off",
            REDOCLY_SUPPRESS_UPDATE_NOTICE: "true",
            CI: "true",
          },
          stdout: "pipe",
          stderr: "pipe",
        },
      );
      const [said, complained] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ]);
      if (!said.startsWith("{")) throw new Error(`the linter did not run: ${said}${complained}`);
      const { problems, totals } = JSON.parse(said);
      expect(problems).toEqual([]);
      expect(totals).toEqual({ errors: 0, warnings: 0, ignored: 0 });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test("has every declared call, under its own name, with what it takes and gives", () => {
    for (const declared of endpoints) {
      const path = `/api/v1/admin${declared.path.replace(/:(\w+)/g, "{$1}")}`;
      const operation = document.paths[path]?.[declared.method.toLowerCase()];
      expect(operation?.operationId).toBe(declared.operation);
      expect(operation.summary).toBe(declared.summary);
      expect(operation.requestBody === undefined).toBe(declared.body === null);
      const answer = operation.responses[declared.status];
      expect(answer.content === undefined).toBe(declared.output === null);
      expect(operation["x-picloud-action"]).toBe(declared.action ?? undefined);
      const needs = declared.action === null ? null : PERMISSIONS[declared.action];
      const sessions = [{ token: [] }, { cookie: [] }];
      const security = needs === null ? [] : needs.scopes === null ? sessions : undefined;
      expect(operation.security).toEqual(security);
      for (const word of [needs?.role ?? "", ...(arrayOf(needs?.scopes) ?? []).flat()]) {
        expect(operation.description ?? "").toContain(word);
      }
      for (const code of errorsOf(declared)) {
        const { $ref } = operation.responses[STATUS[code]];
        expect($ref.split("/").at(-1).split(".")).toContain(code);
      }
    }
  });

  test("has the server's own addresses, and execute with every method", () => {
    const names = operations.map(({ operation }) => operation.operationId);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toContain("system.health");
    expect(names).toContain("system.version");
    expect(Object.keys(document.paths["/api/v1/execute/{script_id}"])).toEqual([
      "get",
      "post",
      "put",
      "patch",
      "delete",
    ]);
    expect(document.info.version).toBe(apiDocumentVersion);
  });

  test("gives every call a tag that is described, and lists their limit and cursor", () => {
    const tags = document.tags.map(({ name }: { name: string }) => name);
    for (const { operation } of operations) expect(tags).toContain(operation.tags[0]);
    const lists = operations.filter(({ operation }) =>
      operation.responses[200]?.content?.["application/json"]?.schema?.$ref?.endsWith("Page"),
    );
    expect(lists.length).toBeGreaterThan(4);
    for (const { operation } of lists) {
      const references = operation.parameters.map(({ $ref }: { $ref?: string }) => $ref);
      expect(references).toContain("#/components/parameters/limit");
      expect(references).toContain("#/components/parameters/cursor");
    }
    expect(document.components.parameters.limit.schema).toEqual({
      type: "integer",
      minimum: 1,
      maximum: 200,
      default: 50,
    });
  });

  test("has an example for every body and every answer", () => {
    for (const { method, path, operation } of operations) {
      const contents = [operation.requestBody, ...Object.values(operation.responses)]
        .map((one) => resolved(one)?.content)
        .filter((content) => content !== undefined);
      for (const content of contents) {
        for (const media of Object.values(content) as { example?: unknown; examples?: object }[]) {
          const isShown = media.example !== undefined || media.examples !== undefined;
          const isBinary = "application/octet-stream" in content;
          expect([method, path, isShown || isBinary || path === documentPath]).toEqual([
            method,
            path,
            true,
          ]);
        }
      }
    }
  });

  test("shows examples that their own schemas take", () => {
    const codes = new Set([
      ...endpoints.flatMap((declared) => [...errorsOf(declared)]),
      ...systemOperations.flatMap(({ errors }) => errors),
    ]);
    for (const { name, schema, example } of [...namedSchemas, ...problemSchemas(codes)]) {
      // A schema hands a fitting value back as it is.
      expect([name, schema(example) === example]).toEqual([name, true]);
    }
  });

  test("refers only to what is there", () => {
    const references = [...text.matchAll(/"\$ref": "(#[^"]+)"/g)].map(([, found = ""]) => found);
    expect(references.length).toBeGreaterThan(100);
    for (const reference of new Set(references)) {
      expect([reference, resolved({ $ref: reference }) === undefined]).toEqual([reference, false]);
    }
  });

  test("says nothing about the machine it was made on, nor a credential", () => {
    expect(text).not.toContain(root);
    expect(text).not.toMatch(/localhost|127\.0\.0\.1|password_hash|token_hash/);
    expect(text).not.toMatch(/pcs_[A-Za-z0-9_-]{43}|pic_[A-Za-z0-9_-]{43}|\$argon2/);
  });
});

describe("who may read the document", () => {
  test("on the admin listener anybody, on the public listener who has a token", async () => {
    await using t = await serve();
    const open = await ask(t.adminUrl + documentPath, "GET");
    expect([open.status, open.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(open.text).toBe(text);
    for (const headers of [{}, { cookie: `picloud_session=${t.token}` }]) {
      const closed = await ask(t.publicUrl + documentPath, "GET", { headers });
      expect([closed.status, closed.json.code]).toEqual([401, "unauthenticated"]);
    }
    const wrong = await ask(t.publicUrl + documentPath, "GET", { token: `pcs_${"a".repeat(43)}` });
    expect(wrong.status).toBe(401);
    const known = await ask(t.publicUrl + documentPath, "GET", { token: t.token });
    expect([known.status, known.text]).toEqual([200, text]);
  });

  test("its text holds nothing of this server: neither its host nor what it keeps", async () => {
    await using t = await serve({ publicBaseUrl: "https://secret-name.example" });
    await t.client.apps.create({ slug: "hidden-app", name: "Hidden" });
    const { text: said } = await ask(t.adminUrl + documentPath, "GET", {
      token: t.token,
      headers: { host: "evil.example", "x-forwarded-host": "evil.example" },
    });
    expect(said).toBe(text);
  });

  test("it is only read: other methods answer 405 with Allow, HEAD answers without a body", async () => {
    await using t = await serve();
    for (const path of [documentPath, pagePath, `${pagePath}start.js`]) {
      for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
        const answer = await ask(t.adminUrl + path, method, { token: t.token });
        expect([path, method, answer.status]).toEqual([path, method, 405]);
        expect(answer.headers.get("allow")).toBe("GET, HEAD");
      }
      const head = await ask(t.adminUrl + path, "HEAD");
      expect([path, head.status, head.text]).toEqual([path, 200, ""]);
    }
  });
});

describe("the page", () => {
  test("is made of this server's own files, and its policy forbids everything else", async () => {
    await using t = await serve();
    const page = await ask(t.adminUrl + pagePath, "GET");
    expect([page.status, page.headers.get("content-type")]).toEqual([
      200,
      "text/html; charset=utf-8",
    ]);
    expect(page.text).not.toMatch(/(src|href)="(https?:|\/\/)|<script>|style=|\son\w+=/);
    const policy = page.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(page.headers.get("x-content-type-options")).toBe("nosniff");
    for (const [name, type] of pageFiles) {
      const file = await ask(t.adminUrl + pagePath + name, "GET");
      expect([name, file.status, file.headers.get("content-type")]).toEqual([name, 200, type]);
      expect(file.text.length).toBeGreaterThan(100);
      expect(file.headers.get("x-content-type-options")).toBe("nosniff");
    }
  });

  test("is not on the public listener, where pages of scripts are", async () => {
    await using t = await serve();
    for (const path of ["/admin/api", pagePath, ...pageFiles.map(([name]) => pagePath + name)]) {
      const answer = await ask(t.publicUrl + path, "GET", { token: t.token });
      expect([path, answer.status]).toEqual([path, 404]);
    }
  });

  test("is found without its slash, and gives no other file of the machine", async () => {
    await using t = await serve();
    const bare = await ask(`${t.adminUrl}/admin/api`, "GET");
    expect([bare.status, bare.headers.get("location")]).toEqual([303, pagePath]);
    for (const name of ["index.html", "package.json", "..%2fstart.js", "start.js/", "x"]) {
      const answer = await ask(t.adminUrl + pagePath + name, "GET");
      expect([name, answer.status]).toEqual([name, 404]);
    }
  });

  test("takes nothing from the Host header or the query", async () => {
    await using t = await serve();
    const plain = await ask(t.adminUrl + pagePath, "GET");
    for (const host of ["pi", "a", "evil.example", "xn--nxasmq6b:8081"]) {
      const answer = await ask(`${t.adminUrl}${pagePath}?url=http://evil.example/a.json`, "GET", {
        headers: { host, "x-forwarded-host": host, "x-forwarded-proto": "https" },
      });
      expect(answer.text).toBe(plain.text);
    }
  });
});

/** What a reference stands for. */
// biome-ignore lint/suspicious/noExplicitAny: any object of the document
function resolved(one: any): any {
  if (typeof one?.$ref !== "string") return one;
  return one.$ref
    .slice(2)
    .split("/")
    .reduce((node: Record<string, unknown> | undefined, name: string) => node?.[name], document);
}
