// The command line: words in, one command run, an exit code out. 0 done, 1 failed, 2 wrong use (one clear line).

import { Command, CommanderError, Option } from 'commander';
import { checkContract } from './commands/contract.ts';
import { demo } from './commands/demo/demo.ts';
import { serve } from './commands/serve.ts';
import { readConfig, settings } from './config.ts';
import { CrossfadeError } from './errors.ts';
import { version } from './version.ts';

const program = new Command('crossfade')
  .description('Fades a legacy SignalR bridge over to Redis Streams, a room at a time.')
  .version(version)
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'crossfade: ')) })
  .exitOverride();

const serveCommand = program
  .command('serve')
  .description('run the sidecar: take the backend’s calls, deliver them to the clients')
  .addHelpText('after', '\nSecrets come by variable only; the README lists them.')
  .action(() => serve(readConfig(givenFlags(serveCommand), process.env)));
for (const setting of settings) {
  if (setting.flag === undefined) continue;
  const facts = `(${setting.variables.join(', ')}; default: ${setting.standard})`;
  serveCommand.addOption(new Option(setting.flag, `${setting.meaning} ${facts}`));
}

program
  .command('demo')
  .description('try it: a toy bridge, a sidecar with the embedded log, and a page with two chat clients')
  .option('--port <port>', 'port of the page on 127.0.0.1; 0 takes a free one', '7410')
  .action((options: { port: string }) => demo(options.port));

const contract = program.command('contract').description('work with contract files');
contract
  .command('check <file>')
  .description('report every fault of a contract file with its line')
  .action((file: string) => checkContract(file));

/** The flags that stand on the command line, by the key of their setting; defaults are config.ts's business. */
function givenFlags(command: Command): Record<string, string | boolean> {
  const given: Record<string, string | boolean> = {};
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
    for (const line of error.message.split('\n')) console.error(`crossfade: ${line}`);
    // What is open already (a port, a connection) must not keep a process alive that has failed.
    process.exit(error.code === 'CONFIG_INVALID' || error.code === 'CONTRACT_INVALID' ? 2 : 1);
  } else {
    throw error;
  }
}
