// The wires of what crossfade is compared with, for the same load generator: socket.io by raw Engine.IO frames, Nchan by its WebSocket
// subscriber, and calls to which nobody listens. In come addresses, out go clients and calls.

import { WebSocket } from 'ws';
import {
  type CallTemplate,
  type LoadClient,
  type LoadClientOptions,
  messageJson,
  typistName,
  type Wire,
} from '../src/bench/wire.ts';

/** The calls are those of the contract. */
class ContractCalls {
  readonly origin: string;
  readonly headers = { 'content-type': 'application/json', 'x-internal-api-key': 'as long as a real one' };

  readonly message: CallTemplate = {
    path: '/internal/chat/message',
    body: `{"event_id":"{id}","request_id":"{room}","message":${messageJson('{room}', '{index}', '{id}')}}`,
  };
  readonly typing: CallTemplate = {
    path: '/internal/chat/typing',
    body: `{"event_id":"{id}","request_id":"{room}","user_id":"${typistName('{typist}')}","is_typing":{isTyping}}`,
  };

  constructor(origin: string) {
    this.origin = origin;
  }
}

export class FloorWire extends ContractCalls implements Wire {
  async join(): Promise<LoadClient> {
    return { close() {} };
  }
}

/** Engine.IO 4 packets: 0 open, 2 ping, 3 pong, 4 message; of Socket.IO within: 0 connect, 2 event, 3 acknowledgement. */
export class SocketIoWire extends ContractCalls implements Wire {
  join({ room, onData, onLost }: LoadClientOptions): Promise<LoadClient> {
    const url = `${this.origin.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`;
    return opened(url, onLost, (socket, joined) => {
      let isMember = false;
      socket.on('message', (data: Buffer) => {
        const packet = data.subarray(0, 2).toString();
        if (packet === '2') socket.send('3');
        else if (isMember) onData(data);
        else if (packet.startsWith('0')) socket.send('40');
        else if (packet === '40') socket.send(`420["join","${room}"]`);
        else if (packet === '43') {
          isMember = true;
          joined();
        }
      });
    });
  }
}

export class NchanWire implements Wire {
  readonly origin: string;
  readonly headers = { 'content-type': 'application/json' };
  readonly message: CallTemplate = { path: '/pub/{room}', body: messageJson('{room}', '{index}', '{id}') };
  readonly typing: CallTemplate = {
    path: '/pub/{room}',
    body: `{"requestId":"{room}","userId":"${typistName('{typist}')}","isTyping":{isTyping}}`,
  };

  constructor(origin: string) {
    this.origin = origin;
  }

  join({ room, onData, onLost }: LoadClientOptions): Promise<LoadClient> {
    return opened(`${this.origin.replace('http', 'ws')}/sub/${room}`, onLost, (socket, joined) => {
      socket.on('message', onData);
      socket.on('open', joined);
    });
  }
}

/** Clients take turns over several wires; the first one's calls are everybody's. */
export class SpreadWire implements Wire {
  readonly origin: string;
  readonly headers: Record<string, string>;
  readonly message: CallTemplate;
  readonly typing: CallTemplate | undefined;
  readonly #wires: Wire[];
  #joined = 0;

  constructor(wires: Wire[]) {
    const { origin, headers, message, typing } = wires[0]!;
    this.origin = origin;
    this.headers = headers;
    this.message = message;
    this.typing = typing;
    this.#wires = wires;
  }

  join(options: LoadClientOptions): Promise<LoadClient> {
    return this.#wires[this.#joined++ % this.#wires.length]!.join(options);
  }
}

function opened(
  url: string,
  onLost: () => void,
  begin: (socket: WebSocket, joined: () => void) => void,
): Promise<LoadClient> {
  const { promise, resolve, reject } = Promise.withResolvers<LoadClient>();
  const socket = new WebSocket(url, { perMessageDeflate: false, skipUTF8Validation: true });
  let isOurs = false;
  const close = () => {
    isOurs = true;
    socket.close();
  };
  begin(socket, () => resolve({ close }));
  socket.on('error', reject);
  socket.on('close', (code) => {
    reject(new Error(`the connection ended (${code})`));
    if (!isOurs) onLost();
  });
  return promise;
}
