// The demo's page in the browser: two chat clients, the marks of all messages, and the slider. In come hub messages (from
// the clients' own connections) and the demo's events; out go words, and commands to the cutover.

/* global signalR */

const byId = (id) => document.getElementById(id);
const setup = await (await fetch('/setup')).json();
byId('operator').href = setup.adminUrl;
/** ms since 1970, with fractions; the demo runs on the same machine. */
const now = () => performance.timeOrigin + performance.now();

async function ask(method, path, body) {
  try {
    const response = await fetch(path, { method, ...(body !== undefined && { body: JSON.stringify(body) }) });
    return { ok: response.ok, body: await response.json() };
  } catch {
    return { ok: false, body: { message: 'the demo does not answer' } };
  }
}

// What one client is owed and has got, by the numbers of each room.

const lostAfterMs = 3_000;

class Ledger {
  /** Room -> the number behind which the client is owed everything; undefined before begin(). */
  #begun;
  /** Room -> the highest number that was shown. */
  #highest = new Map();
  /** `room number` of what was passed over, and may still come. */
  #skipped = new Set();
  /** `room number` -> since when the client is owed it. */
  #owed = new Map();
  sent = 0;
  doubled = 0;
  outOfOrder = 0;
  reconnects = 0;

  /** @param numbers room -> the last number given out, if any; the client is owed what comes behind it */
  begin(numbers) {
    this.#begun = new Map(Object.entries(numbers));
    this.#highest = new Map(this.#begun);
    this.#skipped.clear();
    this.#owed.clear();
  }

  accepted({ room, number }) {
    if (!this.#isOwed(room, number)) return;
    this.sent++;
    const key = `${room} ${number}`;
    if (number > this.#highestIn(room) || this.#skipped.has(key)) this.#owed.set(key, now());
  }

  shown(room, number) {
    if (!this.#isOwed(room, number)) return;
    const key = `${room} ${number}`;
    const highest = this.#highestIn(room);
    if (number > highest) {
      for (let between = highest + 1; between < number; between++) this.#skipped.add(`${room} ${between}`);
      this.#highest.set(room, number);
    } else if (this.#skipped.delete(key)) {
      this.outOfOrder++;
    } else {
      this.doubled++;
      return;
    }
    this.#owed.delete(key);
  }

  get received() {
    return this.sent - this.#owed.size;
  }

  get lost() {
    return [...this.#owed.values()].filter((since) => now() - since > lostAfterMs).length;
  }

  #isOwed(room, number) {
    return this.#begun !== undefined && number > (this.#begun.get(room) ?? 0);
  }

  #highestIn(room) {
    return this.#highest.get(room) ?? 0;
  }
}

// The marks: every message of every room, by the lane that it came by.

const marksPerRoom = 12;
const keptMessages = 400;
const keptLatencies = 200;
const columns = new Map();
const messages = new Map();
const latencies = { bridge: [], stream: [] };

for (const { name, bucket } of setup.rooms) {
  const column = document.createElement('div');
  const label = document.createElement('small');
  column.className = name === setup.chatRoom ? 'room typed' : 'room';
  column.title = `${name}: on the stream lane beyond ${bucket}%`;
  column.style.setProperty('--bucket', bucket);
  label.textContent = name === setup.chatRoom ? 'chat' : `${bucket}%`;
  column.append(label);
  byId('field').append(column);
  columns.set(name, column);
}

function messageOf(room, id) {
  let message = messages.get(id);
  if (message === undefined) {
    message = { mark: newMark(columns.get(room)), lane: undefined, waits: [] };
    messages.set(id, message);
    if (messages.size > keptMessages) messages.delete(messages.keys().next().value);
  }
  return message;
}

function newMark(column) {
  const mark = document.createElement('span');
  mark.className = 'mark';
  mark.append(...setup.clients.map(() => document.createElement('i')));
  column.prepend(mark);
  const marks = column.querySelectorAll('.mark');
  if (marks.length > marksPerRoom) marks[marks.length - 1].remove();
  return mark;
}

function showLane(room, id, lane) {
  const message = messageOf(room, id);
  message.lane = lane;
  message.mark.classList.add(lane);
  for (const ms of message.waits.splice(0)) addLatency(lane, ms);
}

function showReceived(room, id, clientIndex, ms) {
  const message = messageOf(room, id);
  message.mark.children[clientIndex].className = 'got';
  if (ms === undefined) return;
  if (message.lane === undefined) message.waits.push(ms);
  else addLatency(message.lane, ms);
}

function addLatency(lane, ms) {
  latencies[lane].push(ms);
  if (latencies[lane].length > keptLatencies) latencies[lane].shift();
}

function showLatencies() {
  for (const [lane, values] of Object.entries(latencies)) {
    if (values.length === 0) continue;
    const sorted = values.toSorted((a, b) => a - b);
    const at = (share) => `${sorted[Math.floor((sorted.length - 1) * share)].toFixed(0)} ms`;
    byId(`${lane}-latency`).textContent = `P50 ${at(0.5)}, P95 ${at(0.95)}, of the last ${values.length} messages`;
  }
}

// The chat clients.

class Client {
  ledger = new Ledger();
  #index;
  #user;
  #connection;
  #parts;

  constructor({ user, token }, index) {
    this.#index = index;
    this.#user = user;
    this.#parts = this.#panel();
    this.#connection = new signalR.HubConnectionBuilder()
      .withUrl(`${setup.edgeUrl}/hubs/chat`, { accessTokenFactory: () => token })
      .withAutomaticReconnect()
      .configureLogging(signalR.LogLevel.Warning)
      .build();
    this.#connection.on('ReceiveMessage', (message) => this.#receive(message));
    this.#connection.on('RoomJoined', () => {});
    this.#connection.on('TypingIndicator', ({ userId, isTyping }) => {
      if (userId !== user) this.#parts.typing.textContent = isTyping ? `${userId} is typing…` : '';
    });
    this.#connection.onreconnecting(() => this.#setState('reconnecting'));
    this.#connection.onreconnected(async () => {
      this.ledger.reconnects++;
      await this.#join();
      this.ledger.begin((await ask('GET', '/numbers')).body);
    });
    this.#connection.onclose(() => this.#setState('closed: reload the page'));
  }

  async start() {
    await this.#connection.start();
    await this.#join();
  }

  showCounts() {
    for (const count of this.#parts.counts) {
      const value = this.ledger[count.dataset.count];
      count.textContent = value;
      count.classList.toggle('wrong', value > 0 && !['sent', 'received'].includes(count.dataset.count));
    }
  }

  fail(error) {
    this.#setState(error.message);
  }

  async #join() {
    for (const { name } of setup.rooms) await this.#connection.invoke('JoinRoom', name);
    this.#setState('connected');
  }

  #setState(text) {
    this.#parts.state.textContent = text;
    this.#parts.state.classList.toggle('connected', text === 'connected');
  }

  #receive({ id, requestId, senderId, content, sequenceNumber, clientTempId }) {
    const ms = clientTempId ? now() - Number(clientTempId) : undefined;
    showReceived(requestId, id, this.#index, ms);
    if (sequenceNumber > 0) this.ledger.shown(requestId, sequenceNumber);
    if (requestId === setup.chatRoom) this.#showMessage({ id, senderId, content, ms });
  }

  async #showMessage({ id, senderId, content, ms }) {
    const { list } = this.#parts;
    const item = document.createElement('li');
    const meta = document.createElement('small');
    item.className = senderId === this.#user ? 'mine' : '';
    meta.textContent = senderId ?? 'system';
    item.append(meta, content);
    list.append(item);
    list.scrollTop = list.scrollHeight;
    const { lane } = (await ask('GET', `/lane?id=${encodeURIComponent(id)}`)).body;
    const shown = document.createElement('span');
    shown.className = lane;
    shown.textContent = `${lane} lane`;
    meta.append(' · ', shown, ms === undefined ? '' : ` · ${ms.toFixed(0)} ms`);
    showLane(setup.chatRoom, id, lane);
  }

  #panel() {
    const panel = byId('client').content.cloneNode(true).querySelector('section');
    const [state, list, typing, form] = ['.state', 'ol', '.typing', 'form'].map((each) => panel.querySelector(each));
    const other = setup.clients.find(({ user }) => user !== this.#user).user;
    panel.querySelector('.nothing').textContent = `Write to ${other}: it shows there with the lane that it took.`;
    panel.dataset.user = this.#user;
    panel.setAttribute('aria-label', this.#user);
    panel.querySelector('.name').textContent = this.#user;
    form.querySelector('input').setAttribute('aria-label', `Message from ${this.#user}`);
    this.#listenTo(form);
    byId('clients').append(panel);
    return { state, list, typing, counts: panel.querySelectorAll('[data-count]') };
  }

  #listenTo(form) {
    const input = form.querySelector('input');
    let typingNow = false;
    let quiet;
    const setTyping = (isTyping) => {
      clearTimeout(quiet);
      if (isTyping) quiet = setTimeout(() => setTyping(false), 2000);
      if (typingNow === isTyping) return;
      typingNow = isTyping;
      ask('POST', '/typing', { user_id: this.#user, is_typing: isTyping });
    };
    input.addEventListener('input', () => setTyping(input.value !== ''));
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const content = input.value.trim();
      if (content === '') return;
      input.value = '';
      setTyping(false);
      await ask('POST', '/say', { senderId: this.#user, content, clientTempId: String(now()) });
    });
  }
}

// The slider. One command is under way at a time; what the visitor wants meanwhile is the next one. A rollback never waits.

const slider = byId('percent');
const settleMs = 250;
let held = 0;
let shownEpoch = -1;
let wanted;
let moving = false;
let settling;

function say(text, { refused = false } = {}) {
  byId('status').textContent = text;
  byId('status').classList.toggle('refused', refused);
}

/** @param status of the cutover, as the admin port gives it */
function showCutover({ epoch, effective, history }) {
  if (effective === undefined) return;
  held = effective.percent;
  for (const element of [slider, byId('field')]) element.style.setProperty('--held', held);
  if (moving || settling !== undefined) return;
  showWanted(held);
  const latest = history.at(-1);
  if (epoch > shownEpoch)
    say(
      `${held}% by stream${latest ? `, since ${latest.who} said “${latest.what}”` : ': every room is on the bridge lane'}.`,
    );
  shownEpoch = epoch;
}

function showWanted(percent) {
  slider.value = percent;
  slider.setAttribute('aria-valuetext', `${percent}% by stream`);
  byId('shown').textContent = `${percent}%`;
}

function want(percent, afterMs = 0) {
  showWanted(percent);
  clearTimeout(settling);
  settling = setTimeout(() => {
    settling = undefined;
    wanted = percent;
    if (!moving) move();
  }, afterMs);
}

function connectionsKept() {
  const kept = clients.every(({ ledger }) => ledger.reconnects === 0);
  return kept ? 'Both clients are still on their first connection.' : '';
}

async function move() {
  moving = true;
  while (wanted !== undefined) {
    const percent = wanted;
    wanted = undefined;
    say(percent > held ? 'Checking that no client is left out…' : 'Moving…');
    const startedAt = now();
    const { ok, body } = await ask('PUT', '/cutover', { percent });
    if (ok) {
      shownEpoch = body.epoch;
      showCutover(body);
      say(`${held}% by stream, after ${((now() - startedAt) / 1000).toFixed(1)} s. ${connectionsKept()}`);
    } else {
      say(`Stays at ${held}%: ${body.message}`, { refused: true });
    }
  }
  moving = false;
  if (settling === undefined) showWanted(held);
}

async function rollBack() {
  clearTimeout(settling);
  settling = undefined;
  wanted = undefined;
  const startedAt = now();
  const { ok, body } = await ask('POST', '/rollback');
  if (!ok) return say(body.message, { refused: true });
  shownEpoch = body.epoch;
  showCutover(body);
  showWanted(held);
  say(
    `Rolled back: every room is on the bridge lane again, after ${(now() - startedAt).toFixed(0)} ms. ${connectionsKept()}`,
  );
}

slider.addEventListener('input', () => want(slider.valueAsNumber, settleMs));
for (const button of document.querySelectorAll('[data-percent]')) {
  button.addEventListener('click', () => want(Number(button.dataset.percent)));
}
byId('rollback').addEventListener('click', rollBack);

// The backend's pause, and the client that connects past crossfade.

byId('pause').addEventListener('click', () => {
  ask('POST', '/pause', { paused: byId('pause').getAttribute('aria-pressed') !== 'true' });
});

let stranger;
byId('stranger').addEventListener('click', async ({ currentTarget: button }) => {
  button.disabled = true;
  try {
    if (stranger === undefined) {
      const client = new signalR.HubConnectionBuilder()
        .withUrl(`${setup.bridgeUrl}/hubs/chat`, { accessTokenFactory: () => setup.stranger.token })
        .configureLogging(signalR.LogLevel.Warning)
        .build();
      await client.start();
      stranger = client;
    } else {
      await stranger.stop();
      stranger = undefined;
    }
  } finally {
    button.setAttribute('aria-pressed', stranger !== undefined);
    button.textContent =
      stranger === undefined ? 'Connect a client past crossfade' : 'Disconnect eve, who went past crossfade';
    button.disabled = false;
    // The reason of a refusal is gone with it.
    if (stranger === undefined && byId('status').classList.contains('refused'))
      say(`${held}% by stream: eve has gone, try again.`);
  }
});

// Together.

const clients = setup.clients.map((client, index) => new Client(client, index));

function follow() {
  const events = new EventSource('/events');
  const on = (kind, run) => events.addEventListener(kind, ({ data }) => run(JSON.parse(data)));
  on('greeting', ({ run, numbers, paused, cutover }) => {
    if (run !== setup.run) location.reload();
    for (const { ledger } of clients) ledger.begin(numbers);
    showPaused(paused);
    showCutover(cutover);
  });
  on('accepted', (message) => {
    for (const { ledger } of clients) ledger.accepted(message);
    showLane(message.room, message.id, message.lane);
  });
  on('cutover', showCutover);
  on('paused', ({ paused }) => showPaused(paused));
}

function showPaused(paused) {
  byId('pause').setAttribute('aria-pressed', paused);
}

setInterval(() => {
  for (const client of clients) client.showCounts();
  showLatencies();
}, 250);

try {
  await Promise.all(clients.map((client) => client.start().catch((error) => client.fail(error))));
  follow();
} catch (error) {
  say(error.message, { refused: true });
}
