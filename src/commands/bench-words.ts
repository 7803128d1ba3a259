// The words of `crossfade bench` and `crossfade verify`: in comes the program, which learns both with their flags.

import { type Command, Option } from 'commander';
import { playBackend } from '../bench/backend-process.ts';
import { CrossfadeError } from '../errors.ts';
import { type BenchOptions, bench } from './bench.ts';
import { type VerifyOptions, verify } from './verify.ts';

export function addBench(program: Command): void {
  program
    .command('bench')
    .description(
      'load: clients in rooms and a backend that speaks to them, at any endpoint with the hubs and calls of the contract',
    )
    .addOption(urlOption('--url <url>', 'the hub, or the base of an edge (then /hubs/chat)').makeOptionMandatory())
    .addOption(urlOption('--publish <url>', 'base of the HTTP calls').makeOptionMandatory())
    .addOption(
      urlOption('--admin <url>', 'crossfade’s admin port, for the CPU that a delivery costs (default: not measured)'),
    )
    .addOption(countOption('--clients <n>', 'how many', 100))
    .addOption(countOption('--rooms <n>', 'over which the clients are spread (default: half as many as clients)'))
    .addOption(countOption('--rate <n>', 'messages a second, over the rooms in turn', 200))
    .addOption(countOption('--duration <s>', 'how long, behind 2 s to warm up', 10))
    .addOption(countOption('--senders <n>', 'calls that the backend may have under way at a time', 100))
    .addOption(new Option('--output <form>', 'how it is written').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nSecrets come by variable: JWT_SECRET_KEY for the clients’ tokens, INTERNAL_API_KEY for the calls.',
    )
    .action((options: BenchOptions) => bench(options));

  // Started by the other two.
  program.command('bench-backend', { hidden: true }).action(playBackend);

  program
    .command('verify')
    .description(
      'the success criteria SC-001 to SC-007, measured: of a running deployment, or of one that it starts itself',
    )
    .addOption(
      urlOption('--admin <url>', 'of a running deployment: its admin port; its percent is moved, and put back'),
    )
    .addOption(urlOption('--url <url>', 'of a running deployment: the base of its edge'))
    .addOption(urlOption('--publish <url>', 'of a running deployment: base of the backend’s calls'))
    .addOption(urlOption('--bridge <url>', 'for one of its own: the bridge behind it (default: the toy bridge)'))
    .option('--redis <url>', 'for one of its own: Redis (default: the embedded log)')
    .addOption(secondsOption('--seconds <s>', 'how long each load lasts, by each lane', 10))
    .addOption(new Option('--output <form>', 'how it is written').choices(['text', 'json']).default('text'))
    .addHelpText('after', secretsHelp)
    .action((options: VerifyOptions) => verify(options));
}

const secretsHelp =
  '\nSecrets come by variable: JWT_SECRET_KEY for the clients’ tokens, INTERNAL_API_KEY for the calls.';

function urlOption(flag: string, description: string): Option {
  return new Option(flag, description).argParser((text) => {
    if (/^https?:$/.test(URL.parse(text)?.protocol ?? '')) return text;
    throw new CrossfadeError(
      'CONFIG_INVALID',
      `${flag.split(' ')[0]}: '${text}' is not an http:// or https:// address`,
    );
  });
}

function countOption(flag: string, description: string, byDefault?: number): Option {
  return new Option(flag, description).default(byDefault).argParser((text) => {
    if (/^\d{1,7}$/.test(text) && Number(text) > 0) return Number(text);
    throw new CrossfadeError('CONFIG_INVALID', `${flag.split(' ')[0]}: '${text}' is not a number from 1`);
  });
}

/** A part of a second will do for a try. */
function secondsOption(flag: string, description: string, byDefault: number): Option {
  return new Option(flag, description).default(byDefault).argParser((text) => {
    if (/^\d{1,4}(\.\d+)?$/.test(text) && Number(text) > 0) return Number(text);
    throw new CrossfadeError('CONFIG_INVALID', `${flag.split(' ')[0]}: '${text}' is not a number of seconds`);
  });
}
