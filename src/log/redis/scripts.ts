// Each step that must happen in Redis as one: a named Lua script with a legend of its keys and arguments, and the names
// of crossfade's own keys. Nothing here knows a connection. Every script runs on Redis 7.0 and later.

import type { Redis } from 'ioredis';

/** Keys that crossfade keeps beside the streams. */
export const keys = {
  /** Hash `ms`, `seq`: the last position that was given, over all streams. */
  clock: 'crossfade:clock',
  /** Set of the consumer groups that crossfade made, see groups.ts. */
  groups: 'crossfade:groups',
  /** Set of the instances that have, or had, a roster. */
  replicas: 'crossfade:replicas',
  /** `kept:<token>` for 5 minutes, or `open:<instance>` while a claim is open. */
  id: (eventId: string) => `crossfade:id:${eventId}`,
  /** Says for a few seconds that an append without ids of its own was kept. */
  mark: (token: string) => `crossfade:append:${token}`,
  lease: (group: string, instance: string) => `crossfade:lease:${group}:${instance}`,
  rosterPrefix: 'crossfade:roster:',
  presenceUser: (user: string) => `presence:user:${user}`,
  presenceDesktopPrefix: 'presence:desktop:',
};

const nowMs = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * Keeps one entry.
 * KEYS 1 stream, 2 clock, 3… the ids' keys (or one mark)
 * ARGV 1 deadline in ms of Redis' own time, 2 value of the keys 3…, 3 their TTL in ms, 4 `1` to compare the keys 3… first,
 *      5 MAXLEN, 6… fields
 * Returns the position, `duplicate`, `undecided` or `late`.
 * The position is the greater of Redis' time and the last position, so one order holds over all streams, also when
 * Redis' clock steps back. A foreign XADD * may have put a higher id at the stream's end: then the next one above it.
 */
const append = `${nowMs}
if now > tonumber(ARGV[1]) then return 'late' end
if ARGV[4] == '1' then
  local undecided = false
  for i = 3, #KEYS do
    local mark = redis.call('GET', KEYS[i])
    if mark then
      if string.sub(mark, 1, 4) == 'kept' then return 'duplicate' end
      undecided = true
    end
  end
  if undecided then return 'undecided' end
end
local last = redis.call('HMGET', KEYS[2], 'ms', 'seq')
local ms, seq = tonumber(last[1] or 0), tonumber(last[2] or 0)
if now > ms then ms, seq = now, 0 else seq = seq + 1 end
local function add()
  local id = string.format('%.0f-%.0f', ms, seq)
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[5], id, unpack(ARGV, 6))
end
local position = add()
if type(position) == 'table' and position.err and string.find(position.err, 'equal or smaller', 1, true) then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local topMs, topSeq = string.match(info[i + 1], '(%d+)-(%d+)')
      ms, seq = tonumber(topMs), tonumber(topSeq) + 1
    end
  end
  position = add()
end
if type(position) == 'table' and position.err then return position end
redis.call('HSET', KEYS[2], 'ms', string.format('%.0f', ms), 'seq', string.format('%.0f', seq))
for i = 3, #KEYS do redis.call('SET', KEYS[i], ARGV[2], 'PX', ARGV[3]) end
return position`;

/**
 * What became of an append.
 * KEYS 1 the first id's key, or the mark
 * Returns its value (or an empty text) and Redis' time in ms.
 */
const lookUp = `${nowMs}
return { redis.call('GET', KEYS[1]) or '', string.format('%.0f', now) }`;

/**
 * Opens a claim.
 * KEYS 1 the id's key
 * ARGV 1 `open:<instance>`, 2 TTL in ms
 * Returns `claimed`, `duplicate` or `undecided`.
 */
const claim = `
local mark = redis.call('GET', KEYS[1])
if not mark then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 'claimed'
end
if string.sub(mark, 1, 4) == 'kept' then return 'duplicate' end
return 'undecided'`;

/** Deletes a key that still holds the value. KEYS 1 the key; ARGV 1 the value. */
const deleteIfOwn = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

/**
 * Renews a lease, or takes it again where it is gone.
 * KEYS 1 lease
 * ARGV 1 token, 2 TTL in ms
 * Returns `renewed`, `taken` or `lost`.
 */
const renewLease = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 'lost' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return holder and 'renewed' or 'taken'`;

const streamState = `
local function state(stream, group)
  if redis.call('EXISTS', stream) == 0 then return { '', '', 0, 0, 0 } end
  local last, top, added, length, found = '', '', 0, 0, 0
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
    if info[i] == 'last-entry' and info[i + 1] then top = info[i + 1][1] end
    if info[i] == 'entries-added' then added = info[i + 1] end
    if info[i] == 'length' then length = info[i + 1] end
  end
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    for i = 1, #each, 2 do
      if each[i] == 'name' and each[i + 1] == group then found = 1 end
    end
  end
  return { last, top, added, length, found }
end`;

/**
 * Makes a group anew, where it stood before or not.
 * KEYS 1 stream, 2 groups
 * ARGV 1 group, 2 the group's name in `groups`, 3 the position to begin after (`$`: the end)
 * Returns the stream's state as `inspect` does.
 */
const makeGroup = `${streamState}
redis.call('SADD', KEYS[2], ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[3], 'MKSTREAM')
return state(KEYS[1], ARGV[1])`;

/**
 * Removes a group that crossfade made, unless another holds its lease.
 * KEYS 1 stream, 2 groups, 3 lease
 * ARGV 1 group, 2 the group's name in `groups`, 3 our token, or an empty text
 */
const removeGroup = `
if redis.call('SISMEMBER', KEYS[2], ARGV[2]) == 0 then return 0 end
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[3] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
return redis.call('SREM', KEYS[2], ARGV[2])`;

/**
 * The streams' states.
 * KEYS streams
 * ARGV 1 group
 * Returns for each: last id ever given (empty: no such stream), id of the last entry (empty: none), entries ever added,
 * length, 1 if the group exists.
 */
const inspect = `${streamState}
local states = {}
for i, stream in ipairs(KEYS) do states[i] = state(stream, ARGV[1]) end
return states`;

/**
 * Ends a user's presence unless a live replica counts a connection.
 * KEYS 1 the user's set, 2 replicas
 * ARGV 1 counter, 2 prefix of the rosters, 3 prefix of the sessions' keys
 * Returns 1 if it was ended.
 */
const releasePresence = `
for _, instance in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if tonumber(redis.call('HGET', ARGV[2] .. instance, ARGV[1]) or 0) > 0 then return 0 end
end
for _, session in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', ARGV[3] .. session) end
redis.call('DEL', KEYS[1])
return 1`;

const scripts = {
  append,
  lookUp,
  claim,
  deleteIfOwn,
  renewLease,
  makeGroup,
  removeGroup,
  inspect,
  releasePresence,
};

export type ScriptName = keyof typeof scripts;

const commandName = (name: ScriptName) => `crossfade_${name}`;

/** For the client's option of the same name: it sends a script's text once a connection, then its hash. */
export const scriptOptions = Object.fromEntries(
  Object.entries(scripts).map(([name, lua]) => [commandName(name as ScriptName), { lua: lua.trim() }]),
);

/** Runs one script on a client that was made with {@link scriptOptions}. */
export function run(
  redis: Redis,
  name: ScriptName,
  keyNames: string[],
  args: (string | number)[] = [],
): Promise<unknown> {
  type Call = (keyCount: number, ...rest: (string | number)[]) => Promise<unknown>;
  const client = redis as unknown as Record<string, Call>;
  return client[commandName(name)]!(keyNames.length, ...keyNames, ...args);
}
