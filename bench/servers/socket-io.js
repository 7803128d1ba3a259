// What a team would write instead: socket.io with its Redis Streams adapter, and the same HTTP calls. In come a port and the port of
// Redis. As its documentation has it (https://socket.io/docs/v4/redis-streams-adapter/), WebSocket alone, no tuning.

import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const [port, redisPort] = process.argv.slice(2).map(Number);
const answer = '{"broadcast":true}';
const redis = createClient({ url: `redis://127.0.0.1:${redisPort}` });
await redis.connect();

const http = createServer((request, response) => {
  if (request.method !== 'POST') return;
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const call = JSON.parse(Buffer.concat(chunks).toString());
    if (request.url.endsWith('/typing')) {
      const { request_id: requestId, user_id: userId, is_typing: isTyping } = call;
      io.to(requestId).emit('TypingIndicator', { requestId, userId, isTyping });
    } else {
      io.to(call.request_id).emit('ReceiveMessage', call.message);
    }
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': answer.length }).end(answer);
  });
});
const io = new Server(http, { adapter: createAdapter(redis), transports: ['websocket'] });
io.on('connection', (socket) => {
  socket.on('join', (room, joined) => {
    socket.join(room);
    joined();
  });
});
http.listen(port, '127.0.0.1', () => console.log('listening'));
