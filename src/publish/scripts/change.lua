-- Applies a difference to the publication, on a base that it verifies: the stored metadata are those of the base, byte
-- for byte, both sets have its sizes, and every member that moves is where the base has it. Otherwise nothing is
-- written and the answer is Base. Runs after fence.lua.
--
-- ARGV: 10 expiry of the publication in ms, 11 metadata of the base, 12 and 13 its hot and cold counts, 14 metadata,
--       15 timestamp, 16 to 21 how many servers move: cold to hot, hot to cold, into hot, into cold, out of hot, out of
--       cold; then their URLs in that order.

-- Members in one command: Lua's stack is limited.
local CHUNK = 1000

-- Whether a URL is in {hot, cold}, before and after the move.
local MOVES = {
  {{0, 1}, {1, 0}}, {{1, 0}, {0, 1}}, {{0, 0}, {1, 0}}, {{0, 0}, {0, 1}}, {{1, 0}, {0, 0}}, {{0, 1}, {0, 0}},
}

-- Calls act(move, first, last) for the URLs of each move, a chunk at a time, until it returns false.
local function each_chunk(act)
  local first = 22
  for kind, move in ipairs(MOVES) do
    local last = first + tonumber(ARGV[15 + kind]) - 1
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

local refused = cannot_write({{'SMISMEMBER', HOT, ''}, {'SET', METADATA, ''}, {'SET', TIMESTAMP, ''},
    {'SADD', HOT, ''}, {'SADD', COLD, ''}, {'SREM', HOT, ''}, {'SREM', COLD, ''}, {'PEXPIREAT', HOT, '1'},
    {'PEXPIREAT', COLD, '1'}})
if refused then return refused end

if text_at(METADATA, #ARGV[11]) ~= ARGV[11] or members(HOT) ~= tonumber(ARGV[12]) or members(COLD) ~= tonumber(ARGV[13])
  or not each_chunk(function(move, first, last)
    return are_members(HOT, move[1][1], first, last) and are_members(COLD, move[1][2], first, last)
  end) then
  return {'Base', now}
end

local expiry = expires_at(ARGV[10])
redis.call('SET', METADATA, ARGV[14], 'PXAT', expiry)
redis.call('SET', TIMESTAMP, ARGV[15], 'PXAT', expiry)
hold()
each_chunk(function(move, first, last)
  for index, key in ipairs({HOT, COLD}) do
    if move[1][index] ~= move[2][index] then
      redis.call(move[2][index] == 1 and 'SADD' or 'SREM', key, unpack(ARGV, first, last))
    end
  end
  return true
end)
redis.call('PEXPIREAT', HOT, expiry)
redis.call('PEXPIREAT', COLD, expiry)
return {'Published', now, displaces and 1 or 0}
