// The operator's page: in come the cutover live and what the operator does, out go commands to the admin port. Promises: what is
// changed is bound to what was seen (`ifEpoch`), but for the rollback, which is always to be had; no command is sent without a press.

import { isComparing, showCompare } from './compare.js';
import { ask, token, watch } from './live.js';
import { isOpen, reportOf, showPlan } from './plan.js';
import { LanePlots } from './plots.js';
import { nativeWords, show, showDryRun, showNumbers, write } from './view.js';

const byId = (id) => document.getElementById(id);
const slider = byId('percent');
const steps = [0, 1, 5, 25, 50, 75, 100];
const holdKeyMs = 1_000;
const copiedMs = 1_500;
const nameKey = 'crossfade-by';

/** The cutover as it was last seen; undefined before. */
let cutover;
/** The plan that runs, or ran last; null: there is none. */
let run = null;
/** What `GET /compare` says. */
let compare = { run: null, verdict: null, sampleLines: [], blind: [] };
let mayChange = false;
/** What the operator wants to set; undefined: has not touched the slider since the last move. */
let draft;
/** Whether the operator has chosen a share for the mirror since it was set last. */
let isShareChosen = false;
let isBusy = false;

// What is seen.

const plots = new LanePlots(
  Object.fromEntries(
    ['bridge', 'stream'].map((lane) => [
      lane,
      Object.fromEntries(
        ['rate', 'latency'].map((kind) => [kind, document.querySelector(`[data-lane=${lane}] [data-plot=${kind}]`)]),
      ),
    ]),
  ),
  showAt,
);
const notes = { now: byId('lanes-note').textContent };

/** @param values of the time that somebody points to in the plots; undefined: the newest */
function showAt(values) {
  if (cutover === undefined) return;
  notes.isPast = values !== undefined;
  if (values === undefined) {
    showNumbers(cutover.lanes);
    write(byId('lanes-note'), notes.now);
    return;
  }
  const [at, ...numbers] = values;
  const ofLane = ([perSecond, p50, p95, p99]) => ({ perSecond, p50, p95, p99, failures: null });
  showNumbers({ bridge: ofLane(numbers.slice(0, 4)), stream: ofLane(numbers.slice(4)) });
  write(byId('lanes-note'), `As it was at ${new Date(at * 1_000).toISOString().slice(11, 19)}.`);
}

const restart = watch({
  greeting(hello) {
    mayChange = hello.mayChange;
    write(byId('instance'), `${hello.instance} · ${location.host}`);
    document.title = `crossfade · ${hello.instance}`;
    setLink('live', 'live');
    plots.begin(hello.points);
    showAccess(mayChange ? 'granted' : token.get() === null ? 'needed' : 'wrong');
  },
  state(state) {
    cutover = state.cutover;
    run = state.run;
    compare = state.compare;
    show(state);
    showPlan(run);
    showCompare(compare);
    plots.add(state.point, cutover.history);
    showControls();
  },
  lost(why) {
    if (why === 'refused') showAccess(token.get() === null ? 'closed' : 'wrong');
    const words = { refused: 'no access', full: 'too many watch it', gone: 'no connection: trying again' };
    setLink(words[why], why);
  },
});

function setLink(text, state) {
  write(byId('link'), text);
  byId('link').dataset.state = state;
}

function showAccess(state) {
  const words = {
    granted: '',
    needed: 'Read-only.',
    wrong: 'That is not the token.',
    closed: 'Nothing is shown without the token.',
  };
  write(byId('access-text'), words[state]);
  byId('access').hidden = state === 'granted';
  byId('forget').hidden = state !== 'granted' || token.get() === null;
}

function showControls() {
  const { effective, percent } = cutover;
  byId('mark-force').style.setProperty('--at', effective.percent);
  slider.style.setProperty('--held', effective.percent);
  if (draft === undefined) slider.value = percent;
  const wanted = slider.valueAsNumber;
  slider.setAttribute('aria-valuetext', `${wanted}%${wanted === percent ? ', as it is set' : `; set is ${percent}%`}`);
  for (const step of byId('steps').children) step.setAttribute('aria-pressed', Number(step.dataset.percent) === wanted);
  write(
    byId('move'),
    wanted === percent ? `Set to ${percent}%` : `${wanted > percent ? 'Raise' : 'Lower'} to ${wanted}%`,
  );
  bar(
    byId('move'),
    byId('move-note'),
    whyNotMove(wanted),
    isOpen(run)
      ? 'Ends the plan: what a person moves is not its business any more.'
      : wanted > percent
        ? 'Takes 3 s: clients are counted first.'
        : '',
  );
  byId('dry-run').setAttribute('aria-disabled', byId('move').getAttribute('aria-disabled'));
  if (!isShareChosen) chooseShare(cutover.mirror ? cutover.mirrorPercent : 0);
  bar(byId('mirror'), byId('mirror-note'), held() ?? locked(), mirrorWords());
  bar(byId('hold'), byId('hold-note'), held() ?? locked(), 'Stops everything but a rollback.');
  byId('hold').hidden = cutover.hold !== null;
  if (cutover.completed) write(byId('rollback-note'), 'Is refused: the bridge was left for good.');
  byId('hold-why').parentElement.classList.toggle('held', cutover.hold !== null);
  byId('release').hidden = cutover.hold === null;
  if (cutover.hold !== null)
    bar(byId('release'), byId('hold-note'), locked(), `Held since ${cutover.hold.when.slice(11, 19)}.`);
  showPlanControls();
  showCompareControls();
}

function showPlanControls() {
  const isRunning = isOpen(run);
  byId('plan-pause').hidden = run?.state !== 'running';
  byId('plan-resume').hidden = run?.state !== 'paused';
  byId('plan-stop').hidden = !isRunning;
  for (const id of ['plan-pause', 'plan-resume', 'plan-stop'])
    byId(id).setAttribute('aria-disabled', isBusy || !mayChange);
  const why = isRunning ? 'One runs already.' : (held() ?? locked());
  bar(byId('plan-start'), byId('plan-note'), why, 'Guards and samples that are left out have their defaults.');
}

function showCompareControls() {
  const isOn = isComparing(compare.run);
  byId('compare-start').hidden = isOn;
  byId('compare-stop').hidden = !isOn;
  const isNative = cutover.stage === 'native' ? nativeWords(cutover) : undefined;
  const isEnding = compare.run?.state === 'stopping' ? 'Its last seconds are being judged.' : undefined;
  const mirrored = cutover.mirror ? '' : 'The mirror is off: only what others write to the bridge would be found.';
  bar(byId('compare-start'), byId('compare-note'), isNative ?? locked(), mirrored);
  if (isOn) bar(byId('compare-stop'), byId('compare-note'), isEnding ?? locked(), mirrored);
}

/** Also one that was set elsewhere, and that the list does not have. */
function chooseShare(share) {
  const select = byId('mirror-share');
  select.value = share;
  if (select.selectedIndex >= 0) return;
  select.add(new Option(`${share}% of the rooms`, share));
  select.value = share;
}

function mirrorWords() {
  if (!cutover.mirror) return 'It is off.';
  return cutover.mirrorPercent === 100
    ? 'It is on for all rooms.'
    : `It is on for ${cutover.mirrorPercent}% of the rooms.`;
}

function whyNotMove(wanted) {
  if (cutover.stage === 'native') return nativeWords(cutover);
  if (wanted === cutover.percent) return 'The slider stands where it is set: move it first.';
  return held() ?? locked();
}

function held() {
  return cutover.hold === null ? undefined : `${cutover.hold.who} holds it.`;
}

function locked() {
  return mayChange ? undefined : 'Read-only: enter the token above.';
}

/** A button that can do nothing says why, and keeps the focus. @param why undefined: it can */
function bar(button, note, why, words) {
  const reason = isBusy ? 'Another command is under way.' : why;
  button.setAttribute('aria-disabled', reason !== undefined);
  write(note, reason ?? words);
}

// What the operator does.

/** @param place whose result it is: `result`, or `plan-result` */
function say(text, isRefused = false, place = 'result') {
  write(byId(place), text);
  byId(place).classList.toggle('refused', isRefused);
}

const by = () => byId('by').value.trim() || 'operator’s page';

async function command(method, path, body, { doing, done, place }) {
  isBusy = true;
  showControls();
  say(doing, false, place);
  showDryRun(null);
  const answer = await ask(method, path, { by: by(), ...body });
  isBusy = false;
  if (answer.ok) {
    if (answer.body.stage !== undefined) cutover = answer.body;
    say(done(answer.body), false, place);
  } else {
    say(refusalOf(answer), true, place);
  }
  showControls();
  return answer.ok;
}

function refusalOf({ status, body }) {
  if (status === 401) return 'Not done: the token is missing, or not the right one.';
  const way = body.error === 'CUTOVER_GUARD' ? ' Where it is harmless: the command, with --force.' : '';
  return `Not done: ${body.message ?? body.error ?? `answer ${status}`}${/[.!?]$/.test(body.message) ? '' : '.'}${way}`;
}

async function move() {
  const percent = slider.valueAsNumber;
  const isRaise = percent > cutover.percent;
  const startedAt = performance.now();
  const took = () => `${((performance.now() - startedAt) / 1_000).toFixed(1)} s`;
  await command(
    'PUT',
    '/cutover',
    { percent, ifEpoch: cutover.epoch },
    {
      doing: isRaise ? 'Counting clients that would be left out, for 3 s …' : 'Moving …',
      done({ effective }) {
        draft = undefined;
        return `${effective.percent}% of the rooms are on the stream lane, after ${took()}.`;
      },
    },
  );
}

/** What a press of the button would do; nothing is changed. */
async function dryRun() {
  const percent = slider.valueAsNumber;
  const order = { percent, ifEpoch: cutover.epoch, dryRun: true };
  await command('PUT', '/cutover', order, {
    doing: percent > cutover.percent ? 'Looking, for 3 s …' : 'Looking …',
    done(found) {
      showDryRun(found);
      const { what, from, to, possible } = found;
      return `Dry run of ${what} (${from}% → ${to}%): it would be ${possible ? 'done' : 'refused'}. Nothing was changed.`;
    },
  });
}

async function rollBack() {
  if (!mayChange) {
    say('Not done: the token is missing. Enter it above, or use the command.', true);
    byId('token').focus();
    return;
  }
  draft = undefined;
  const startedAt = performance.now();
  await command(
    'POST',
    '/cutover/rollback',
    {},
    {
      doing: 'Rolling back …',
      done({ kept, notReached }) {
        const order =
          kept === 'in order' ? 'in order' : 'at once, without the log; what may be out of order is counted';
        const missing =
          notReached.length === 0 ? '' : ` Not reached: ${notReached.join(', ')}; they follow with the log.`;
        return `Rolled back ${order}, after ${Math.round(performance.now() - startedAt)} ms: every room is by the bridge.${missing}`;
      },
    },
  );
}

function orderCompare(verb, doing, words) {
  const done = (answer) => {
    compare = answer;
    showCompare(compare);
    return words;
  };
  return command('POST', `/compare/${verb}`, {}, { doing, done, place: 'compare-result' });
}

function orderPlan(method, verb, body, doing, words) {
  const done = (answer) => {
    run = answer.run;
    showPlan(run);
    return words();
  };
  return command(method, `/cutover/plan${verb}`, body, { doing, done, place: 'plan-result' });
}

const actions = {
  move,
  'dry-run': dryRun,
  mirror() {
    const mirror = Number(byId('mirror-share').value);
    return command(
      'PUT',
      '/cutover',
      { mirror, ifEpoch: cutover.epoch },
      {
        doing: 'Setting the mirror …',
        done: () => {
          isShareChosen = false;
          return mirror === 0 ? 'The mirror is off.' : `The mirror takes ${mirror}% of the rooms.`;
        },
      },
    );
  },
  hold() {
    const why = byId('hold-why').value.trim();
    if (why === '') {
      say('Not done: say why it shall be held.', true);
      byId('hold-why').focus();
      return undefined;
    }
    return command(
      'POST',
      '/cutover/hold',
      { why },
      {
        doing: 'Holding …',
        done: () => 'Held: nothing but a rollback and the kill switch moves it.',
      },
    );
  },
  release: () => command('POST', '/cutover/release', {}, { doing: 'Releasing …', done: () => 'Released.' }),
  'plan-start': () =>
    orderPlan('PUT', '', { plan: byId('plan-text').value }, 'Starting …', () => {
      byId('plan-new').open = false;
      return 'Started: it runs at the replicas, whether this page is open or not.';
    }),
  'plan-pause': () => orderPlan('POST', '/pause', {}, 'Pausing …', () => 'Paused: it neither moves nor looks.'),
  'plan-resume': () => orderPlan('POST', '/resume', {}, 'Resuming …', () => 'It goes on where it stood.'),
  'plan-stop': () => orderPlan('POST', '/stop', {}, 'Stopping …', () => 'Stopped: the percent stands.'),
  'compare-start': () => orderCompare('start', 'Starting …', 'Started: until it is stopped, or for 24 h.'),
  'compare-stop': () => orderCompare('stop', 'Stopping …', 'Stopped: its last seconds are being judged.'),
};

for (const [id, run] of Object.entries(actions)) {
  byId(id).addEventListener('click', () => {
    if (cutover !== undefined && byId(id).getAttribute('aria-disabled') !== 'true') run();
  });
}
byId('rollback').addEventListener('click', rollBack);

function want(percent) {
  draft = percent;
  showDryRun(null);
  slider.value = percent;
  if (cutover !== undefined) showControls();
}

byId('mirror-share').addEventListener('change', () => {
  isShareChosen = true;
});
slider.addEventListener('input', () => want(slider.valueAsNumber));
slider.addEventListener('keydown', ({ key }) => {
  if (key === 'Enter') byId('move').click();
});
for (const percent of steps) {
  const step = document.createElement('button');
  step.type = 'button';
  step.dataset.percent = percent;
  step.textContent = `${percent}%`;
  step.addEventListener('click', () => want(percent));
  byId('steps').append(step);
}

// The key for a bad moment: held, so that nobody rolls back by a slip.

let holding;
document.addEventListener('keydown', ({ key, repeat, target, ctrlKey, metaKey, altKey }) => {
  if (
    key !== 'r' ||
    repeat ||
    ctrlKey ||
    metaKey ||
    altKey ||
    target.matches('input:not([type=range]), select, textarea')
  )
    return;
  byId('rollback').classList.add('held');
  holding = setTimeout(() => {
    letGo();
    rollBack();
  }, holdKeyMs);
});
function letGo() {
  clearTimeout(holding);
  byId('rollback').classList.remove('held');
}
document.addEventListener('keyup', letGo);
window.addEventListener('blur', letGo);

// As it is typed.

const commands = {
  move: () => `set ${slider.value} --if-epoch ${cutover.epoch}`,
  mirror: () => `mirror ${byId('mirror-share').value}`,
  hold: () => (cutover.hold === null ? `hold ${quoted(byId('hold-why').value.trim() || 'why')}` : 'release'),
  rollback: () => 'rollback',
  plan: () => ({ running: 'pause', paused: 'resume' })[run?.state] ?? 'plan --report plan.md',
  run: () => 'run plan.yaml',
};
const compareVerb = () => (isComparing(compare.run) ? 'stop' : 'start');

function commandLine(name) {
  const admin = location.origin === 'http://127.0.0.1:7402' ? '' : ` --admin ${location.origin}`;
  const words = name === 'compare' ? `compare ${compareVerb()}` : `cutover ${commands[name]()}`;
  return `crossfade ${words}${admin}`;
}

/** As a shell reads it. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function placeOf(button) {
  if (button.closest('.compare')) return 'compare-result';
  return button.closest('.plan') ? 'plan-result' : 'result';
}

for (const button of document.querySelectorAll('[data-copy]')) {
  const words = button.textContent;
  button.addEventListener('click', async () => {
    if (cutover === undefined) return;
    const line = commandLine(button.dataset.copy);
    // Beyond loopback without TLS there is no clipboard for a page.
    const copied = await navigator.clipboard?.writeText(line).then(
      () => true,
      () => false,
    );
    say(`${copied ? 'Copied' : 'The command'}: ${line}`, false, placeOf(button));
    if (!copied) return;
    button.textContent = 'Copied';
    setTimeout(() => {
      button.textContent = words;
    }, copiedMs);
  });
}

for (const button of document.querySelectorAll('[data-report]')) {
  button.addEventListener('click', async () => {
    const { ok, body } = await ask('GET', '/cutover/plan');
    if (ok && body.run !== null) reportOf(body, button.dataset.report);
    else say(ok ? 'No plan has run.' : 'Not done: crossfade does not give the report.', !ok, 'plan-result');
  });
}

byId('plan-file').addEventListener('change', async () => {
  const [file] = byId('plan-file').files;
  if (file !== undefined) byId('plan-text').value = await file.text();
});

for (const button of document.querySelectorAll('[data-window]')) {
  button.addEventListener('click', () => {
    plots.seconds = Number(button.dataset.window);
    for (const each of document.querySelectorAll('[data-window]')) each.setAttribute('aria-pressed', each === button);
  });
}

byId('by').value = localStorage.getItem(nameKey) ?? '';
byId('by').addEventListener('change', () => localStorage.setItem(nameKey, byId('by').value.trim()));

byId('access').addEventListener('submit', (event) => {
  event.preventDefault();
  if (byId('token').value === '') return;
  token.set(byId('token').value);
  byId('token').value = '';
  restart();
});
byId('forget').addEventListener('click', () => {
  token.forget();
  restart();
});
