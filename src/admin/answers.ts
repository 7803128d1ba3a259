// How the admin port answers: JSON with its length.

import type { ServerResponse } from 'node:http';

export function writeJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, ['Content-Type', 'application/json; charset=utf-8']).end(JSON.stringify(value));
}
