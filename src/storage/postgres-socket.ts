/**
 * The socket of one connection, encrypted as the address asks. Here and not in the client, which waits
 * without end for the server's answer, and takes a server that cannot encrypt for one that was lost.
 */
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { postgresGoneMsMax } from "../domain/limits.ts";
import { lost } from "./postgres-errors.ts";
import type { PostgresTarget } from "./postgres-target.ts";

/** The server can be reached and cannot be used: another try would find the same. */
export class Refused extends Error {}

/** Asks whether the server encrypts; it answers with one letter, S or N. */
const request = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const yes = "S".charCodeAt(0);

export interface OpeningSocket {
  /** What is destroyed when the connection is over; also while it is being opened. */
  raw: Socket;
  /** Rejects with what the system said, with Refused, or with PicError when the other side ended it. */
  ready: Promise<Socket>;
}

export function openSocket(target: PostgresTarget): OpeningSocket {
  const { host, port, sslmode, sslnegotiation } = target;
  const raw = connect({ host, port });
  // For its whole life: an error that nobody hears would end the process.
  raw.on("error", () => {});
  const open = async (): Promise<Socket> => {
    await happens(raw, "connect");
    raw.setNoDelay(true);
    raw.setKeepAlive(true, postgresGoneMsMax);
    if (sslmode === "disable") return raw;
    if (sslnegotiation !== "direct" && !(await encrypts(raw))) {
      if (sslmode === "prefer") return raw;
      throw new Refused(`it does not encrypt, and sslmode=${sslmode} asks for it`);
    }
    const secure = connectTls({
      socket: raw,
      rejectUnauthorized: sslmode === "verify-full",
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(sslnegotiation === "direct" ? { ALPNProtocols: ["postgresql"] } : {}),
    });
    secure.on("error", () => {});
    await happens(secure, "secureConnect");
    return secure;
  };
  return { raw, ready: open() };
}

async function encrypts(socket: Socket): Promise<boolean> {
  const answer = happens(socket, "data");
  socket.write(request);
  const bytes = await answer;
  // More than the letter would have been put before the encryption by somebody in between.
  if (!(bytes instanceof Uint8Array) || bytes.length !== 1) {
    throw new Refused("it does not speak PostgreSQL's protocol");
  }
  return bytes[0] === yes;
}

/** What comes with the event; rejects when the socket fails or ends first. */
function happens(socket: Socket, event: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      socket.off(event, succeed);
      socket.off("error", fail);
      socket.off("close", end);
    };
    const succeed = (value: unknown): void => {
      stop();
      resolve(value);
    };
    const fail = (error: Error): void => {
      stop();
      reject(error);
    };
    const end = (): void => fail(lost("The connection to the database was lost."));
    socket.once(event, succeed);
    socket.once("error", fail);
    socket.once("close", end);
  });
}
