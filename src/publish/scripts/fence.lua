-- The beginning of every script: whether the caller may write at all (docs/contract.md#the-fence). Nothing is written
-- here: Redis does not roll back a script that fails, so a check after a write would leave half a publication behind.
--
-- tests/support/fence.rs is the same rule in Rust; a test compares this file with it.
--
-- KEYS: 1 lock, 2 term, 3 hot, 4 cold, 5 metadata, 6 timestamp, 7 intervals; then those of the script.
-- ARGV: 1 not-after moment: after it the call must do nothing (in µs of Redis' clock), 2 our lock value without its
--       term, 3 our term, 4 '1' if this token has held the lock, 5 expiry of the lock in ms, 6 and 7 the last
--       timestamps that this process has published, 8 and 9 type and value of the foreign lock that may be displaced
--       ('' for none); then those of the script.
-- Answers: {verdict, Redis' time in µs, ...}. Every answer contains the time, so that the caller can follow Redis'
-- clock. Fenced has the highest term, and the term of a lock of our owner's, or 0.

local LOCK, TERM, HOT, COLD, METADATA, TIMESTAMP, INTERVALS = unpack(KEYS, 1, 7)
-- Other releases of this operator are never displaced.
local FAMILY = 'mcpgateway-operator/'
local OWNED, OURS, HELD = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'

local function type_of(key)
  return redis.call('TYPE', key)['ok']
end

-- The start of a string key, or nil. GET would fail on another type, and could read half a gigabyte.
local function text_at(key, last)
  if type_of(key) ~= 'string' then return nil end
  return redis.call('GETRANGE', key, 0, last)
end

-- tonumber() alone accepts 'nan', '0x10' and '1e15', and every comparison with nan is false: it would fence nobody.
local function term_of(text)
  if not text or #text > 10 or not string.match(text, '^[1-9][0-9]*$') then return nil end
  local number = tonumber(text)
  -- The highest number is not a term, see Term in src/model.rs.
  if number >= 1999999999 then return nil end
  return number
end

-- The answer if the ACL does not allow one of these commands, each given as {command, key, arguments...}, or if one was
-- renamed; nil if all of them can be used. Checked before the first write, where Redis can answer (7 and later):
-- otherwise an ACL that allows only some of the commands would end a script in the middle.
local function denied(commands)
  if not redis.acl_check_cmd then return nil end
  for _, command in ipairs(commands) do
    local exists, allowed = pcall(redis.acl_check_cmd, unpack(command))
    if not exists or not allowed then
      return redis.error_reply((exists and 'NOPERM ' or 'ERR unknown command, ') .. 'this script needs ' .. command[1]
        .. ' on ' .. (command[2] or ''))
    end
  end
  return nil
end

local cannot_read = denied({{'TIME'}, {'TYPE', LOCK}, {'GETRANGE', LOCK, '0', '0'}, {'TYPE', TERM},
  {'GETRANGE', TERM, '0', '0'}, {'GETRANGE', TIMESTAMP, '0', '0'}, {'PTTL', TIMESTAMP}, {'TYPE', HOT}, {'SCARD', HOT}})
if cannot_read then return cannot_read end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[1]) then return {'TooLate', now} end

-- The same for the commands of a script that writes, with those of hold().
local function cannot_write(commands)
  return denied({
    {'SET', LOCK, ''}, {'PEXPIRE', LOCK, '1'}, {'PERSIST', TERM}, {'SET', TERM, ''}, unpack(commands)
  })
end

local lock_type = type_of(LOCK)
local lock = text_at(LOCK, 511) or ''
-- The term follows the last slash. With one more slash, it is another owner whose name starts like ours.
local lock_is_ours = lock_type == 'string' and string.sub(lock, 1, #OWNED) == OWNED
  and not string.find(lock, '/', #OWNED + 1, true)
local lock_term = lock_is_ours and term_of(string.sub(lock, #OWNED + 1)) or nil
local stored_term = term_of(text_at(TERM, 10))

-- The lock's own term counts like the stored one: both are written together, and one may be lost.
local highest = stored_term
if lock_term and (not highest or lock_term > highest) then highest = lock_term end
if highest and (highest > OURS or (highest == OURS and not HELD)) then
  return {'Fenced', now, highest, lock_term or 0}
end

-- Whether the foreign holder publishes: one that leaves no timestamp, or one that never expires, does not classify. A
-- timestamp of our own proves nothing.
local function foreign_holder_publishes()
  local timestamp = text_at(TIMESTAMP, 63)
  return timestamp and timestamp ~= ARGV[6] and timestamp ~= ARGV[7] and redis.call('PTTL', TIMESTAMP) > 0
end

local displaces = false
if lock_type ~= 'none' and not lock_is_ours then
  local publishes = foreign_holder_publishes()
  displaces = not publishes and lock_type == ARGV[8] and lock == ARGV[9]
    and string.sub(lock, 1, #FAMILY) ~= FAMILY
  if not displaces then return {'NotHeld', now, lock_type, lock, publishes and 1 or 0} end
end

-- The number of members; -1 if the key is not a set.
local function members(key)
  local kind = type_of(key)
  if kind == 'none' then return 0 end
  return kind == 'set' and redis.call('SCARD', key) or -1
end

-- The number of fields; -1 if the key is not a hash. Users who publish no plan need no permission for hashes: without
-- one for HLEN the answer is -1, too.
local function fields(key)
  local kind = type_of(key)
  if kind == 'none' then return 0 end
  local count = kind == 'hash' and redis.pcall('HLEN', key)
  return type(count) == 'number' and count or -1
end

-- The moment at which the whole publication expires. One moment, not a time to live that each command counts anew: a
-- reader must not find the cold set for a millisecond after the hot one has expired.
local function expires_at(ms)
  return math.floor(now / 1000) + tonumber(ms)
end

-- Takes, renews or passes on the lock, and writes the term. The script calls it after its own checks. The SETs come
-- first: out of memory, Redis refuses the first of them, and nothing has changed.
local function hold()
  if stored_term == OURS then
    redis.call('PERSIST', TERM)
  else
    redis.call('SET', TERM, ARGV[3])
  end
  if lock_term == OURS then
    redis.call('PEXPIRE', LOCK, ARGV[5])
  else
    redis.call('SET', LOCK, OWNED .. ARGV[3], 'PX', ARGV[5])
  end
end
