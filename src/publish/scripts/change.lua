-- Applies a difference to the publication, on a base that it verifies: the stored metadata are those of the base, byte
-- for byte, both sets and the plan have its sizes, every member that moves is where the base has it, and every planned
-- interval that changes is the one of the base. Otherwise nothing is written and the answer is Base. Runs after
-- fence.lua.
--
-- ARGV: 10 expiry of the publication in ms, 11 metadata of the base, 12 and 13 its hot and cold counts, 14 how many of
--       its servers have a planned interval, 15 metadata, 16 timestamp, 17 to 22 how many servers move: cold to hot,
--       hot to cold, into hot, into cold, out of hot, out of cold; 23 how many planned intervals change; then the URLs
--       of the moves in that order, the URLs of the changed intervals, and last, for all of these in one argument,
--       'BEFORE>NOW;': the value in the base and the new one, empty if there is none.

-- Members or fields in one command: Lua's stack is limited.
local CHUNK = 1000

-- Whether a URL is in {hot, cold}, before and after the move.
local MOVES = {
  {{0, 1}, {1, 0}}, {{1, 0}, {0, 1}}, {{0, 0}, {1, 0}}, {{0, 0}, {0, 1}}, {{1, 0}, {0, 0}}, {{0, 1}, {0, 0}},
}

-- Calls act(move, first, last) for the URLs of each move, a chunk at a time, until it returns false.
local function each_chunk(act)
  local first = 24
  for kind, move in ipairs(MOVES) do
    local last = first + tonumber(ARGV[16 + kind]) - 1
    for from = first, last, CHUNK do
      if not act(move, from, math.min(from + CHUNK - 1, last)) then return false end
    end
    first = last + 1
  end
  return true
end

local function are_members(key, expected, first, last)
  for _, found in ipairs(redis.call('SMISMEMBER', key, unpack(ARGV, first, last))) do
    if found ~= expected then return false end
  end
  return true
end

local CHANGED = tonumber(ARGV[23])
local FIRST_CHANGED = #ARGV - CHANGED
-- The values of the changed intervals, by the places of their URLs in ARGV.
local VALUES = {}
do
  local place = FIRST_CHANGED
  for before, new in string.gmatch(ARGV[#ARGV], '([^>]*)>([^;]*);') do
    VALUES[place] = {before = before, new = new}
    place = place + 1
  end
end

-- Calls act(first, last) for the URLs of the changed intervals, a chunk at a time, until it returns false.
local function each_changed(act)
  local last = FIRST_CHANGED + CHANGED - 1
  for from = FIRST_CHANGED, last, CHUNK do
    if not act(from, math.min(from + CHUNK - 1, last)) then return false end
  end
  return true
end

local function are_planned(first, last)
  for index, found in ipairs(redis.call('HMGET', INTERVALS, unpack(ARGV, first, last))) do
    if (found or '') ~= VALUES[first + index - 1].before then return false end
  end
  return true
end

local needed = {{'SMISMEMBER', HOT, ''}, {'SET', METADATA, ''}, {'SET', TIMESTAMP, ''},
    {'SADD', HOT, ''}, {'SADD', COLD, ''}, {'SREM', HOT, ''}, {'SREM', COLD, ''}, {'PEXPIREAT', HOT, '1'},
    {'PEXPIREAT', COLD, '1'}, {'PEXPIREAT', INTERVALS, '1'}}
if CHANGED > 0 then
  for _, command in ipairs({{'HMGET', INTERVALS, ''}, {'HSET', INTERVALS, '', ''}, {'HDEL', INTERVALS, ''}}) do
    needed[#needed + 1] = command
  end
end
local refused = cannot_write(needed)
if refused then return refused end

if text_at(METADATA, #ARGV[11]) ~= ARGV[11] or members(HOT) ~= tonumber(ARGV[12]) or members(COLD) ~= tonumber(ARGV[13])
  or fields(INTERVALS) ~= tonumber(ARGV[14])
  or not each_chunk(function(move, first, last)
    return are_members(HOT, move[1][1], first, last) and are_members(COLD, move[1][2], first, last)
  end) or not each_changed(are_planned) then
  return {'Base', now}
end

local expiry = expires_at(ARGV[10])
redis.call('SET', METADATA, ARGV[15], 'PXAT', expiry)
redis.call('SET', TIMESTAMP, ARGV[16], 'PXAT', expiry)
hold()
each_chunk(function(move, first, last)
  for index, key in ipairs({HOT, COLD}) do
    if move[1][index] ~= move[2][index] then
      redis.call(move[2][index] == 1 and 'SADD' or 'SREM', key, unpack(ARGV, first, last))
    end
  end
  return true
end)
each_changed(function(first, last)
  local set, gone = {}, {}
  for index = first, last do
    local value = VALUES[index].new
    if value == '' then
      gone[#gone + 1] = ARGV[index]
    else
      set[#set + 1] = ARGV[index]
      set[#set + 1] = value
    end
  end
  if #set > 0 then redis.call('HSET', INTERVALS, unpack(set)) end
  if #gone > 0 then redis.call('HDEL', INTERVALS, unpack(gone)) end
  return true
end)
for _, key in ipairs({HOT, COLD, INTERVALS}) do
  redis.call('PEXPIREAT', key, expiry)
end
return {'Published', now, displaces and 1 or 0}
