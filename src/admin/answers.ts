// How the admin port answers: JSON with its length.

import type { ServerResponse } from 'node:http';

export function writeJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value));
  const headers = ['Content-Type', 'application/json; charset=utf-8', 'Content-Length', String(body.length)];
  response.writeHead(status, headers).end(body);
}
