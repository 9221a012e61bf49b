import { describe } from "bun:test";
import { accessConformance } from "./access.ts";
import { accountConformance } from "./accounts.ts";
import { apiKeyConformance } from "./api-keys.ts";
import { asyncExecutionConformance } from "./async-executions.ts";
import { auditConformance } from "./audit.ts";
import { dataConformance } from "./data.ts";
import { deadLetterConformance } from "./dead-letters.ts";
import { docsConformance } from "./docs.ts";
import type { Engine } from "./engine.ts";
import { executionConformance } from "./executions.ts";
import { hostConformance } from "./hosts.ts";
import { importConformance } from "./imports.ts";
import { kvConformance } from "./kv.ts";
import { memberConformance } from "./members.ts";
import { outboxConformance } from "./outbox.ts";
import { removalConformance } from "./removal.ts";
import { routeConformance } from "./routes.ts";
import { scriptConformance } from "./scripts.ts";
import { transactionConformance } from "./transactions.ts";
import { triggerConformance } from "./triggers.ts";
import { valueConformance } from "./values.ts";

/** Every store and every guarantee of the port, on one engine. */
export function conformance(engine: Engine): void {
  describe(`${engine.name}: transactions`, () => transactionConformance(engine));
  describe(`${engine.name}: values`, () => valueConformance(engine));
  describe(`${engine.name}: apps, scripts and versions`, () => scriptConformance(engine));
  describe(`${engine.name}: imports and programs`, () => importConformance(engine));
  describe(`${engine.name}: routes`, () => routeConformance(engine));
  describe(`${engine.name}: hosts of apps`, () => hostConformance(engine));
  describe(`${engine.name}: triggers`, () => triggerConformance(engine));
  describe(`${engine.name}: accounts, sessions and settings`, () => accountConformance(engine));
  describe(`${engine.name}: the audit trail`, () => auditConformance(engine));
  describe(`${engine.name}: API keys`, () => apiKeyConformance(engine));
  describe(`${engine.name}: members of apps`, () => memberConformance(engine));
  describe(`${engine.name}: who may`, () => accessConformance(engine));
  describe(`${engine.name}: key-value data`, () => kvConformance(engine));
  describe(`${engine.name}: data as people see it`, () => dataConformance(engine));
  describe(`${engine.name}: documents`, () => docsConformance(engine));
  describe(`${engine.name}: execution records`, () => executionConformance(engine));
  describe(`${engine.name}: asynchronous executions`, () => asyncExecutionConformance(engine));
  describe(`${engine.name}: outbox and results of tx`, () => outboxConformance(engine));
  describe(`${engine.name}: dead letters and attempts`, () => deadLetterConformance(engine));
  describe(`${engine.name}: what goes with an app or a script`, () => removalConformance(engine));
}
