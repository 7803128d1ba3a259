// The page's plan: in comes the run of `GET /cutover/live`, out go its steps, its guards and why it waits or has ended, and its report as a
// file.

import { clockOf, element, finding, replace, timeOf, write } from './view.js';

const byId = (id) => document.getElementById(id);
const signs = { good: '✓', broken: '✕', unjudged: '–' };

/** @param run null: none has run */
export function isOpen(run) {
  return run?.state === 'running' || run?.state === 'paused';
}

/** @param run null: none has run */
export function showPlan(run) {
  byId('plan-run').hidden = run === null;
  if (run === null) return write(byId('plan-line'), 'None has run.');
  const { plan, by, startedAt, endedAt, state, why, steps } = run;
  write(byId('plan-line'), `${plan.name}: ${state}`);
  byId('plan-line').dataset.state = state;
  write(
    byId('plan-by'),
    `by ${by}, since ${timeOf(startedAt)}${endedAt === null ? '' : `, until ${clockOf(endedAt)}`}`,
  );
  write(byId('plan-why'), why === '' ? '' : `${why[0].toUpperCase()}${why.slice(1)}.`);
  byId('plan-why').dataset.state = state;
  replace(
    byId('plan-steps'),
    plan.steps.map((planned, at) => stepOf(planned, steps[at], isOpen(run) && at === steps.length - 1)),
  );
  const last = steps.at(-1)?.last ?? [];
  const readings = last.map(({ verdict, words }) => finding(signs[verdict], words));
  replace(byId('plan-guards'), readings.length === 0 ? [finding('–', 'no sample was taken yet')] : readings);
}

/** @param step undefined: it has not come to it */
function stepOf({ percent, hold }, step, isCurrent) {
  const item = element('li', step?.verdict ?? '');
  if (isCurrent) item.setAttribute('aria-current', 'step');
  const held = document.createElement('progress');
  held.max = Math.max(1, hold);
  held.value = step?.heldMs ?? 0;
  held.setAttribute('aria-label', `held of ${time(hold)}`);
  item.append(element('b', '', `${percent}%`), held);
  item.append(element('span', '', step === undefined ? time(hold) : `${time(step.heldMs)} of ${time(hold)}`));
  if (step !== undefined) item.append(element('span', '', samplesOf(step)));
  return item;
}

function samplesOf({ samples: { good, broken, unjudged }, verdict }) {
  const counts = [
    [good, 'good'],
    [broken, 'broken'],
    [unjudged, 'not judged'],
  ];
  const words = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  return `${verdict === null ? '' : `${signs[verdict]} `}${words.length === 0 ? 'no sample yet' : words.join(', ')}`;
}

function time(ms) {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Number((minutes / 60).toFixed(1))} h`;
}

/** Gives the browser a file. @param answer of `GET /cutover/plan` @param kind `md` or `json` */
export function reportOf({ run, report }, kind) {
  const text = kind === 'md' ? report : JSON.stringify(run, null, 2);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = `plan-${run.plan.name.replaceAll(/[^\w-]+/g, '-')}.${kind}`;
  link.click();
  URL.revokeObjectURL(link.href);
}
