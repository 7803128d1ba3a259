// Each step that must happen in Redis as one: a named Lua script with a legend of its keys and arguments, and the names
// of crossfade's own keys. Nothing here knows a connection. Every script runs on Redis 7.0 and later.

import type { Redis } from 'ioredis';

/** Keys that crossfade keeps beside the streams. */
export const keys = {
  /**
   * Hash `ms`, `seq`: the last position that was given, over all streams; `marks <stream>`: `<position>=<bytes> ` for each portion
   * of its newest entries, oldest first; `bytes <stream>`: what was added since the last mark.
   */
  clock: 'crossfade:clock',
  /** Set of the consumer groups that crossfade made, see groups.ts. */
  groups: 'crossfade:groups',
  /** Hash `epoch`, `value`: the shared cutover state. */
  cutover: 'crossfade:cutover',
  /** Set of the instances that have, or had, a roster. */
  replicas: 'crossfade:replicas',
  /** `kept:<token>` for 5 minutes, or `open:<instance>` while a claim is open. */
  id: (eventId: string) => `crossfade:id:${eventId}`,
  /** Says for a few seconds that an append without ids of its own was kept. */
  mark: (token: string) => `crossfade:append:${token}`,
  shared: (key: string) => `crossfade:shared:${key}`,
  lease: (group: string, instance: string) => `crossfade:lease:${group}:${instance}`,
  rosterPrefix: 'crossfade:roster:',
  presenceUser: (user: string) => `presence:user:${user}`,
  presenceDesktopPrefix: 'presence:desktop:',
};

const nowMs = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`;

/**
 * `keep` adds an entry whose fields are ARGV from `first` to `last`; its position, or Redis' error with nothing done. `noteClock` comes
 * behind the last one.
 * The position is the greater of Redis' time and the last position, so one order holds over all streams, also when
 * Redis' clock steps back. A foreign XADD may have put a higher id at the stream's end, or one above which there is no number left in its
 * ms: Redis refuses the id then, and makes the next one itself (so that after the latter the order is each stream's own).
 * `ms` is kept as text: an id that somebody made of nanoseconds is more than a number of Lua's holds.
 * A stream that has grown above `maxBytes` loses its oldest portions; how many entries went is the second result.
 */
const keepEntries = `
local function dropOver(stream, clock, maxBytes, position, bytes)
  local marks = (redis.call('HGET', clock, 'marks ' .. stream) or '') .. position .. '=' .. string.format('%.0f', bytes) .. ' '
  local total, over = 0, nil
  for each in string.gmatch(marks, '=(%d+) ') do total = total + tonumber(each) end
  while total > maxBytes do
    local oldest, size, rest = string.match(marks, '^(%S+)=(%d+) (.+)$')
    if not oldest then break end
    total, over, marks = total - tonumber(size), oldest, rest
  end
  redis.call('HSET', clock, 'marks ' .. stream, marks)
  if not over then return 0 end
  local ms, seq = string.match(over, '(%d+)-(%d+)')
  return redis.call('XTRIM', stream, 'MINID', '~', ms .. '-' .. string.format('%.0f', tonumber(seq) + 1))
end
local ms, seq, sums = nil, nil, {}
local function keep(stream, clock, maxLength, maxBytes, first, last)
  if not ms then
    local known = redis.call('HMGET', clock, 'ms', 'seq')
    ms, seq = known[1] or '0', tonumber(known[2] or 0)
  end
  if now > tonumber(ms) then ms, seq = string.format('%.0f', now), 0 else seq = seq + 1 end
  local function add(id)
    return redis.pcall('XADD', stream, 'MAXLEN', '~', maxLength, id, unpack(ARGV, first, last))
  end
  local position = add(ms .. '-' .. string.format('%.0f', seq))
  if type(position) == 'table' and position.err and string.find(position.err, 'ID specified', 1, true) then
    position = add('*')
    if type(position) == 'string' then
      local topMs, topSeq = string.match(position, '(%d+)-(%d+)')
      ms, seq = topMs, tonumber(topSeq)
    end
  end
  if type(position) == 'table' and position.err then return position end
  local bytes, dropped = sums[stream] or tonumber(redis.call('HGET', clock, 'bytes ' .. stream) or 0), 0
  for i = first, last do bytes = bytes + #ARGV[i] end
  if bytes * 32 > tonumber(maxBytes) then
    dropped, bytes = dropOver(stream, clock, tonumber(maxBytes), position, bytes), 0
  end
  sums[stream] = bytes
  return position, dropped
end
local function noteClock(clock)
  if not next(sums) then return end
  local noted = { 'ms', ms, 'seq', string.format('%.0f', seq) }
  for stream, bytes in pairs(sums) do
    noted[#noted + 1], noted[#noted + 2] = 'bytes ' .. stream, string.format('%.0f', bytes)
  end
  redis.call('HSET', clock, unpack(noted))
end`;

const isStale = `
local knownEpoch
local function isStale(cutover, epoch)
  if epoch == '' then return false end
  knownEpoch = knownEpoch or tonumber(redis.call('HGET', cutover, 'epoch') or 0)
  return tonumber(epoch) < knownEpoch
end`;

/**
 * Keeps entries, each for itself: what becomes of one says nothing of the others.
 * KEYS 1 clock, 2 cutover, then for each entry: its stream, its ids' keys (or one mark)
 * ARGV 1 bytes of each stream, then for each entry: deadline in ms of Redis' own time, how many keys its ids have, the value of these keys,
 *      their TTL in ms, `1` to compare them first, epoch, or an empty text, MAXLEN, how many fields and values, the fields with their values
 * Returns for each entry the position (and how many entries were dropped for their bytes, if any), `duplicate`, `undecided`, `stale`
 * or `late`, or Redis' error, with which nothing was done.
 */
const append = `${nowMs}${keepEntries}${isStale}
local function markOf(first, last)
  local found = nil
  for i = first, last do
    local mark = redis.pcall('GET', KEYS[i])
    if type(mark) == 'table' then return mark end
    if mark and string.sub(mark, 1, 4) == 'kept' then return 'duplicate' end
    if mark then found = 'undecided' end
  end
  return found
end
local function keepOne(key, arg)
  local lastId, lastField = key + tonumber(ARGV[arg + 1]), arg + 7 + tonumber(ARGV[arg + 7])
  if now > tonumber(ARGV[arg]) then return 'late' end
  if isStale(KEYS[2], ARGV[arg + 5]) then return 'stale' end
  local mark = ARGV[arg + 4] == '1' and markOf(key + 1, lastId)
  if mark then return mark end
  local position, dropped = keep(KEYS[key], KEYS[1], ARGV[arg + 6], ARGV[1], arg + 8, lastField)
  if type(position) == 'table' then return position end
  for i = key + 1, lastId do redis.call('SET', KEYS[i], ARGV[arg + 2], 'PX', ARGV[arg + 3]) end
  return dropped > 0 and { position, dropped } or position
end
-- An error that ends the call must come before anything is kept.
knownEpoch = tonumber(redis.call('HGET', KEYS[2], 'epoch') or 0)
local answers, key, arg = {}, 3, 2
while key <= #KEYS do
  answers[#answers + 1] = keepOne(key, arg)
  key, arg = key + 1 + tonumber(ARGV[arg + 1]), arg + 8 + tonumber(ARGV[arg + 7])
end
noteClock(KEYS[1])
return answers`;

/**
 * Puts a state in place of the shared one, and a note of it at the end of the control stream.
 * KEYS 1 cutover, 2 stream of the note, 3 clock
 * ARGV 1 deadline in ms of Redis' own time, 2 the highest epoch that may be replaced, 3 the state's epoch, 4 its value,
 *      5 MAXLEN, 6 bytes of the stream, 7… fields of the note
 * Returns `committed`, `conflict` or `late`.
 */
const commit = `${nowMs}${keepEntries}
if now > tonumber(ARGV[1]) then return 'late' end
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch') or 0)
if stored > tonumber(ARGV[2]) or stored >= tonumber(ARGV[3]) then return 'conflict' end
local position = keep(KEYS[2], KEYS[3], ARGV[5], ARGV[6], 7, #ARGV)
if type(position) == 'table' then return position end
noteClock(KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'value', ARGV[4])
return 'committed'`;

/**
 * What became of an append.
 * KEYS 1 the first id's key, or the mark
 * Returns its value (or an empty text) and Redis' time in ms.
 */
const lookUp = `${nowMs}
return { redis.call('GET', KEYS[1]) or '', string.format('%.0f', now) }`;

/**
 * What became of a commit.
 * KEYS 1 cutover
 * Returns the state's epoch and value (or empty texts) and Redis' time in ms.
 */
const lookUpState = `${nowMs}
local state = redis.call('HMGET', KEYS[1], 'epoch', 'value')
return { state[1] or '', state[2] or '', string.format('%.0f', now) }`;

/**
 * Opens a claim.
 * KEYS 1 the id's key, 2 cutover
 * ARGV 1 `open:<instance>`, 2 TTL in ms, 3 epoch, or an empty text
 * Returns `claimed`, `duplicate`, `undecided` or `stale`.
 */
const claim = `${isStale}
if isStale(KEYS[2], ARGV[3]) then return 'stale' end
local mark = redis.call('GET', KEYS[1])
if not mark then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 'claimed'
end
if string.sub(mark, 1, 4) == 'kept' then return 'duplicate' end
return 'undecided'`;

/** Renews claims that are still open. KEYS the ids' keys; ARGV 1 `open:<instance>`, 2 TTL in ms. */
const renewClaims = `
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2]) end
end`;

/**
 * Remembers ids as kept, none for less long than before. A kept one keeps its value, by which its append is looked up.
 * KEYS the ids' keys
 * ARGV 1 value, 2… the keys' TTLs in ms
 */
const remember = `
for i, key in ipairs(KEYS) do
  local mark = redis.call('GET', key)
  if mark and string.sub(mark, 1, 4) == 'kept' then redis.call('PEXPIRE', key, ARGV[i + 1], 'GT')
  else redis.call('SET', key, ARGV[1], 'PX', ARGV[i + 1]) end
end`;

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

/** Takes the lease (KEYS[1]) from a holder (ARGV[1]) that is dead: for ARGV[2], for ARGV[3] ms; 0 where it is not its any more. */
const replaceLease = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`;

/**
 * Puts a value in place of another one, or of none.
 * KEYS 1 the key
 * ARGV 1 `1` if there must be a value, 2 that value, 3 the new one, 4 its TTL in ms
 * Returns 1; 0 where another one stands there.
 */
const swapShared = `
local value = redis.call('GET', KEYS[1])
if ARGV[1] == '1' and value ~= ARGV[2] or ARGV[1] == '0' and value then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1`;

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
 * The groups of these streams that are not noted as crossfade's.
 * KEYS 1 groups, 2… streams
 * Returns for each: stream, group, the position that it has read to, that of the stream's last entry (empty: none), ms since
 * its latest consumer was last active (-1: it has none).
 */
const foreignGroups = `
local function named(flat)
  local values = {}
  for i = 1, #flat, 2 do values[flat[i]] = flat[i + 1] end
  return values
end
local own = {}
for _, note in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local isNote, noted = pcall(cjson.decode, note)
  if isNote and type(noted) == 'table' and noted[1] and noted[2] and noted[3] then
    own[noted[1] .. '\\n' .. noted[2] .. ':' .. noted[3]] = true
  end
end
local function idleMs(stream, group)
  local least = -1
  for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local idle = named(each).idle
    if least < 0 or idle < least then least = idle end
  end
  return least
end
local found = {}
for i = 2, #KEYS do
  local stream = KEYS[i]
  if redis.call('EXISTS', stream) == 1 then
    local last = named(redis.call('XINFO', 'STREAM', stream))['last-entry']
    for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local group = named(each)
      if not own[stream .. '\\n' .. group.name] then
        local top = last and last[1] or ''
        found[#found + 1] = { stream, group.name, group['last-delivered-id'], top, idleMs(stream, group.name) }
      end
    end
  end
end
return found`;

/**
 * Ends a user's presence unless a live replica counts a connection.
 * KEYS 1 the user's set, 2 replicas
 * ARGV 1 counter, 2 prefix of the rosters, 3 prefix of the sessions' keys
 * Returns 1 if it was ended.
 */
const releasePresence = `
for _, instance in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local count = redis.pcall('HGET', ARGV[2] .. instance, ARGV[1])
  if type(count) == 'string' and (tonumber(count) or 0) > 0 then return 0 end
end
for _, session in ipairs(redis.call('SMEMBERS', KEYS[1])) do redis.call('DEL', ARGV[3] .. session) end
redis.call('DEL', KEYS[1])
return 1`;

/** Takes a replica that is not live out of the roster. KEYS 1 replicas, 2 its hash; ARGV 1 its name. */
const forgetReplica = `
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('SREM', KEYS[1], ARGV[1]) end`;

const scripts = {
  append,
  lookUp,
  commit,
  lookUpState,
  claim,
  renewClaims,
  remember,
  deleteIfOwn,
  renewLease,
  replaceLease,
  swapShared,
  makeGroup,
  removeGroup,
  inspect,
  foreignGroups,
  releasePresence,
  forgetReplica,
};

export type ScriptName = keyof typeof scripts;

/** What a client that was made with {@link scriptOptions} calls it. */
export const commandName = (name: ScriptName) => `crossfade_${name}`;

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
