// The command line: words in, one command run, an exit code out. 0 done, 1 failed, 2 wrong use (one clear line).

import { Command, CommanderError, Option } from 'commander';
import { addBench } from './commands/bench-words.ts';
import { check, checkFirst } from './commands/check.ts';
import { addCompare } from './commands/compare.ts';
import { checkContract } from './commands/contract.ts';
import { addCutover, targetOf, withTarget } from './commands/cutover-words.ts';
import { demo } from './commands/demo.ts';
import { demoBackend, demoBridge } from './commands/demo-parts.ts';
import { drain } from './commands/drain.ts';
import { health } from './commands/health.ts';
import { serve } from './commands/serve.ts';
import { defaultText, type GivenFlags, ownAdminUrl, readConfig, settings } from './config.ts';
import { CrossfadeError, catalogue } from './errors.ts';
import { version } from './version.ts';

// Node would open a debugger, for everybody on this machine.
process.on('SIGUSR1', () => {});
// Who reads may leave early (`| head`): what is still to be said is for nobody then.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}

const program = new Command('crossfade')
  .description('Fades a legacy SignalR bridge over to Redis Streams, a room at a time.')
  .version(version)
  .configureOutput({
    outputError: (text, write) =>
      write(text.replace(/^error: /, 'crossfade: CONFIG_INVALID: ').replace('\n(Did', ' (Did')),
  })
  .exitOverride();

const serveCommand = program
  .command('serve')
  .description('run the sidecar: take the backend’s calls, deliver them to the clients')
  .addHelpText('after', '\nSecrets come by variable only; docs/settings.md lists them.')
  .action(() => serve(readConfig(givenFlags(serveCommand), process.env)));
for (const option of settingOptions()) serveCommand.addOption(option);

const checkCommand = program
  .command('check')
  .description('is everything as it must be: of a running replica by its admin port, or before serving')
  .option('--pre', 'before serving: configuration, bridge and log, by the flags and variables of serve')
  .addOption(new Option('--output <form>', 'how it is written').choices(['text', 'json']).default('text'))
  .addHelpText(
    'after',
    '\nWithout --pre the only flag is --admin, with the URL of the admin port of a running replica.',
  )
  .action(({ pre, admin, output }: { pre?: true; admin?: string; output: 'text' | 'json' }) =>
    pre
      ? checkFirst(givenFlags(checkCommand), output)
      : check(targetOf({ output, ...(admin !== undefined && { admin }) })),
  );
for (const option of settingOptions()) checkCommand.addOption(option);

const ofOwnReplica = (name: string, description: string) => withTarget(program.command(name).description(description));
ofOwnReplica('drain', 'let this replica’s clients go, and wait for it: for a pod’s preStop, before SIGTERM')
  .option('--timeout <s>', 'how long to wait for it (default: as long as it takes)')
  .action(({ admin = ownAdminUrl(process.env), ...options }) => drain({ admin, ...options }));
ofOwnReplica('health', 'exit 0 if this replica is ready, else 1 and why: for a container’s health check').action(
  ({ admin = ownAdminUrl(process.env), output }) => health({ admin, output }),
);

const demoCommand = program
  .command('demo')
  .description('try it: a toy bridge, a sidecar with the embedded log, and a page with two chat clients')
  .option('--port <port>', 'port of the page on 127.0.0.1; 0 takes a free one', '7410')
  .action((options: { port: string }) => demo(options.port));
demoCommand
  .command('bridge')
  .description('the toy bridge alone, with INTERNAL_API_KEY and JWT_SECRET_KEY')
  .option('--listen <host:port>', 'where', '127.0.0.1:5000')
  .action((options: { listen: string }) => demoBridge(options.listen));
demoCommand
  .command('backend')
  .description('a backend at work, with INTERNAL_API_KEY')
  .option('--calls <url>', 'the backend side of crossfade', 'http://127.0.0.1:7400')
  .action((options: { calls: string }) => demoBackend(options.calls));

addBench(program);
addCutover(program);
addCompare(program);

const contract = program.command('contract').description('work with contract files');
contract
  .command('check <file>')
  .description('report every fault of a contract file with its line')
  .addOption(new Option('--output <form>', 'how it is written').choices(['text', 'json']).default('text'))
  .action(checkContract);

/** Whoever asks for JSON gets it also where the command fails. */
let writesJson = false;
program.hook('preAction', (_, action) => {
  writesJson = action.opts().output === 'json';
});

function settingOptions(): Option[] {
  return settings.flatMap((setting) => {
    if (setting.flag === undefined) return [];
    const facts = `(${setting.variables.join(', ')}; default: ${defaultText(setting)})`;
    const option = new Option(setting.flag, `${setting.meaning} ${facts}`);
    if (setting.repeatable) option.argParser((value, before: string[] | undefined) => [...(before ?? []), value]);
    return [option];
  });
}

/** The flags that stand on the command line, by the key of their setting; defaults are config.ts's business. */
function givenFlags(command: Command): GivenFlags {
  const given: GivenFlags = {};
  for (const setting of settings) {
    const name = setting.flag && new Option(setting.flag).attributeName();
    if (name && command.getOptionValueSource(name) === 'cli') given[setting.key] = command.getOptionValue(name);
  }
  return given;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else if (error instanceof CrossfadeError) {
    const { code, message } = error;
    if (writesJson) console.log(JSON.stringify({ error: code, message, remedy: catalogue[code].remedy }, null, 2));
    else for (const line of message.split('\n')) console.error(`crossfade: ${code}: ${line}`);
    // What is open already (a port, a connection) must not keep a process alive that has failed.
    process.exit(code === 'CONFIG_INVALID' || code === 'CONTRACT_INVALID' ? 2 : 1);
  } else {
    throw error;
  }
}
