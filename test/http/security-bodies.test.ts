/** Bodies that are small to send and ruinous to read: anybody may send them to any route. */
import { afterAll, describe, expect, test } from "bun:test";
import { bodyBytesMax, bodyFormFieldsMax } from "../../src/domain/limits.ts";
import { setup } from "./gateway-fixture.ts";

const pi = setup();
afterAll(() => pi[Symbol.asyncDispose]());

const FORM = "application/x-www-form-urlencoded";
const MULTIPART = "multipart/form-data; boundary=b";
const part = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n';
const file = '--b\r\ncontent-disposition: form-data; name="a"; filename="f"\r\n\r\n\r\n';

function filled(piece: string, end = ""): string {
  return piece.repeat(Math.floor((bodyBytesMax - end.length) / piece.length)) + end;
}

describe("10 MiB of nothing but structure", () => {
  test.each([
    ["a form of one name", FORM, filled("a&"), 400],
    ["a form of empty fields", FORM, filled("&"), 400],
    ["a multipart form of fields", MULTIPART, filled(part, "--b--\r\n"), 400],
    ["a multipart form of files", MULTIPART, filled(file, "--b--\r\n"), 400],
    ["JSON of empty lists", "application/json", `[${filled("[],", "[]]  ")}`, 200],
    ["JSON of equal members", "application/json", `{${filled('"a":{},', '"a":1} ')}`, 200],
  ])("%s is judged without being built", async (_, type, body, status) => {
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    const reply = await pi.post("/hello", type, body.slice(0, bodyBytesMax));
    expect(reply.status).toBe(status);
    // Built, the least of them takes 250 MB. The client's copies are in this process, too.
    expect(process.memoryUsage().rss - before).toBeLessThan(160 * 1024 * 1024);
  });
});

describe("the fields of a form", () => {
  test("are taken up to the bound and refused above it", async () => {
    const fields = (count: number): string => Array(count).fill("a=1").join("&");
    expect((await pi.post("/hello", FORM, fields(bodyFormFieldsMax))).status).toBe(200);
    const reply = await pi.post("/hello", FORM, fields(bodyFormFieldsMax + 2));
    expect(reply.status).toBe(400);
    expect(JSON.parse(reply.body).code).toBe("malformed_request");
  });

  test("of a multipart form, too", async () => {
    const parts = (count: number): string => `${part.repeat(count)}--b--\r\n`;
    expect((await pi.post("/hello", MULTIPART, parts(bodyFormFieldsMax))).status).toBe(200);
    expect((await pi.post("/hello", MULTIPART, parts(bodyFormFieldsMax + 1))).status).toBe(400);
  });
});
