//! The Lua scripts: steps over several lists that have to be atomic. Redis runs a script without any other
//! command in between, so a pop or a push sees the lists before it or after it.
//!
//! Of a queue that is split by task type, the type lists are popped; its main list only counts, so that
//! `LLEN` of it is the number of pending tasks. Each script that changes type lists therefore ends in
//! `balance`, which gives the main list as many entries as the type lists have together. An entry of a type
//! list that was pushed to the head is written `!id`: `!` sorts before all digits, so in a comparison of
//! several types it comes first. `-` marks an entry that is about to be removed; pops skip it.
//!
//! The arguments are listed at each script. The state of a queue is `opening` (its type lists are being
//! filled, the main list is still popped), `split`, `closing` (the main list is popped again), or absent
//! (plain). In every state but plain, pushes go to the type lists as well. A script reads the state itself,
//! since its caller's knowledge may be out of date.

/// Functions that the scripts share. `push` splits long arguments, because Lua's `unpack` is limited to about
/// 8,000 values. `balance` copies at most 1,000 ids of each type list: which ids the main list holds does not
/// matter, only how many.
const SHARED: &str = r"
local function plain_id(entry)
  if string.sub(entry, 1, 1) == '!' then return string.sub(entry, 2) end
  return entry
end
local function push(command, list, ids)
  for i = 1, #ids, 5000 do redis.call(command, list, unpack(ids, i, math.min(i + 4999, #ids))) end
end
local function balance(main, lists)
  local names, sum = redis.call('SMEMBERS', lists), 0
  for _, list in ipairs(names) do sum = sum + redis.call('LLEN', list) end
  local over = redis.call('LLEN', main) - sum
  if over > 0 then redis.call('LTRIM', main, over, -1) end
  for _, list in ipairs(names) do
    if over >= 0 then break end
    local ids = redis.call('LRANGE', list, 0, math.min(-over, 1000) - 1)
    for i, entry in ipairs(ids) do ids[i] = plain_id(entry) end
    if #ids > 0 then push('RPUSH', main, ids) end
    over = over + #ids
  end
end
";

/// Returns the lengths of lists. A key of another type counts as empty, so that it does not hide the other
/// lengths.
///
/// ```text
/// KEYS: lists
/// ```
pub(super) const LENGTHS: &str = r"
local lengths = {}
for i, list in ipairs(KEYS) do
  local length = redis.pcall('LLEN', list)
  lengths[i] = type(length) == 'number' and length or 0
end
return lengths
";

/// Pushes ids to the main list of a queue and, while it has type lists, to those. Atomic, because the state
/// decides about the type lists: between a read of it and the push the queue could be split, and the id would
/// be in no list that is popped.
///
/// ```text
/// KEYS: main list, state, set of type lists
/// ARGV: RPUSH or LPUSH, beginning of the names of type lists, number of runs, for each run: task type (''
///       when unknown) and number of ids; then all ids
/// ```
pub(super) const PUSH: &str = r"
local command, prefix, runs = ARGV[1], ARGV[2], tonumber(ARGV[3])
local at = 4 + 2 * runs
redis.call(command, KEYS[1], unpack(ARGV, at))
if redis.call('EXISTS', KEYS[2]) == 1 then
  for run = 1, runs do
    local name, count, ids = ARGV[2 + 2 * run], tonumber(ARGV[3 + 2 * run]), {}
    for i = at, at + count - 1 do
      ids[#ids + 1] = command == 'LPUSH' and '!' .. ARGV[i] or ARGV[i]
    end
    if name ~= '' and #ids > 0 then
      redis.call('SADD', KEYS[3], prefix .. name)
      redis.call(command, prefix .. name, unpack(ids))
    end
    at = at + count
  end
end
";

/// Pops from the first queue that has hints for the caller; does not wait. In a split queue only the lists of
/// the caller's types count: the oldest head first, up to an eighth of the wanted ids at a time. Atomic, so
/// that two workers do not take the same starved heads beyond the published number, and the main list is
/// never popped of a queue that was just split.
///
/// ```text
/// KEYS: for each queue: main list, state, set of type lists, number of starved heads
/// ARGV: ids wanted, for each queue: the queue whose starved heads go before it (0: none); for each queue:
///       beginning of the names of its type lists; then the caller's task types
/// Reply: states ('1' for each queue that is split), then, if anything was popped: main list, entries, number
///       of entries left in the lists that were popped, task types of the entries as (type, count) runs, 1 if
///       they were starved
/// ```
const POP: &str = r"
local want, queues, states = tonumber(ARGV[1]), #KEYS / 4, ''
for q = 1, queues do
  states = states .. (redis.call('GET', KEYS[4 * q - 2]) == 'split' and '1' or '0')
end
local function take(q, most)
  local main = KEYS[4 * q - 3]
  if string.sub(states, q, q) == '0' then
    local ids = redis.call('LPOP', main, most)
    return ids, ids and redis.call('LLEN', main), {}
  end
  local prefix, heads, out, runs, left = ARGV[1 + queues + q], {}, {}, {}, 0
  local first = 1 + 2 * queues
  for t = first + 1, #ARGV do heads[t] = redis.call('LINDEX', prefix .. ARGV[t], 0) end
  local chunk = math.max(1, math.ceil(most / 8))
  while #out < most do
    local best
    for t, head in pairs(heads) do
      if head and (not best or head < heads[best]) then best = t end
    end
    if not best then break end
    local list = prefix .. ARGV[best]
    local ids = redis.call('LPOP', list, math.min(most - #out, chunk))
    for _, entry in ipairs(ids) do out[#out + 1] = plain_id(entry) end
    runs[#runs + 1] = ARGV[best]
    runs[#runs + 1] = #ids
    heads[best] = redis.call('LINDEX', list, 0)
  end
  if #out == 0 then return nil end
  for t, head in pairs(heads) do
    if head then left = left + redis.call('LLEN', prefix .. ARGV[t]) end
  end
  balance(main, KEYS[4 * q - 1])
  return out, left, runs
end
for q = 1, queues do
  if redis.call('LLEN', KEYS[4 * q - 3]) > 0 then
    local below = tonumber(ARGV[1 + q])
    if below > 0 then
      local key = KEYS[4 * below]
      local starved = math.min(want, tonumber(redis.call('GET', key) or 0) or 0)
      if starved > 0 then
        local ids, left, runs = take(below, starved)
        if ids then
          redis.call('DECRBY', key, #ids)
          return {states, KEYS[4 * below - 3], ids, left, runs, 1}
        end
        if string.sub(states, below, below) == '0' then redis.call('DEL', key) end
      end
    end
    local ids, left, runs = take(q, want)
    if ids then return {states, KEYS[4 * q - 3], ids, left, runs} end
  end
end
return {states}
";

/// Gives the main lists of split queues the length of their type lists.
///
/// ```text
/// KEYS: for each queue: main list, state, set of type lists
/// ```
const BALANCE: &str = r"
for q = 1, #KEYS, 3 do
  if redis.call('GET', KEYS[q + 1]) == 'split' then balance(KEYS[q], KEYS[q + 2]) end
end
";

/// Removes ids of one task type from the lists of a queue; searches near their ends only.
///
/// ```text
/// KEYS: main list, state, set of type lists, type list, list of parked ids, number of unremoved ids
/// ARGV: distinct ids, 256 at most
/// Reply: number of removed entries
/// ```
///
/// Most calls remove exactly the head of the list, so that is tried first. An id that is older than the head
/// was popped by another worker; any other id that is not found is counted, and the leader then sweeps the
/// whole list. Atomic: a pop between the `LPOP` and the `LPUSH` of the heads would miss them.
const REMOVE: &str = r"
local gone, left, found = {}, #ARGV, 0
for i = 1, #ARGV do gone[ARGV[i]] = true end
local function hit(id)
  gone[id] = nil
  left = left - 1
  found = found + 1
end
local function remove_near_ends(list)
  local heads, keep = redis.call('LPOP', list, left) or {}, {}
  for i = #heads, 1, -1 do
    local id = plain_id(heads[i])
    if gone[id] then hit(id) else keep[#keep + 1] = heads[i] end
  end
  if #keep > 0 then redis.call('LPUSH', list, unpack(keep)) end
  if left > 8 then
    local before = found
    for i, entry in ipairs(redis.call('LRANGE', list, 0, 999)) do
      local id = plain_id(entry)
      if gone[id] then
        hit(id)
        redis.call('LSET', list, i - 1, '-')
      end
    end
    if found > before then redis.call('LREM', list, found - before, '-') end
  end
  local tried = 0
  for id in pairs(gone) do
    if tried == 8 then break end
    tried = tried + 1
    for _, entry in ipairs({id, '!' .. id}) do
      if gone[id] and redis.call('LPOS', list, entry, 'MAXLEN', 500) then
        redis.call('LREM', list, 1, entry)
        hit(id)
      elseif gone[id] and redis.call('LPOS', list, entry, 'RANK', -1, 'MAXLEN', 500) then
        redis.call('LREM', list, -1, entry)
        hit(id)
      end
    end
  end
end
local state = redis.call('GET', KEYS[2])
local list = state == 'split' and KEYS[4] or KEYS[1]
remove_near_ends(list)
if left > 0 then remove_near_ends(KEYS[5]) end
if left > 0 then
  local head = plain_id(redis.call('LINDEX', list, 0) or '~')
  local parked = plain_id(redis.call('LINDEX', KEYS[5], 0) or '~')
  local unremoved = 0
  for id in pairs(gone) do
    if id >= head or id >= parked then unremoved = unremoved + 1 end
  end
  if unremoved > 0 then redis.call('INCRBY', KEYS[6], unremoved) end
end
if state == 'split' then balance(KEYS[1], KEYS[3]) end
return found
";

/// Pushes ids of one task type, which were popped by a worker that does not register it, to the heads of the
/// lists that are popped now. An id that came from the main list of a split queue is still in its type list
/// and is not pushed there again.
///
/// ```text
/// KEYS: main list, state, set of type lists, type list
/// ARGV: ids, the first to be popped last
/// ```
const REROUTE: &str = r"
local state = redis.call('GET', KEYS[2])
for _, id in ipairs(ARGV) do
  if state and not redis.call('LPOS', KEYS[4], id, 'MAXLEN', 5000)
      and not redis.call('LPOS', KEYS[4], '!' .. id, 'MAXLEN', 5000) then
    redis.call('SADD', KEYS[3], KEYS[4])
    redis.call('LPUSH', KEYS[4], '!' .. id)
  end
  if state ~= 'split' then redis.call('LPUSH', KEYS[1], id) end
end
if state == 'split' then balance(KEYS[1], KEYS[3]) end
";

/// Marks entries of one page of a list for removal. Atomic, because it marks by position.
///
/// ```text
/// KEYS: list
/// ARGV: first and last position of the page, counted from the tail; number of ids to be removed; those, then
///       repeated ids, of which one copy stays: the page may have changed since it was read
/// Reply: number of marked entries
/// ```
const MARK: &str = r"
local gone, copies, marked = {}, {}, 0
for i = 4, #ARGV do
  if i < 4 + tonumber(ARGV[3]) then gone[ARGV[i]] = true else copies[ARGV[i]] = 0 end
end
local entries = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
for _, entry in ipairs(entries) do
  local id = plain_id(entry)
  if copies[id] then copies[id] = copies[id] + 1 end
end
local last = tonumber(ARGV[2])
for i = #entries, 1, -1 do
  local id = plain_id(entries[i])
  local repeated = (copies[id] or 0) > 1
  if gone[id] or repeated then
    if repeated then copies[id] = copies[id] - 1 end
    redis.call('LSET', KEYS[1], last - (#entries - i), '-')
    marked = marked + 1
  end
end
return marked
";

/// Replaces the list of parked ids by a new one and keeps the ids that were parked meanwhile. Both happen in
/// the script of the caller: an id parked between a read and the rename would be lost.
const KEEP_PARKED: &str = r"
local function keep_parked(parked, new_parked, new_lists)
  local known, kept = {}, {}
  for _, list in ipairs(new_lists) do
    for _, id in ipairs(redis.call('LRANGE', list, 0, 4999)) do known[id] = true end
    for _, id in ipairs(redis.call('LRANGE', list, -5000, -1)) do known[id] = true end
  end
  for _, id in ipairs(redis.call('LRANGE', new_parked, 0, -1)) do known[id] = true end
  for _, id in ipairs(redis.call('LRANGE', parked, -5000, -1)) do
    if id ~= '-' and not known[id] then kept[#kept + 1] = id end
  end
  redis.call('DEL', parked)
  if redis.call('EXISTS', new_parked) == 1 then
    redis.call('PERSIST', new_parked)
    redis.call('RENAME', new_parked, parked)
  end
  push('RPUSH', parked, kept)
end
";

/// Replaces the main list and the list of parked ids by new ones. Without a new one the list in use is
/// emptied. Atomic: an id pushed between the `DEL` and the `RENAME` would be lost.
///
/// ```text
/// KEYS: main list, new main list, list of parked ids, new list of parked ids
/// ```
const REPLACE: &str = r"
keep_parked(KEYS[3], KEYS[4], {KEYS[2]})
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('PERSIST', KEYS[2])
  redis.call('RENAME', KEYS[2], KEYS[1])
end
";

/// Replaces type lists and the list of parked ids by new ones and makes the queue split. Ids that were pushed
/// to a short list meanwhile are kept behind those of its new list. Has no effect if the queue has been
/// closed since the lists were begun, even if it was opened again: pushes may have gone to the main list
/// alone. Atomic, because workers start to pop the type lists with the state that is set here.
///
/// ```text
/// KEYS: main list, state, set of type lists, list of parked ids, new list of parked ids, generation, then
/// for each type: new list, type list ARGV: the generation in which the lists were begun Reply: number of ids
/// that were kept and that the new lists lacked, 1 if a list in use was too long for that, 1 if it was done
/// ```
const ADOPT: &str = r"
local state = redis.call('GET', KEYS[2])
if state ~= 'opening' and state ~= 'split' then return {0, 0, 0} end
if (redis.call('GET', KEYS[6]) or '') ~= ARGV[1] then return {0, 0, 0} end
local merged, lost, new_lists = 0, 0, {}
for i = 7, #KEYS, 2 do new_lists[#new_lists + 1] = KEYS[i] end
keep_parked(KEYS[4], KEYS[5], new_lists)
for i = 7, #KEYS, 2 do
  local new, list = KEYS[i], KEYS[i + 1]
  local length = redis.call('LLEN', list)
  if length > 0 and length <= 5000 then
    local known, front, back = {}, {}, {}
    for _, id in ipairs(redis.call('LRANGE', new, -5000, -1)) do known[id] = true end
    for _, entry in ipairs(redis.call('LRANGE', list, 0, -1)) do
      local id = plain_id(entry)
      if entry ~= '-' and not known[id] then
        if id == entry then back[#back + 1] = entry else table.insert(front, 1, entry) end
      end
    end
    push('RPUSH', new, back)
    push('LPUSH', new, front)
    merged = merged + #back + #front
  elseif length > 5000 then
    lost = 1
  end
  redis.call('PERSIST', new)
  redis.call('RENAME', new, list)
  redis.call('SADD', KEYS[3], list)
end
redis.call('SET', KEYS[2], 'split')
balance(KEYS[1], KEYS[3])
return {merged, lost, 1}
";

/// Takes a step from split to plain. From `split` it merges the type lists into the main list, if they are
/// short enough; in `opening` the main list is complete already. The state becomes `closing`: the main list
/// is popped again, and pushes still go to type lists, which wakes workers that block on them. From `closing`
/// it deletes the state, and the queue is plain. Two steps, because a blocked worker reads the state only
/// when its pop returns. Type lists are deleted in each step, since every id is in the main list.
///
/// ```text
/// KEYS: main list, state, set of type lists, generation
/// ARGV: maximum total length of the type lists
/// ```
const MERGE: &str = r"
local names, sum, front, back = redis.call('SMEMBERS', KEYS[3]), 0, {}, {}
for _, list in ipairs(names) do sum = sum + redis.call('LLEN', list) end
local state = redis.call('GET', KEYS[2])
if not state then return end
if state == 'split' then
  if sum > tonumber(ARGV[1]) then return end
  for _, list in ipairs(names) do
    for _, entry in ipairs(redis.call('LRANGE', list, 0, -1)) do
      if plain_id(entry) ~= entry then front[#front + 1] = plain_id(entry)
      elseif entry ~= '-' then back[#back + 1] = entry end
    end
  end
  table.sort(front)
  table.sort(back)
  redis.call('DEL', KEYS[1])
  push('RPUSH', KEYS[1], front)
  push('RPUSH', KEYS[1], back)
end
if state == 'closing' then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
else
  redis.call('SET', KEYS[2], 'closing')
end
for _, list in ipairs(names) do redis.call('UNLINK', list) end
";

/// Lets pushes go to the type lists as well, which are about to be filled. Begins a generation of type lists,
/// unless one is in use: `ADOPT` takes lists of its own generation alone, since a queue that was closed and
/// opened again is in the same state as before.
///
/// ```text
/// KEYS: state, generation
/// ARGV: the next generation, a name that was never used
/// Reply: the generation, empty if a server without generations opened the queue
/// ```
pub(super) const OPEN: &str = r"
local state = redis.call('GET', KEYS[1])
if state ~= 'opening' and state ~= 'split' then
  redis.call('SET', KEYS[1], 'opening')
  redis.call('SET', KEYS[2], ARGV[1])
end
return redis.call('GET', KEYS[2]) or ''
";

/// Moves up to 5,000 ids of a type list of a split queue to the list of parked ids; Lua cannot unpack many
/// more at once.
///
/// ```text
/// KEYS: main list, state, set of type lists, type list, list of parked ids
/// Reply: number of moved ids
/// ```
const PARK: &str = r"
if redis.call('GET', KEYS[2]) ~= 'split' then return 0 end
local entries = redis.call('LPOP', KEYS[4], 5000) or {}
for i, entry in ipairs(entries) do entries[i] = plain_id(entry) end
if #entries > 0 then redis.call('RPUSH', KEYS[5], unpack(entries)) end
if redis.call('EXISTS', KEYS[4]) == 0 then redis.call('SREM', KEYS[3], KEYS[4]) end
balance(KEYS[1], KEYS[3])
return #entries
";

/// Defines a function for each script that returns its whole text.
macro_rules! scripts {
    ($($name:ident = $body:ident),* $(,)?) => {
        $(pub(super) fn $name() -> &'static str {
            // joined once per process: the text of a script is part of each call
            static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| [SHARED, KEEP_PARKED, $body].concat());
            &TEXT
        })*
    };
}

scripts! {
    pop = POP,
    balance = BALANCE,
    remove = REMOVE,
    reroute = REROUTE,
    mark = MARK,
    replace = REPLACE,
    adopt = ADOPT,
    merge = MERGE,
    park = PARK,
}
