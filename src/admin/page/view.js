// What the page shows of the cutover: in comes one state of `GET /cutover/live`, out go words and numbers in their places. What has not
// changed is not written again, so that a screen reader reads only news.

const byId = (id) => document.getElementById(id);
const shownChanges = 12;
const maxProbeMs = 5_000;

export function show({ cutover, here }) {
  showStage(cutover);
  showShares(cutover);
  showWhy(cutover);
  showGuard(cutover, here);
  showNumbers(cutover.lanes);
  showTiles(cutover, here);
  showReplicas(cutover);
  showStreams(cutover, here);
  showChanges(cutover.history);
}

function showStage({ stage }) {
  for (const item of byId('stages').children) {
    if (item.dataset.stage === stage) item.setAttribute('aria-current', 'step');
    else item.removeAttribute('aria-current');
  }
}

function showShares({ percent, effective, epoch, lanes }) {
  write(byId('in-force'), `${effective.percent}%`);
  write(byId('set'), `${percent}%`);
  write(byId('epoch'), String(epoch));
  const all = lanes.bridge.perSecond + lanes.stream.perSecond;
  write(byId('event-share'), all === 0 ? '–' : `${Math.round((lanes.stream.perSecond / all) * 100)}%`);
  byId('in-force').classList.toggle('differs', effective.percent !== percent);
}

export function nativeWords({ completed, bridges }) {
  if (completed) return 'The bridge was left for good.';
  return bridges.length === 0 ? 'There is no bridge.' : 'Every room and every client is at crossfade.';
}

/** The same words as `crossfade cutover show`. */
function showWhy(cutover) {
  const { standstill, stage, history, next, plan } = cutover;
  const lines = standstill.map(({ why, release }) => ({ why, release, isWrong: true }));
  if (lines.length === 0) {
    const since = history.at(-1)?.when;
    const waits = `Nothing holds it: it waits for a command${since === undefined ? '' : ` since ${timeOf(since)}`}.`;
    const isPlanned = plan?.state === 'running' || plan?.state === 'paused';
    const goesOn = `The plan ${plan?.name} is ${plan?.line}.`;
    lines.push({
      why: stage === 'native' ? nativeWords(cutover) : isPlanned ? goesOn : waits,
      label: 'Next: ',
      release: next ?? '',
    });
  }
  const items = lines.map(({ why, release, isWrong, label = '' }) => {
    const line = element('p', isWrong ? 'wrong' : '', why);
    if (release === '') return line;
    line.append(` ${label}`, element(release.startsWith('crossfade ') ? 'code' : 'span', 'release', release));
    return line;
  });
  replace(byId('why'), items);
}

function showGuard({ guard, bridges, log, replicas, hold, killed }, { probeMs }) {
  const silent = replicas.filter(({ answers }) => !answers).map(({ instance }) => instance);
  const unlike = new Set(replicas.map(({ version, contract }) => `${version} ${contract}`)).size > 1;
  const down = bridges.filter(({ reachable }) => !reachable).map(({ bridge }) => bridge);
  const lines = [
    ...clientLines(guard, bridges),
    bridges.length === 0
      ? ['–', 'there is no bridge']
      : [mark(down.length === 0), down.length === 0 ? 'every bridge answers' : `not there: ${down.join(', ')}`],
    [mark(log.reachable && log.followed && !log.isCutOff), logWords(log)],
    probeMs === null
      ? ['–', 'no clients here, so no probe']
      : [mark(probeMs <= maxProbeMs), `the probe that has arrived is ${seconds(probeMs)} old`],
    [
      mark(silent.length === 0),
      silent.length === 0
        ? `${counted(replicas.length, 'replica')}, all answer`
        : `no answer from ${silent.join(', ')}`,
    ],
    [mark(!unlike), unlike ? 'the replicas run different versions or contracts' : 'one version, one contract'],
    [mark(hold === null && killed.length === 0), holdWords(hold, killed)],
  ];
  replace(
    byId('guard'),
    lines.map(([sign, words]) => finding(sign, words)),
  );
  const seen = guard === null ? 'Clients were not counted yet.' : `Clients were last counted at ${clockOf(guard.at)}.`;
  write(byId('guard-note'), bridges.length === 0 ? '' : `${seen} A raise takes 3 readings of its own, over 3 s.`);
}

const signs = { ok: '✓', warn: '!', fail: '✕' };

/** @param found the answer to `dryRun`; null: there is none */
export function showDryRun(found) {
  if (found === null) return replace(byId('dry-run-found'), []);
  const { findings, moves, fences } = found;
  const { rooms, connections } = moves;
  const lines = findings.map(({ name, status, detail, hint }) => [
    signs[status],
    [`${name}: ${detail}`, ...(hint === undefined ? [] : [hint])].join(': '),
  ]);
  lines.push([
    '→',
    `would move ${number(rooms.moving)} of ${counted(rooms.known, 'room')} with members, ${counted(connections.moving, 'connection')}; would fence ${number(fences)}`,
  ]);
  replace(
    byId('dry-run-found'),
    lines.map(([sign, words]) => finding(sign, words)),
  );
}

const kinds = { '✓': ['ok', 'fine:'], '✕': ['fail', 'against it:'], '!': ['warn', 'mind:'] };

export function finding(sign, words) {
  const [kind, spoken] = kinds[sign] ?? ['unknown', ''];
  const item = element('li', kind);
  const shown = element('span', 'sign', sign);
  if (spoken === '') shown.setAttribute('aria-hidden', 'true');
  else {
    shown.setAttribute('role', 'img');
    shown.setAttribute('aria-label', spoken);
  }
  item.append(shown, element('span', '', words));
  return item;
}

function clientLines(guard, bridges) {
  if (bridges.length === 0) return [];
  if (guard === null) return [['–', 'clients past crossfade: not looked yet']];
  if (!guard.ok) return guard.reasons.map((reason) => ['✕', reason]);
  return [
    ['✓', `every client comes through crossfade (surplus ${guard.surplus ?? 0})`],
    ['✓', 'nobody else reads the streams'],
  ];
}

function logWords({ reachable, followed, isCutOff }) {
  if (isCutOff) return 'others read the log, not this replica';
  if (!reachable) return 'the log does not answer';
  return followed ? 'the log answers, its state is known' : 'what stands in the log is not known yet';
}

function holdWords(hold, killed) {
  if (killed.length > 0) return `the kill switch of ${killed.join(', ')}`;
  return hold === null ? 'nobody holds it' : `${hold.who} holds it: ${hold.why}`;
}

/** @param lanes `{bridge, stream}` of the state, or of the time that somebody points to */
export function showNumbers(lanes) {
  for (const lane of ['bridge', 'stream']) {
    const { perSecond, p50, p95, p99, failures } = lanes[lane];
    const texts = { rate: rate(perSecond), p50: ms(p50), p95: ms(p95), p99: ms(p99), failures: failures ?? '–' };
    for (const [name, text] of Object.entries(texts)) {
      const shown = document.querySelector(`[data-lane=${lane}] [data-number=${name}]`);
      write(shown, String(text));
      if (name === 'failures') shown.classList.toggle('wrong', failures > 0);
    }
  }
}

function showTiles({ lanes, replicas, outage }, { probeMs, streams, faults }) {
  const sum = (name) => replicas.reduce((all, each) => all + (each[name] ?? 0), 0);
  const lag = streams === null ? undefined : streams.reduce((all, each) => all + each.lag, 0);
  const tiles = [
    ['clients', number(sum('clients'))],
    ['rooms with members', number(sum('rooms'))],
    ['probe age', probeMs === null ? '–' : seconds(probeMs), probeMs > maxProbeMs],
    ['lag here', lag === undefined ? 'not known' : number(lag), lag > 100],
    ['fell back in 10 s', number(lanes.fallbacks), lanes.fallbacks > 0],
    [
      'errors in 10 s',
      number(lanes.bridge.failures + lanes.stream.failures),
      lanes.bridge.failures + lanes.stream.failures > 0,
    ],
    ['unfenced since start', number(sum('unfenced')), sum('unfenced') > 0],
    ['faults since start', number(faults), faults > 0],
    ['the log', outage === null ? 'in use' : `away: ${outage.reason}`, outage !== null],
  ];
  replace(
    byId('tiles'),
    tiles.map(([name, value, isWrong]) => {
      const tile = element('div', isWrong ? 'wrong' : '');
      tile.append(element('dt', '', name), element('dd', '', value));
      return tile;
    }),
  );
}

function showReplicas({ replicas, epoch }) {
  const rows = replicas.map((each) => {
    const silent = each.heardMs === null ? 'does not answer' : `silent for ${seconds(each.heardMs)}`;
    const state = !each.answers ? silent : each.draining ? 'draining' : 'answers';
    return row(
      [each.instance],
      [state, !each.answers || each.draining],
      [each.epoch ?? '–', Number(each.epoch ?? epoch) < epoch],
      [number(each.clients)],
      [number(each.rooms)],
      [number(each.lag)],
      [number(each.unfenced), each.unfenced > 0],
      [each.bridges === null ? '–' : `${each.bridges.up} of ${each.bridges.of}`, each.bridges?.up < each.bridges?.of],
      [each.version ?? '–'],
    );
  });
  replace(byId('replicas'), rows);
}

function showStreams({ replicas }, { streams }) {
  write(byId('streams-of'), replicas[0].instance);
  const rows = (streams ?? []).map(({ stream, depth, lag }) =>
    row([stream], [number(depth)], [number(lag), lag > 100]),
  );
  replace(byId('streams'), streams === null ? [row(['the log does not say'], ['–'], ['–'])] : rows);
}

function showChanges(history) {
  const items = history
    .slice(-shownChanges)
    .reverse()
    .map(({ when, from, to, what, who, why }) => {
      const item = element('li', what.startsWith('rollback') ? 'rollback' : '');
      item.append(
        element('time', '', timeOf(when)),
        element('b', '', from === to ? `${to}%` : `${from}% → ${to}%`),
        element('span', '', `${what}, by ${who}${why === undefined ? '' : `: ${why}`}`),
      );
      return item;
    });
  replace(byId('changes'), items.length === 0 ? [element('li', 'none', 'Nothing was changed yet.')] : items);
}

/** @param cells of text, and whether it is not as it should be */
function row(...cells) {
  const line = document.createElement('tr');
  line.append(...cells.map(([text, isWrong], i) => cellOf(i, text, isWrong)));
  return line;
}

function cellOf(i, text, isWrong) {
  const cell = element(i === 0 ? 'th' : 'td', isWrong ? 'wrong' : '', text);
  if (i === 0) cell.scope = 'row';
  return cell;
}

export function element(name, className, text = '') {
  const made = document.createElement(name);
  if (className !== '') made.className = className;
  made.textContent = text;
  return made;
}

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function replace(parent, children) {
  const wanted = children.map(({ outerHTML }) => outerHTML).join('');
  if (parent.innerHTML !== wanted) parent.replaceChildren(...children);
}

function mark(isFine) {
  return isFine ? '✓' : '✕';
}

function number(value) {
  return value === null || value === undefined ? '–' : value.toLocaleString('en');
}

function rate(value) {
  return value === null ? '–' : value.toFixed(value < 10 ? 1 : 0);
}

function ms(value) {
  return value === null ? '–' : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

function seconds(value) {
  return `${(value / 1_000).toFixed(1)} s`;
}

function counted(value, what) {
  return `${number(value)} ${what}${value === 1 ? '' : 's'}`;
}

/** @param when ISO 8601, in UTC */
export function timeOf(when) {
  return `${when.slice(0, 10)} ${clockOf(when)}`;
}

export function clockOf(when) {
  return when.slice(11, 19);
}
