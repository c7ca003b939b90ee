-- Makes a staged publication visible in one step. Runs after fence.lua.
--
-- KEYS: 7 staged hot, 8 staged cold.
-- ARGV: 10 expiry of the publication in ms, 11 and 12 hot and cold counts, 13 metadata, 14 timestamp.

local STAGED = {{KEYS[7], HOT, tonumber(ARGV[11])}, {KEYS[8], COLD, tonumber(ARGV[12])}}

local refused = cannot_write({{'SCARD', KEYS[7]}, {'SET', METADATA, ''}, {'SET', TIMESTAMP, ''}, {'UNLINK', HOT, COLD},
    {'RENAME', KEYS[7], HOT}, {'RENAME', KEYS[8], COLD}, {'PEXPIREAT', HOT, '1'}, {'PEXPIREAT', COLD, '1'}})
if refused then return refused end

for _, set in ipairs(STAGED) do
  if redis.call('SCARD', set[1]) ~= set[3] then return {'Staging', now} end
end

local expiry = expires_at(ARGV[10])
redis.call('SET', METADATA, ARGV[13], 'PXAT', expiry)
redis.call('SET', TIMESTAMP, ARGV[14], 'PXAT', expiry)
hold()
for _, set in ipairs(STAGED) do
  -- UNLINK removes the old key, whatever its type, and frees its memory later: RENAME onto it would free a hundred
  -- thousand members at once, while every other client waits.
  redis.call('UNLINK', set[2])
  if set[3] > 0 then
    redis.call('RENAME', set[1], set[2])
    redis.call('PEXPIREAT', set[2], expiry)
  end
end
return {'Published', now, displaces and 1 or 0}
