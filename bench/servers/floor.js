// The floor: a bare HTTP server that takes the same calls, parses them and answers; with the port of Redis as the second argument it
// also appends each to one stream, by one bare XADD. Nobody is shown anything.

import { createServer } from 'node:http';
import { Redis } from 'ioredis';

const [port, redisPort] = process.argv.slice(2).map(Number);
const headers = ['Content-Type', 'application/json; charset=utf-8', 'Content-Length', '18'];
const redis = redisPort === undefined ? undefined : new Redis(redisPort, '127.0.0.1');

createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    const text = Buffer.concat(chunks).toString();
    JSON.parse(text);
    await redis?.xadd('calls', 'MAXLEN', '~', 10_000, '*', 'payload', text);
    response.writeHead(200, headers).end('{"broadcast":true}');
  });
}).listen(port, '127.0.0.1', () => console.log('listening'));
