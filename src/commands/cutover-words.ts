// The words of `crossfade cutover …`: in comes the program, which learns each command with its flags; what they do stands in cutover.ts.

import { type Command, Option } from 'commander';
import { ownAdminUrl } from '../config.ts';
import * as cutover from './cutover.ts';
import { orderPlan, runPlan, showPlan } from './plan.ts';

export function addCutover(program: Command): void {
  const group = program.command('cutover').description('operate a running crossfade by its admin port');
  const command = (words: string, description: string) =>
    withTarget(group.command(words).description(description)) as Command;
  const changing = (words: string, description: string) =>
    withOrder(command(words, description)).addOption(
      new Option('--if-epoch <number>', 'only if nothing was changed since this epoch').argParser(cutover.epochOf),
    );
  const dry = (given: Command) => given.option('--dry-run', 'say what it would do, and change nothing');
  const moving = (words: string, description: string) =>
    dry(changing(words, description).option('--force', 'also where the guard says no'));

  command('show', 'the stage, the percent, both lanes, the replicas, why it stands still, and the next command')
    .option('--watch', 'draw it anew each second')
    .action(({ watch, ...given }: Given & { watch?: true }) => (watch ? cutover.watch : cutover.show)(targetOf(given)));
  moving('set <percent>', 'the share of rooms on the stream lane').action((percent: string, given: Given) =>
    cutover.change(orderTargetOf(given), { percent: cutover.percentOf(percent) }),
  );
  dry(
    changing('mirror <percent>', 'shadow the bridge-lane events of this share of rooms into the log; also on, off'),
  ).action((share: string, given: Given) => cutover.change(orderTargetOf(given), { mirror: cutover.shareOf(share) }));
  moving('pin <room> <lane>', 'keep one room on a lane: bridge or stream').action(
    (room: string, lane: string, given: Given) =>
      cutover.change(orderTargetOf(given), { pins: { [cutover.roomOf(room)]: cutover.laneArgument(lane) } }),
  );
  moving('unpin <room>', 'let the percent decide again').action((room: string, given: Given) =>
    cutover.change(orderTargetOf(given), { pins: { [cutover.roomOf(room)]: null } }),
  );
  moving('hubs <kind>', 'where hub connections end: native (at crossfade) or proxy (at the bridge)')
    .option('--hub <name>', 'this hub alone; repeatable (default: all)', (name: string, names: string[] = []) => [
      ...names,
      name,
    ])
    .action((kind: string, { hub, ...given }: Given & { hub?: string[] }) =>
      cutover.moveHubs(orderTargetOf(given), cutover.kindOf(kind), hub),
    );
  changing('hold <why>', 'let it stand as it is: nothing but a rollback and the kill switch moves it').action(
    (why: string, given: Given) => cutover.act({ ...orderTargetOf(given), why: cutover.wordsArgument(why) }, 'hold'),
  );
  changing('release', 'end a hold, whoever has it').action((given: Given) =>
    cutover.act(orderTargetOf(given), 'release'),
  );
  dry(withOrder(command('rollback', 'everything by the bridge, at once, also without the log'))).action(
    (given: Given) => cutover.rollback(orderTargetOf(given)),
  );
  moving('complete', 'leave the bridge for good; --dry-run lists what cannot be taken back').action((given: Given) =>
    cutover.complete(orderTargetOf(given)),
  );
  moving('reset', 'forget what operators have set: flags and variables hold again').action((given: Given) =>
    cutover.act(orderTargetOf(given), 'reset'),
  );
  addPlan(command);
}

function addPlan(command: (words: string, description: string) => Command): void {
  withBy(command('run <plan.yaml>', 'raise the percent in steps, under guards; roll back by itself')).action(
    (file: string, given: Given) => runPlan(orderTargetOf(given), file),
  );
  command('plan', 'the plan that runs, or ran last: its steps, its guards, why it waits')
    .option('--report <file>', 'write the report there, as Markdown')
    .action(({ report, ...given }: Given & { report?: string }) => showPlan(targetOf(given), report));
  const verbs = {
    pause: 'let the plan stand where it is, its guards too',
    resume: 'let a paused plan go on',
    stop: 'end the plan; the percent stands',
  };
  for (const [verb, description] of Object.entries(verbs))
    withOrder(command(verb, description)).action((given: Given) =>
      orderPlan(orderTargetOf(given), verb as keyof typeof verbs),
    );
}

/** As commander has read the flags. */
export type Given = Partial<Pick<cutover.OrderTarget, 'admin' | 'by' | 'why' | 'force' | 'ifEpoch' | 'dryRun'>> &
  Pick<cutover.OrderTarget, 'output'>;

/** The flags of every command that asks a running crossfade. */
export function withTarget(command: Command): Command {
  return command
    .option('--admin <url>', 'its admin port (default: where CROSSFADE_ADMIN says)')
    .addOption(new Option('--output <form>', 'how it is written').choices(['text', 'json']).default('text'));
}

export function targetOf({ admin, output }: Pick<Given, 'admin' | 'output'>): cutover.Target {
  return { admin: admin ?? ownAdminUrl(process.env), output, suffix: admin === undefined ? '' : ` --admin ${admin}` };
}

export function withBy(command: Command): Command {
  return command.addOption(
    new Option('--by <name>', 'who does it (default: the user of this process)').argParser(cutover.wordsArgument),
  );
}

function withOrder(command: Command): Command {
  return withBy(command).addOption(
    new Option('--why <text>', 'what stands beside it in the history').argParser(cutover.wordsArgument),
  );
}

function orderTargetOf(given: Given): cutover.OrderTarget {
  return { ...given, ...targetOf(given) };
}
