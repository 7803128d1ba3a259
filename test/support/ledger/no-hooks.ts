// Preloaded into the ledgers' processes (`node --import …`), before node:test is: it is kept from hooking itself into every
// promise, only to tell which of its tests an uncaught error belongs to. The readers of a ledger make millions of promises; a
// third of its CPU time went there. An uncaught error fails the file all the same.

import hooks from 'node:async_hooks';
import { syncBuiltinESMExports } from 'node:module';

const none: hooks.AsyncHook = { enable: () => none, disable: () => none };
hooks.createHook = () => none;
syncBuiltinESMExports();
